//! UNIX sockets that are shared with workers: their files, who may connect, and how workers find them.

use crate::{
    conventions::told,
    harness::{Folder, Supervisor, member, number, raw, text},
    probe::{Ended, own_address, puppet, puppet_args, run_in, skip_as_root},
};
use miniserde::json::Value;
use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket},
    },
    unistd::geteuid,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, symlink},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
};

/// A supervisor of one worker that takes orders, with a socket in its folder and these options of it.
fn started(folder: Folder, options: &str) -> Supervisor {
    let bind = format!("unix:{}{options}", folder.join("web").display());
    let mut supervisor = Supervisor::start_in(folder, &puppet_args(&["-b", &bind], &[]), |_| {});
    supervisor.await_healthy(1);
    supervisor
}

/// Who looks whether somebody listens connects, too, and says nothing.
const ANSWER: &str = "
while True:
    it = listeners[0].accept()[0]
    if it.recv(9):
        break
it.sendall(b'hello')
it.close()
";

/// Has the worker answer somebody who connects to a path.
#[track_caller]
fn is_served(supervisor: &Supervisor, path: &Path) {
    let mut client = UnixStream::connect(path).expect("somebody listens");
    client.write_all(b"hi").expect("it can be spoken to");
    puppet(supervisor, 0, ANSWER);
    let mut said = String::new();
    client.read_to_string(&mut said).expect("it answers");
    assert_eq!(said, "hello");
}

/// Starts with these options, which is to fail with status `code` and to say all of `named`, with nothing left
/// behind but what is there.
#[track_caller]
fn refused(folder: Folder, options: &[&str], code: i32, named: &[&str]) -> Ended {
    let free = own_address();
    let bind = free.to_string();
    let all =
        [&["-b", &bind][..], options, &["sh", "-c", "touch \"${EINHORN_SOCK_PATH%/*}/started\""]].concat();
    let ended = run_in(folder, &all, |_| {});
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert!(code != 2 || ended.stderr.lines().count() == 2, "{}", ended.stderr);
    for name in named {
        assert!(ended.stderr.contains(name), "no {name} in: {}", ended.stderr);
    }
    assert!(!ended.supervisor.folder.join("started").exists(), "a worker was started");
    ended.left_nothing(Some(free));
    ended
}

#[test]
fn a_socket_in_the_file_system_is_told_of_in_every_convention_and_removed_at_the_end() {
    let folder = Folder::new();
    let path = folder.join("web");
    let mut supervisor = started(folder, ",mode=0660,name=web");
    let shown = path.display().to_string();
    for (name, value) in [
        ("EINHORN_FD_FAMILY_0", "AF_UNIX"),
        ("EINHORN_FDS", "3"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "web"),
        ("SERVER_STARTER_PORT", &format!("{shown}=3")),
    ] {
        assert_eq!(told(&supervisor, name), value, "{name}");
    }
    let metadata = path.symlink_metadata().expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o660, geteuid().as_raw()));
    is_served(&supervisor, &path);
    let status = supervisor.ctl_ok(&["status"]);
    assert!(status.contains(&format!("listening on unix:{shown} (web)\n")), "{status}");

    // It is the same one after an upgrade.
    let first = supervisor.await_healthy(1);
    supervisor.ctl_ok(&["upgrade"]);
    assert_ne!(supervisor.await_healthy(1), first);
    assert_eq!(path.symlink_metadata().expect("it is there").ino(), metadata.ino());
    is_served(&supervisor, &path);
    supervisor.ctl_ok(&["die", "--wait"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(path.symlink_metadata().is_err(), "it is left behind");
}

#[test]
fn a_relative_path_is_one_from_where_the_start_is_and_an_abstract_name_is_none() {
    let folder = Folder::new();
    let (path, here) = (folder.join("web"), folder.join(""));
    let name = format!("@einhyrningsins-{}", std::process::id());
    let args = puppet_args(&["-b", "unix:web,n", "-b", &format!("unix:{name}"), "--chdir", "/"], &[]);
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.current_dir(&here);
    });
    supervisor.await_healthy(1);
    assert_eq!(told(&supervisor, "SERVER_STARTER_PORT"), format!("{}=3", path.display()));
    assert_eq!(told(&supervisor, "EINHORN_FD_FAMILY_1"), "AF_UNIX");
    assert_eq!(
        puppet(&supervisor, 0, "answer = listeners[1].getsockname()"),
        format!("b'\\x00{}'", &name[1..])
    );
    let status = supervisor.ctl_ok(&["status"]);
    assert!(status.contains(&format!("listening on unix:{}, unix:{name}\n", path.display())), "{status}");
    UnixStream::connect(&path).expect("somebody listens");
}

#[test]
fn whoever_waits_for_connections_on_a_unix_socket_is_seen() {
    const WAIT: [&str; 3] = [
        "import socket, time; it = socket.socket(fileno=3); it.accept()",
        "import select; select.select([3], [], [])",
        "import select; it = select.epoll(); it.register(3, select.EPOLLIN); it.poll()",
    ];
    for code in WAIT {
        let folder = Folder::new();
        let bind = format!("unix:{}", folder.join("web").display());
        let args = ["--ready", "accepting", "-b", &bind, "python3", "-c", code];
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        supervisor.await_healthy(1);
        let workers = supervisor.workers(|_| true);
        assert_eq!(text(&workers[0], "ready"), "seen", "{code}");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_one_that_somebody_has_is_not() {
    let folder = Folder::new();
    let path = folder.join("web");
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &UnixAddr::new(&path).expect("a short path")).expect("it can be bound");
    drop(fd);
    let mut supervisor = started(folder, "");
    is_served(&supervisor, &path);

    let bind = format!("unix:{}", path.display());
    let pid = format!("pid {}", supervisor.pid());
    refused(Folder::new(), &["-b", &bind], 1, &[&bind, &pid, "listens there", "have it"]);
    is_served(&supervisor, &path);

    // After a kill, workers still have it; once they are gone it is stale.
    let worker = supervisor.await_healthy(1)[0];
    supervisor.signal(Signal::SIGKILL);
    supervisor.eventually("it is gone", |me| me.has_exited().then_some(()));
    refused(Folder::new(), &["-b", &bind], 1, &[&bind, &format!("pid {worker} (")]);
    killpg(raw(worker), Signal::SIGKILL).expect("it is there");
    supervisor.eventually("nobody has it", |_| UnixStream::connect(&path).is_err().then_some(()));
    let args = puppet_args(&["-b", &bind], &[]);
    let mut second = Supervisor::start_in(Folder::new(), &args, |_| {});
    second.await_healthy(1);
    is_served(&second, &path);
}

#[test]
fn what_is_no_stale_socket_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let at = |name: &str| folder.join(name);
    fs::write(at("file"), "precious").expect("a file");
    fs::create_dir(at("directory")).expect("a directory");
    symlink(at("nowhere"), at("link")).expect("a link");
    let _datagrams = UnixDatagram::bind(at("datagrams")).expect("a socket");
    for (name, why) in [
        ("file", "not a socket"),
        ("directory", "not a socket"),
        ("link", "not a socket"),
        ("datagrams", "cannot be asked"),
        ("no/socket", "there is no directory"),
        ("file/socket", "is of no use"),
    ] {
        let bind = format!("unix:{}", at(name).display());
        refused(Folder::new(), &["-b", &bind], 1, &["cannot listen on", &bind, why]);
    }
    assert_eq!(fs::read_to_string(at("file")).expect("it is there"), "precious");
    assert!(at("link").symlink_metadata().is_ok_and(|it| it.is_symlink()));
    assert!(at("datagrams").exists() && at("directory").is_dir() && !at("nowhere").exists());
}

#[test]
fn a_start_that_fails_later_on_leaves_no_socket_behind() {
    let folder = Folder::new();
    let path = folder.join("web");
    let bind = format!("unix:{},mode=0600", path.display());
    let ended = refused(folder, &["-b", &bind, "-b", "192.0.2.1:80"], 1, &["192.0.2.1:80"]);
    assert!(ended.stderr.contains(&format!("listening on unix:{}", path.display())), "it was there");
    assert!(path.symlink_metadata().is_err());
    let folder = Folder::new();
    let path = folder.join("web");
    let same = format!("unix:{}", path.display());
    refused(folder, &["-b", &same, "-b", &same], 1, &[&same, "this command line listens there itself"]);
    assert!(path.symlink_metadata().is_err());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (bind, named) in [
        (long.as_str(), "a path of 108 bytes"),
        ("unix:", "has no path"),
        ("unix:/tmp/a,mode=9", "0 to 0777 in octal"),
        ("unix:/tmp/a,mode=u+w", "0 to 0777 in octal"),
        ("unix:/tmp/a\n\x1b[2J,user=no-such-user", "`unix:/tmp/a\\n\\u{1b}[2J,user=no-such-user`"),
        ("unix:/tmp/a,user=no-such-user", "this machine has no user `no-such-user`"),
        ("unix:/tmp/a,group=no-such-group", "this machine has no group `no-such-group`"),
        ("unix:/tmp/a,user=", "a user that is neither a name nor a number"),
        ("unix:/tmp/a,r", "`r`, which is for TCP only"),
        ("unix:@a,mode=600", "has no file"),
        ("127.0.0.1:80,mode=600", "for `unix:` sockets only"),
    ] {
        refused(Folder::new(), &["-b", bind], 2, &["--bind", named, "accepted: "]);
    }
    let folder = Folder::new();
    let here = folder.join("");
    let relative = format!("unix:{}", "x".repeat(107 - here.as_os_str().len() + 2));
    let ended = run_in(folder, &["-b", &relative, "true"], |command| {
        command.current_dir(&here);
    });
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("from here that is a path of 10"), "{}", ended.stderr);
}

#[test]
fn a_file_can_be_given_to_another_user_by_root_only() {
    let folder = Folder::new();
    let path = folder.join("web");
    if geteuid().is_root() {
        let _supervisor = started(folder, ",mode=0620,user=1234,group=4321");
        let it = path.symlink_metadata().expect("it is there");
        assert_eq!((it.mode() & 0o7777, it.uid(), it.gid()), (0o620, 1234, 4321));
    } else if !skip_as_root("files of other users") {
        let bind = format!("unix:{},user=0", path.display());
        refused(folder, &["-b", &bind], 1, &[&bind, "cannot be given to user 0", "CAP_CHOWN"]);
        assert!(path.symlink_metadata().is_err());
    }
}

#[test]
fn a_file_that_somebody_has_removed_is_bound_again_and_a_strangers_is_left() {
    let folder = Folder::new();
    let path = folder.join("web");
    let mut supervisor = started(folder, "");
    fs::remove_file(&path).expect("it is there");
    supervisor.status();
    assert!(supervisor.log().contains("there is a new one"), "{}", supervisor.log());
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.await_healthy(1);
    is_served(&supervisor, &path);

    fs::remove_file(&path).expect("it is there");
    let _stranger = UnixListener::bind(&path).expect("a path that is free");
    supervisor.ctl_ok(&["die", "--wait"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(path.exists(), "that was not ours");
}

#[test]
fn a_process_that_is_left_with_a_unix_socket_is_named() {
    let folder = Folder::new();
    let path = folder.join("web");
    let mut supervisor = started(folder, "");
    let stray: u32 = puppet(&supervisor, 0, "answer = stray(*listeners)").parse().expect("a pid");
    let worker = supervisor.await_healthy(1)[0];
    kill(raw(worker), Signal::SIGKILL).expect("it is there");
    supervisor.await_log(&format!(
        "pid {stray} (sleep), which comes from no worker that runs, has unix:{}",
        path.display()
    ));
    kill(raw(stray), Signal::SIGKILL).expect("it is there");
}

#[test]
fn a_socket_for_messages_is_told_of_and_served() {
    let address = own_address();
    let binds = ["-b", "127.0.0.1:0", "-b", &format!("udp:{address},name=dns"), "-b", "udp:[::1]:0"];
    let v6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    let binds = if v6 { &binds[..] } else { &binds[..4] };
    let mut supervisor = Supervisor::start_in(Folder::new(), &puppet_args(binds, &[]), |_| {});
    supervisor.await_healthy(1);
    let port = supervisor.address(0).port();
    let count = if v6 { 3 } else { 2 };
    assert_eq!(told(&supervisor, "LISTEN_FDS"), count.to_string());
    assert!(told(&supervisor, "LISTEN_FDNAMES").starts_with("unknown:dns"));
    assert_eq!(told(&supervisor, "EINHORN_FD_FAMILY_1"), "AF_INET");
    assert_eq!(told(&supervisor, "SERVER_STARTER_PORT"), format!("127.0.0.1:{port}=3"));
    let status = supervisor.status();
    let Value::Array(listeners) = member(&status, "listeners") else { panic!("no listeners: {status:?}") };
    assert_eq!(listeners.len(), count);
    assert!(matches!(&listeners[1], Value::String(it) if *it == format!("udp:{address}")), "{listeners:?}");
    if v6 {
        assert_eq!(told(&supervisor, "EINHORN_FD_FAMILY_2"), "AF_INET6");
    }
    let client = std::net::UdpSocket::bind((address.ip(), 0)).expect("a socket");
    for generation in 1..3 {
        client.send_to(b"hello", address).expect("it is sent");
        assert_eq!(puppet(&supervisor, 0, "answer = listeners[1].recvfrom(9)[0]"), "b'hello'");
        assert_eq!(number(&supervisor.status(), "generation"), generation);
        supervisor.ctl_ok(&["upgrade"]);
        supervisor.await_healthy(1);
    }
    let taken = format!("udp:{address}");
    refused(Folder::new(), &["-b", &taken], 1, &[&taken, "already in use", "have it"]);
    for (bind, named) in [("udp:53", "no :PORT"), ("udp:127.0.0.1:53,r", "for TCP only")] {
        refused(Folder::new(), &["-b", bind], 2, &["--bind", bind, named]);
    }
}

#[test]
fn whoever_waits_for_messages_is_seen() {
    for code in [
        "it.recvfrom(9)",
        "it.recvmsg(9)",
        "os.read(3, 9)",
        "select.select([3], [], [])",
        "e = select.epoll(); e.register(3, select.EPOLLIN); e.poll()",
    ] {
        let code = format!("import os, select, socket; it = socket.socket(fileno=3); {code}");
        let args = ["--ready", "accepting", "-b", "udp:127.0.0.1:0", "python3", "-c", &code];
        let mut supervisor = Supervisor::start(&args);
        supervisor.await_healthy(1);
        assert_eq!(text(&supervisor.workers(|_| true)[0], "ready"), "seen", "{code}");
    }
}
