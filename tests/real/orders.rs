//! What an upgrade is told, before it begins and while it is under way, and what is told about it.

use crate::{
    harness::{CLIENT, is_ok, member, number, raw, rust_worker, text},
    progress::{
        HANGS, LONG, answer, await_generation, await_stage, complaint, mortal, open, variable, version,
    },
    tools::{ask, command, err, is_null, list, refusal, releases, within},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    process::{Command, Stdio},
};

#[test]
fn an_upgrade_can_be_aborted_and_who_asked_for_it_is_told() {
    let (mut supervisor, release, old) = releases(3, &[]);
    release.switch(&supervisor.folder.script("hangs", HANGS));
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| supervisor.ctl(&["upgrade"]));
        crate::harness::eventually("it has begun", || {
            supervisor.log().contains("rolling upgrade to generation 2").then_some(())
        });
        supervisor.ctl_ok(&["abort"]);
        first.join().expect("it ends")
    });
    let said = err(&first);
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("the upgrade to generation 2 was aborted"), "{said}");
    assert!(said.contains("rolled back: generation 1 serves with 3 healthy workers"), "{said}");
    assert_eq!(supervisor.await_healthy(3), old, "the very same processes");

    // On trial, with some replaced already.
    release.switch(&rust_worker());
    let mut client = open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    await_stage(&mut supervisor, "canary-soak");
    let said = supervisor.ctl_ok(&["abort"]);
    assert!(said.contains("taking generation 3 back"), "{said}");
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!(
        (is_ok(&last), text(&last, "outcome"), text(&last, "cause")),
        (false, "rolled-back", "aborted")
    );
    assert!(is_null(&last, "slot") && is_null(&last, "failure"), "{last:?}");
    assert_eq!(await_generation(&mut supervisor, 1, 3)[1..], old[1..]);
}

#[test]
fn where_no_upgrade_is_under_way_there_is_nothing_to_abort() {
    let (mut supervisor, _, old) = releases(1, &[]);
    let said = complaint(&supervisor, &["abort"]);
    assert!(said.contains("no upgrade is under way; nothing changed"), "{said}");
    supervisor.ctl_ok(&["upgrade"]);
    complaint(&supervisor, &["abort"]);
    assert_ne!(await_generation(&mut supervisor, 2, 1), old);
}

#[test]
fn variables_belong_to_a_generation_are_kept_by_the_next_and_go_when_it_is_taken_back() {
    let (mut supervisor, release, old) = releases(2, &["-r", "1"]);
    let all_have = |pids: &[u32], name: &str, value: Option<&str>| {
        assert!(pids.iter().all(|pid| variable(*pid, name).as_deref() == value), "{name} is not {value:?}");
    };
    // Taken back: never seen again.
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade", "--env", "V=0"]);
    release.switch(&rust_worker());
    supervisor.ctl_ok(&["upgrade"]);
    let now = await_generation(&mut supervisor, 3, 2);
    all_have(&now, "V", None);

    supervisor.ctl_ok(&["upgrade", "--env", "V=2", "--env=DEMO_VERSION=two"]);
    let now = await_generation(&mut supervisor, 4, 2);
    all_have(&now, "V", Some("2"));
    assert_eq!(version(&mut supervisor), "two");

    // Kept, by whatever asks; also by who comes back after a crash.
    supervisor.ctl_ok(&["upgrade", "--env", "W=3"]);
    supervisor.signal(Signal::SIGHUP);
    let now = await_generation(&mut supervisor, 6, 2);
    all_have(&now, "V", Some("2"));
    all_have(&now, "W", Some("3"));
    kill(raw(now[0]), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("it is back", |me| {
        let healthy = me.healthy();
        (healthy.len() == 2 && !healthy.contains(&now[0])).then_some(())
    });
    all_have(&supervisor.healthy(), "V", Some("2"));

    // One that had come into use, and is taken back.
    release.switch(&mortal(&supervisor.folder, "mortal", "0"));
    fs::write(within(&supervisor, "die"), "").expect("a file can be written");
    let last = answer(&supervisor, "upgrade_fleet", &["--env", "V=9", "--soak", LONG]);
    assert!(!is_ok(&last), "{last:?}");
    let now = await_generation(&mut supervisor, 6, 2);
    all_have(&now, "V", Some("2"));
    release.switch(&rust_worker());
    supervisor.ctl_ok(&["upgrade"]);
    let now = await_generation(&mut supervisor, 8, 2);
    all_have(&now, "V", Some("2"));
    assert!(now.iter().all(|pid| !old.contains(pid)));
}

#[test]
fn another_program_can_be_named_and_stays_until_it_is_taken_back() {
    let (mut supervisor, _, _) = releases(2, &["-r", "1"]);
    let worker = rust_worker();
    supervisor.ctl_ok(&["upgrade", "--", "env", "DEMO_VERSION=two", &worker, "--canary"]);
    let now = await_generation(&mut supervisor, 2, 2);
    assert_eq!(version(&mut supervisor), "two");
    let words = fs::read(format!("/proc/{}/cmdline", now[0])).expect("a process");
    assert_eq!(words, format!("{worker}\0--canary\0").into_bytes());
    supervisor.ctl_ok(&["upgrade"]);
    await_generation(&mut supervisor, 3, 2);
    assert_eq!(version(&mut supervisor), "two", "what is not said stays as it is");

    let said = complaint(&supervisor, &["upgrade", "--", "/no/such/program"]);
    assert!(said.contains("/no/such/program") && said.contains("no worker was touched"), "{said}");
    let said = complaint(&supervisor, &["upgrade", "--", "sh", "-c", "exit 4"]);
    assert!(said.contains("exited with status 4"), "{said}");
    supervisor.ctl_ok(&["upgrade"]);
    await_generation(&mut supervisor, 6, 2);
    assert_eq!(version(&mut supervisor), "two");
}

#[test]
fn what_an_upgrade_does_not_understand_it_refuses_with_what_it_accepts() {
    let (mut supervisor, _, old) = releases(1, &[]);
    let accepted =
        "accepted: --canary N, --soak SECS, --timeout SECS, --env VAR=VALUE (repeats), -- PROGRAM ARGS...";
    for (words, named) in [
        (&["now"][..], accepted),
        (&["--fast"], accepted),
        (&["--canary"], accepted),
        (&["--"], accepted),
        (&["--canary", "1"], "--canary needs --soak"),
        (&["--canary", "0", "--soak", "1"], "it can be from 1 to 10000"),
        (&["--soak", "-1"], "accepted: 0 to 86400, decimals allowed"),
        (&["--timeout", "soon"], "--timeout: `soon` is not a time in seconds"),
        (&["--soak", "2", "--timeout", "2"], "is not more than the 2.0 s that the trials take"),
        (&["--env", "V"], "`V` is not VAR=VALUE"),
    ] {
        for name in ["upgrade", "upgrade_fleet"] {
            let said = refusal(&supervisor, &[&[name], words].concat());
            assert!(said.contains(named), "{words:?}: {said}");
        }
    }
    assert_eq!(supervisor.await_healthy(1), old);
    assert_eq!(number(&supervisor.status(), "generation"), 1);
    assert_eq!(list(&ask(&supervisor, r#"{"command":"history"}"#), "history").len(), 1, "none was begun");
}

#[test]
fn the_number_of_workers_may_double_and_halve_during_an_upgrade() {
    let (mut supervisor, release, _) = releases(4, &["--max-unacked", "1"]);
    let gate = supervisor.folder.join("gate").display().to_string();
    let slow = format!("#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("slow", &slow));
    let mut client = open(&supervisor, "upgrade", &["--soak", "0.3"]);
    supervisor.await_log("rolling upgrade to generation 2");
    assert!(is_ok(&command(&supervisor, &["set_workers", "8"])));
    fs::write(&gate, "").expect("a file can be written");
    supervisor.eventually("more than four are healthy", |me| (me.healthy().len() > 4).then_some(()));
    assert!(is_ok(&command(&supervisor, &["set_workers", "2"])));
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!((text(&last, "outcome"), number(&last, "healthy")), ("upgraded", 2), "{last:?}");
    await_generation(&mut supervisor, 2, 2);
}

#[test]
fn an_upgrade_whose_client_is_interrupted_comes_to_its_end() {
    let (mut supervisor, release, old) = releases(3, &["--max-unacked", "1"]);
    let gate = supervisor.folder.join("gate").display().to_string();
    let slow = format!("#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("slow", &slow));
    let mut client = Command::new(CLIENT);
    client.arg("-d").arg(supervisor.socket()).args(["upgrade", "--soak", "0.3"]).stdin(Stdio::null());
    let mut client =
        client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the client can be run");
    supervisor.await_log("rolling upgrade to generation 2");
    kill(raw(client.id()), Signal::SIGINT).expect("the client");
    assert!(!client.wait().expect("its end").success());
    fs::write(&gate, "").expect("a file can be written");
    let new = await_generation(&mut supervisor, 2, 3);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    supervisor.await_log("upgrade to generation 2 is complete");
}

#[test]
fn the_history_tells_of_every_generation_who_asked_for_it_and_what_came_of_it() {
    let (mut supervisor, release, _) = releases(2, &["-r", "1"]);
    supervisor.ctl_ok(&["upgrade"]);
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade_fleet"]);
    release.remove();
    complaint(&supervisor, &["upgrade"]);
    release.switch(&rust_worker());
    let mut first = open(&supervisor, "upgrade", &["--soak", LONG]);
    await_stage(&mut supervisor, "probation");
    supervisor.ctl_ok(&["upgrade"]);
    assert_eq!(text(&first.answer().expect("an answer").pop().expect("a line"), "outcome"), "superseded");
    open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    await_stage(&mut supervisor, "canary-soak");
    let shown = supervisor.ctl_ok(&["history"]);
    assert!(shown.lines().last().is_some_and(|line| line.ends_with(": begun")), "{shown}");
    supervisor.ctl_ok(&["abort"]);
    supervisor.await_log("rolled back: generation 6");

    let told = ask(&supervisor, r#"{"command":"history"}"#);
    let me = format!("uid {}, pid ", nix::unistd::getuid());
    let expected = [
        ("the start", None, "replaced", "by generation 2"),
        (&me, Some("rolling"), "replaced", "by generation 6"),
        (&me, Some("fleet"), "rolled back", "exited with status 7"),
        (&me, None, "refused", "No such file or directory (errno 2)"),
        (&me, Some("rolling"), "superseded", "by generation 6"),
        (&me, Some("rolling"), "serves", "took over after "),
        (&me, Some("rolling"), "rolled back", "the upgrade to generation 7 was aborted"),
    ];
    let entries = list(&told, "history");
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    let shown = supervisor.ctl_ok(&["history"]);
    for (at, (entry, (by, strategy, result, reason))) in entries.iter().zip(expected).enumerate() {
        assert_eq!(number(entry, "generation"), i64::try_from(at).expect("a number") + 1);
        assert!(text(entry, "by").starts_with(by), "{entry:?}");
        let found = (!is_null(entry, "strategy")).then(|| text(entry, "strategy"));
        assert_eq!((found, text(entry, "result")), (strategy, result), "{entry:?}");
        assert!(text(entry, "reason").contains(reason), "{entry:?}");
        assert!(number(entry, "asked_at") > 1_600_000_000, "{entry:?}");
        let line = shown.lines().nth(at).expect("a line for each");
        assert!(line.starts_with(&format!("generation {} at 2", at + 1)), "{line}");
        for word in [by, result, reason, strategy.unwrap_or_default(), text(entry, "program")] {
            assert!(line.contains(word), "{word} is not in {line}");
        }
    }
}

#[test]
fn the_status_tells_the_stage_of_an_upgrade_and_what_it_is_waiting_for() {
    let (mut supervisor, release, _) = releases(3, &["--max-unacked", "1"]);
    for (words, stage, waiting, retired) in [
        (&["--canary", "1", "--soak", LONG][..], "canary-soak", "the canaries' trial to end, ", 1),
        (&["--soak", LONG], "probation", "the trial of all workers to end, ", 3),
    ] {
        open(&supervisor, "upgrade", words);
        let told = await_stage(&mut supervisor, stage);
        assert!(text(&told, "waiting_for").starts_with(waiting), "{told:?}");
        let left = number(&told, "trial_left_ms");
        assert!((1..=600_000).contains(&left) && number(&told, "retired") == retired, "{told:?}");
        let shown = supervisor.ctl_ok(&["status"]);
        assert!(shown.contains(&format!("waiting for {waiting}")), "{shown}");
        supervisor.ctl_ok(&["abort"]);
        await_generation(&mut supervisor, 1, 3);
    }
    release.switch(&supervisor.folder.script("hangs", HANGS));
    open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    let told = supervisor.eventually("a worker is awaited", |me| {
        let status = me.status();
        let told = member(&status, "upgrade");
        (!is_null(&status, "upgrade") && number(told, "unready") == 1).then(|| told.clone())
    });
    assert_eq!((text(&told, "stage"), text(&told, "waiting_for")), ("canary", "1 worker to become healthy"));
    assert!(is_null(&told, "trial_left_ms"), "{told:?}");
    supervisor.ctl_ok(&["abort"]);
    supervisor.eventually("it is settled", |me| is_null(&me.status(), "upgrade").then_some(()));
}
