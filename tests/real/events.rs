//! What happens, told to those who read along.

use crate::{
    harness::{CLIENT, Connection, Supervisor, member, number, text},
    progress::open,
    tools::{command, err, is_null, out, releases, sleepers, within},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::Duration,
};

/// Who reads along, once it is told so.
fn reader(supervisor: &Supervisor, words: &[&str]) -> Connection {
    let mut reader = open(supervisor, "events", words);
    let opening = reader.line().expect("a line that says where it begins");
    assert!(text(&opening, "message").starts_with("events of einhyrningsins "), "{opening:?}");
    reader
}

/// The next event.
fn next(reader: &mut Connection) -> Value {
    let line = reader.line().expect("an event");
    assert!(matches!(member(&line, "wait"), Value::Bool(true)), "{line:?}");
    member(&line, "event").clone()
}

/// The events up to the first of that kind, which comes last.
fn up_to(reader: &mut Connection, kind: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let event = next(reader);
        let last = text(&event, "kind") == kind;
        all.push(event);
        if last {
            return all;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| text(event, "kind")).collect()
}

#[test]
fn a_workers_life_is_told_with_how_and_why() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let mut reader = reader(&supervisor, &["--since", "start"]);
    let start = up_to(&mut reader, "up");
    assert_eq!(kinds(&start), ["began", "spawned", "healthy", "up"]);
    let numbers: Vec<i64> = start.iter().map(|event| number(event, "seq")).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(text(&start[2], "proof"), "timer");
    assert_eq!(number(&start[2], "pid"), i64::from(pids[0]));
    assert!(number(&start[2], "at_ms") > 1_700_000_000_000);

    kill(crate::harness::raw(pids[0]), Signal::SIGKILL).expect("a worker");
    let crash = up_to(&mut reader, "healthy");
    assert_eq!(kinds(&crash), ["crashed", "spawned", "healthy"]);
    let status = member(&crash[0], "status");
    assert_eq!((text(status, "kind"), number(status, "signal")), ("killed", 9));
    assert_eq!(number(&crash[0], "next_start_in_ms"), 0);

    command(&supervisor, &["inc"]);
    let more = up_to(&mut reader, "healthy");
    assert_eq!(kinds(&more)[0], "target");
    assert_eq!([number(&more[0], "old"), number(&more[0], "new")], [1, 2]);
    command(&supervisor, &["dec"]);
    let fewer = up_to(&mut reader, "gone");
    assert_eq!(kinds(&fewer), ["target", "draining", "gone"]);
    assert_eq!(text(&fewer[1], "why"), "surplus");

    command(&supervisor, &["die"]);
    let end = up_to(&mut reader, "gone");
    assert_eq!(kinds(&end), ["stopping", "draining", "gone"]);
    let last = reader.line().expect("the last line");
    assert_eq!(text(&last, "message"), "the supervisor ends");
    assert!(reader.line().is_err(), "nothing comes behind it");
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn an_upgrades_stages_are_told_and_its_end() {
    let (mut supervisor, release, _) = releases(2, &[]);
    let mut reader = reader(&supervisor, &[]);
    supervisor.ctl_ok(&["upgrade", "--soak", "0.05"]);
    let good = up_to(&mut reader, "upgraded");
    for kind in ["upgrading", "healthy", "draining", "on-trial"] {
        assert!(kinds(&good).contains(&kind), "{kind} is not in {:?}", kinds(&good));
    }
    assert_eq!(number(&good[0], "soak_ms"), 50);
    release.switch(&within(&supervisor, "broken"));
    let refused = supervisor.ctl(&["upgrade"]);
    assert_eq!(refused.status.code(), Some(1));
    let bad = up_to(&mut reader, "rolled-back");
    for kind in ["start-failed", "rolling-back"] {
        assert!(kinds(&bad).contains(&kind), "{kind} is not in {:?}", kinds(&bad));
    }
    let failed = bad.iter().find(|event| text(event, "kind") == "start-failed").expect("one");
    assert_eq!(number(member(failed, "failure"), "status"), 7);
    assert_eq!(supervisor.await_healthy(2).len(), 2);
}

#[test]
fn a_row_that_ends_does_so_and_is_told_to_people() {
    let (supervisor, pids) = sleepers(1, &[]);
    let said = supervisor.ctl_ok(&["events", "--since", "start", "--until", "now"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert!(lines[0].ends_with(", all that are remembered:"), "{said}");
    assert!(lines[1].ends_with("Z the supervisor has begun"), "{said}");
    assert!(lines[2].ends_with(&format!("pid {} started in slot 0, generation 1", pids[0])), "{said}");
    assert_eq!(lines[5], "4 events so far");
    let later = supervisor.ctl_ok(&["events", "--since=3", "--until=now"]);
    assert_eq!(later.lines().count(), 3, "{later}");
    for (words, said) in [
        (
            ["events", "--since", "soon"].as_slice(),
            "--since: `soon` is not where to begin; accepted: start, now, or",
        ),
        (&["events", "--until", "dawn"], "--until: `dawn` is not `now`"),
        (&["events", "--since"], "--since needs a value"),
        (&["events", "please"], "unexpected argument `please`; accepted: --since WHEN, --until now"),
    ] {
        let output = supervisor.ctl(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(err(&output).contains(said), "{words:?}: {}", err(&output));
    }
}

#[test]
fn a_reader_that_leaves_or_is_interrupted_ends_quietly() {
    let (supervisor, _) = sleepers(1, &[]);
    let run = || {
        let mut client = Command::new(CLIENT)
            .args(["-d", &supervisor.socket().display().to_string(), "events", "--since", "start"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a client");
        let mut lines = BufReader::new(client.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        (client, lines)
    };
    let complaint = |client: std::process::Child| {
        let mut client = client;
        let mut said = String::new();
        client.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        (client.wait().expect("an end").code(), said)
    };
    let (client, lines) = run();
    // Nothing happens that would have to be told first.
    drop(lines);
    assert_eq!(complaint(client), (Some(0), String::new()));
    let (client, _lines) = run();
    kill(crate::harness::raw(client.id()), Signal::SIGINT).expect("a client");
    assert_eq!(complaint(client), (Some(130), String::new()));
}

#[test]
fn one_that_does_not_read_misses_what_is_forgotten_and_delays_nobody() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let (mut slow, mut quick) = (reader(&supervisor, &[]), reader(&supervisor, &[]));
    slow.wait_at_most(Duration::from_secs(20)).expect("a limit");
    // More than a socket's buffer and what is remembered.
    let mut last = 0;
    for round in 0..1_200 {
        command(&supervisor, &["set_workers", if round % 2 == 0 { "2" } else { "1" }]);
        while last < round {
            if text(&next(&mut quick), "kind") == "target" {
                last += 1;
            }
        }
    }
    supervisor.await_healthy(1);
    let mut seen = Vec::new();
    let lost = loop {
        let line = slow.line().expect("a line");
        match &line {
            Value::Object(fields) if fields.contains_key("lost") => break number(&line, "lost"),
            _ => seen.push(number(member(&line, "event"), "seq")),
        }
    };
    let following = number(&next(&mut slow), "seq");
    assert!(lost > 0);
    assert_eq!(following, seen.last().expect("some") + lost + 1, "just as many are missing as is said");
    assert!(seen.is_sorted_by(|one, next| one + 1 == *next), "none is missing before that");
}

#[test]
fn readers_go_on_with_another_program_and_see_the_end_of_one_that_is_killed() {
    let (mut supervisor, _, _) = releases(1, &[]);
    supervisor.await_keeper();
    let mut reader = reader(&supervisor, &[]);
    supervisor.ctl_ok(&["reexec"]);
    let opening = reader.line().expect("it begins anew");
    assert!(text(&opening, "message").starts_with("events of "), "{opening:?}");
    command(&supervisor, &["inc"]);
    let events = up_to(&mut reader, "healthy");
    assert_eq!(kinds(&events)[0], "target");
    let mut second = self::reader(&supervisor, &["--since", "start"]);
    let first = next(&mut second);
    assert_eq!((text(&first, "kind"), is_null(&first, "before")), ("took-over", false));
    supervisor.kill();
    assert!(reader.line().is_err(), "nothing comes from nobody");
    supervisor.start_again();
    supervisor.await_healthy(2);
}

#[test]
fn no_more_than_a_hundred_read_along_and_others_are_served_meanwhile() {
    let (mut supervisor, _, _) = releases(1, &[]);
    let mut readers: Vec<Connection> = (0..100).map(|_| reader(&supervisor, &[])).collect();
    let refused = supervisor.ctl(&["events"]);
    assert_eq!(refused.status.code(), Some(1), "{}", out(&refused));
    assert!(err(&refused).contains("100 clients read events already"), "{}", err(&refused));
    supervisor.await_log("a client asked for events, which is refused: 100 clients");
    supervisor.ctl_ok(&["upgrade"]);
    for reader in &mut readers {
        assert_eq!(kinds(&up_to(reader, "upgraded"))[0], "upgrading");
    }
    drop(readers.pop());
    let mut late = supervisor.eventually("there is room again", |me| {
        let mut late = open(me, "events", &[]);
        let line = late.line().ok()?;
        matches!(member(&line, "ok"), Value::Bool(true)).then_some(late)
    });
    supervisor.ctl_ok(&["upgrade"]);
    assert_eq!(kinds(&up_to(&mut late, "upgraded"))[0], "upgrading");
}
