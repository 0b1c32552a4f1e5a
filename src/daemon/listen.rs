//! Listening sockets: bound once, at the start, and shared with every worker.
//!
//! Shared is more than the port: whoever has such a socket can end its listening, or change its flags, for
//! everybody. So a [`Listener`] knows what was asked for, and [puts it right](Listener::mend).
//!
//! What kinds of address there are is known here alone: how each is bound, what it is called, and what to
//! do about it if it cannot be bound. A path is a [`Place`], which is cleared of a stale socket first and given
//! back in the end. What a socket is set to is written out, not left to the system:
//! whether an IPv6 socket takes IPv4 connections too differs between machines, and `SO_REUSEADDR` is not
//! for us to assume.

pub(crate) use handed::Handed;
pub(crate) use orphaned::Taken;
pub(crate) use unix::Rights;

use super::{
    holders::{self, Protocol},
    place::{Identity, Place, PlaceError},
    socket_calls,
};
use crate::fsm::id::Errno;
use nix::{
    errno::Errno as Sys,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, getsockopt,
            setsockopt,
            sockopt::{AcceptConn, Ipv6V6Only, ReuseAddr},
        },
        stat::fstat,
    },
};
use std::{
    collections::BTreeSet,
    fmt,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

/// Where a socket listens, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// For connections, over TCP.
    Tcp(SocketAddr),
    /// For messages, over UDP.
    Udp(SocketAddr),
    /// A file, by its absolute path.
    Path(PathBuf),
    /// A name in the abstract namespace, unix(7), without the zero byte at its start.
    Abstract(String),
    /// For messages, at a path or an abstract name: one that was handed over.
    UnixMessages(Box<Address>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(inet) => inet.fmt(f),
            Self::Udp(inet) => write!(f, "udp:{inet}"),
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::UnixMessages(at) => write!(f, "{at} (messages)"),
        }
    }
}

impl Address {
    /// The family's name, as workers are told it.
    pub(crate) fn family_name(&self) -> &'static str {
        match self {
            Self::Tcp(SocketAddr::V4(_)) | Self::Udp(SocketAddr::V4(_)) => "AF_INET",
            Self::Tcp(SocketAddr::V6(_)) | Self::Udp(SocketAddr::V6(_)) => "AF_INET6",
            Self::Path(_) | Self::Abstract(_) | Self::UnixMessages(_) => "AF_UNIX",
        }
    }

    /// What Server::Starter calls it: `PORT` for all IPv4 addresses, `HOST:PORT` for others, and the path of a
    /// file. It has no words for messages, for abstract names, and for what it would take for its own signs.
    pub(crate) fn starter(&self) -> Option<String> {
        match self {
            Self::Tcp(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => Some(v4.port().to_string()),
            Self::Tcp(inet) => Some(inet.to_string()),
            Self::Path(path) => path.to_str().filter(|path| !path.contains([';', '='])).map(str::to_owned),
            Self::Udp(_) | Self::Abstract(_) | Self::UnixMessages(_) => None,
        }
    }

    /// Binds a socket to it and listens on that.
    pub(crate) fn bind(&self, options: ListenOptions) -> Result<Listener, Refused> {
        let held = match self {
            Self::Path(path) => Held::Placed(Place::take(path, |path| unix::listen(path, options))?),
            Self::Tcp(_) | Self::Udp(_) | Self::Abstract(_) | Self::UnixMessages(_) => {
                Held::Free(self.listen(options)?)
            }
        };
        let address = self.settled(held.fd());
        Ok(Listener { held, address, options, maker: Maker::Us })
    }

    fn listen(&self, options: ListenOptions) -> Result<OwnedFd, Sys> {
        let family = match self {
            Self::Tcp(SocketAddr::V4(_)) | Self::Udp(SocketAddr::V4(_)) => AddressFamily::Inet,
            Self::Tcp(SocketAddr::V6(_)) | Self::Udp(SocketAddr::V6(_)) => AddressFamily::Inet6,
            Self::Path(_) | Self::Abstract(_) | Self::UnixMessages(_) => AddressFamily::Unix,
        };
        let fd = match self {
            Self::Udp(_) | Self::UnixMessages(_) => made(family, SockType::Datagram, options)?,
            Self::Tcp(_) | Self::Path(_) | Self::Abstract(_) => stream(family, options)?,
        };
        if family == AddressFamily::Inet6 {
            setsockopt(&fd, Ipv6V6Only, &true)?;
        }
        if options.reuse_address {
            // Linux looks at it when it binds; later is too late.
            setsockopt(&fd, ReuseAddr, &true)?;
        }
        self.bind_to(&fd)?;
        if !self.is_for_messages() {
            socket::listen(&fd, backlog(options.backlog))?;
        }
        Ok(fd)
    }

    fn is_for_messages(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UnixMessages(_))
    }

    fn bind_to(&self, fd: &OwnedFd) -> Result<(), Sys> {
        let raw = fd.as_raw_fd();
        match self {
            Self::Tcp(inet) | Self::Udp(inet) => socket::bind(raw, &SockaddrStorage::from(*inet)),
            Self::Path(path) => socket::bind(raw, &UnixAddr::new(path)?),
            Self::Abstract(name) => socket::bind(raw, &UnixAddr::new_abstract(name.as_bytes())?),
            Self::UnixMessages(at) => at.bind_to(fd),
        }
    }

    /// Whether a socket that listens here keeps another from listening there.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let (one, other) = match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) | (Self::Udp(one), Self::Udp(other)) => (one, other),
            (Self::Path(_) | Self::Abstract(_) | Self::UnixMessages(_), _) => return self == other,
            (Self::Tcp(_) | Self::Udp(_), _) => return false,
        };
        let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
        // IPv6 sockets of ours take IPv6 only.
        one.is_ipv4() == other.is_ipv4() && one.port() == other.port() && one.port() != 0 && same_host
    }

    /// Who else has it, in words; `None` if that cannot be found out.
    pub(crate) fn holder(&self) -> Option<String> {
        holders::named(&self.sockets_there())
    }

    /// The sockets that keep it from being bound, by their inodes.
    fn sockets_there(&self) -> BTreeSet<u64> {
        match self {
            Self::Tcp(inet) => holders::at_address(*inet, Protocol::Tcp),
            Self::Udp(inet) => holders::at_address(*inet, Protocol::Udp),
            Self::Path(path) => holders::at_unix(&path.to_string_lossy()),
            Self::Abstract(name) => holders::at_unix(&format!("@{name}")),
            Self::UnixMessages(at) => at.sockets_there(),
        }
    }

    /// The same with the port that the kernel chose, if it was asked to.
    fn settled(&self, fd: &OwnedFd) -> Self {
        let settled = match self {
            Self::Tcp(inet) if inet.port() == 0 => bound_to(fd).map(Self::Tcp),
            Self::Udp(inet) if inet.port() == 0 => bound_to(fd).map(Self::Udp),
            Self::Tcp(_) | Self::Udp(_) | Self::Path(_) | Self::Abstract(_) | Self::UnixMessages(_) => None,
        };
        settled.unwrap_or_else(|| self.clone())
    }

    /// Says for people why it cannot be bound, and what to do next. `holder` is who has it, in words, if that
    /// is known.
    pub(crate) fn describe(&self, errno: Errno, holder: Option<String>) -> String {
        let next = match errno.0 {
            libc::EAFNOSUPPORT => "; this machine does not do addresses of that family".into(),
            libc::EMFILE | libc::ENFILE => "; too many files are open, see `ulimit -n`".into(),
            libc::ENODEV => "; this machine has no such link, see `ip link`".into(),
            number => holder.map_or_else(|| self.advice(number), |holder| format!("; {holder}")),
        };
        format!("cannot listen on {self}: {}{next}", Sys::from_raw(errno.0).desc())
    }

    /// What to do about an address of this machine that cannot be had.
    fn advice(&self, errno: i32) -> String {
        let (Self::Tcp(inet) | Self::Udp(inet)) = self else {
            let in_use = errno == libc::EADDRINUSE;
            return if in_use { "; another process holds it, look with `ss -lxp`" } else { "" }.into();
        };
        let port = inet.port();
        match errno {
            libc::EADDRINUSE if self.is_for_messages() => {
                format!("; another process holds it, look with `ss -lunp 'sport = :{port}'`")
            }
            libc::EADDRINUSE => format!(
                "; another process holds it, look with `ss -ltnp 'sport = :{port}'`; or connections of an \
                 earlier one are still closing, then `{inet},r` binds all the same"
            ),
            libc::EACCES => format!(
                "; ports below 1024 take root or CAP_NET_BIND_SERVICE; use another port than {port}, or \
                 change net.ipv4.ip_unprivileged_port_start"
            ),
            libc::EADDRNOTAVAIL => format!("; this machine has no address {}, see `ip address`", inet.ip()),
            _ => String::new(),
        }
    }
}

/// Why a socket could not be bound.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What the system says, or what comes near.
    pub(crate) errno: Errno,
    /// What to tell of it, if that is more than the system says: the reason and what to do.
    pub(crate) why: Option<String>,
}

impl From<Sys> for Refused {
    fn from(errno: Sys) -> Self {
        Self { errno: Errno(errno as i32), why: None }
    }
}

impl From<PlaceError> for Refused {
    fn from(error: PlaceError) -> Self {
        Self { errno: Errno(error.errno() as i32), why: Some(error.to_string()) }
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
    /// Whose the file is, if there is one.
    pub(crate) rights: Rights,
}

/// A socket that listens, or takes messages.
#[derive(Debug)]
pub(crate) struct Listener {
    held: Held,
    address: Address,
    options: ListenOptions,
    maker: Maker,
}

/// Who has made a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The supervisor, as asked for.
    Us,
    /// A service manager, which has it still. No other can take its place.
    Other,
}

/// A socket, and its place in the file system if it has one.
#[derive(Debug)]
enum Held {
    Free(OwnedFd),
    Placed(Place<OwnedFd>),
}

impl Held {
    fn fd(&self) -> &OwnedFd {
        match self {
            Self::Free(fd) => fd,
            Self::Placed(place) => place.socket(),
        }
    }
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
    /// O_NONBLOCK was set, and is left so.
    LeftNonBlocking,
    /// O_NONBLOCK was not set, and is again.
    NonBlocking,
}

impl Listener {
    /// Where it listens: with the port that the kernel chose if it was asked to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether O_NONBLOCK was asked for.
    pub(crate) fn is_to_be_nonblocking(&self) -> bool {
        self.options.nonblocking
    }

    /// Who has made it.
    pub(crate) fn maker(&self) -> Maker {
        self.maker
    }

    /// Whether it listens for connections, rather than taking messages.
    pub(crate) fn listens(&self) -> bool {
        !matches!(self.address, Address::Udp(_) | Address::UnixMessages(_))
    }

    /// It is ours for good, where it was somebody else's before.
    pub(crate) fn settle(&mut self) {
        if let Held::Placed(place) = &mut self.held {
            place.settle();
        }
    }

    /// What tells its file from another, if it has one.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match &self.held {
            Held::Placed(place) => Some(place.identity()),
            Held::Free(_) => None,
        }
    }

    /// The socket's inode, by which it can be recognised in other processes.
    pub(crate) fn inode(&self) -> Option<u64> {
        fstat(self.held.fd()).ok().map(|stat| stat.st_ino)
    }

    /// Sees whether it is still as it was made, and makes it so. Two system calls if it is, three for a path.
    ///
    /// O_NONBLOCK that somebody has set stays if it is `in_use`: whoever has set it and was told of a connection
    /// that another takes before it would wait in accept(2) for the next one otherwise, for as long as that takes,
    /// and serve nobody meanwhile.
    pub(crate) fn mend(&mut self, in_use: bool) -> impl Iterator<Item = Mended> + use<> {
        let mended = (!self.is_listening()).then(|| self.listen_again());
        [mended, self.mend_flags(in_use)].into_iter().flatten()
    }

    fn is_listening(&self) -> bool {
        match (&self.address, &self.held) {
            _ if !self.listens() => true,
            (_, Held::Placed(place)) => !hung_up(place.socket()) && place.is_ours(),
            (Address::Path(_) | Address::Abstract(_), Held::Free(fd)) => !hung_up(fd),
            (_, Held::Free(fd)) => getsockopt(fd, AcceptConn) != Ok(false),
        }
    }

    fn mend_flags(&self, in_use: bool) -> Option<Mended> {
        let fd = self.held.fd();
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).ok()?);
        let wanted = self.options.nonblocking;
        if flags.contains(OFlag::O_NONBLOCK) == wanted {
            return None;
        }
        if in_use && !wanted {
            return Some(Mended::LeftNonBlocking);
        }
        let mut right = flags;
        right.set(OFlag::O_NONBLOCK, wanted);
        fcntl(fd, FcntlArg::F_SETFL(right)).ok()?;
        Some(if wanted { Mended::NonBlocking } else { Mended::Blocks })
    }

    fn listen_again(&mut self) -> Mended {
        let options = self.options;
        let anew = match &mut self.held {
            // Of UNIX sockets, no end of listening can be taken back.
            Held::Placed(place) => {
                place.renew(|path| unix::listen(path, options)).map_err(|error| error.errno())
            }
            Held::Free(fd) => {
                if self.address.listen_again(fd, options) {
                    return Mended::Listens;
                }
                match self.maker {
                    Maker::Us => self.address.listen(options).map(|anew| *fd = anew),
                    Maker::Other => Err(Sys::ESHUTDOWN),
                }
            }
        };
        anew.map_or_else(|errno| Mended::Deaf(Errno(errno as i32)), |()| Mended::BoundAnew)
    }
}

impl Address {
    /// Has a socket that does not listen any more listen again, if it can.
    fn listen_again(&self, fd: &OwnedFd, options: ListenOptions) -> bool {
        let Self::Tcp(inet) = self else { return false };
        // Or whatever it accepts has ended before it begins.
        let connected = socket::getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok();
        if connected || socket_calls::reset(fd).is_err() {
            return false;
        }
        // A port that the kernel had chosen was given up by shutdown(2). One that was asked for is still
        // bound, which is EINVAL.
        let bound = matches!(self.bind_to(fd), Ok(()) | Err(Sys::EINVAL));
        bound
            && socket::listen(fd, backlog(options.backlog)).is_ok()
            && bound_to(fd).is_some_and(|found| found.port() == inet.port())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.fd().as_fd()
    }
}

/// Whether somebody has shut down a UNIX socket, which goes on listening, and refuses whoever connects.
fn hung_up(fd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|found| found > 0)
}

fn made(family: AddressFamily, kind: SockType, options: ListenOptions) -> Result<OwnedFd, Sys> {
    let mut flags = SockFlag::SOCK_CLOEXEC;
    flags.set(SockFlag::SOCK_NONBLOCK, options.nonblocking);
    socket::socket(family, kind, flags, None)
}

fn stream(family: AddressFamily, options: ListenOptions) -> Result<OwnedFd, Sys> {
    made(family, SockType::Stream, options)
}

/// nix admits no number above 4096, although the kernel may be set to allow more. Whoever asks for more
/// than that wants as much as there is.
fn backlog(wanted: Option<u32>) -> Backlog {
    let wanted = wanted.and_then(|wanted| i32::try_from(wanted).ok());
    wanted.and_then(|wanted| Backlog::new(wanted).ok()).unwrap_or(Backlog::MAXALLOWABLE)
}

/// Where the kernel says that a socket of the internet families is bound.
fn bound_to(fd: &OwnedFd) -> Option<SocketAddr> {
    inet(&socket::getsockname(fd.as_raw_fd()).ok()?)
}

/// An address of the internet families, if it is one.
fn inet(name: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    let v6 = name.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
    v4.or(v6)
}

mod handed;
mod orphaned;
#[cfg(test)]
mod tests;
mod unix;
