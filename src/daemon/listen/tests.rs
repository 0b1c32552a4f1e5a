use super::{super::scratch::Scratch, *};
use nix::{
    fcntl::FdFlag,
    sys::socket::{Shutdown, shutdown},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::Path,
};

const V4: Address = Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
const V6: Address = Address::Tcp(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0));

fn address(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

fn port(address: &Address) -> u16 {
    let (Address::Tcp(inet) | Address::Udp(inet)) = address else { panic!("{address}") };
    inet.port()
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

    let options = ListenOptions {
        reuse_address: true,
        nonblocking: true,
        backlog: Some(7),
        ..ListenOptions::default()
    };
    let special = V4.bind(options).unwrap();
    assert!(getsockopt(&special, ReuseAddr).unwrap());
    assert!(nonblocking(&special));
}

fn mend(listener: &mut Listener) -> Vec<Mended> {
    listener.mend(false).collect()
}

#[test]
fn a_socket_that_was_shut_down_listens_again_for_all_who_have_it() {
    // The kernel treats a port that it has chosen and one that was asked for differently.
    let chosen = V4.bind(ListenOptions::default()).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let asked = Address::Tcp(address).bind(ListenOptions::default()).unwrap();
    let again = [V4, V6].map(|address| (address.bind(ListenOptions::default()).unwrap(), 2));
    for (mut listener, times) in [(chosen, 1), (asked, 1)].into_iter().chain(again) {
        assert_eq!(mend(&mut listener), []);
        let worker = listener.held.fd().try_clone().unwrap();
        shutdown(worker.as_raw_fd(), Shutdown::Both).unwrap();
        for _ in 1..times {
            // It says that it cannot be, and leaves a mark.
            assert_eq!(shutdown(worker.as_raw_fd(), Shutdown::Both), Err(Sys::ENOTCONN));
        }
        assert!(TcpStream::connect(listener.address().to_string()).is_err());
        let before = listener.inode();
        assert_eq!(mend(&mut listener), [Mended::Listens]);
        assert_eq!(listener.inode(), before);
        let mut client = TcpStream::connect(listener.address().to_string()).unwrap();
        let (mut server, _) = TcpListener::from(worker).accept().unwrap();
        server.write_all(b"hello").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello", "shut down {times} times");
        assert_eq!(mend(&mut listener), []);
    }
}

#[test]
fn a_socket_that_cannot_listen_again_is_bound_anew() {
    let mut listener = V4.bind(ListenOptions::default()).unwrap();
    let worker = listener.held.fd().try_clone().unwrap();
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
    shutdown(listener.held.fd().as_raw_fd(), Shutdown::Both).unwrap();
    let _thief = TcpListener::bind(listener.address().to_string()).unwrap();
    assert_eq!(mend(&mut listener), [Mended::Deaf(Errno(Sys::EADDRINUSE as i32))]);
}

#[test]
fn o_nonblock_is_set_or_not_as_was_asked_for() {
    for nonblocking in [false, true] {
        let options = ListenOptions { nonblocking, ..ListenOptions::default() };
        let mut listener = V4.bind(options).unwrap();
        let worker = TcpListener::from(listener.held.fd().try_clone().unwrap());
        worker.set_nonblocking(!nonblocking).unwrap();
        let mended = if nonblocking { Mended::NonBlocking } else { Mended::Blocks };
        // Nobody who has set it is made to wait.
        let first = if nonblocking { Mended::NonBlocking } else { Mended::LeftNonBlocking };
        assert_eq!(listener.mend(true).collect::<Vec<_>>(), [first]);
        assert!(super::tests::nonblocking(&listener));
        worker.set_nonblocking(!nonblocking).unwrap();
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
        Err(Refused { errno, .. }) => {
            let absent = [Sys::EAFNOSUPPORT as i32, Sys::EADDRNOTAVAIL as i32];
            assert!(absent.contains(&errno.0), "{}", V6.describe(errno, None));
        }
    }
}

#[test]
fn errors_say_what_was_tried_and_what_to_do() {
    let holder = V4.bind(ListenOptions::default()).unwrap();
    let options = ListenOptions { reuse_address: true, ..ListenOptions::default() };
    let errno = holder.address().bind(options).unwrap_err().errno;
    assert_eq!(errno, Errno(Sys::EADDRINUSE as i32));
    let text = holder.address().describe(errno, None);
    assert!(text.contains(&holder.address().to_string()) && text.contains("ss -ltnp"), "{text}");
    let text = holder.address().describe(errno, Some("pid 7 (x) holds it".into()));
    assert!(text.ends_with("; pid 7 (x) holds it"), "{text}");

    let elsewhere = address("192.0.2.1:0");
    let errno = elsewhere.bind(ListenOptions::default()).unwrap_err().errno;
    assert_eq!(errno, Errno(Sys::EADDRNOTAVAIL as i32));
    assert!(elsewhere.describe(errno, None).contains("no address 192.0.2.1"));

    let privileged = address("127.0.0.1:80");
    assert!(privileged.describe(Errno(Sys::EACCES as i32), None).contains("1024"));
}

#[test]
fn a_path_has_its_rights_before_anybody_can_connect_and_goes_away_again() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let ours = nix::unistd::geteuid().as_raw();
    for (mode, expected) in [(Some(0o660), 0o660), (Some(0), 0), (Some(0o777), 0o777)] {
        let rights = Rights { mode, user: Some(ours), group: None };
        let options = ListenOptions { rights, ..ListenOptions::default() };
        let listener = Address::Path(path.clone()).bind(options).unwrap();
        let metadata = path.symlink_metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (expected, ours));
        assert_eq!(listener.address().family_name(), "AF_UNIX");
        assert_eq!(listener.address().starter().as_deref(), path.to_str());
        drop(listener);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
    let listener = Address::Path(path.clone()).bind(ListenOptions::default()).unwrap();
    UnixStream::connect(&path).unwrap();
    let refused = Address::Path(path.clone()).bind(ListenOptions::default()).unwrap_err();
    assert_eq!(refused.errno, Errno(Sys::EADDRINUSE as i32));
    assert!(refused.why.unwrap().contains("listens there"));
    drop(listener);
    let missing = Address::Path(scratch.join("no/socket")).bind(ListenOptions::default()).unwrap_err();
    assert!(missing.why.unwrap().contains("there is no directory"));
}

#[test]
fn a_path_that_cannot_be_given_away_is_not_left_behind() {
    if nix::unistd::geteuid().is_root() {
        return eprintln!("skipped, since root may do everything: files given away");
    }
    let scratch = Scratch::new();
    let rights = Rights { user: Some(0), ..Rights::default() };
    let options = ListenOptions { rights, ..ListenOptions::default() };
    let refused = Address::Path(scratch.join("socket")).bind(options).unwrap_err();
    assert!(refused.why.unwrap().contains("it cannot be given to user 0"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_unix_socket_that_was_shut_down_or_removed_is_bound_anew_at_its_path() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let mut listener = Address::Path(path.clone()).bind(ListenOptions::default()).unwrap();
    assert_eq!(mend(&mut listener), []);
    let end: [fn(&Listener, &Path); 2] = [
        |listener, _| shutdown(listener.held.fd().as_raw_fd(), Shutdown::Both).unwrap(),
        |_, path| fs::remove_file(path).unwrap(),
    ];
    for end in end {
        end(&listener, &path);
        assert!(UnixStream::connect(&path).is_err());
        assert_eq!(mend(&mut listener), [Mended::BoundAnew]);
        UnixStream::connect(&path).unwrap();
        assert_eq!(mend(&mut listener), []);
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert_eq!(mend(&mut listener), [Mended::Deaf(Errno(Sys::EEXIST as i32))]);
    drop(listener);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious", "not ours, so not removed");
}

#[test]
fn an_abstract_name_is_no_file() {
    let name = format!("einhyrningsins-test-{}", std::process::id());
    let address = Address::Abstract(name.clone());
    let mut listener = address.bind(ListenOptions::default()).unwrap();
    assert_eq!((address.to_string(), address.starter()), (format!("unix:@{name}"), None));
    assert_eq!(mend(&mut listener), []);
    let refused = address.bind(ListenOptions::default()).unwrap_err();
    assert_eq!(refused.errno, Errno(Sys::EADDRINUSE as i32));
    let text = address.describe(refused.errno, None);
    assert!(text.contains("ss -lxp"), "{text}");
}

#[test]
fn a_socket_for_messages_is_bound_and_does_not_listen() {
    let udp = Address::Udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let mut listener = udp.bind(ListenOptions { nonblocking: true, ..ListenOptions::default() }).unwrap();
    assert_ne!(port(listener.address()), 0);
    assert!(nonblocking(&listener));
    assert!(listener.address().to_string().starts_with("udp:127.0.0.1:"));
    assert_eq!(listener.address().starter(), None);
    assert_eq!(mend(&mut listener), []);
    let errno = listener.address().bind(ListenOptions::default()).unwrap_err().errno;
    let text = listener.address().describe(errno, None);
    assert!(text.contains("already in use") && text.contains("ss -lunp"), "{text}");
    // One for connections may have the same number.
    let tcp = Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port(listener.address())));
    assert!(!tcp.conflicts(listener.address()) && listener.address().conflicts(&listener.address().clone()));
}
