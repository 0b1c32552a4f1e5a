//! Sockets that were made by somebody else: told what they are, and left as they came.

use super::{
    super::place::{Identity, Place},
    Address, Held, ListenOptions, Listener, Maker, inet,
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{
        SockType, SockaddrStorage, UnixAddr, getsockname, getsockopt,
        sockopt::{self, AcceptConn},
    },
};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// A socket from somewhere else.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) listener: Listener,
    /// What it was called, if anything.
    pub(crate) name: Option<String>,
}

impl Listener {
    /// A listener of a socket that somebody else has made. Its O_NONBLOCK stays as it is, and its file, if it has
    /// one, is not ours.
    ///
    /// # Errors
    /// If it is nothing that workers could share; continues a sentence that starts with what it is called.
    pub(crate) fn handed(fd: OwnedFd) -> Result<Self, String> {
        let address = address(&fd)?;
        let flags =
            fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| format!("is of no use: {}", errno.desc()))?;
        let nonblocking = OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK);
        let options = ListenOptions { nonblocking, ..ListenOptions::default() };
        Ok(Self { held: Held::Free(fd), address, options, maker: Maker::Other })
    }
}

impl Listener {
    /// The listener that whoever was here before has made, or taken. `identity` tells its file from another.
    ///
    /// # Errors
    /// If it is no such socket.
    pub(crate) fn adopt(
        fd: OwnedFd,
        identity: Identity,
        options: ListenOptions,
        maker: Maker,
    ) -> Result<Self, String> {
        let address = named(&fd)?;
        let held = match &address {
            Address::Path(path) if maker == Maker::Us => {
                Held::Placed(Place::adopt(path.clone(), identity, fd))
            }
            Address::Tcp(_)
            | Address::Udp(_)
            | Address::Path(_)
            | Address::Abstract(_)
            | Address::UnixMessages(_) => Held::Free(fd),
        };
        Ok(Self { held, address, options, maker })
    }
}

fn address(fd: &OwnedFd) -> Result<Address, String> {
    let found = named(fd)?;
    if getsockopt(fd, sockopt::SockType) == Ok(SockType::Stream) && getsockopt(fd, AcceptConn) != Ok(true) {
        return Err("is a connection, or a socket that does not listen (with systemd: Accept=no)".into());
    }
    Ok(found)
}

/// Where a socket is bound.
fn named(fd: &OwnedFd) -> Result<Address, String> {
    let kind = match getsockopt(fd, sockopt::SockType) {
        Ok(kind) => kind,
        Err(Errno::ENOTSOCK) => return Err("is not a socket".into()),
        Err(errno) => return Err(format!("is of no use: {}", errno.desc())),
    };
    let name = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    let name = name.map_err(|_| "is a socket of another kind".to_owned())?;
    Ok(match (kind, inet(&name), name.as_unix_addr()) {
        (SockType::Stream, Some(inet), _) => Address::Tcp(inet),
        (SockType::Datagram, Some(inet), _) => Address::Udp(inet),
        (SockType::Stream, None, Some(unix)) => stream(unix)?,
        (SockType::Datagram, None, Some(unix)) => Address::UnixMessages(Box::new(stream(unix)?)),
        _ => return Err("is a socket of another kind".into()),
    })
}

fn stream(unix: &UnixAddr) -> Result<Address, String> {
    let path = unix.path().map(|path| Address::Path(path.to_path_buf()));
    let name =
        || unix.as_abstract().map(|name| Address::Abstract(String::from_utf8_lossy(name).into_owned()));
    path.or_else(name).ok_or_else(|| "has no address that anybody could send to".into())
}
