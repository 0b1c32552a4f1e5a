//! Connections that workers inherit, over which they report.

use super::{
    super::{
        client::{Client, Peer, Purpose},
        crowd::Room,
        reserve::is_kept_back,
    },
    Connection, Control,
};
use crate::fsm::id::Pid;
use mio::net::UnixStream;
use nix::{errno::Errno, unistd::geteuid};
use std::{io, os::unix::net};

impl Control {
    /// Makes a connection for a worker to inherit. Clients make room for it; without the descriptors that are
    /// kept back nobody could ask for fewer workers.
    ///
    /// # Errors
    /// If the system lacks what it takes. All that can fail is done here, before there is a worker.
    pub(crate) fn prepare(&mut self) -> io::Result<Connection> {
        // The worker's end blocks, as programs expect of what they inherit.
        let (mut ours, mut theirs) = net::UnixStream::pair()?;
        while is_kept_back(&ours) {
            if !self.send_one_away(Room::ForWorkers) {
                return Err(Errno::EMFILE.into());
            }
            (ours, theirs) = net::UnixStream::pair()?;
        }
        ours.set_nonblocking(true)?;
        let mut ours = UnixStream::from_std(ours);
        let id = self.watch(&mut ours)?;
        Ok(Connection { id, ours, theirs: theirs.into() })
    }

    /// The worker has been made: whatever comes over the connection comes from that process.
    pub(crate) fn adopt(&mut self, connection: Connection, worker: Pid) {
        let Connection { id, ours, theirs } = connection;
        drop(theirs);
        let peer = Peer { pid: worker, user: geteuid().as_raw(), group: Some(worker) };
        self.enter(id, Client::new(ours, peer, Purpose::Reports));
    }

    /// A worker has ended: nobody speaks for it any more, whoever has its connection.
    pub(crate) fn disown(&mut self, worker: Pid) {
        if let Some(id) = self.inherited.remove(&worker) {
            self.remove(id);
        }
    }
}
