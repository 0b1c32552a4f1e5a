use super::*;
use nix::{
    fcntl::FdFlag,
    sys::socket::{Shutdown, shutdown},
};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

const V4: Address = Address::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
const V6: Address = Address::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));

fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn port(address: &Address) -> u16 {
    address.socket_addr().port()
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
    assert!(getsockopt(&plain, AcceptConn).unwrap());

    let options = ListenOptions { reuse_address: true, nonblocking: true, backlog: Some(7) };
    let special = V4.bind(options).unwrap();
    assert!(getsockopt(&special, ReuseAddr).unwrap());
    assert!(nonblocking(&special));
}

fn mend(listener: &mut Listener) -> Vec<Mended> {
    listener.mend().collect()
}

#[test]
fn a_socket_that_was_shut_down_listens_again_for_all_who_have_it() {
    // The kernel treats a port that it has chosen and one that was asked for differently.
    let chosen = V4.bind(ListenOptions::default()).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let asked = Address::from(address).bind(ListenOptions::default()).unwrap();
    for mut listener in [chosen, asked] {
        assert_eq!(mend(&mut listener), []);
        let worker = listener.fd.try_clone().unwrap();
        shutdown(worker.as_raw_fd(), Shutdown::Both).unwrap();
        assert!(TcpStream::connect(listener.address().to_string()).is_err());
        let before = listener.inode();
        assert_eq!(mend(&mut listener), [Mended::Listens]);
        assert_eq!(listener.inode(), before);
        TcpStream::connect(listener.address().to_string()).unwrap();
        assert!(TcpListener::from(worker).accept().is_ok());
        assert_eq!(mend(&mut listener), []);
    }
}

#[test]
fn a_socket_that_cannot_listen_again_is_bound_anew() {
    let mut listener = V4.bind(ListenOptions::default()).unwrap();
    let worker = listener.fd.try_clone().unwrap();
    shutdown(worker.as_raw_fd(), Shutdown::Both).unwrap();
    // A socket that is connected cannot listen.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = SockaddrStorage::from(other.local_addr().unwrap());
    socket::connect(worker.as_raw_fd(), &to).unwrap();
    let before = listener.inode();
    assert_eq!(mend(&mut listener), [Mended::BoundAnew]);
    assert_ne!(listener.inode(), before);
    TcpStream::connect(listener.address().to_string()).unwrap();

    // And what cannot be mended at all is told.
    let mut listener = V4.bind(ListenOptions::default()).unwrap();
    shutdown(listener.fd.as_raw_fd(), Shutdown::Both).unwrap();
    let _thief = TcpListener::bind(listener.address().to_string()).unwrap();
    assert_eq!(mend(&mut listener), [Mended::Deaf(Errno(Sys::EADDRINUSE as i32))]);
}

#[test]
fn o_nonblock_is_set_or_not_as_was_asked_for() {
    for nonblocking in [false, true] {
        let options = ListenOptions { nonblocking, ..ListenOptions::default() };
        let mut listener = V4.bind(options).unwrap();
        let worker = TcpListener::from(listener.fd.try_clone().unwrap());
        worker.set_nonblocking(!nonblocking).unwrap();
        let mended = if nonblocking { Mended::NonBlocking } else { Mended::Blocks };
        assert_eq!(mend(&mut listener), [mended]);
        assert_eq!(super::tests::nonblocking(&listener), nonblocking);
        assert_eq!(mend(&mut listener), []);
    }
}

#[test]
fn addresses_conflict_where_the_kernel_says_so() {
    for (one, other, conflict) in [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "0.0.0.0:80", true),
        ("[::1]:80", "[::]:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:80", "127.0.0.1:81", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("0.0.0.0:80", "[::]:80", false),
    ] {
        assert_eq!(address(one).conflicts(&address(other)), conflict, "{one} {other}");
        assert_eq!(address(other).conflicts(&address(one)), conflict, "{other} {one}");
    }
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
            assert!(absent.contains(&errno.0), "{}", V6.describe(errno, None));
        }
    }
}

#[test]
fn errors_say_what_was_tried_and_what_to_do() {
    let holder = V4.bind(ListenOptions::default()).unwrap();
    let options = ListenOptions { reuse_address: true, ..ListenOptions::default() };
    let errno = holder.address().bind(options).unwrap_err();
    assert_eq!(errno, Errno(Sys::EADDRINUSE as i32));
    let text = holder.address().describe(errno, None);
    assert!(text.contains(&holder.address().to_string()) && text.contains("ss -ltnp"), "{text}");
    let text = holder.address().describe(errno, Some("pid 7 (x) holds it".into()));
    assert!(text.ends_with("; pid 7 (x) holds it"), "{text}");

    let elsewhere = address("192.0.2.1:0");
    let errno = elsewhere.bind(ListenOptions::default()).unwrap_err();
    assert_eq!(errno, Errno(Sys::EADDRNOTAVAIL as i32));
    assert!(elsewhere.describe(errno, None).contains("no address 192.0.2.1"));

    let privileged = address("127.0.0.1:80");
    assert!(privileged.describe(Errno(Sys::EACCES as i32), None).contains("1024"));
}
