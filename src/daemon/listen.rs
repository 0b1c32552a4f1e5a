//! Listening sockets: bound once, at the start, and shared with every worker.
//!
//! What a socket is set to is written out, not left to the system: whether an IPv6 socket takes IPv4
//! connections too differs between machines, and `SO_REUSEADDR` is not for us to assume.

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
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

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
    address: SocketAddr,
}

impl Listener {
    /// Where it listens: with the port that the kernel chose if it was asked to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The family's name, as in `EINHORN_FD_FAMILY_0`.
    pub(crate) fn family_name(&self) -> &'static str {
        match self.address {
            SocketAddr::V4(_) => "AF_INET",
            SocketAddr::V6(_) => "AF_INET6",
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Binds a socket to an address and listens on it.
pub(crate) fn bind(address: SocketAddr, options: ListenOptions) -> Result<Listener, Errno> {
    let fd = listen(address, options).map_err(|errno| Errno(errno as i32))?;
    let address = if address.port() == 0 { bound_to(&fd, address) } else { address };
    Ok(Listener { fd, address })
}

fn listen(address: SocketAddr, options: ListenOptions) -> Result<OwnedFd, Sys> {
    let (family, wanted) = match address {
        SocketAddr::V4(v4) => (AddressFamily::Inet, SockaddrStorage::from(v4)),
        SocketAddr::V6(v6) => (AddressFamily::Inet6, SockaddrStorage::from(v6)),
    };
    let mut flags = SockFlag::SOCK_CLOEXEC;
    flags.set(SockFlag::SOCK_NONBLOCK, options.nonblocking);
    let fd = socket::socket(family, SockType::Stream, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &true)?;
    }
    if options.reuse_address {
        // Linux looks at it when it binds; later is too late.
        setsockopt(&fd, ReuseAddr, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &wanted)?;
    socket::listen(&fd, backlog(options.backlog))?;
    Ok(fd)
}

/// nix admits no number above 4096, although the kernel may be set to allow more. Whoever asks for more
/// than that wants as much as there is.
fn backlog(wanted: Option<u32>) -> Backlog {
    let wanted = wanted.and_then(|wanted| i32::try_from(wanted).ok());
    wanted.and_then(|wanted| Backlog::new(wanted).ok()).unwrap_or(Backlog::MAXALLOWABLE)
}

fn bound_to(fd: &OwnedFd, asked: SocketAddr) -> SocketAddr {
    let Ok(name) = socket::getsockname::<SockaddrStorage>(fd.as_raw_fd()) else { return asked };
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    let v6 = name.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)));
    v4.or(v6).unwrap_or(asked)
}

/// Says for people why a socket cannot be bound, and what to do next.
pub(crate) fn describe(errno: Errno, address: SocketAddr) -> String {
    let said = Sys::from_raw(errno.0).desc();
    let port = address.port();
    let next = match errno.0 {
        libc::EADDRINUSE => format!(
            "; another process holds it, look with `ss -ltnp 'sport = :{port}'`; or connections of an \
             earlier one are still closing, then `{address},r` binds all the same"
        ),
        libc::EACCES => format!(
            "; ports below 1024 take root or CAP_NET_BIND_SERVICE; use another port than {port}, or \
             change net.ipv4.ip_unprivileged_port_start"
        ),
        libc::EADDRNOTAVAIL => format!("; this machine has no address {}, see `ip address`", address.ip()),
        libc::EAFNOSUPPORT => "; this machine does not do addresses of that family".into(),
        libc::EMFILE | libc::ENFILE => "; too many files are open, see `ulimit -n`".into(),
        _ => String::new(),
    };
    format!("cannot listen on {address}: {said}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
        sys::socket::{getsockopt, sockopt},
    };
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};

    const V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

    fn nonblocking(listener: &Listener) -> bool {
        OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    }

    #[test]
    fn a_socket_listens_on_the_port_that_the_kernel_chose() {
        let listener = bind(V4, ListenOptions::default()).unwrap();
        assert_ne!(listener.address().port(), 0);
        assert_eq!(listener.family_name(), "AF_INET");
        TcpStream::connect(listener.address()).unwrap();
    }

    #[test]
    fn only_what_was_asked_for_is_set() {
        let plain = bind(V4, ListenOptions::default()).unwrap();
        assert!(!getsockopt(&plain, ReuseAddr).unwrap());
        assert!(!nonblocking(&plain));
        let flags = FdFlag::from_bits_retain(fcntl(&plain, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        assert!(getsockopt(&plain, sockopt::AcceptConn).unwrap());

        let options = ListenOptions { reuse_address: true, nonblocking: true, backlog: Some(7) };
        let special = bind(V4, options).unwrap();
        assert!(getsockopt(&special, ReuseAddr).unwrap());
        assert!(nonblocking(&special));
    }

    #[test]
    fn any_backlog_is_accepted() {
        for number in [0, 1, 4096, 4097, 1 << 31, u32::MAX] {
            let options = ListenOptions { backlog: Some(number), ..ListenOptions::default() };
            assert!(bind(V4, options).is_ok(), "{number}");
        }
    }

    #[test]
    fn an_ipv6_socket_takes_ipv6_only() {
        match bind(V6, ListenOptions::default()) {
            Ok(listener) => {
                assert!(getsockopt(&listener, Ipv6V6Only).unwrap());
                assert_eq!(listener.family_name(), "AF_INET6");
                assert!(listener.address().is_ipv6() && listener.address().port() != 0);
            }
            Err(errno) => {
                let absent = [Sys::EAFNOSUPPORT as i32, Sys::EADDRNOTAVAIL as i32];
                assert!(absent.contains(&errno.0), "{}", describe(errno, V6));
            }
        }
    }

    #[test]
    fn errors_say_what_was_tried_and_what_to_do() {
        let holder = bind(V4, ListenOptions::default()).unwrap();
        let options = ListenOptions { reuse_address: true, ..ListenOptions::default() };
        let errno = bind(holder.address(), options).unwrap_err();
        assert_eq!(errno, Errno(Sys::EADDRINUSE as i32));
        let text = describe(errno, holder.address());
        assert!(text.contains(&holder.address().to_string()) && text.contains("ss -ltnp"), "{text}");

        let elsewhere = "192.0.2.1:0".parse().unwrap();
        let errno = bind(elsewhere, ListenOptions::default()).unwrap_err();
        assert_eq!(errno, Errno(Sys::EADDRNOTAVAIL as i32));
        assert!(describe(errno, elsewhere).contains("no address 192.0.2.1"));

        let privileged = "127.0.0.1:80".parse().unwrap();
        assert!(describe(Errno(Sys::EACCES as i32), privileged).contains("1024"));
    }
}
