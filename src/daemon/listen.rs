//! Listening sockets: bound once, at the start, and shared with every worker.
//!
//! What kinds of address there are is known here alone: how each is bound, what it is called, and what to
//! do about it if it cannot be bound. What a socket is set to is written out, not left to the system:
//! whether an IPv6 socket takes IPv4 connections too differs between machines, and `SO_REUSEADDR` is not
//! for us to assume.

use crate::fsm::id::Errno;
use nix::{
    errno::Errno as Sys,
    libc,
    sys::socket::{
        self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt,
        sockopt::{Ipv6V6Only, ReuseAddr},
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

    /// Binds a socket to it and listens on that.
    pub(crate) fn bind(&self, options: ListenOptions) -> Result<Listener, Errno> {
        let fd = self.listen(options).map_err(|errno| Errno(errno as i32))?;
        let address = self.settled(&fd);
        Ok(Listener { fd, address })
    }

    fn listen(&self, options: ListenOptions) -> Result<OwnedFd, Sys> {
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, options.nonblocking);
        let make = |family| socket::socket(family, SockType::Stream, flags, None);
        let (fd, wanted) = match self {
            Self::V4(v4) => (make(AddressFamily::Inet)?, SockaddrStorage::from(*v4)),
            Self::V6(v6) => {
                let fd = make(AddressFamily::Inet6)?;
                setsockopt(&fd, Ipv6V6Only, &true)?;
                (fd, SockaddrStorage::from(*v6))
            }
        };
        if options.reuse_address {
            // Linux looks at it when it binds; later is too late.
            setsockopt(&fd, ReuseAddr, &true)?;
        }
        socket::bind(fd.as_raw_fd(), &wanted)?;
        socket::listen(&fd, backlog(options.backlog))?;
        Ok(fd)
    }

    /// The same with the port that the kernel chose, if it was asked to.
    fn settled(&self, fd: &OwnedFd) -> Self {
        match self {
            Self::V4(v4) if v4.port() == 0 => bound_to(fd).unwrap_or_else(|| self.clone()),
            Self::V6(v6) if v6.port() == 0 => bound_to(fd).unwrap_or_else(|| self.clone()),
            Self::V4(_) | Self::V6(_) => self.clone(),
        }
    }

    /// Says for people why it cannot be bound, and what to do next.
    pub(crate) fn describe(&self, errno: Errno) -> String {
        let next = match errno.0 {
            libc::EAFNOSUPPORT => "; this machine does not do addresses of that family".into(),
            libc::EMFILE | libc::ENFILE => "; too many files are open, see `ulimit -n`".into(),
            number => match self {
                Self::V4(v4) => advice((*v4).into(), number),
                Self::V6(v6) => advice((*v6).into(), number),
            },
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
}

impl Listener {
    /// Where it listens: with the port that the kernel chose if it was asked to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
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
mod tests {
    use super::*;
    use nix::{
        fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
        sys::socket::{getsockopt, sockopt},
    };
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    const V4: Address = Address::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    const V6: Address = Address::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));

    fn address(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn port(address: &Address) -> u16 {
        match address {
            Address::V4(v4) => v4.port(),
            Address::V6(v6) => v6.port(),
        }
    }

    fn nonblocking(listener: &Listener) -> bool {
        OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    }

    #[test]
    fn a_socket_listens_on_the_port_that_the_kernel_chose() {
        let listener = V4.bind(ListenOptions::default()).unwrap();
        assert_ne!(port(listener.address()), 0);
        assert_eq!(listener.address().family_name(), "AF_INET");
        TcpStream::connect(listener.address().to_string()).unwrap();
    }

    #[test]
    fn only_what_was_asked_for_is_set() {
        let plain = V4.bind(ListenOptions::default()).unwrap();
        assert!(!getsockopt(&plain, ReuseAddr).unwrap());
        assert!(!nonblocking(&plain));
        let flags = FdFlag::from_bits_retain(fcntl(&plain, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        assert!(getsockopt(&plain, sockopt::AcceptConn).unwrap());

        let options = ListenOptions { reuse_address: true, nonblocking: true, backlog: Some(7) };
        let special = V4.bind(options).unwrap();
        assert!(getsockopt(&special, ReuseAddr).unwrap());
        assert!(nonblocking(&special));
    }

    #[test]
    fn any_backlog_is_accepted() {
        for number in [0, 1, 4096, 4097, 1 << 31, u32::MAX] {
            let options = ListenOptions { backlog: Some(number), ..ListenOptions::default() };
            assert!(V4.bind(options).is_ok(), "{number}");
        }
    }

    #[test]
    fn an_ipv6_socket_takes_ipv6_only() {
        match V6.bind(ListenOptions::default()) {
            Ok(listener) => {
                assert!(getsockopt(&listener, Ipv6V6Only).unwrap());
                assert_eq!(listener.address().family_name(), "AF_INET6");
                assert_ne!(port(listener.address()), 0);
            }
            Err(errno) => {
                let absent = [Sys::EAFNOSUPPORT as i32, Sys::EADDRNOTAVAIL as i32];
                assert!(absent.contains(&errno.0), "{}", V6.describe(errno));
            }
        }
    }

    #[test]
    fn errors_say_what_was_tried_and_what_to_do() {
        let holder = V4.bind(ListenOptions::default()).unwrap();
        let options = ListenOptions { reuse_address: true, ..ListenOptions::default() };
        let errno = holder.address().bind(options).unwrap_err();
        assert_eq!(errno, Errno(Sys::EADDRINUSE as i32));
        let text = holder.address().describe(errno);
        assert!(text.contains(&holder.address().to_string()) && text.contains("ss -ltnp"), "{text}");

        let elsewhere = address("192.0.2.1:0");
        let errno = elsewhere.bind(ListenOptions::default()).unwrap_err();
        assert_eq!(errno, Errno(Sys::EADDRNOTAVAIL as i32));
        assert!(elsewhere.describe(errno).contains("no address 192.0.2.1"));

        let privileged = address("127.0.0.1:80");
        assert!(privileged.describe(Errno(Sys::EACCES as i32)).contains("1024"));
    }
}
