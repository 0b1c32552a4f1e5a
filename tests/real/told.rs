//! What people are told, and what they must not be: advice, reports and orders that only one side sees.

use crate::{
    harness::{Folder, Supervisor, raw, rust_worker},
    probe::{own_address, python, run, start_through},
    progress::{await_generation, complaint, variable},
    tools::{ask, await_sleep, have, list, releases, skip, sleepers, within},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::{Signal, kill},
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
};

/// How many generations there were.
fn generations(supervisor: &Supervisor) -> usize {
    list(&ask(supervisor, r#"{"command":"history"}"#), "history").len()
}

/// Whether a process ignores SIGHUP, which is the first of the signals.
fn ignores_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a set of signals");
    u64::from_str_radix(set.trim(), 16).expect("a number") & 1 != 0
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_deploys_nothing() {
    let args = ["-v", "--ack-after", "0", "sleep", "1000"];
    let starter = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut supervisor = start_through(Folder::new(), &starter, &args);
    let pids = supervisor.await_healthy(1);
    supervisor.signal(Signal::SIGHUP);
    // Whoever is heard after a signal would have seen what comes of it.
    assert_eq!(generations(&supervisor), 1);
    assert!(ignores_hangup(supervisor.pid()));
    supervisor.eventually("its worker does not", |_| (!ignores_hangup(pids[0])).then_some(()));
    assert!(supervisor.log().contains("SIGHUP was ignored at the start"), "{}", supervisor.log());
    supervisor.ctl_ok(&["upgrade"]);
    assert_eq!(generations(&supervisor), 2);
}

#[test]
fn an_upgrade_does_not_set_what_the_contract_with_workers_sets_or_hides() {
    let (mut supervisor, old) = sleepers(1, &["--drop-env-var", "SECRET"]);
    for name in ["EINHORN_FD_0", "EINHORN_ANYTHING", "LISTEN_FDS", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        for order in ["upgrade", "upgrade_fleet"] {
            let said = complaint(&supervisor, &[order, "--env", "FINE=1", "--env", &format!("{name}=99")]);
            assert!(said.contains(&format!("--env: {name} cannot be set: it ")), "{said}");
            assert!(said.contains("nothing was changed"), "{said}");
        }
    }
    assert_eq!(generations(&supervisor), 1);
    assert_eq!(supervisor.await_healthy(1), old);
    // What is hidden is what the supervisor has; what is said is said.
    supervisor.ctl_ok(&["upgrade", "--env", "SECRET=told"]);
    let new = await_generation(&mut supervisor, 2, 1);
    // A process has its program's environment once it runs that.
    supervisor.eventually("it is told", |_| variable(new[0], "SECRET").filter(|told| told == "told"));
}

#[test]
fn a_first_start_that_fails_gives_no_advice_that_cannot_be_followed() {
    let ended = run(&["-r", "1", "--", "false"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("given up"), "{}", ended.stderr);
    for advice in ["until `retry`", "`upgrade`", "retry"] {
        assert!(!ended.stderr.contains(advice), "{advice}: {}", ended.stderr);
    }
}

#[test]
fn a_worker_that_goes_into_the_background_is_told_to_stay_in_the_foreground() {
    let folder = Folder::new();
    let left = folder.join("left");
    // Ends once its copy has a session of its own and a name, as daemons do.
    let copy = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600", left.display());
    let script = format!(
        "#!/bin/sh\nsetsid sh -c '{copy}' &\nuntil grep -sq sleep /proc/$(cat {})/comm; do sleep 0.01; done\n",
        left.display()
    );
    let ended = run(&["-r", "1", "--ack-after", "60", "--", &folder.script("daemon", &script)]);
    let pid: u32 = fs::read_to_string(&left).expect("its pid").trim().parse().expect("a number");
    kill(raw(pid), Signal::SIGKILL).expect("it is there");
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let said = format!(
        "exited with status 0 (failure 1 of 1 in a row); not tried again; it looks as if it went into the \
         background, since it left pid {pid} ("
    );
    let foreground = ") behind: a worker must stay in the foreground";
    assert!(ended.stderr.contains(&said) && ended.stderr.contains(foreground), "{}", ended.stderr);

    let ended = run(&["-r", "1", "--ack-after", "60", "--", "true"]);
    assert!(!ended.stderr.contains("background"), "{}", ended.stderr);
}

#[test]
fn what_keeps_the_control_socket_out_is_named_and_removing_it_is_enough() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let socket = supervisor.socket();
    // At once, so that it is there before the socket is bound again.
    let file = supervisor.folder.join("file");
    fs::write(&file, "").expect("a file");
    fs::rename(&file, &socket).expect("it takes the place");
    let what = format!("what is there is a regular file, not a socket ({})", socket.display());
    supervisor
        .await_log(&format!("cannot be bound again: {what}; it is, by itself, once that is out of the way"));
    assert!(!supervisor.log().contains("choose another path"), "{}", supervisor.log());
    fs::remove_file(&socket).expect("it can be removed");
    supervisor.eventually("it answers", |me| me.request(r#"{"command":"version"}"#).ok());
}

#[test]
fn the_status_says_first_that_nobody_serves_and_why() {
    let mut supervisor =
        Supervisor::start(&["-n", "2", "-r", "3", "-s", "30", "--", "/bin/sh", "-c", "exit 7"]);
    supervisor.await_log("exited with status 7");
    let said = supervisor.ctl_ok(&["status"]);
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("NO WORKER IS HEALTHY: slot "), "{said}");
    assert!(first.contains("failed to start once, at last: exited with status 7; next try in "), "{said}");
    drop(supervisor);

    let (supervisor, _) = sleepers(1, &[]);
    let said = supervisor.ctl_ok(&["status"]);
    assert!(said.starts_with("einhyrningsins "), "{said}");
}

#[test]
fn a_worker_that_does_not_handle_the_stop_signal_is_warned_of_once_in_each_generation() {
    let (mut supervisor, _) = sleepers(3, &[]);
    let warned = |supervisor: &Supervisor, generation: u32| {
        let mark = format!("[WARN] generation {generation} (");
        let log = supervisor.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect();
        lines
    };
    supervisor.ctl_ok(&["upgrade"]);
    await_sleep(&await_generation(&mut supervisor, 2, 3));
    let told = warned(&supervisor, 1);
    assert_eq!(told.len(), 1, "{}", supervisor.log());
    for part in ["/sleep): worker pid ", "had no handler for SIGTERM and was ended by it", "--stop-signal"] {
        assert!(told[0].contains(part), "{}", told[0]);
    }
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert_eq!(warned(&supervisor, 2).len(), 1, "{}", supervisor.log());
}

#[test]
fn a_worker_that_handles_the_stop_signal_or_is_ended_by_a_harsher_one_is_not_warned_of() {
    let (mut supervisor, _, _) = releases(2, &[]);
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.log().contains("no handler"), "{}", supervisor.log());

    // One that has finished may say by what it was ended.
    let finishes = "trap 'trap - TERM; kill $!; kill $$' TERM; sleep 600 & echo it listens; wait";
    let mut supervisor = Supervisor::start(&["--ack-after", "0", "--", "sh", "-c", finishes]);
    supervisor.await_log("it listens");
    supervisor.await_healthy(1);
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(supervisor.log().contains("killed by SIGTERM (signal 15) as asked"), "{}", supervisor.log());
    assert!(!supervisor.log().contains("no handler"), "{}", supervisor.log());

    let (mut supervisor, _) = sleepers(2, &[]);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(supervisor.log().contains("killed by SIGTERM (signal 15) as asked"), "{}", supervisor.log());
    assert!(!supervisor.log().contains("no handler"), "{}", supervisor.log());
}

#[test]
fn a_report_counts_in_every_mode() {
    let args = ["-n", "2", "-b", "127.0.0.1:0,r,n", "--ack-after", "600", &rust_worker()];
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(2);
}

/// The demonstration, on an address of its own.
fn demo() -> [String; 3] {
    ["--demo".into(), "-b".into(), format!("{},r,n", own_address())]
}

/// Sees that the demonstration is up, and ends it.
#[track_caller]
fn serves_and_ends(mut supervisor: Supervisor) {
    supervisor.await_healthy(4);
    kill(raw(supervisor.pid()), Signal::SIGINT).expect("it is there");
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn the_demonstration_says_what_to_try_and_does_not_wait_for_anybody_to_read_it() {
    let mut supervisor = Supervisor::start(&demo());
    let socket = within(&supervisor, "ctl");
    supervisor.await_log(&format!("-d {socket} upgrade"));
    serves_and_ends(supervisor);

    let (reader, writer) = io::pipe().expect("a pipe can be made");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("it need not wait");
    while (&writer).write(&[b'x'; 4_096]).is_ok() {}
    while (&writer).write(b"x").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("it may wait");
    serves_and_ends(Supervisor::start_in(Folder::new(), &demo(), |command| {
        command.stdout(writer);
    }));
    drop(reader);
}

#[test]
fn signals_are_orders_after_the_demonstration_has_said_what_to_try() {
    let (mut reader, writer) = io::pipe().expect("a pipe can be made");
    let mut supervisor = Supervisor::start_in(Folder::new(), &demo(), |command| {
        command.stdout(writer);
    });
    assert!(reader.read(&mut [0; 4_096]).expect("it says something") > 0);
    supervisor.signal(Signal::SIGTTOU);
    supervisor.await_log("number of workers: 4 → 3");
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
}

/// Becomes the supervisor with a terminal for standard output that its reader has stopped, as by Ctrl-S.
const STOPPED: &str = "
import os, pty, sys, termios
terminal, end = pty.openpty()
termios.tcflow(end, termios.TCOOFF)
os.dup2(end, 1)
os.set_inheritable(terminal, True)
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn the_demonstration_does_not_wait_for_a_terminal_that_is_stopped() {
    if !have("python3", &["--version"]) {
        return skip("there is no python3");
    }
    serves_and_ends(start_through(Folder::new(), &[&python(), "-c", STOPPED], &demo()));
}
