//! Many clients, clients that do not read, clients that may not: the service and its workers' acks come
//! first.

use crate::{
    harness::{CLIENT, Connection, Supervisor, is_ok, rust_worker},
    tools::{
        self, command, descriptors, err, have, open_many_files, releases, skip, sleepers, status_field, ticks,
    },
};
use nix::unistd::geteuid;
use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
    thread,
    time::Duration,
};

/// More memory than what the supervisor may take on for any of this, in KiB.
const TOO_MUCH: u64 = 160 * 1024;

fn memory(supervisor: &Supervisor) -> u64 {
    status_field(supervisor.pid(), "VmRSS").expect("a number")
}

fn connect(supervisor: &Supervisor) -> UnixStream {
    let stream = UnixStream::connect(supervisor.socket()).expect("a connection");
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(crate::harness::DEADLINE)).expect("a timeout can be set");
    stream
}

/// More than a thousand clients that send this and then neither read nor leave: workers acknowledge all
/// the same, and once the clients are gone, nothing of them is left.
#[track_caller]
fn crowded_with(text: &str) {
    open_many_files();
    let (mut supervisor, _, _) = releases(1, &[]);
    let before = memory(&supervisor);
    let crowd: Vec<UnixStream> = (0..1_100)
        .map(|_| {
            let mut stream = connect(&supervisor);
            // Some of the first may have been sent away already, to make room.
            let _ = stream.write_all(text.as_bytes());
            stream
        })
        .collect();
    assert!(is_ok(&command(&supervisor, &["set_workers", "4"])));
    supervisor.await_healthy(4);
    let after = memory(&supervisor);
    assert!(after < before + TOO_MUCH, "{before} KiB before, {after} KiB after");
    drop(crowd);
    supervisor
        .eventually("their connections are closed", |me| (descriptors(me.pid()).len() < 30).then_some(()));
}

#[test]
fn a_thousand_clients_keep_no_ack_from_getting_through() {
    crowded_with(&"x".repeat(60 * 1024));
}

#[test]
fn a_thousand_clients_that_do_not_read_keep_no_ack_from_getting_through() {
    // More answers than the kernel keeps for a client that does not read.
    crowded_with(&"{\"command\":\"version\"}\n".repeat(320));
}

#[test]
fn a_client_that_asks_and_never_reads_is_dropped() {
    let (mut supervisor, _) = sleepers(30, &[]);
    let quiet = tools::quiet(&mut supervisor);
    let before = memory(&supervisor);
    let mut deaf = connect(&supervisor);
    let error = loop {
        if let Err(error) = deaf.write_all(b"{\"command\":\"status\"}\n") {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert!(is_ok(&command(&supervisor, &["status"])));
    let after = memory(&supervisor);
    assert!(after < before + TOO_MUCH, "{before} KiB before, {after} KiB after");
    supervisor.eventually("its connection is closed", |me| (descriptors(me.pid()) == quiet).then_some(()));
}

#[test]
fn a_client_that_leaves_amid_an_upgrade_leaves_nothing_behind() {
    let (mut supervisor, release, old) = releases(2, &["--ack-timeout", "30", "--max-unacked", "1"]);
    let quiet = tools::quiet(&mut supervisor);
    let slow = supervisor.folder.script("slow", &format!("#!/bin/sh\nsleep 0.5\nexec {}\n", rust_worker()));
    release.switch(&slow);
    let mut client = Connection::open(&supervisor.socket()).expect("a connection");
    client.send(r#"{"command":"upgrade"}"#).expect("it is sent");
    supervisor.await_log("rolling upgrade to generation 2");
    drop(client);
    supervisor.eventually("the upgrade goes on to its end", |me| {
        let now = me.healthy();
        (now.len() == 2 && now.iter().all(|pid| !old.contains(pid))).then_some(())
    });
    // The new generation's program is another file than the old one's; there is one of it all the same.
    supervisor.eventually("no descriptor is left behind", |me| {
        (descriptors(me.pid()).len() == quiet.len()).then_some(())
    });
}

/// How many descriptors are open without a gap: one more takes that number.
fn open_files(supervisor: &mut Supervisor) -> usize {
    tools::quiet(supervisor);
    let folder = format!("/proc/{}/fd", supervisor.pid());
    (0..).find(|number| fs::symlink_metadata(format!("{folder}/{number}")).is_err()).expect("a number")
}

fn limit_files(supervisor: &Supervisor, count: usize) {
    let pid = supervisor.pid().to_string();
    let limit = format!("--nofile={count}:20000");
    assert!(have("prlimit", &["--pid", &pid, &limit]), "prlimit {limit}");
}

#[test]
fn without_descriptors_the_silent_make_room_for_those_that_ask() {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    let (mut supervisor, _) = sleepers(2, &[]);
    let open = open_files(&mut supervisor);
    limit_files(&supervisor, open + 5);
    let crowd: Vec<UnixStream> = (0..60).map(|_| connect(&supervisor)).collect();
    for _ in 0..20 {
        assert!(is_ok(&command(&supervisor, &["status"])));
    }
    drop(crowd);
    supervisor.await_healthy(2);
}

#[test]
fn without_descriptors_at_all_it_waits_and_recovers() {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    let (mut supervisor, _) = sleepers(2, &[]);
    let open = open_files(&mut supervisor);
    limit_files(&supervisor, open);
    let mut early = connect(&supervisor);
    early.write_all(b"{\"command\":\"version\"}\n").expect("it is sent");
    let before = ticks(supervisor.pid()).expect("a number");
    // Not a wait for anything: the time in which it could spin.
    thread::sleep(Duration::from_secs(1));
    let spent = ticks(supervisor.pid()).expect("a number") - before;
    assert!(spent < 20, "{spent} ticks of 10 ms");

    limit_files(&supervisor, 100);
    assert!(is_ok(&command(&supervisor, &["inc"])));
    supervisor.await_healthy(3);
    let mut answer = [0; 11];
    std::io::Read::read_exact(&mut early, &mut answer).expect("who came too early is answered too");
    assert_eq!(&answer, b"{\"message\":");
}

#[test]
fn other_users_are_refused() {
    const OTHER: &str = "65534";
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    if !have("setpriv", &["--reuid", OTHER, "--clear-groups", "true"]) {
        return skip("there is no setpriv");
    }
    let (mut supervisor, pids) = sleepers(1, &[]);
    let client = supervisor.folder.join("client");
    fs::copy(CLIENT, &client).expect("a copy that everybody can run");
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).expect("permissions can be set");
    let run = |supervisor: &Supervisor| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", OTHER, "--clear-groups"]).arg(&client).arg("-d").arg(supervisor.socket());
        command.arg("inc").output().expect("the client can be run")
    };
    let output = run(&supervisor);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("Permission denied") && said.contains("only root and the supervisor's own user"),
        "{said}"
    );

    // Not even if somebody opens the door.
    fs::set_permissions(supervisor.socket(), fs::Permissions::from_mode(0o666))
        .expect("permissions can be set");
    let output = run(&supervisor);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("user {OTHER} may not control this supervisor; root and user 0 may")),
        "{said}"
    );
    supervisor.await_log(&format!("of user {OTHER}"));
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn a_long_answer_leaves_no_memory_behind() {
    let mut supervisor = Supervisor::start(&["-n", "400", "--ack-after", "0", "--", "sleep", "600"]);
    supervisor.await_log("up: 400 healthy workers");
    let heap = |supervisor: &Supervisor| status_field(supervisor.pid(), "RssAnon").expect("a number");
    let before = heap(&supervisor);
    for _ in 0..5 {
        assert!(is_ok(&command(&supervisor, &["status"])));
    }
    supervisor.eventually("it weighs what it did", |me| (heap(me) <= before + 48).then_some(()));
}
