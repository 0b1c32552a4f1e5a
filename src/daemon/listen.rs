//! Listening sockets: bound once, at the start, and shared with every worker.
//!
//! Shared is more than the port: whoever has such a socket can end its listening, or change its flags, for
//! everybody. So a [`Listener`] knows what was asked for, and [puts it right](Listener::mend).
//!
//! What kinds of address there are is known here alone: how each is bound, what it is called, and what to
//! do about it if it cannot be bound. What a socket is set to is written out, not left to the system:
//! whether an IPv6 socket takes IPv4 connections too differs between machines, and `SO_REUSEADDR` is not
//! for us to assume.

use crate::fsm::id::Errno;
use nix::{
    errno::Errno as Sys,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, getsockopt, setsockopt,
            sockopt::{AcceptConn, Ipv6V6Only, ReuseAddr},
        },
        stat::fstat,
    },
};
use std::{
    fmt,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Where a socket listens, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An IPv4 address and a port.
    V4(SocketAddrV4),
    /// An IPv6 address and a port.
    V6(SocketAddrV6),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(v4),
            SocketAddr::V6(v6) => Self::V6(v6),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => v4.fmt(f),
            Self::V6(v6) => v6.fmt(f),
        }
    }
}

impl Address {
    /// The family's name, as workers are told it.
    pub(crate) fn family_name(&self) -> &'static str {
        match self {
            Self::V4(_) => "AF_INET",
            Self::V6(_) => "AF_INET6",
        }
    }

    /// What Server::Starter calls it: `PORT` for all IPv4 addresses, `HOST:PORT` otherwise.
    pub(crate) fn starter(&self) -> Option<String> {
        match self {
            Self::V4(v4) if v4.ip().is_unspecified() => Some(v4.port().to_string()),
            Self::V4(v4) => Some(v4.to_string()),
            Self::V6(v6) => Some(v6.to_string()),
        }
    }

    /// Binds a socket to it and listens on that.
    pub(crate) fn bind(&self, options: ListenOptions) -> Result<Listener, Errno> {
        let fd = self.listen(options).map_err(|errno| Errno(errno as i32))?;
        let address = self.settled(&fd);
        Ok(Listener { fd, address, options })
    }

    fn listen(&self, options: ListenOptions) -> Result<OwnedFd, Sys> {
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, options.nonblocking);
        let make = |family| socket::socket(family, SockType::Stream, flags, None);
        let fd = match self {
            Self::V4(_) => make(AddressFamily::Inet)?,
            Self::V6(_) => {
                let fd = make(AddressFamily::Inet6)?;
                setsockopt(&fd, Ipv6V6Only, &true)?;
                fd
            }
        };
        if options.reuse_address {
            // Linux looks at it when it binds; later is too late.
            setsockopt(&fd, ReuseAddr, &true)?;
        }
        self.bind_to(&fd)?;
        socket::listen(&fd, backlog(options.backlog))?;
        Ok(fd)
    }

    fn bind_to(&self, fd: &OwnedFd) -> Result<(), Sys> {
        match self {
            Self::V4(v4) => socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(*v4)),
            Self::V6(v6) => socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(*v6)),
        }
    }

    /// Whether a socket that listens here keeps another from listening there.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let (one, other) = (self.socket_addr(), other.socket_addr());
        let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
        // IPv6 sockets of ours take IPv6 only.
        one.is_ipv4() == other.is_ipv4() && one.port() == other.port() && one.port() != 0 && same_host
    }

    /// The same, whichever kind it is.
    pub(crate) fn socket_addr(&self) -> SocketAddr {
        match self {
            Self::V4(v4) => (*v4).into(),
            Self::V6(v6) => (*v6).into(),
        }
    }

    /// The same with the port that the kernel chose, if it was asked to.
    fn settled(&self, fd: &OwnedFd) -> Self {
        match self {
            Self::V4(v4) if v4.port() == 0 => bound_to(fd).unwrap_or_else(|| self.clone()),
            Self::V6(v6) if v6.port() == 0 => bound_to(fd).unwrap_or_else(|| self.clone()),
            Self::V4(_) | Self::V6(_) => self.clone(),
        }
    }

    /// Says for people why it cannot be bound, and what to do next. `holder` is who has the port, in words,
    /// if that is known.
    pub(crate) fn describe(&self, errno: Errno, holder: Option<String>) -> String {
        let next = match errno.0 {
            libc::EAFNOSUPPORT => "; this machine does not do addresses of that family".into(),
            libc::EMFILE | libc::ENFILE => "; too many files are open, see `ulimit -n`".into(),
            libc::ENODEV => "; this machine has no such link, see `ip link`".into(),
            number => {
                holder.map_or_else(|| advice(self.socket_addr(), number), |holder| format!("; {holder}"))
            }
        };
        format!("cannot listen on {self}: {}{next}", Sys::from_raw(errno.0).desc())
    }
}

/// What to do about a port of this machine that cannot be had.
fn advice(address: SocketAddr, errno: i32) -> String {
    let port = address.port();
    match errno {
        libc::EADDRINUSE => format!(
            "; another process holds it, look with `ss -ltnp 'sport = :{port}'`; or connections of an \
             earlier one are still closing, then `{address},r` binds all the same"
        ),
        libc::EACCES => format!(
            "; ports below 1024 take root or CAP_NET_BIND_SERVICE; use another port than {port}, or \
             change net.ipv4.ip_unprivileged_port_start"
        ),
        libc::EADDRNOTAVAIL => format!("; this machine has no address {}, see `ip address`", address.ip()),
        _ => String::new(),
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenOptions {
    /// Whether to set SO_REUSEADDR: bind although connections of an earlier socket are still closing.
    pub(crate) reuse_address: bool,
    /// Whether to set O_NONBLOCK, which workers share with the socket.
    pub(crate) nonblocking: bool,
    /// How many connections may wait to be accepted; `None` for as many as the kernel allows. It cuts
    /// larger numbers down to that itself (`net.core.somaxconn`).
    pub(crate) backlog: Option<u32>,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    address: Address,
    options: ListenOptions,
}

/// What was found to be otherwise than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mended {
    /// It did not listen any more, and does again. All who have it do with it.
    Listens,
    /// It did not listen any more and could not be made to. In its place there is a new one, which those who
    /// have the old one do not have.
    BoundAnew,
    /// It did not listen any more, and that could not be mended.
    Deaf(Errno),
    /// O_NONBLOCK was set, and is not any more.
    Blocks,
    /// O_NONBLOCK was not set, and is again.
    NonBlocking,
}

impl Listener {
    /// Where it listens: with the port that the kernel chose if it was asked to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The socket's inode, by which it can be recognised in other processes.
    pub(crate) fn inode(&self) -> Option<u64> {
        fstat(&self.fd).ok().map(|stat| stat.st_ino)
    }

    /// Sees whether it is still as it was made, and makes it so. Two system calls if it is.
    pub(crate) fn mend(&mut self) -> impl Iterator<Item = Mended> + use<> {
        let listening = getsockopt(&self.fd, AcceptConn) != Ok(false);
        let mended = (!listening).then(|| self.listen_again());
        [mended, self.mend_flags()].into_iter().flatten()
    }

    fn mend_flags(&self) -> Option<Mended> {
        let flags = OFlag::from_bits_retain(fcntl(&self.fd, FcntlArg::F_GETFL).ok()?);
        let wanted = self.options.nonblocking;
        if flags.contains(OFlag::O_NONBLOCK) == wanted {
            return None;
        }
        let mut right = flags;
        right.set(OFlag::O_NONBLOCK, wanted);
        fcntl(&self.fd, FcntlArg::F_SETFL(right)).ok()?;
        Some(if wanted { Mended::NonBlocking } else { Mended::Blocks })
    }

    fn listen_again(&mut self) -> Mended {
        // A port that the kernel had chosen was given up by shutdown(2). One that was asked for is still
        // bound, which is EINVAL.
        let bound = matches!(self.address.bind_to(&self.fd), Ok(()) | Err(Sys::EINVAL));
        if bound
            && socket::listen(&self.fd, backlog(self.options.backlog)).is_ok()
            && bound_to(&self.fd)
                .is_some_and(|found| found.socket_addr().port() == self.address.socket_addr().port())
        {
            return Mended::Listens;
        }
        match self.address.listen(self.options) {
            Ok(fd) => {
                self.fd = fd;
                Mended::BoundAnew
            }
            Err(errno) => Mended::Deaf(Errno(errno as i32)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// nix admits no number above 4096, although the kernel may be set to allow more. Whoever asks for more
/// than that wants as much as there is.
fn backlog(wanted: Option<u32>) -> Backlog {
    let wanted = wanted.and_then(|wanted| i32::try_from(wanted).ok());
    wanted.and_then(|wanted| Backlog::new(wanted).ok()).unwrap_or(Backlog::MAXALLOWABLE)
}

/// Where the kernel says that a socket is bound.
fn bound_to(fd: &OwnedFd) -> Option<Address> {
    let name = socket::getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| Address::V4(SocketAddrV4::from(*v4)));
    let v6 = name.as_sockaddr_in6().map(|v6| Address::V6(SocketAddrV6::from(*v6)));
    v4.or(v6)
}

#[cfg(test)]
mod tests;
