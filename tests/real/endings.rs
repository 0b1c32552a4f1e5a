//! Workers on the way out: the ladder of signals, what they leave behind, and reaping.

use crate::{
    harness::{
        Connection, Folder, Supervisor, children, eventually, is_alive, member, number, raw, script, state,
    },
    probe::{Trace, open_files, processes_of, python, report, run_in, start_through, zombies},
    tools::{is_null, sleepers},
};
use einhyrningsins::fsm::{
    action::{Action, Scope},
    signal::Signal as Sent,
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill, killpg};
use std::collections::BTreeSet;

/// Starts workers in which rogue.py does `words`, with a trace at `trace`.
fn start(options: &[&str], words: &[&str]) -> Supervisor {
    let folder = Folder::new();
    let trace = folder.join("trace").display().to_string();
    let (python, rogue) = (python(), script("rogue.py"));
    let args = [&["--trace", &trace, "-m", "--stop-signal", "USR2"][..], options, &[&python, &rogue], words]
        .concat();
    Supervisor::start_in(folder, &args, |_| {})
}

/// Ends the supervisor, and returns the signals that the worker with this process was sent, and when.
#[track_caller]
fn sent_to(supervisor: &mut Supervisor, pid: u32) -> Vec<(u64, Sent, Scope)> {
    if !supervisor.has_exited() {
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.await_exit(), 0);
    }
    let sent = Trace::read(&supervisor.folder.join("trace")).actions(|action| match action {
        Action::Signal { pid: to, signal, scope, .. } if to.0 == pid => Some((*signal, *scope)),
        _ => None,
    });
    sent.into_iter().map(|sent| (sent.at, sent.what.0, sent.what.1)).collect()
}

/// Takes the second of two workers away and waits for its end.
#[track_caller]
fn dec(supervisor: &mut Supervisor) -> u32 {
    let [_, second] = supervisor.await_healthy(2)[..] else { panic!("two workers") };
    supervisor.ctl_ok(&["-e", "dec"]);
    supervisor.await_healthy(1);
    assert!(!is_alive(second));
    second
}

#[test]
fn while_many_that_ended_together_are_replaced_clients_are_answered() {
    let (mut supervisor, old) = sleepers(200, &[]);
    let mut client = Connection::open(&supervisor.socket()).expect("it listens");
    client.send(r#"{"command":"version"}"#).expect("it reads");
    client.line().expect("an answer");
    // It is at the end of its turn, and has nothing half taken in.
    eventually("it sleeps", || (state(supervisor.pid()) == Some('S')).then_some(()));
    supervisor.signal(Signal::SIGSTOP);
    eventually("it is stopped", || (state(supervisor.pid()) == Some('T')).then_some(()));
    old.iter().for_each(|pid| kill(raw(*pid), Signal::SIGKILL).expect("a worker"));
    eventually("all have ended", || old.iter().all(|pid| !is_alive(*pid)).then_some(()));
    client.send(r#"{"command":"status"}"#).expect("there is room for it");
    supervisor.signal(Signal::SIGCONT);
    // Some are still to be started when it has its answer, and of those that ended none is there any more.
    let answer = client.line().expect("an answer");
    let Value::Array(workers) = member(member(&answer, "status"), "workers") else { panic!("{answer:?}") };
    let started: Vec<&Value> = workers.iter().filter(|worker| !is_null(worker, "pid")).collect();
    let pids: BTreeSet<i64> = started.iter().map(|worker| number(worker, "pid")).collect();
    assert!(pids.len() < 200, "{}", supervisor.log());
    assert!(!old.iter().any(|pid| pids.contains(&i64::from(*pid))), "{}", supervisor.log());
    supervisor.eventually("all are replaced", |me| {
        let new = me.healthy();
        (new.len() == 200 && new.iter().all(|pid| !old.contains(pid))).then_some(())
    });
}

#[test]
fn the_stop_signal_comes_first_and_suffices() {
    let mut supervisor = start(&["-n", "2", "--stop-signal", "HUP"], &["ignore-stop"]);
    let gone = dec(&mut supervisor);
    assert!(supervisor.log().contains("killed by SIGHUP (signal 1) as asked"), "{}", supervisor.log());
    assert!(!supervisor.log().contains("without being asked to"), "{}", supervisor.log());
    let sent = sent_to(&mut supervisor, gone);
    assert_eq!(sent.iter().map(|sent| (sent.1, sent.2)).collect::<Vec<_>>(), [(Sent::Hup, Scope::Awake)]);
}

#[test]
fn a_worker_that_ignores_the_stop_signal_gets_term_after_the_grace_period() {
    let mut supervisor = start(&["-n", "2", "-t", "0.3"], &["ignore-stop"]);
    let gone = dec(&mut supervisor);
    assert!(supervisor.log().contains("is still there; sending TERM"), "{}", supervisor.log());
    let sent = sent_to(&mut supervisor, gone);
    let [(asked, Sent::Usr2, Scope::Awake), (termed, Sent::Term, Scope::Awake)] = sent[..] else {
        panic!("{sent:?}");
    };
    assert!(termed - asked >= 300, "{sent:?}");
}

#[test]
fn a_worker_that_ignores_term_is_killed_five_seconds_later_with_its_group() {
    let mut supervisor = start(&["-n", "2", "-t", "0.2"], &["ignore-term", "grandchildren", "2"]);
    let workers = supervisor.await_healthy(2);
    let families: Vec<Vec<u32>> = workers.iter().map(|worker| children(*worker)).collect();
    assert!(families.iter().all(|family| family.len() == 2), "{families:?}");
    let gone = dec(&mut supervisor);
    assert!(supervisor.log().contains("is still there; sending KILL"), "{}", supervisor.log());
    eventually("its family is gone", || families[1].iter().all(|pid| !is_alive(*pid)).then_some(()));
    assert!(families[0].iter().all(|pid| is_alive(*pid)), "the other's is not");

    supervisor.signal(Signal::SIGQUIT);
    supervisor.signal(Signal::SIGQUIT);
    assert_eq!(supervisor.await_exit(), 0);
    let sent = sent_to(&mut supervisor, gone);
    let [(_, Sent::Usr2, _), (termed, Sent::Term, _), (killed, Sent::Kill, Scope::Group)] = sent[..] else {
        panic!("{sent:?}");
    };
    assert!(killed - termed >= 5_000, "{sent:?}");
}

#[test]
fn a_worker_that_neither_acknowledges_nor_goes_is_killed_before_the_end() {
    let deaf = "trap '' TERM; while :; do sleep 1000; done";
    let args = ["-m", "--ack-timeout", "1.5", "-r", "1", "/bin/sh", "-c", deaf];
    let ended = run_in(Folder::new(), &args, |_| {});
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("sending KILL"), "{}", ended.stderr);
    ended.left_nothing(None);
}

/// The processes that a worker has reported to have forked.
#[track_caller]
fn grandchildren(supervisor: &mut Supervisor, name: &str) -> Vec<u32> {
    let told = report(supervisor, name);
    let Value::Array(pids) = member(&told, "grandchildren") else { panic!("no list in {told:?}") };
    let pid = |pid: &Value| miniserde::json::to_string(pid).parse().expect("a pid");
    pids.iter().map(pid).collect()
}

#[test]
fn what_a_dead_worker_leaves_behind_in_its_group_is_killed() {
    let folder = Folder::new();
    let file = folder.join("report").display().to_string();
    let (python, rogue) = (python(), script("rogue.py"));
    let args = ["-m", &python, &rogue, "grandchildren", "3", "report", &file];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let worker = supervisor.await_healthy(1);
    let left = grandchildren(&mut supervisor, "report");
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|pid| is_alive(*pid)));
    kill(raw(worker[0]), Signal::SIGKILL).expect("the worker is there");
    eventually("they are killed", || left.iter().all(|pid| !is_alive(*pid)).then_some(()));
    supervisor.await_log("has left processes behind in its process group");

    // The same for one that goes as it was asked to.
    let other = supervisor
        .eventually("it is replaced", |me| Some(me.healthy()).filter(|new| new.len() == 1 && *new != worker));
    let left = grandchildren(&mut supervisor, "report");
    assert!(left.iter().all(|pid| is_alive(*pid)), "{other:?}");
    let path = supervisor.folder.join("");
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    eventually("they are killed", || left.iter().all(|pid| !is_alive(*pid)).then_some(()));
    assert_eq!(processes_of(&path), Vec::<u32>::new());
}

#[test]
fn fifty_workers_killed_at_once_are_all_replaced() {
    let mut supervisor = Supervisor::start(&["-n", "50", "--ack-after", "0", "-s", "0.02", "sleep", "1000"]);
    let mut pids = supervisor.await_healthy(50);
    let files = open_files(supervisor.pid());
    for round in 0..3 {
        // While it is stopped, all their ends make a single SIGCHLD.
        let stopped = round == 1;
        if stopped {
            supervisor.signal(Signal::SIGSTOP);
        }
        for pid in &pids {
            kill(raw(*pid), Signal::SIGKILL).expect("the worker is there");
        }
        if stopped {
            supervisor.signal(Signal::SIGCONT);
        }
        let old: BTreeSet<u32> = pids.iter().copied().collect();
        pids = supervisor.eventually("all fifty are new", |me| {
            let new = me.healthy();
            (new.len() == 50 && new.iter().all(|pid| !old.contains(pid))).then_some(new)
        });
        supervisor.await_healthy(50);
        supervisor.eventually("nobody is left unreaped", |me| zombies(me.pid()).is_empty().then_some(()));
        let mut children = supervisor.children();
        children.sort_unstable();
        let sorted: Vec<u32> = pids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(children, sorted, "nobody but the workers");
    }
    let restarts: Vec<i64> = supervisor.workers(|_| true).iter().map(|it| number(it, "restarts")).collect();
    assert_eq!(restarts, [3; 50]);
    supervisor.eventually("nothing is left open", |me| (open_files(me.pid()) <= files).then_some(()));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn signals_that_come_while_workers_are_started_reach_them() {
    // A worker is asked to go as soon as it exists, quite possibly before it has become the program.
    for _ in 0..20 {
        let mut supervisor = Supervisor::start(&["-n", "8", "--ack-after", "0", "sleep", "1000"]);
        supervisor.eventually("there are workers", |me| (me.children().len() > 2).then_some(()));
        supervisor.signal(Signal::SIGINT);
        assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
        assert!(!supervisor.log().contains("is still there; sending"), "{}", supervisor.log());
    }
}

#[test]
fn children_that_the_supervisor_inherits_are_reaped_quietly() {
    let starter = "sleep 0.2 & (exit 3) & (kill -9 $(exec sh -c 'echo $PPID')) & exec \"$@\"";
    let args = ["--ack-after", "0", "-n", "2", "sleep", "1000"];
    let mut supervisor = start_through(Folder::new(), &["/bin/sh", "-c", starter, "sh"], &args);
    let mut workers = supervisor.await_healthy(2);
    workers.sort_unstable();
    supervisor.eventually("only the workers are left", |me| {
        let mut children = me.children();
        children.sort_unstable();
        (children == workers).then_some(())
    });
    assert!(
        !supervisor.log().contains("WARN") && !supervisor.log().contains("ERROR"),
        "{}",
        supervisor.log()
    );
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0, "nobody else's exit status");
}

#[test]
fn children_that_the_supervisor_inherits_do_not_keep_it() {
    let starter = "sleep 1000 & exec \"$@\"";
    let args = ["--ack-after", "0", "sleep", "1001"];
    let mut supervisor = start_through(Folder::new(), &["/bin/sh", "-c", starter, "sh"], &args);
    let worker = supervisor.await_healthy(1);
    let stranger = supervisor.children().into_iter().find(|pid| !worker.contains(pid));
    let stranger = stranger.expect("a child that is no worker");
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(is_alive(stranger), "it was not ours to end");
    kill(raw(stranger), Signal::SIGKILL).expect("it is there");
}

#[test]
fn a_group_that_is_left_by_its_leader_alone_does_not_hold_its_slot() {
    // The worker forks and its first process leaves, as daemons do.
    let daemon = "sleep 1000 & exit 4";
    let folder = Folder::new();
    let path = folder.join("");
    let ended = run_in(folder, &["-r", "2", "-s", "0.02", "/bin/sh", "-c", daemon], |_| {});
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("exited with status 4"), "{}", ended.stderr);
    eventually("nobody is left", || processes_of(&path).is_empty().then_some(()));
    ended.left_nothing(None);
}

#[test]
fn a_killed_supervisor_leaves_its_workers_serving() {
    let mut supervisor = Supervisor::start(&["-n", "2", "--ack-after", "0", "sleep", "1000"]);
    let workers = supervisor.await_healthy(2);
    supervisor.signal(Signal::SIGKILL);
    supervisor.eventually("it is gone", |me| me.has_exited().then_some(()));
    for worker in workers {
        assert!(is_alive(worker));
        killpg(raw(worker), Signal::SIGKILL).expect("it is there");
    }
}
