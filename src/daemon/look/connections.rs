//! Connections as a proof: who has one that was accepted from a socket accepts on it. A process that serves one
//! client after another is never seen waiting while there are enough of them, which is when it matters most that
//! it is known to serve.
//!
//! Such a connection has the socket's own name at its near end: for the internet families its port, at an address
//! that may be any where the socket's is; for a path or an abstract name the very same. The other end of it has not:
//! so who connects to the service is not taken for who serves.
//!
//! The kernel is asked by sock_diag(7) for all such connections, whoever has them. (To ask a process for its own,
//! pidfd_getfd(2) would do: but systemd's `SystemCallFilter=@system-service` kills whoever calls that.) It goes through
//! all its tables for an answer, which takes a few milliseconds. Where it does not answer, nothing is known, as
//! before.

use super::super::sock_diag::{Connection, Kind, Name, Said, request, said};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, UnixAddr, getsockname,
        recv, send, socket,
    },
};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::ffi::OsStrExt as _,
    },
};

/// How many ports are asked for one by one. Beyond that it is for all connections of the machine.
const PORTS: usize = 2;

/// How much of an answer is read at a time, and how often: 14,000 connections over IPv6.
const PART: usize = 32 << 10;
const PARTS: usize = 32;

/// The name of a socket, if it has one.
pub(super) fn name(socket: RawFd) -> Option<Name> {
    let name: SockaddrStorage = getsockname(socket).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| Name::Inet(v4.ip().into(), v4.port()));
    let v6 = name.as_sockaddr_in6().map(|v6| Name::Inet(v6.ip().into(), v6.port()));
    v4.or(v6).or_else(|| unix_name(name.as_unix_addr()?))
}

fn unix_name(name: &UnixAddr) -> Option<Name> {
    let path = name.path().map(|path| path.as_os_str().as_bytes().to_vec());
    path.or_else(|| Some([&[0], name.as_abstract()?].concat())).map(Name::Unix)
}

/// The numbers of all connections that were accepted from sockets of these names, as far as the kernel tells.
pub(super) fn accepted<'n>(names: impl Iterator<Item = &'n Name> + Clone) -> BTreeSet<u64> {
    let mut kinds: BTreeSet<Kind> = names.clone().map(kind).collect();
    if kinds.len() > PORTS {
        kinds = kinds.into_iter().map(of_any_port).collect();
    }
    let is_ours = |connection: &Connection| names.clone().any(|name| covers(name, &connection.near));
    let mut found = BTreeSet::new();
    for kind in kinds {
        // What was told before an answer broke off is true all the same.
        let _ = ask(kind, |connection| {
            if is_ours(&connection) {
                found.insert(connection.inode);
            }
        });
    }
    found
}

fn kind(name: &Name) -> Kind {
    match name {
        Name::Inet(IpAddr::V4(_), port) => Kind::V4(*port),
        Name::Inet(IpAddr::V6(_), port) => Kind::V6(*port),
        Name::Unix(_) => Kind::Unix,
    }
}

fn of_any_port(kind: Kind) -> Kind {
    match kind {
        Kind::V4(_) => Kind::V4(0),
        Kind::V6(_) => Kind::V6(0),
        Kind::Unix => Kind::Unix,
    }
}

/// Whether what is accepted from a socket of that name may have this one at its near end.
fn covers(name: &Name, near: &Name) -> bool {
    match (name, near) {
        (Name::Inet(all, port), Name::Inet(_, near)) if all.is_unspecified() => port == near,
        (one, other) => one == other,
    }
}

fn ask(kind: Kind, mut tell: impl FnMut(Connection)) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kernel =
        socket(AddressFamily::Netlink, SockType::Datagram, flags, Some(SockProtocol::NetlinkSockDiag))?;
    send(kernel.as_raw_fd(), &request(kind), MsgFlags::empty())?;
    let mut part = vec![0; PART];
    // It answers while it is read, and never keeps us waiting.
    for _ in 0..PARTS {
        let length = recv(kernel.as_raw_fd(), &mut part, MsgFlags::empty())?;
        for said in said(part.get(..length).unwrap_or_default()) {
            match said {
                Said::Is(connection) => tell(connection),
                Said::End => return Ok(()),
            }
        }
    }
    Ok(())
}
