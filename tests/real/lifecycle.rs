//! From start to health: failed starts, back-off, acknowledgement.

use crate::{
    harness::{Folder, Supervisor, eventually, is_alive, is_ok, member, number, raw, script, text},
    probe::{Trace, python, run_in},
};
use einhyrningsins::fsm::{
    action::Action,
    event::{EventKind, ExitStatus},
    id::SlotId,
    notice::Notice,
    reason::{Failure, Next},
    signal::Signal as Sent,
    time::Millis,
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Starts a service that cannot be kept up, and returns its log and its trace.
#[track_caller]
fn gives_up<S: AsRef<str>>(args: &[S]) -> (String, Trace) {
    let folder = Folder::new();
    let file = folder.join("trace");
    let trace = ["--trace".to_owned(), file.display().to_string()];
    let args: Vec<String> = trace.into_iter().chain(args.iter().map(|arg| arg.as_ref().to_owned())).collect();
    let ended = run_in(folder, &args, |_| {});
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("given up") && ended.stderr.contains("no worker is left to try"),
        "{}",
        ended.stderr
    );
    let trace = Trace::read(&file);
    ended.left_nothing(None);
    (ended.stderr, trace)
}

/// How starts failed, and how long the slot was to wait after each.
fn failed_starts(trace: &Trace) -> Vec<(Failure, Next)> {
    let failed = trace.notices(|notice| match notice {
        Notice::StartFailed { failure, next, .. } => Some((*failure, *next)),
        _ => None,
    });
    failed.into_iter().map(|failed| failed.what).collect()
}

/// When workers were started, in milliseconds.
fn spawns(trace: &Trace) -> Vec<u64> {
    let spawned = trace.actions(|action| matches!(action, Action::Spawn { .. }).then_some(()));
    spawned.into_iter().map(|spawn| spawn.at).collect()
}

/// When workers ended, in milliseconds.
fn exits(trace: &Trace) -> Vec<u64> {
    let ended = |event: &EventKind| matches!(event, EventKind::Exited { .. });
    trace.events.iter().filter(|event| ended(&event.what)).map(|event| event.at).collect()
}

/// The words for rogue.py, with its interpreter.
fn rogue(words: &[&str]) -> Vec<String> {
    [python(), script("rogue.py")].into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
}

fn with(options: &[&str], rest: Vec<String>) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).chain(rest).collect()
}

/// The phase of the worker in a slot.
#[track_caller]
fn phase(supervisor: &mut Supervisor, slot: i64) -> Option<(u32, String)> {
    let found = supervisor.workers(|worker| number(worker, "slot") == slot);
    let worker = found.first()?;
    let Value::Number(_) = member(worker, "pid") else { return None };
    Some((u32::try_from(number(worker, "pid")).expect("a pid"), text(worker, "phase").to_owned()))
}

#[track_caller]
fn await_phase(supervisor: &mut Supervisor, slot: i64, wanted: &str) -> u32 {
    supervisor.eventually(&format!("the worker of slot {slot} is {wanted}"), |me| {
        phase(me, slot).filter(|(_, phase)| phase == wanted).map(|(pid, _)| pid)
    })
}

#[test]
fn a_worker_that_exits_at_once_is_tried_again_ever_later_and_given_up() {
    let (log, trace) = gives_up(&["-r", "4", "-s", "0.04", "--ack-after", "60", "/bin/sh", "-c", "exit 7"]);
    let failure = Failure::Exited(ExitStatus::Code(7));
    let next =
        [Next::In(Millis(40)), Next::In(Millis(60)), Next::In(Millis(90)), Next::GivenUp { failures: 4 }];
    assert_eq!(failed_starts(&trace), next.map(|next| (failure, next)));
    let (spawns, exits) = (spawns(&trace), exits(&trace));
    assert_eq!((spawns.len(), exits.len()), (4, 4));
    for (delay, (exit, next)) in [40, 60, 90].into_iter().zip(exits.iter().zip(spawns.iter().skip(1))) {
        assert!(next - exit >= delay, "{spawns:?} {exits:?}");
    }
    assert!(log.contains("exited with status 7") && log.contains("failed to start 4 times"), "{log}");
}

#[test]
fn the_first_delay_can_be_none_and_one_failure_enough() {
    let (_, trace) = gives_up(&["-r", "3", "-s", "0", "/bin/false"]);
    assert_eq!(spawns(&trace).len(), 3);
    let (_, trace) = gives_up(&["-r", "1", "-s", "30", "/bin/false"]);
    assert_eq!(spawns(&trace).len(), 1);
}

#[test]
fn a_worker_that_exits_before_it_counts_as_healthy_has_failed_to_start() {
    let words = ["-r", "2", "-s", "0.02", "--ack-after", "60", "/bin/sh", "-c", "sleep 0.1; exit 3"];
    let (_, trace) = gives_up(&words);
    let failure = Failure::Exited(ExitStatus::Code(3));
    assert_eq!(
        failed_starts(&trace),
        [(failure, Next::In(Millis(20))), (failure, Next::GivenUp { failures: 2 })]
    );

    let (log, trace) =
        gives_up(&with(&["-m", "-r", "2", "-s", "0.02"], rogue(&["exit", "0", "after", "0.1"])));
    assert_eq!(failed_starts(&trace).len(), 2, "leaving without an error is no start either");
    assert!(log.contains("exited with status 0"), "{log}");
}

#[test]
fn a_worker_that_dies_by_a_signal_is_told_with_its_name() {
    let (log, _) = gives_up(&with(&["-m", "-r", "1"], rogue(&["die-by", "SEGV"])));
    assert!(log.contains("killed by SIGSEGV (signal 11)"), "{log}");
    // Real-time signals have no names, and some libraries do not know them.
    let (log, trace) = gives_up(&with(&["-m", "-r", "1"], rogue(&["die-by", "40"])));
    assert!(log.contains("killed by signal 40"), "{log}");
    assert_eq!(
        failed_starts(&trace),
        [(Failure::Exited(ExitStatus::Signal(40)), Next::GivenUp { failures: 1 })]
    );
}

#[test]
fn a_worker_that_never_acknowledges_is_stopped_and_tried_again() {
    let options = ["-m", "--ack-timeout", "0.3", "-r", "2", "-s", "0.02"];
    let (log, trace) = gives_up(&with(&options, rogue(&["never-ack"])));
    assert!(log.contains("was not ready in time"), "{log}");
    let failed: Vec<_> = failed_starts(&trace).into_iter().map(|(failure, _)| failure).collect();
    assert!(
        matches!(failed[..], [Failure::Unacknowledged { .. }, Failure::Unacknowledged { .. }]),
        "{failed:?}"
    );
    let sent = trace.actions(|action| match action {
        Action::Signal { signal, .. } => Some(*signal),
        _ => None,
    });
    assert_eq!(sent.iter().map(|sent| sent.what).collect::<Vec<_>>(), [Sent::Term; 2]);
    for (spawn, sent) in spawns(&trace).into_iter().zip(&sent) {
        assert!(sent.at - spawn >= 300, "not before its time");
    }
}

#[test]
fn an_ack_counts_once() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let trace = file.display().to_string();
    let args = with(&["-m", "--trace", &trace], rogue(&["ack-twice"]));
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_log("is acknowledged");
    supervisor.await_log("was acknowledged before; nothing changed");
    supervisor.await_healthy(1);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    let healthy = Trace::read(&file).notices(|notice| matches!(notice, Notice::Healthy { .. }).then_some(()));
    assert_eq!(healthy.len(), 1);
}

#[test]
fn a_worker_cannot_acknowledge_for_another() {
    let folder = Folder::new();
    let (python, rogue) = (python(), script("rogue.py"));
    let [pid, go] = ["pid", "go"].map(|name| folder.join(name));
    let slots = format!(
        "#!/bin/sh\n\
         wait_for() {{ while [ ! -e \"$1\" ]; do sleep 0.01; done; }}\n\
         case $EINHORN_CHILD_INDEX in\n\
         0) (wait_for '{go}'; exec {python} {rogue} ack-other $$ never-ack) & wait;;\n\
         1) wait_for '{pid}'; exec {python} {rogue} ack-other $(cat '{pid}');;\n\
         esac\n",
        go = go.display(),
        pid = pid.display(),
    );
    let program = folder.script("slots", &slots);
    let mut supervisor = Supervisor::start_in(folder, &["-m", "-n", "2", &program], |_| {});
    let slow = await_phase(&mut supervisor, 0, "pending-ack");

    fs::write(pid.with_extension("part"), slow.to_string()).expect("a file can be written");
    fs::rename(pid.with_extension("part"), &pid).expect("it can be moved");
    let eager = await_phase(&mut supervisor, 1, "healthy");
    let refusal = format!("process {eager} cannot speak for worker {slow}");
    assert!(supervisor.log().contains(&refusal), "{}", supervisor.log());
    assert_eq!(phase(&mut supervisor, 0), Some((slow, "pending-ack".to_owned())));

    // Nor can a stranger, and nobody for a process that is no worker.
    for (pid, why) in [
        (slow, "cannot speak for worker"),
        (eager, "cannot speak for worker"),
        (supervisor.pid(), "no worker has pid"),
        (std::process::id(), "no worker has pid"),
        (1, "no worker has pid"),
    ] {
        let ack = format!(r#"{{"command":"worker:ack","pid":{pid}}}"#);
        let replies = supervisor.request(&ack).expect("it answers");
        let reply = replies.last().expect("a line");
        assert!(!is_ok(reply) && text(reply, "message").contains(why), "{reply:?}");
    }
    assert_eq!(phase(&mut supervisor, 0), Some((slow, "pending-ack".to_owned())));
    assert_eq!(phase(&mut supervisor, 1), Some((eager, "healthy".to_owned())));

    // A process of its own group can.
    fs::write(&go, "").expect("a file can be written");
    assert_eq!(await_phase(&mut supervisor, 0, "healthy"), slow);
}

#[test]
fn an_ack_resurrects_nobody_who_was_asked_to_go() {
    let folder = Folder::new();
    let go = folder.join("go");
    let ready = folder.join("ready");
    let wait = format!(
        "trap '' USR2; > '{}'.$EINHORN_CHILD_INDEX; while [ ! -e '{}' ]; do sleep 0.01; done; exec \"$@\"",
        ready.display(),
        go.display()
    );
    let shell = ["/bin/sh", "-c", &wait, "sh"].map(str::to_owned).to_vec();
    let args = with(&["-m", "-n", "2", "--stop-signal", "USR2"], [shell, rogue(&[])].concat());
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    await_phase(&mut supervisor, 0, "pending-ack");
    let late = await_phase(&mut supervisor, 1, "pending-ack");
    eventually("it ignores the stop signal", || ready.with_extension("1").exists().then_some(()));
    supervisor.ctl_ok(&["-e", "dec"]);
    assert_eq!(await_phase(&mut supervisor, 1, "draining"), late);
    fs::write(&go, "").expect("a file can be written");
    supervisor.await_log(&format!("worker {late} is on its way out; nothing changed"));
    await_phase(&mut supervisor, 0, "healthy");
    assert_eq!(phase(&mut supervisor, 1), Some((late, "draining".to_owned())));
    assert!(is_alive(late));
}

#[test]
fn without_acknowledgement_a_worker_is_healthy_once_it_has_lived_long_enough() {
    for (options, least) in [(&["--ack-after", "0.2"][..], 200), (&[], 1_000), (&["--ack-after", "0"], 0)] {
        let folder = Folder::new();
        let file = folder.join("trace");
        let trace = file.display().to_string();
        let args = [&["--trace", &trace, "-n", "3"][..], options, &["sleep", "1000"]].concat();
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        supervisor.await_healthy(3);
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.await_exit(), 0);
        let took = Trace::read(&file).notices(|notice| match notice {
            Notice::Healthy { took, .. } => Some(took.0),
            _ => None,
        });
        assert_eq!(took.len(), 3);
        assert!(took.iter().all(|took| took.what >= least), "{options:?}");
    }
}

#[test]
fn a_healthy_worker_that_ends_is_replaced_in_its_slot_and_the_others_stay() {
    let mut supervisor = Supervisor::start(&["-n", "3", "--ack-after", "0", "sleep", "1000"]);
    let before = supervisor.await_healthy(3);
    kill(raw(before[1]), Signal::SIGSEGV).expect("the worker is there");
    let after = supervisor.eventually("it is replaced", |me| {
        Some(me.healthy()).filter(|after| after.len() == 3 && after[1] != before[1])
    });
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    let worker = supervisor.workers(|worker| number(worker, "slot") == 1);
    assert_eq!(number(&worker[0], "restarts"), 1);
    let exit = member(&worker[0], "last_exit");
    assert_eq!((text(exit, "kind"), number(exit, "signal")), ("killed", 11));
    assert!(supervisor.log().contains("without being asked to"), "{}", supervisor.log());
}

#[test]
fn a_worker_that_keeps_ending_early_keeps_a_distance_but_is_never_given_up() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let trace = file.display().to_string();
    let options = ["--trace", &trace, "--ack-after", "0", "-r", "2", "-s", "0.04"];
    let args = [&options[..], &["/bin/sh", "-c", "sleep 0.02; exit 1"]].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.eventually("it has ended nine times", |me| {
        (me.log().matches("without being asked to").count() >= 9).then_some(())
    });
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    let delays = Trace::read(&file).notices(|notice| match notice {
        Notice::Crashed { next: Next::In(delay), .. } => Some(delay.0),
        _ => None,
    });
    let delays: Vec<u64> = delays.into_iter().map(|delay| delay.what).take(9).collect();
    assert_eq!(delays[..4], [0; 4], "the first are free");
    // From start to start: what it lived is over.
    for (delay, spacing) in delays[4..].iter().zip([40, 60, 90, 135, 202]) {
        assert!(*delay <= spacing - 20, "{delays:?}");
    }
    assert!(delays[8] > 0, "{delays:?}");
}

#[test]
fn a_slot_that_fails_does_not_take_the_others_along_and_goes_on_being_tried() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let trace = file.display().to_string();
    let worker = rogue(&[]).join(" ");
    let text = format!("#!/bin/sh\n[ $EINHORN_CHILD_INDEX = 1 ] && exit 9\nexec {worker}\n");
    let program = folder.script("program", &text);
    let options = ["--trace", &trace, "-n", "3", "-r", "2", "-s", "0.02", "-m"];
    let mut supervisor = Supervisor::start_in(folder, &[&options[..], &[&program]].concat(), |_| {});
    let healthy = supervisor.await_healthy(2);
    supervisor.await_log("slot 1: generation 1");
    supervisor.await_log("has served, so the slot goes on being tried");
    supervisor.await_log("(failure 4 in a row)");
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(healthy.iter().all(|pid| !is_alive(*pid)));
    let spawned = Trace::read(&file).actions(|action| match action {
        Action::Spawn { slot, .. } => Some(*slot),
        _ => None,
    });
    assert!(spawned.iter().filter(|spawn| spawn.what == SlotId(1)).count() >= 4);
    assert_eq!(spawned.iter().filter(|spawn| spawn.what != SlotId(1)).count(), 2);
}

/// A supervisor of one healthy worker of a program that runs for as long as a file is there. It is not.
fn of_something_that_is_away(options: &[&str]) -> (Supervisor, PathBuf) {
    let folder = Folder::new();
    let database = folder.join("database");
    fs::write(&database, "").expect("a file can be written");
    let program = folder
        .script("program", &format!("#!/bin/sh\n[ -e {} ] || exit 9\nexec sleep 1000\n", database.display()));
    let own = ["-r", "2", "-s", "0.02", "--ack-after", "0.2"];
    let mut supervisor = Supervisor::start_in(folder, &[&own[..], options, &[&program]].concat(), |_| {});
    let healthy = supervisor.await_healthy(1);
    fs::remove_file(&database).expect("a file can be removed");
    kill(raw(healthy[0]), Signal::SIGKILL).expect("it is there");
    (supervisor, database)
}

#[test]
fn a_service_that_has_been_healthy_outlives_what_it_needs() {
    let (mut supervisor, database) = of_something_that_is_away(&[]);
    supervisor.await_log("has served, so the slot goes on being tried");
    supervisor.await_log("(failure 4 in a row)");
    fs::write(&database, "").expect("a file can be written");
    supervisor.await_healthy(1);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn a_service_ends_once_all_has_failed_if_that_is_asked_for() {
    let (mut supervisor, _) = of_something_that_is_away(&["--exit-on-failure"]);
    assert_eq!(supervisor.await_exit(), 1);
    let log = supervisor.log();
    assert!(log.contains("no worker is left to try: exited with status 9; ending"), "{log}");
}

#[test]
fn a_lasting_error_of_the_first_program_ends_the_start_at_once() {
    // Not found out before there are processes: the file is there and may be executed.
    let folder = Folder::new();
    let script = folder.script("script", "#!/no/such/interpreter\n");
    let file = folder.join("trace");
    let trace = file.display().to_string();
    let ended = run_in(folder, &["--trace", &trace, "-n", "20", "-m", &script], |_| {});
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    ended.left_nothing(None);
    let spawned = Trace::read(&file).actions(|action| match action {
        Action::Spawn { slot, .. } => Some(*slot),
        _ => None,
    });
    let slots: BTreeSet<SlotId> = spawned.iter().map(|spawn| spawn.what).collect();
    assert_eq!(slots.len(), spawned.len(), "none is tried again");
}

#[test]
fn a_program_that_is_just_being_written_is_tried_again() {
    let folder = Folder::new();
    let program = folder.script("program", "#!/bin/sh\nexec sleep 1000\n");
    let writer = fs::OpenOptions::new().append(true).open(&program).expect("it can be written");
    let args = ["-r", "1000", "-s", "0.02", "--ack-after", "0.1", &program];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let busy = supervisor.eventually("it tries", |me| {
        let log = me.log();
        (log.contains("Text file busy") || log.contains("up: ")).then(|| log.contains("Text file busy"))
    });
    if !busy {
        eprintln!("skipped, since this kernel runs files that are being written: retries of those");
    }
    drop(writer);
    supervisor.await_healthy(1);
}

#[test]
fn all_workers_that_are_wanted_are_started_and_no_more() {
    for count in [1_usize, 2, 17, 100] {
        let args = ["-n", &count.to_string(), "--ack-after", "0", "sleep", "1000"].map(str::to_owned);
        let mut supervisor = Supervisor::start(&args);
        let pids = supervisor.await_healthy(count);
        let mut children = supervisor.children();
        children.sort_unstable();
        let mut sorted = pids;
        sorted.sort_unstable();
        assert_eq!(children, sorted);
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.await_exit(), 0);
    }
}
