//! Where workers notify their manager, as sd_notify(3) has it: a socket for datagrams, and who has sent each.
//!
//! The socket has a name that is no file, chosen by the kernel: whoever a worker runs as can reach it, nothing is
//! left behind, and nobody can be there before us. So anybody of the same network may send; who has sent a datagram
//! the kernel tells, and it counts only if that is a worker, or a process of its group. Descriptors that come along
//! are closed by the kernel, which is what a sender of `BARRIER=1` waits for: nothing is made ready to take them.

use super::{
    client::Peer,
    kept::Kept,
    process::{self, Children},
    refused::{Refusal, Sent},
    socket_calls::{self, Received},
    token::NOTIFY,
};
use crate::{
    fsm::id::Pid,
    protocol::notification::{LONGEST, Told},
};
use log::warn;
use mio::{Interest, Registry, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt::PassCred,
    },
};
use std::{
    ffi::OsString,
    io, mem,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
};

/// How many datagrams are taken at a time, so that a flood of them delays nothing else.
const TURN: usize = 64;

/// Where workers notify.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: OwnedFd,
    /// What workers find in `NOTIFY_SOCKET`.
    name: OsString,
    /// Datagrams may be waiting that no event will tell of again.
    more: bool,
    /// The last that was to be read could not be.
    failing: bool,
}

/// What has come from somebody.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A worker has told this, by a process of its group.
    Told { worker: Pid, sender: Pid, told: Told },
    /// Nobody takes it.
    Refused(Refusal),
}

impl Notify {
    /// Opens the socket; events with the token [`NOTIFY`] tell of what comes.
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        // Before it has a name: whatever comes says who has sent it.
        setsockopt(&socket, PassCred, &true)?;
        // Without a name of ours the kernel finds one that nobody has, unix(7).
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        Self::adopt(socket, registry)
    }

    /// The socket that whoever was here before has bound.
    ///
    /// # Errors
    /// If it is of no use, or cannot be waited for.
    pub(crate) fn adopt(socket: OwnedFd, registry: &Registry) -> io::Result<Self> {
        let address: UnixAddr = getsockname(socket.as_raw_fd())?;
        let chosen = address.as_abstract().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let name = OsString::from_vec([b"@", chosen].concat());
        registry.register(&mut SourceFd(&socket.as_raw_fd()), NOTIFY, Interest::READABLE)?;
        // Something may have come before that.
        Ok(Self { socket, name, more: true, failing: false })
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        Kept::Notify { fd: self.socket.as_raw_fd() }
    }

    /// What workers find in `NOTIFY_SOCKET`.
    pub(crate) fn name(&self) -> &OsString {
        &self.name
    }

    /// Something has come.
    pub(crate) fn stir(&mut self) {
        self.more = true;
    }

    /// Whether something may wait that no event will tell of.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// Takes what has come, as much as there is a turn for.
    pub(crate) fn take(&mut self, workers: &Children) -> Vec<Heard> {
        let mut all = Vec::new();
        if !self.more {
            return all;
        }
        let mut buffer = vec![0; LONGEST];
        for _ in 0..TURN {
            match self.receive(&mut buffer) {
                Ok(Some(datagram)) => {
                    self.failing = false;
                    all.extend(judge(&datagram, workers));
                }
                Ok(None) => {
                    self.more = false;
                    return all;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    if !mem::replace(&mut self.failing, true) {
                        warn!(
                            "notifications of workers cannot be read: {errno}; with the next it is tried again"
                        );
                    }
                    self.more = false;
                    return all;
                }
            }
        }
        all
    }

    fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<Datagram<'b>>, Errno> {
        let Received { length, cut, sender } = match socket_calls::receive(&self.socket, buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let text = buffer.get(..length).unwrap_or_default();
        let (pid, user) = sender.unwrap_or((0, u32::MAX));
        let pid = Pid(u32::try_from(pid).unwrap_or_default());
        let peer = Peer { pid, user, group: process::group_of(pid) };
        Ok(Some(Datagram { peer, text, cut }))
    }
}

#[derive(Debug)]
struct Datagram<'b> {
    peer: Peer,
    text: &'b [u8],
    /// It was longer.
    cut: bool,
}

/// What a datagram comes to: what it tells, what of it is refused, or both.
fn judge(datagram: &Datagram<'_>, workers: &Children) -> Vec<Heard> {
    let Datagram { peer, text, cut } = datagram;
    let refuse = |why: String| {
        let sent = Sent::notification(text);
        Heard::Refused(Refusal { peer: *peer, sent, why })
    };
    if *cut {
        return vec![refuse(format!("it is longer than {LONGEST} bytes"))];
    }
    let (told, nonsense) = Told::read(text);
    if told == Told::default() && nonsense.is_none() {
        // Such as `BARRIER=1`, whose sender ends as soon as it has come: it may be nobody's by now.
        return Vec::new();
    }
    let near = [Some(peer.pid), peer.group];
    let Some(worker) = near.into_iter().flatten().find(|pid| workers.contains_key(pid)) else {
        return vec![refuse("only a worker and the processes of its group can notify".into())];
    };
    let nonsense = nonsense.map(|nonsense| refuse(nonsense.to_string()));
    [Some(Heard::Told { worker, sender: peer.pid, told }), nonsense].into_iter().flatten().collect()
}
