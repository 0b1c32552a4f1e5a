//! Connections as a proof: who has one that was accepted from a socket accepts on it. A process that serves one
//! client after another is never seen waiting while there are enough of them, which is when it matters most that
//! it is known to serve.
//!
//! Such a connection has the socket's own name at its near end, getsockname(2): for the internet families its port,
//! at an address that may be any where the socket's is; for a path or an abstract name the very same. The other end
//! of it has not: so who connects to the service is not taken for who serves.
//!
//! To be asked for its name, a descriptor of the process is taken over for a moment, pidfd_getfd(2), which whoever
//! may read the memory of a process may do.

use super::super::pidfd::PidFd;
use crate::fsm::id::Pid;
use nix::sys::socket::{
    SockaddrStorage, UnixAddr, getpeername, getsockname, getsockopt, sockopt::AcceptConn,
};
use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, RawFd},
};

/// What a socket is bound to, and what is accepted from it has too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Inet(IpAddr, u16),
    Unix(UnixAddr),
}

impl Name {
    /// That of a socket, if it has one.
    pub(super) fn of(socket: RawFd) -> Option<Self> {
        let name: SockaddrStorage = getsockname(socket).ok()?;
        let v4 = name.as_sockaddr_in().map(|v4| Self::Inet(v4.ip().into(), v4.port()));
        let v6 = name.as_sockaddr_in6().map(|v6| Self::Inet(v6.ip().into(), v6.port()));
        let unix = name.as_unix_addr().copied().filter(|unix| unix.path_len() > 0).map(Self::Unix);
        v4.or(v6).or(unix)
    }

    /// Whether what is accepted from a socket of this name may have that one.
    fn covers(&self, near: &Self) -> bool {
        match (self, near) {
            (Self::Inet(all, port), Self::Inet(_, near)) if all.is_unspecified() => port == near,
            (one, other) => one == other,
        }
    }
}

/// Whether one of these descriptors of a process is a connection that was accepted from a socket of one of those
/// names. What cannot be known is no proof.
pub(super) fn accepted<'n>(
    pid: Pid,
    descriptors: &[RawFd],
    names: impl Iterator<Item = &'n Name> + Clone,
) -> bool {
    // Most have none, and are not even opened.
    if descriptors.is_empty() {
        return false;
    }
    let Ok(process) = PidFd::open(pid) else { return false };
    descriptors.iter().filter_map(|fd| process.descriptor(*fd).ok()).any(|socket| {
        let near = Name::of(socket.as_raw_fd());
        let is_named = near.is_some_and(|near| names.clone().any(|name| name.covers(&near)));
        // Another that is bound there, as with SO_REUSEPORT, is none; nor is one whose client has gone.
        is_named
            && getsockopt(&socket, AcceptConn) == Ok(false)
            && getpeername::<SockaddrStorage>(socket.as_raw_fd()).is_ok()
    })
}
