//! Probing a service, and waiting for what others have begun.

use crate::{
    harness::{CLIENT, Folder, Supervisor, raw},
    progress::{HANGS, LONG, await_stage, open},
    tools::{err, out, recorders, releases, sleepers, within},
};
use nix::sys::signal::{Signal, kill};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn client(socket: &Path, words: &[&str]) -> Output {
    Command::new(CLIENT).arg("-d").arg(socket).args(words).output().expect("a client")
}

/// A client that goes on beside the test.
fn beside(supervisor: &Supervisor, words: &[&str]) -> Child {
    Command::new(CLIENT)
        .arg("-d")
        .arg(supervisor.socket())
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a client")
}

#[track_caller]
fn assert_ended(output: &Output, status: i32, said: &str) {
    let all = format!("{}{}", out(output), err(output));
    assert_eq!(output.status.code(), Some(status), "{all}");
    assert!(all.contains(said), "{said} is not in {all}");
    assert_eq!(all.lines().count(), 1, "{all}");
}

#[test]
fn a_probe_is_a_line_and_a_status() {
    let (supervisor, pids) = sleepers(2, &[]);
    for (words, status, said) in [
        (["check"].as_slice(), 0, "2 of 2 workers are healthy; generation 1 serves"),
        (&["check", "--ready"], 0, "2 of 2"),
        (&["check", "--live"], 0, "einhyrningsins 0.1.0 answers"),
        (&["check", "--min", "3"], 1, "2 of 2 workers are healthy, 3 are needed"),
        (&["check", "--min", "50%"], 0, "2 of 2 workers are healthy, 1 is enough"),
        (&["check", "--generation", "1"], 0, "generation 1 serves"),
        (&["check", "--generation", "2"], 1, "generation 1 serves, not 2"),
    ] {
        assert_ended(&supervisor.ctl(words), status, said);
    }
    let json = supervisor.ctl(&["check", "--json"]);
    assert!(out(&json).contains("\"ok\":true,\"check\":\"pass\""), "{}", out(&json));
    let wrong = supervisor.ctl(&["check", "--min", "some"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", err(&wrong));

    kill(raw(supervisor.pid()), Signal::SIGSTOP).expect("a supervisor");
    let began = Instant::now();
    let stopped = supervisor.ctl(&["--timeout", "0.2", "check", "--live"]);
    kill(raw(supervisor.pid()), Signal::SIGCONT).expect("a supervisor");
    assert_ended(&stopped, 3, "it is stopped");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(pids.len(), 2);
}

#[test]
fn a_supervisor_that_is_stopped_is_waited_for_no_longer_than_was_said() {
    let (supervisor, _) = sleepers(1, &[]);
    kill(raw(supervisor.pid()), Signal::SIGSTOP).expect("a supervisor");
    let ends: Vec<_> = [["check", "--wait", "0.5"], ["wait", "--timeout", "0.5"]]
        .map(|words| {
            let began = Instant::now();
            (supervisor.ctl(&words), began.elapsed())
        })
        .into();
    kill(raw(supervisor.pid()), Signal::SIGCONT).expect("a supervisor");
    for (output, took) in &ends {
        assert_ended(output, 3, "it is stopped");
        assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(took), "{took:?}");
    }
}

#[test]
fn a_keeper_that_answers_is_no_supervisor() {
    let (mut supervisor, _) = sleepers(2, &[]);
    supervisor.kill();
    for words in [&["check"][..], &["check", "--live"], &["check", "--wait", "0.2"], &["wait"]] {
        assert_ended(&supervisor.ctl(words), 3, "nobody supervises this service: ");
    }
    let json = supervisor.ctl(&["check", "--json"]);
    assert_eq!(json.status.code(), Some(3), "{}", out(&json));
    assert!(out(&json).contains("\"check\":\"unknown\""), "{}", out(&json));
    let asked = supervisor.ctl(&["status"]);
    assert_eq!(asked.status.code(), Some(1), "any other command is refused: {}", err(&asked));
    supervisor.start_again();
    assert_ended(&supervisor.ctl(&["check", "--wait", "20"]), 0, "2 of 2 workers are healthy");
}

#[test]
fn where_nobody_is_a_probe_says_so_and_can_wait_for_somebody() {
    let folder = Folder::new();
    let socket = folder.join("ctl");
    let nobody = client(&socket, &["check"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", err(&nobody));
    assert!(err(&nobody).contains("cannot reach a supervisor at "), "{}", err(&nobody));
    assert_eq!(client(&socket, &["check", "--wait", "0.2"]).status.code(), Some(3));

    let waiting = Command::new(CLIENT)
        .arg("-d")
        .arg(&socket)
        .args(["check", "--wait", "20"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client");
    let args = ["-n", "2", "--ack-after", "0.2", "--", "sleep", "600"];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    assert_eq!(supervisor.socket(), socket);
    let output = waiting.wait_with_output().expect("an end");
    assert_ended(&output, 0, "2 of 2 workers are healthy");
    assert_eq!(supervisor.healthy().len(), 2, "it did not wait in vain");
}

#[test]
fn while_workers_are_missing_or_it_shuts_down_a_service_is_not_ready() {
    let starting = Supervisor::start(&["-n", "2", "--ack-after", LONG, "--", "sleep", "600"]);
    assert_ended(&starting.ctl(&["check", "--wait", "0.1"]), 1, "0 of 2 workers are healthy; nobody serves");
    assert_ended(&starting.ctl(&["check", "--min", "0"]), 0, "0 of 2 workers are healthy, 0 are enough");

    let (supervisor, _, _) = recorders(1, &[], &["TERM"]);
    let hangs = supervisor.folder.script("hangs", HANGS);
    let mut upgrade = open(&supervisor, "upgrade", &["--soak", LONG, "--", &hangs]);
    upgrade.line().expect("it has begun");
    assert_ended(&supervisor.ctl(&["check"]), 0, "; upgrading to generation 2");
    assert_ended(&supervisor.ctl(&["check", "--generation", "2"]), 1, "generation 1 serves, not 2");
    supervisor.ctl_ok(&["die"]);
    assert_ended(&supervisor.ctl(&["check"]), 1, "; shutting down (graceful)");
}

#[test]
fn an_upgrade_that_somebody_else_has_begun_is_followed_to_its_end() {
    let (mut supervisor, release, _) = releases(2, &[]);
    assert_ended(&supervisor.ctl(&["wait"]), 0, "no upgrade is under way; generation 1 serves");

    let _upgrade = open(&supervisor, "upgrade", &["--soak", LONG]);
    await_stage(&mut supervisor, "probation");
    let limited = supervisor.ctl(&["wait", "--timeout", "0.2"]);
    assert_eq!(limited.status.code(), Some(3));
    assert!(err(&limited).contains("not at its end after 200 ms; the upgrade goes on"), "{}", err(&limited));
    let mut waiting = beside(&supervisor, &["wait"]);
    let mut lines = BufReader::new(waiting.stdout.take().expect("a pipe"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    assert!(first.starts_with("generation 2: 2/2 healthy"), "{first}");
    // It is superseded by one that is good: that is its end then.
    supervisor.ctl_ok(&["upgrade"]);
    let output = waiting.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let rest: Vec<String> = lines.lines().map_while(Result::ok).collect();
    assert!(rest.last().expect("a line").starts_with("generation 3 serves: took over after "), "{rest:?}");

    let hangs = within(&supervisor, "hangs");
    supervisor.folder.script("hangs", HANGS);
    release.switch(&hangs);
    let _upgrade = open(&supervisor, "upgrade", &[]);
    await_stage(&mut supervisor, "spread");
    let waiting = beside(&supervisor, &["wait"]);
    supervisor.ctl_ok(&["abort"]);
    let output = waiting.wait_with_output().expect("an end");
    let all = format!("{}{}", out(&output), err(&output));
    // Who comes too late finds none.
    if !all.contains("no upgrade is under way") {
        assert_eq!(output.status.code(), Some(1), "{all}");
        assert!(all.contains("generation 4: rolled back: the upgrade to generation 4 was aborted"), "{all}");
    }
}
