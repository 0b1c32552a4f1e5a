//! Descriptors, memory and events that are not to be had: who makes room, what is tried again, and that
//! nothing spins.

use crate::{
    another::{OTHER, can_be_another, for_another},
    harness::{Connection, Folder, Supervisor, eventually, is_ok, number, raw, rust_worker},
    probe::start_through,
    tools::{descriptors, err, have, open_many_files, out, skip, sleepers, status_field, ticks},
};
use nix::sys::signal::{Signal, kill};
use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

fn connect(supervisor: &Supervisor) -> UnixStream {
    let stream = UnixStream::connect(supervisor.socket()).expect("a connection");
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).expect("a timeout can be set");
    stream
}

/// Has a limit of a running supervisor be another.
fn limit(supervisor: &Supervisor, what: &str) {
    let pid = supervisor.pid().to_string();
    assert!(have("prlimit", &["--pid", &pid, what]), "prlimit {what}");
}

#[test]
fn idle_clients_leave_descriptors_for_workers_and_upgrades() {
    open_many_files();
    let starter = ["/bin/sh", "-c", "ulimit -n 200; exec \"$@\"", "sh"];
    let args = ["-v", "-n", "3", "-m", "-b", "127.0.0.1:0,r,n", "--", &rust_worker()];
    let mut supervisor = start_through(Folder::new(), &starter, &args);
    let before = supervisor.await_healthy(3);
    let crowd: Vec<UnixStream> = (0..300).map(|_| connect(&supervisor)).collect();
    supervisor.ctl_ok(&["upgrade"]);
    kill(raw(supervisor.healthy()[1]), Signal::SIGKILL).expect("a worker");
    let after = supervisor.await_healthy(3);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{}", supervisor.log());
    let log = supervisor.log();
    assert!(!log.contains("oo many open files"), "{log}");
    drop(crowd);
}

#[test]
fn idle_clients_make_room_where_the_limit_has_become_lower() {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    open_many_files();
    let args = ["-v", "-n", "1", "-m", "-b", "127.0.0.1:0,r,n", "--", &rust_worker()];
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(1);
    let crowd: Vec<UnixStream> = (0..100).map(|_| connect(&supervisor)).collect();
    supervisor
        .eventually("all are in", |me| (descriptors(me.pid()).values().sum::<usize>() > 100).then_some(()));
    limit(&supervisor, "--nofile=80:80");
    supervisor.signal(Signal::SIGHUP);
    supervisor.await_log("upgrade to generation 2 is complete");
    assert!(!supervisor.log().contains("oo many open files"), "{}", supervisor.log());
    drop(crowd);
}

#[test]
fn a_client_that_could_not_be_accepted_is_accepted_after_a_pause() {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    let (mut supervisor, _) = sleepers(1, &["-v"]);
    crate::tools::quiet(&mut supervisor);
    limit(&supervisor, "--nofile=3:20000");
    let mut client = Connection::open(&supervisor.socket()).expect("it listens");
    client.send(r#"{"command":"version"}"#).expect("it is sent");
    supervisor.await_log("control socket: cannot accept: ");
    let before = ticks(supervisor.pid()).expect("a number");
    // Not a wait for anything: the time in which it could spin.
    thread::sleep(Duration::from_secs(1));
    let spent = ticks(supervisor.pid()).expect("a number") - before;
    assert!(spent < 20, "{spent} ticks of 10 ms");
    // No event tells of this.
    limit(&supervisor, "--nofile=100:20000");
    assert!(is_ok(&client.line().expect("an answer")));
    supervisor.eventually("it sleeps again", |me| {
        drop(Connection::open(&me.socket()).expect("it listens"));
        (crate::tools::state(me.pid())? == "S").then_some(())
    });
}

/// `strace` attached to a supervisor, with these options; `None` if it may not.
fn traced(supervisor: &Supervisor, options: &[&str]) -> Option<Child> {
    if !have("strace", &["-V"]) {
        return None;
    }
    let pid = supervisor.pid();
    let mut strace = Command::new("strace");
    strace.args(["-p", &pid.to_string(), "-o", "/dev/null"]).args(options).stderr(Stdio::null());
    let mut strace = strace.spawn().expect("strace can be run");
    let attached = eventually("strace is attached or cannot be", || {
        if strace.try_wait().expect("strace can be waited for").is_some() {
            return Some(false);
        }
        (status_field(pid, "TracerPid") != Some(0)).then_some(true)
    });
    attached.then_some(strace)
}

#[test]
fn without_events_it_looks_for_them_now_and_then_and_says_so_once() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let Some(mut strace) = traced(&supervisor, &["-e", "inject=epoll_wait:error=EBADF"]) else {
        return skip("strace cannot look at other processes");
    };
    supervisor.signal(Signal::SIGCONT);
    supervisor.await_log("waiting for events: ");
    let before = ticks(supervisor.pid()).expect("a number");
    thread::sleep(Duration::from_secs(1));
    let spent = ticks(supervisor.pid()).expect("a number") - before;
    assert!(spent < 30, "{spent} ticks of 10 ms");
    // Signals, dead children and clients are seen all the same.
    kill(raw(pids[0]), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("the worker is replaced", |me| {
        Some(me.healthy()).filter(|after| after.len() == 1 && *after != pids)
    });
    assert_eq!(supervisor.log().matches("waiting for events").count(), 1, "{}", supervisor.log());
    kill(raw(strace.id()), Signal::SIGTERM).expect("strace is there");
    strace.wait().expect("strace ends");
    // It does not know before there is one.
    supervisor.eventually("it hears of events again", |me| {
        me.signal(Signal::SIGCONT);
        me.log().contains("waiting for events works again").then_some(())
    });
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn that_no_client_can_be_accepted_is_said_once_and_a_client_claims_nothing_else() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let Some(mut strace) = traced(&supervisor, &["-e", "inject=accept4:error=EMFILE"]) else {
        return skip("strace cannot look at other processes");
    };
    let output = supervisor.ctl(&["--timeout", "1", "status"]);
    let said = crate::tools::err(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("the supervisor does not answer: no line came for 1.0 s; it "), "{said}");
    let told = "[WARN] control socket: cannot accept: Too many open files (errno 24); ";
    supervisor.await_log(told);
    supervisor.signal(Signal::SIGCONT);
    kill(raw(strace.id()), Signal::SIGTERM).expect("strace is there");
    strace.wait().expect("strace ends");
    supervisor.ctl_ok(&["status"]);
    supervisor.await_log("control socket: connections are accepted again");
    assert_eq!(supervisor.log().matches("cannot accept").count(), 1, "{}", supervisor.log());
}

/// Three hundred clients that send this, one after the other, and stay; with little memory to be had.
#[track_caller]
fn bounded(text: &[u8]) {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    open_many_files();
    let (mut supervisor, _) = sleepers(1, &[]);
    let size = status_field(supervisor.pid(), "VmSize").expect("a number") * 1024;
    limit(&supervisor, &format!("--as={}", size + 12 * 1024 * 1024));
    let mut crowd = Vec::new();
    for _ in 0..300 {
        let mut client = connect(&supervisor);
        client.set_write_timeout(Some(crate::harness::DEADLINE)).expect("a timeout can be set");
        // Some have been sent away by then.
        let _ = client.write_all(text);
        crowd.push(client);
    }
    supervisor.ctl_ok(&["inc"]);
    supervisor.await_healthy(2);
    // Between two of these everybody has had a turn of 16 requests.
    let mut patient = Connection::open(&supervisor.socket()).expect("it listens");
    for _ in 0..50 {
        patient.send(r#"{"command":"version"}"#).expect("it reads");
        assert!(is_ok(&patient.line().expect("an answer")));
    }
    let peak = status_field(supervisor.pid(), "VmPeak").expect("a number") * 1024 - size;
    assert!(peak < 12 * 1024 * 1024, "{peak}");
    drop(crowd);
}

#[test]
fn clients_with_half_a_line_share_the_memory_that_there_is() {
    bounded(&[b'x'; 60 * 1024]);
}

#[test]
fn clients_that_do_not_read_share_the_memory_that_there_is() {
    bounded("{\"command\":\"help\"}\n".repeat(400).as_bytes());
}

/// A supervisor that runs as somebody who can be kept from having more processes.
fn limitable(args: &[&str]) -> Supervisor {
    let (folder, program) = for_another();
    let other = format!("shift; exec setpriv --reuid {OTHER} --clear-groups {} \"$@\"", program.display());
    start_through(folder, &["/bin/sh", "-c", &other, "sh"], args)
}

/// Has it have at most so many processes; its user may say so.
fn limit_processes(supervisor: &Supervisor, most: u32) {
    let (pid, most) = (supervisor.pid().to_string(), format!("--nproc={most}:"));
    let words = ["--reuid", OTHER, "--clear-groups", "prlimit", "--pid", &pid, &most];
    assert!(have("setpriv", &words), "prlimit {most}");
}

#[test]
fn a_way_back_ends_in_a_shortage_and_says_what_is_not_restored() {
    if !can_be_another() || !have("prlimit", &["--version"]) {
        return skip("there is no prlimit, or no other user");
    }
    let options = ["-n", "2", "-r", "2", "--ack-after", "0.1", "--", "sleep", "600"];
    let mut supervisor = limitable(&options);
    supervisor.await_healthy(2);
    let mut client = Command::new(env!("CARGO_BIN_EXE_einhyrningsinsctl"));
    client.arg("-d").arg(supervisor.socket()).args([
        "--any-owner",
        "upgrade",
        "--canary",
        "1",
        "--soak",
        "600",
    ]);
    let upgrade = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the client can be run");
    supervisor.eventually("the old worker of the canary's slot is gone", |me| {
        let workers = me.workers(|_| true);
        let new = workers.iter().filter(|worker| number(worker, "generation") == 2).count();
        (workers.len() == 2 && new == 1).then_some(())
    });
    limit_processes(&supervisor, 1);
    let output = supervisor.ctl(&["--any-owner", "abort", "--wait"]);
    let short = "generation 2 is taken back: generation 1 serves with 1 of 2 workers healthy";
    assert!(err(&output).contains(short), "{} {}", out(&output), err(&output));
    assert_eq!(output.status.code(), Some(1));
    let told = upgrade.wait_with_output().expect("an end");
    assert_eq!(told.status.code(), Some(1));
    assert!(err(&told).contains("generation 1 has 1 of 2 workers healthy"), "{}", err(&told));
    let status = supervisor.ctl_ok(&["--any-owner", "status"]);
    let stand_in = "generation 1, 1/2 workers healthy; 1 of generation 2 in their stead";
    assert!(status.contains(stand_in), "{status}");
    limit_processes(&supervisor, 500);
    supervisor.eventually("all is as before", |me| {
        let workers = me.workers(|_| true);
        (workers.len() == 2 && workers.iter().all(|worker| number(worker, "generation") == 1)).then_some(())
    });
    assert!(supervisor.ctl_ok(&["--any-owner", "status"]).contains("generation 1, 2/2 workers healthy\n"));
}
