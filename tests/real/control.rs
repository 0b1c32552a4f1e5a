//! What each command of the control socket does, and says about it.

use crate::{
    harness::{Connection, Supervisor, is_alive, is_ok, member, number, text},
    tools::{
        ask, command, is_null, list, python, recorded, recorders, refusal, skip, sleepers, state, within,
    },
};
use nix::sys::signal::{Signal, kill};

/// Larger than any pid: the kernel's limit is 4194304.
const NOBODY: &str = "4194305";

#[test]
fn status_tells_as_data_what_the_table_tells_people() {
    let (mut supervisor, _, pids) = crate::tools::releases(2, &[]);
    let address = supervisor.address(0).to_string();
    let answer = ask(&supervisor, r#"{"command":"status"}"#);
    assert!(is_ok(&answer));
    let status = member(&answer, "status");
    assert_eq!(number(status, "pid"), i64::from(supervisor.pid()));
    assert_eq!(text(status, "version"), env!("CARGO_PKG_VERSION"));
    assert!(number(status, "uptime_ms") > 0);
    let numbers = ["generation", "target", "healthy"].map(|name| number(status, name));
    assert_eq!(numbers, [1, 2, 2]);
    assert!(is_null(status, "upgrade") && is_null(status, "stopping"));
    assert!(matches!(list(status, "listeners"), [one] if format!("{one:?}").contains(&address)));

    assert_eq!(list(status, "slots").len(), 2);
    for slot in list(status, "slots") {
        assert_eq!([number(slot, "failures"), number(slot, "restarts")], [0, 0]);
        assert!(["last_failure", "last_exit", "retry_in_ms"].iter().all(|name| is_null(slot, name)));
    }
    assert_eq!(list(status, "workers").len(), 2);
    for (position, worker) in (0..).zip(list(status, "workers")) {
        assert_eq!(number(worker, "slot"), position);
        assert!(pids.iter().any(|pid| i64::from(*pid) == number(worker, "pid")));
        assert_eq!([number(worker, "generation"), number(worker, "restarts")], [1, 0]);
        assert_eq!(text(worker, "phase"), "healthy");
        assert!(number(worker, "age_ms") >= 0);
        assert!(["detail", "last_exit", "last_ping_ms"].iter().all(|name| is_null(worker, name)));
    }
    let table = text(&answer, "message");
    for word in [&address, "2/2 workers healthy", "SLOT", &pids[0].to_string(), &pids[1].to_string()] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
}

#[test]
fn status_tells_how_the_last_worker_of_a_slot_ended_and_how_often_it_was_replaced() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    kill(crate::harness::raw(pids[0]), Signal::SIGKILL).expect("a worker");
    let worker = supervisor.eventually("it is replaced", |me| {
        me.workers(|worker| text(worker, "phase") == "healthy" && number(worker, "restarts") == 1).pop()
    });
    assert_ne!(number(&worker, "pid"), i64::from(pids[0]));
    let exit = member(&worker, "last_exit");
    assert_eq!((text(exit, "kind"), number(exit, "signal")), ("killed", 9));
    assert_eq!(text(exit, "message"), "killed by SIGKILL (signal 9)");
}

#[test]
fn inc_and_dec_change_the_number_of_workers_by_one() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let answer = command(&supervisor, &["inc"]);
    assert!(is_ok(&answer));
    assert_eq!([number(&answer, "old"), number(&answer, "target")], [1, 2]);
    assert_eq!(text(&answer, "message"), "number of workers: 1 → 2");
    let two = supervisor.await_healthy(2);
    assert_eq!(two[0], pids[0], "the worker that was there stays");

    let answer = command(&supervisor, &["dec"]);
    assert_eq!([number(&answer, "old"), number(&answer, "target")], [2, 1]);
    assert_eq!(supervisor.await_healthy(1), pids);

    let message = refusal(&supervisor, &["dec"]);
    assert!(message.contains("1, as before") && message.contains("from 1 to 10000"), "{message}");
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn set_workers_takes_a_number_from_1_to_10000_and_nothing_else() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let answer = command(&supervisor, &["set_workers", "4"]);
    assert_eq!([number(&answer, "old"), number(&answer, "target")], [1, 4]);
    assert_eq!(supervisor.await_healthy(4)[0], pids[0]);
    let answer = command(&supervisor, &["set_workers", "4"]);
    assert!(is_ok(&answer) && text(&answer, "message").contains("4, as before"), "{answer:?}");

    for (word, why) in [
        ("0", "from 1 to 10000"),
        ("10001", "from 1 to 10000"),
        ("abc", "`abc` is not a number of workers"),
        ("-1", "`-1` is not a number of workers"),
        ("+1", "`+1` is not a number of workers"),
        ("1.5", "`1.5` is not a number of workers"),
        ("99999999999999999999", "is not a number of workers"),
    ] {
        let message = refusal(&supervisor, &["set_workers", word]);
        assert!(message.contains(why), "{word}: {message}");
    }
    assert!(refusal(&supervisor, &["set_workers"]).contains("the argument is missing"));
    assert!(refusal(&supervisor, &["set_workers", "2", "3"]).contains("unexpected argument `3`"));
    assert_eq!(supervisor.await_healthy(4).len(), 4, "what was refused has changed nothing");

    command(&supervisor, &["set-workers", "1"]);
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn a_signal_goes_to_all_workers_or_to_those_that_are_named() {
    let (mut supervisor, pids, notes) = recorders(3, &[], &[]);
    let answer = command(&supervisor, &["signal", "SIGusr1"]);
    assert_eq!((text(&answer, "signal"), number(&answer, "count")), ("USR1", 3));
    let answer = command(&supervisor, &["signal", "WINCH", &pids[1].to_string(), &pids[2].to_string()]);
    assert_eq!(number(&answer, "count"), 2);

    // One that does not exist, and nobody gets it.
    let message = refusal(&supervisor, &["signal", "ALRM", &pids[0].to_string(), NOBODY]);
    assert!(message.contains(&format!("no worker has pid {NOBODY}")), "{message}");
    let message = refusal(&supervisor, &["signal", "ALRM", &supervisor.pid().to_string()]);
    assert!(message.contains("no worker has pid"), "{message}");

    for pid in &pids {
        let expected: &[&str] = if *pid == pids[0] { &["USR1"] } else { &["USR1", "WINCH"] };
        supervisor.eventually("it has got them", |_| {
            let mut got = recorded(&notes, *pid)?;
            got.sort_unstable();
            (got == expected).then_some(())
        });
    }
    // What was refused would have come before this.
    command(&supervisor, &["signal", "HUP"]);
    for pid in &pids {
        let got = supervisor.eventually("the last one has come", |_| {
            recorded(&notes, *pid).filter(|got| got.contains(&"HUP".to_owned()))
        });
        assert!(!got.contains(&"ALRM".to_owned()), "{got:?}");
    }
}

#[test]
fn stop_cont_and_kill_can_be_sent_to_a_worker() {
    let (mut supervisor, pids) = sleepers(2, &[]);
    let name = pids[0].to_string();
    assert!(is_ok(&command(&supervisor, &["signal", "STOP", &name])));
    supervisor.eventually("it is stopped", |_| (state(pids[0])? == "T").then_some(()));
    supervisor.eventually("the other one is not", |_| (state(pids[1])? == "S").then_some(()));
    let stopped = |worker: &miniserde::json::Value| {
        matches!(member(worker, "stopped"), miniserde::json::Value::Bool(true))
    };
    let told: Vec<i64> = supervisor.workers(stopped).iter().map(|worker| number(worker, "pid")).collect();
    assert_eq!(told, [i64::from(pids[0])], "the status tells of it");
    assert!(supervisor.ctl_ok(&["status"]).contains(&format!("{name}  1           healthy, stopped  ")));
    assert_eq!(supervisor.await_healthy(2), pids, "and the supervisor makes nothing of it");
    assert!(is_ok(&command(&supervisor, &["signal", "CONT", &name])));
    supervisor.eventually("it goes on", |_| (state(pids[0])? == "S").then_some(()));
    assert!(supervisor.workers(stopped).is_empty());
    assert!(is_ok(&command(&supervisor, &["signal", "KILL", &name])));
    supervisor.eventually("it is replaced", |me| {
        let now = me.healthy();
        (now.len() == 2 && !now.contains(&pids[0]) && now.contains(&pids[1])).then_some(())
    });
}

#[test]
fn what_signal_does_not_know_is_refused_with_what_it_knows() {
    let (supervisor, _) = sleepers(1, &[]);
    assert!(refusal(&supervisor, &["signal"]).contains("the signal is missing; accepted: HUP, INT"));
    assert!(refusal(&supervisor, &["signal", "FOO"]).contains("`FOO` is not a signal; accepted: HUP, INT"));
    assert!(refusal(&supervisor, &["signal", "9"]).contains("`9` is not a signal"));
    for pid in ["0", "-1", "1x", "2147483648"] {
        let message = refusal(&supervisor, &["signal", "USR1", pid]);
        assert!(message.contains(&format!("`{pid}` is not a process id")), "{message}");
    }
}

#[test]
fn retry_gives_slots_that_were_given_up_another_chance() {
    let folder = crate::harness::Folder::new();
    let program = folder.script(
        "program",
        "#!/bin/sh\n[ $EINHORN_CHILD_INDEX = 0 ] || [ -e \"$1\" ] || exit 3\nexec sleep 600\n",
    );
    let permit = folder.join("permit");
    let args = ["-n", "2", "-r", "2", "-s", "0.01", "--ack-after", "0.4", "--", &program];
    let args: Vec<&str> = args.into_iter().chain([permit.to_str().expect("UTF-8")]).collect();
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let gave_up = |me: &mut Supervisor| {
        let status = me.status();
        let slot = list(&status, "slots").get(1)?.clone();
        matches!(member(&slot, "gave_up"), miniserde::json::Value::Bool(true)).then_some(slot)
    };
    let slot = supervisor.eventually("slot 1 is given up", gave_up);
    assert_eq!(text(member(&slot, "last_failure"), "message"), "exited with status 3");
    let answer = ask(&supervisor, r#"{"command":"status"}"#);
    assert!(text(&answer, "message").contains("slot 1: given up after"), "{answer:?}");

    std::fs::write(&permit, "").expect("a file can be written");
    let answer = command(&supervisor, &["retry"]);
    assert_eq!(number(&answer, "slots"), 1);
    supervisor.await_healthy(2);
    let answer = command(&supervisor, &["retry"]);
    assert!(is_ok(&answer) && number(&answer, "slots") == 0, "{answer:?}");
    assert!(text(&answer, "message").contains("nothing to retry"), "{answer:?}");
}

#[test]
fn die_shuts_down_in_the_way_that_is_asked_for_and_says_so_first() {
    for (args, shutdown, last) in [
        ([].as_slice(), "graceful", "USR2"),
        (&["USR2"], "graceful", "USR2"),
        (&["SIGTERM"], "fast", "TERM"),
        (&["quit"], "quick", "TERM"),
        (&["KILL"], "kill", ""),
    ] {
        let ends_on: Vec<&str> = Some(last).into_iter().filter(|last| !last.is_empty()).collect();
        let (mut supervisor, pids, notes) = recorders(1, &[], &ends_on);
        let words: Vec<&str> = ["die"].iter().chain(args).copied().collect();
        let answer = command(&supervisor, &words);
        assert!(is_ok(&answer) && text(&answer, "shutdown") == shutdown, "{answer:?}");
        assert_eq!(supervisor.await_exit(), 0);
        assert_eq!(recorded(&notes, pids[0]), Some(ends_on.iter().map(|name| (*name).to_owned()).collect()));
        assert!(!supervisor.socket().exists() && !is_alive(pids[0]));
    }
}

#[test]
fn die_refuses_what_is_no_way_to_shut_down() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let message = refusal(&supervisor, &["die", "HUP"]);
    assert!(message.contains("`HUP` is not a way to shut down; accepted: INT or USR2"), "{message}");
    assert!(refusal(&supervisor, &["die", "TERM", "now"]).contains("unexpected argument `now`"));
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn ehlo_help_and_version_do_as_their_names_say() {
    let (supervisor, _) = sleepers(1, &[]);
    let hello = ask(&supervisor, r#"{"command":"ehlo","user":"Ada"}"#);
    let message = text(&hello, "message");
    assert!(is_ok(&hello) && message.starts_with("Hello Ada,"), "{message}");
    assert!(message.contains(&format!("(pid {})", supervisor.pid())), "{message}");
    assert!(text(&command(&supervisor, &["ehlo", "Bob"]), "message").starts_with("Hello Bob,"));
    assert!(text(&command(&supervisor, &["ehlo"]), "message").starts_with("Hello there,"));

    let version = command(&supervisor, &["version"]);
    assert_eq!(text(&version, "message"), concat!("einhyrningsins ", env!("CARGO_PKG_VERSION")));

    let help = command(&supervisor, &["help"]);
    for name in ["status", "upgrade", "upgrade_fleet", "inc", "dec", "set_workers", "signal", "retry", "die"]
    {
        assert!(text(&help, "message").lines().any(|line| line.trim().starts_with(name)), "{name}");
    }
    for name in
        ["ehlo", "help", "version", "state", "config", "louder", "quieter", "worker:ack", "worker:ping"]
    {
        assert!(text(&help, "message").lines().any(|line| line.trim().starts_with(name)), "{name}");
    }
}

#[test]
fn louder_and_quieter_change_what_is_logged() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let level = |supervisor: &Supervisor, name: &str| {
        let answer = command(supervisor, &[name]);
        assert!(is_ok(&answer));
        text(&answer, "message").to_owned()
    };
    assert!(!supervisor.log().contains("DEBUG"), "{}", supervisor.log());
    assert_eq!(level(&supervisor, "louder"), "log level: DEBUG");
    command(&supervisor, &["inc"]);
    supervisor.await_log("started in slot 1");
    assert_eq!(level(&supervisor, "louder"), "log level: TRACE");
    assert_eq!(level(&supervisor, "louder"), "log level: TRACE, as before");
    for expected in ["DEBUG", "INFO", "WARN", "ERROR", "ERROR, as before"] {
        assert_eq!(level(&supervisor, "quieter"), format!("log level: {expected}"));
    }
    // Now the number of workers can change without a word.
    let before = supervisor.log().len();
    command(&supervisor, &["dec"]);
    assert_eq!(supervisor.await_healthy(1), pids);
    assert_eq!(supervisor.log().len(), before);
}

#[test]
fn a_ping_of_a_worker_shows_in_the_status_and_nobody_else_can_send_it() {
    let Some(python) = python() else { return skip("there is no python3") };
    let folder = crate::harness::Folder::new();
    let program = folder.script(
        "pinger.py",
        r#"
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as control:
    control.connect(os.environ["EINHORN_SOCK_PATH"])
    lines = control.makefile("rwb")
    for command in "worker:ack", "worker:ping":
        request = {"command": command, "pid": os.getpid(), "request_id": "GET /", "id": 1}
        lines.write(json.dumps(request).encode() + b"\n")
        lines.flush()
        with open(sys.argv[1], "ab") as file:
            file.write(lines.readline())
signal.pause()
"#,
    );
    let answers = folder.join("answers");
    let args = ["-m", "--", &python, &program, answers.to_str().expect("UTF-8")];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let worker = supervisor.eventually("its ping is shown", |me| {
        me.workers(|worker| !is_null(worker, "last_ping_ms") && text(worker, "phase") == "healthy").pop()
    });
    let pid = number(&worker, "pid");
    let said = supervisor.eventually("it has written down both answers", |me| {
        Some(std::fs::read_to_string(within(me, "answers")).ok()?).filter(|said| said.lines().count() == 2)
    });
    assert!(said.contains(&format!("ping of worker {pid} noted\",\"ok\":true,\"request_id\":1")), "{said}");

    for name in ["worker:ping", "worker:ack"] {
        let answer = ask(&supervisor, &format!("{{\"command\":\"{name}\",\"pid\":{pid}}}"));
        assert!(!is_ok(&answer), "{answer:?}");
        assert_eq!(number(&answer, "sender"), i64::from(std::process::id()));
        let answer = ask(&supervisor, &format!("{{\"command\":\"{name}\",\"pid\":{NOBODY}}}"));
        assert!(!is_ok(&answer) && text(&answer, "message").starts_with("no worker has pid"), "{answer:?}");
    }
    supervisor.await_log(&format!(", which is refused: process {} cannot speak for", std::process::id()));
}

#[test]
fn a_command_that_takes_no_argument_refuses_one() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    for name in ["status", "state", "config", "abort", "history", "retry", "version", "louder", "quieter"] {
        connection.send(&format!("{{\"command\":\"{name}\",\"args\":[\"now\"]}}")).expect("it is sent");
        let answer = connection.line().expect("an answer");
        let message = text(&answer, "message");
        assert_eq!(message, format!("{name}: unexpected argument `now`; it takes none"));
    }
}
