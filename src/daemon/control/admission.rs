//! Letting in who has connected, if he may.

use super::{
    super::{
        client::{Client, Peer, Purpose},
        process,
    },
    Control,
};
use crate::{fsm::id::Pid, protocol::Envelope};
use log::warn;
use mio::net::UnixStream;
use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use std::io;

impl Control {
    /// Makes a client of a connection, or hands it back.
    pub(super) fn admit(&mut self, mut stream: UnixStream, entrusted: bool) -> Option<UnixStream> {
        let peer = match getsockopt(&stream, PeerCredentials) {
            Ok(credentials) => credentials,
            Err(error) => {
                warn!("control socket: nobody knows who connected: {error}; refused");
                return Some(stream);
            }
        };
        let mine = geteuid().as_raw();
        if peer.uid() != 0 && peer.uid() != mine {
            warn!("control socket: refused process {} of user {}", peer.pid(), peer.uid());
            let refusal = Envelope::refused(format!(
                "user {} may not control this supervisor; root and user {mine} may",
                peer.uid()
            ));
            // If the line does not fit into an empty socket buffer, it is not worth waiting for.
            let _ = io::Write::write(&mut stream, refusal.encode().as_bytes());
            return Some(stream);
        }
        let id = match self.watch(&mut stream) {
            Ok(id) => id,
            Err(error) => {
                warn!("control socket: a connection cannot be watched: {error}; refused");
                return Some(stream);
            }
        };
        let pid = Pid(u32::try_from(peer.pid()).unwrap_or_default());
        // Asked now, since by the time it is heard it may have ended: not everybody waits for an answer.
        let peer = Peer { pid, user: peer.uid(), group: process::group_of(pid) };
        let mut client = Client::new(stream, peer, Purpose::Requests);
        client.entrusted = entrusted;
        self.enter(id, client);
        None
    }
}
