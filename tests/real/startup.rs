//! Coming up, or not: the ports and the control socket.

use crate::{
    harness::{
        Connection, DEADLINE, Folder, Supervisor, eventually, is_alive, is_ok, member, raw, script, text,
    },
    probe::{Ended, own_address, processes_of, python, report, run, run_in, skip_as_root, start_through},
};
use nix::sys::{
    signal::{Signal, kill, killpg},
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket},
};
use std::{
    fs,
    net::TcpListener,
    os::fd::AsRawFd as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    time::Instant,
};

/// A worker that does nothing but leave a file behind that tells it was there.
const TELLTALE: [&str; 3] = ["/bin/sh", "-c", "touch \"${EINHORN_SOCK_PATH%/*}/started\"; sleep 1000"];
const SLEEP: [&str; 4] = ["--ack-after", "0", "sleep", "1000"];

/// Starts in `folder` with `-d path`, which is to fail and say all of `named`.
#[track_caller]
fn refused_at(folder: Folder, path: &Path, named: &[&str]) -> Ended {
    let path = path.display().to_string();
    let ended = run_in(folder, &[&["-d", &path][..], &TELLTALE].concat(), |_| {});
    let Ended { code, stderr, supervisor, .. } = &ended;
    assert_eq!(*code, 1, "{stderr}");
    for name in named.iter().chain([&path.as_str()]) {
        assert!(stderr.contains(name), "no {name} in: {stderr}");
    }
    assert!(!supervisor.folder.join("started").exists(), "a worker was started");
    ended
}

/// Whether the status can be asked for.
fn answers(supervisor: &Supervisor) -> bool {
    let reply = supervisor.request(r#"{"command":"status"}"#);
    reply.is_ok_and(|lines| lines.last().is_some_and(is_ok))
}

/// A socket on which nobody listens. Nobody ever did: processes that other tests have just forked would
/// keep a copy of a listening one for a moment.
fn stale(path: &Path) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket can be made");
    bind(fd.as_raw_fd(), &UnixAddr::new(path).expect("a short path")).expect("it can be bound");
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|metadata| metadata.ino())
}

#[test]
fn a_port_that_is_taken_ends_the_start_before_anything_is_bound_or_forked() {
    for flags in ["", ",r,n"] {
        let (free, taken) = (own_address(), own_address());
        let _holder = TcpListener::bind(taken).expect("an address of our own");
        let (free_bind, taken_bind) = (free.to_string(), format!("{taken}{flags}"));
        let ended = run(&[&["-b", &free_bind, "-b", &taken_bind][..], &TELLTALE].concat());
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let named = ended.stderr.contains(&taken.to_string()) && ended.stderr.contains("already in use");
        assert!(named, "{}", ended.stderr);
        assert!(!ended.supervisor.folder.join("started").exists(), "a worker was started");
        ended.left_nothing(Some(free));
    }
}

#[test]
fn an_address_that_this_machine_does_not_have_is_named() {
    let free = own_address();
    let ended = run(&[&["-b", &free.to_string(), "-b", "192.0.2.1:80"][..], &TELLTALE].concat());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("192.0.2.1:80"), "{}", ended.stderr);
    ended.left_nothing(Some(free));
}

#[test]
fn a_privileged_port_is_explained() {
    let least = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if least.trim() == "0" {
        return eprintln!("skipped, since no port is privileged here: privileged ports");
    }
    if skip_as_root("privileged ports") {
        return;
    }
    let ended = run(&[&["-b", "127.0.0.1:1"][..], &TELLTALE].concat());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("127.0.0.1:1") && ended.stderr.contains("1024"), "{}", ended.stderr);
    ended.left_nothing(None);
}

#[test]
fn a_control_socket_in_use_is_refused_and_stays_in_use() {
    let mut first = Supervisor::start(&SLEEP);
    first.await_healthy(1);
    let before = inode(&first.socket());
    let pid = format!("pid {}", first.pid());
    refused_at(Folder::new(), &first.socket(), &[&pid, "stop that, or choose another path"]);
    assert!(answers(&first));
    assert_eq!(inode(&first.socket()), before);
}

#[test]
fn the_socket_of_a_supervisor_that_was_killed_is_replaced() {
    let mut first = Supervisor::start(&[&["--no-keeper"][..], &SLEEP].concat());
    let orphan = first.await_healthy(1);
    first.signal(Signal::SIGKILL);
    first.eventually("it is gone", |me| me.has_exited().then_some(()));
    let [orphan] = orphan.as_slice() else { panic!("one worker") };
    killpg(raw(*orphan), Signal::SIGKILL).expect("workers outlive a supervisor that was killed");
    // Until it has executed its program it has a copy of the listener.
    eventually("the worker is gone", || (!is_alive(*orphan)).then_some(()));

    let path = first.socket().display().to_string();
    assert!(first.socket().exists(), "nobody has removed it");
    let mut second = Supervisor::start(&[&["-d", &path][..], &SLEEP].concat());
    second.await_log("up: ");
    assert!(answers(&first), "on the first one's path");
    second.signal(Signal::SIGINT);
    assert_eq!(second.await_exit(), 0);
    assert!(!first.socket().exists());
}

#[test]
fn what_is_no_socket_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let file = folder.join("file");
    fs::write(&file, "precious").expect("a file can be written");
    let ended = refused_at(folder, &file, &["not a socket"]);
    let folder = ended.supervisor.folder.join("");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "precious");

    let directory = folder.join("directory");
    fs::create_dir(&directory).expect("a directory can be made");
    refused_at(Folder::new(), &directory, &["not a socket"]);
    assert!(directory.is_dir());

    let mut live = Supervisor::start(&SLEEP);
    live.await_healthy(1);
    for (name, target) in [("to-file", file), ("to-socket", live.socket()), ("to-nothing", folder.join("?"))]
    {
        let link = folder.join(name);
        symlink(&target, &link).expect("a link can be made");
        refused_at(Folder::new(), &link, &["not a socket"]);
        assert_eq!(fs::read_link(&link).expect("it is still a link"), target);
    }
    assert!(answers(&live));
}

#[test]
fn a_path_that_cannot_be_is_explained() {
    let folder = Folder::new();
    let missing = folder.join("missing");
    refused_at(folder, &missing.join("ctl"), &["no directory", &missing.display().to_string()]);
    refused_at(Folder::new(), Path::new("/proc/ctl"), &[]);
    refused_at(Folder::new(), Path::new("/dev/null/ctl"), &["Not a directory"]);

    // Short as it was typed; too long once it is absolute.
    let folder = Folder::new();
    let deep = folder.join(&"x".repeat(100));
    fs::create_dir(&deep).expect("a directory can be made");
    let args = [&["-d", "ctl"][..], &TELLTALE].concat();
    let ended = run_in(folder, &args, |command| {
        command.current_dir(&deep);
    });
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("at most 107"), "{}", ended.stderr);
    ended.left_nothing(None);
}

#[test]
fn a_directory_without_permission_is_explained() {
    if skip_as_root("a directory without permission to write") {
        return;
    }
    let folder = Folder::new();
    let closed = folder.join("closed");
    fs::create_dir(&closed).expect("a directory can be made");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("it can be closed");
    refused_at(folder, &closed.join("ctl"), &["no permission"]);
}

#[test]
fn the_control_socket_is_for_its_owner_only_from_the_moment_it_exists() {
    for _ in 0..10 {
        let folder = Folder::new();
        let path = folder.join("ctl");
        let starter = ["/bin/sh", "-c", "umask 0; exec \"$@\"", "sh"];
        let mut supervisor = start_through(folder, &starter, &SLEEP);
        let start = Instant::now();
        // Without a pause: a moment is short.
        let metadata = loop {
            match path.symlink_metadata() {
                Ok(metadata) => break metadata,
                Err(_) => assert!(start.elapsed() < DEADLINE, "{}", supervisor.log()),
            }
        };
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        supervisor.await_healthy(1);
        let metadata = path.symlink_metadata().expect("it is still there");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn of_two_starts_at_once_exactly_one_wins() {
    for round in 0..30 {
        // To outlive them both.
        let folder = Folder::new();
        let path = folder.join("ctl");
        if round % 2 == 0 {
            stale(&path);
        }
        let name = path.display().to_string();
        let args = [&["-d", &name][..], &SLEEP].concat();
        let (mut one, mut two) = (Supervisor::start(&args), Supervisor::start(&args));
        let one_lost = eventually("one of them gives up", || match (one.has_exited(), two.has_exited()) {
            (false, false) => None,
            (lost, _) => Some(lost),
        });
        let (mut winner, mut loser) = if one_lost { (two, one) } else { (one, two) };
        assert_eq!(loser.await_exit(), 1, "{}", loser.log());
        assert!(loser.log().contains(&format!("pid {}", winner.pid())), "{}", loser.log());
        winner.await_log("up: ");
        let mut connection = Connection::open(&path).expect("the winner listens");
        connection.send(r#"{"command":"status"}"#).expect("it reads");
        assert!(is_ok(connection.answer().expect("it answers").last().expect("a line")));
        assert!(!winner.has_exited());
    }
}

#[test]
fn a_socket_that_was_replaced_is_left_to_its_new_owner() {
    let mut supervisor = Supervisor::start(&SLEEP);
    supervisor.await_healthy(1);
    let elsewhere = supervisor.folder.join("elsewhere");
    let _other = UnixListener::bind(&elsewhere).expect("a socket can be bound");
    let theirs = inode(&elsewhere);
    fs::rename(&elsewhere, supervisor.socket()).expect("it takes the place");
    supervisor.await_log("cannot be bound again");
    assert!(supervisor.log().contains(&format!("pid {}", std::process::id())), "{}", supervisor.log());
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert_eq!(inode(&supervisor.socket()), theirs);
}

#[test]
fn a_socket_that_was_removed_or_moved_away_is_bound_again() {
    let mut supervisor = Supervisor::start(&["-m", &python(), &script("rogue.py")]);
    let mut worker = supervisor.await_healthy(1);
    for round in 0..4 {
        let before = inode(&supervisor.socket());
        let aside = supervisor.folder.join(&format!("aside-{round}"));
        match round % 2 {
            0 => fs::remove_file(supervisor.socket()).expect("it can be removed"),
            _ => fs::rename(supervisor.socket(), &aside).expect("it can be moved"),
        }
        supervisor.eventually("it is bound again", |me| {
            let now = inode(&me.socket());
            (now.is_some() && now != before && answers(me)).then_some(())
        });
        // Workers find it as well.
        kill(raw(worker[0]), Signal::SIGKILL).expect("the worker is there");
        let old = worker.clone();
        worker = supervisor.eventually("the worker is replaced and acknowledges", |me| {
            Some(me.healthy()).filter(|new| new.len() == 1 && *new != old)
        });
    }
    assert!(supervisor.log().contains("was removed or replaced"), "{}", supervisor.log());
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.socket().exists());
}

#[test]
fn without_its_directory_the_service_goes_on() {
    let folder = Folder::new();
    let inner = folder.join("inner");
    fs::create_dir(&inner).expect("a directory can be made");
    let path = inner.join("ctl").display().to_string();
    let mut supervisor = Supervisor::start_in(folder, &[&["-d", &path][..], &SLEEP].concat(), |_| {});
    supervisor.await_log("up: ");
    // Stopped meanwhile, lest it puts the socket back before the directory goes.
    supervisor.signal(Signal::SIGSTOP);
    fs::remove_dir_all(&inner).expect("it can be removed");
    supervisor.signal(Signal::SIGCONT);
    supervisor.await_log("cannot be bound again");
    let worker = supervisor.children();
    kill(raw(worker[0]), Signal::SIGKILL).expect("the worker is there");
    supervisor.await_log("without being asked to");
    supervisor.eventually("it is replaced", |me| {
        me.children().iter().any(|pid| !worker.contains(pid) && is_alive(*pid)).then_some(())
    });
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn workers_are_told_an_absolute_path() {
    let folder = Folder::new();
    let inner = folder.join("inner");
    fs::create_dir(&inner).expect("a directory can be made");
    let file = folder.join("report").display().to_string();
    let (python, rogue) = (python(), script("rogue.py"));
    let args = ["-d", "../inner/./ctl", "-m", &python, &rogue, "report", &file];
    let directory = inner.clone();
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.current_dir(directory);
    });
    let told = report(&mut supervisor, "report");
    let path = PathBuf::from(text(member(&told, "environ"), "EINHORN_SOCK_PATH"));
    assert!(path.is_absolute(), "{}", path.display());
    assert_eq!(inode(&path), inode(&inner.join("ctl")));
    supervisor.await_log("up: ");
}

#[test]
fn a_trace_that_cannot_be_opened_ends_the_start() {
    for path in ["/no/such/directory/trace", "/tmp"] {
        let ended = run(&[&["--trace", path][..], &TELLTALE].concat());
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("--trace") && ended.stderr.contains(path), "{}", ended.stderr);
        ended.left_nothing(None);
    }
}

#[test]
fn wherever_descriptors_run_out_the_start_ends_cleanly() {
    let address = own_address();
    let bind = ["-b".to_owned(), address.to_string()];
    let mut failed = 0;
    for limit in 6..20 {
        // Sockets that leave too few for a worker are refused at once; without any, it shows as it comes.
        for (binds, code) in [(&bind[..0], 1), (&bind[..], 2)] {
            let folder = Folder::new();
            let path = folder.join("");
            let limit = format!("ulimit -n {limit}; exec \"$@\"");
            let starter = ["/bin/sh", "-c", &limit, "sh"];
            let args = [binds, &["-r", "1", "/bin/false"].map(str::to_owned)].concat();
            let mut supervisor = start_through(folder, &starter, &args);
            assert_eq!(supervisor.await_exit(), code, "{limit}: {}", supervisor.log());
            assert!(!supervisor.socket().exists(), "{limit}: {}", supervisor.log());
            assert_eq!(processes_of(&path), Vec::<u32>::new(), "{limit}: {}", supervisor.log());
            TcpListener::bind(address).expect("the port is free");
            failed += u32::from(supervisor.log().contains("oo many open"));
        }
    }
    assert!(failed > 3, "no limit was low enough to matter");
}

#[test]
fn ctrl_c_reaches_the_supervisor_alone() {
    let mut supervisor = Supervisor::start_in(Folder::new(), &SLEEP, |command| {
        command.process_group(0);
    });
    let worker = supervisor.await_healthy(1);
    killpg(raw(supervisor.pid()), Signal::SIGINT).expect("the group is there");
    assert_eq!(supervisor.await_exit(), 0);
    assert!(supervisor.log().contains("as asked"), "{}", supervisor.log());
    assert!(supervisor.log().contains("killed by SIGTERM"), "not by INT: {worker:?}: {}", supervisor.log());
}
