//! What signals to the supervisor do, above all those that end it.

use crate::{
    harness::{Supervisor, children, is_alive, is_ok, number, raw, text},
    tools::{command, group, recorded, recorders, recorders_tuned, releases, sleepers},
};
use nix::sys::signal::{Signal, killpg};
use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Waits until a worker has got these signals, and no others.
#[track_caller]
fn await_recorded(supervisor: &mut Supervisor, notes: &Path, pid: u32, expected: &[&str]) {
    supervisor.eventually(&format!("{pid} has got {expected:?}"), |_| {
        let got = recorded(notes, pid)?;
        assert!(got.len() <= expected.len(), "{got:?} instead of {expected:?}");
        (got == expected).then_some(())
    });
}

/// Waits for the end, and sees to it that nothing is left.
#[track_caller]
fn await_clean_end(supervisor: &mut Supervisor, workers: &[u32]) {
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    assert!(!supervisor.socket().exists(), "the control socket is left behind");
    assert!(!workers.iter().any(|pid| is_alive(*pid)), "workers are left behind");
}

#[test]
fn int_and_usr2_ask_every_worker_to_finish_and_the_end_comes_with_the_last() {
    for signal in [Signal::SIGINT, Signal::SIGUSR2] {
        let (mut supervisor, pids, notes) = recorders(3, &[], &["TERM"]);
        supervisor.signal(signal);
        for pid in &pids {
            await_recorded(&mut supervisor, &notes, *pid, &["USR2"]);
        }
        assert_eq!(text(&supervisor.status(), "stopping"), "graceful");
        for (left, pid) in (0..3).rev().zip(&pids) {
            nix::sys::signal::kill(raw(*pid), Signal::SIGTERM).expect("a worker");
            if left > 0 {
                supervisor.eventually("it is gone", |me| (me.workers(|_| true).len() == left).then_some(()));
            }
        }
        await_clean_end(&mut supervisor, &pids);
    }
}

#[test]
fn the_stop_signal_is_the_one_that_was_chosen() {
    let (mut supervisor, pids, notes) = recorders(1, &["--stop-signal", "WINCH"], &["WINCH"]);
    supervisor.signal(Signal::SIGINT);
    await_clean_end(&mut supervisor, &pids);
    assert_eq!(recorded(&notes, pids[0]), Some(vec!["WINCH".into()]));
}

#[test]
fn term_and_quit_terminate_every_worker() {
    for (signal, word) in [(Signal::SIGTERM, "fast"), (Signal::SIGQUIT, "quick")] {
        let (mut supervisor, pids, notes) = recorders(3, &[], &["TERM"]);
        supervisor.signal(signal);
        await_clean_end(&mut supervisor, &pids);
        for pid in pids {
            assert_eq!(recorded(&notes, pid), Some(vec!["TERM".into()]));
        }
        supervisor.await_log(&format!("{word} shutdown; 3 workers to go"));
    }
}

#[test]
fn every_further_signal_to_shut_down_is_a_step_harsher() {
    // Nobody ends by himself here, and nothing but signals makes it harsher in that time.
    let (mut supervisor, pids, notes) = recorders(2, &["-t", "600"], &[]);
    supervisor.signal(Signal::SIGINT);
    for pid in &pids {
        await_recorded(&mut supervisor, &notes, *pid, &["USR2"]);
    }
    supervisor.signal(Signal::SIGINT);
    for pid in &pids {
        await_recorded(&mut supervisor, &notes, *pid, &["USR2", "TERM"]);
    }
    assert_eq!(text(&supervisor.status(), "stopping"), "quick");
    supervisor.signal(Signal::SIGINT);
    await_clean_end(&mut supervisor, &pids);

    let (mut supervisor, pids, notes) = recorders(1, &["-t", "600"], &[]);
    supervisor.signal(Signal::SIGTERM);
    await_recorded(&mut supervisor, &notes, pids[0], &["TERM"]);
    supervisor.signal(Signal::SIGTERM);
    await_clean_end(&mut supervisor, &pids);
}

#[test]
fn workers_that_ignore_everything_are_killed_when_their_time_is_up() {
    let program = "#!/bin/sh\ntrap '' INT USR2 TERM QUIT HUP\n: >\"$1.$$\"\nwhile :; do sleep 600; done\n";
    let (grace, after_term) = (Duration::from_millis(400), Duration::from_secs(5));
    // All at the same time, since most of it is waiting.
    let cases =
        [(Signal::SIGTERM, grace), (Signal::SIGINT, grace + after_term), (Signal::SIGQUIT, after_term)];
    let mut running: Vec<(Supervisor, Vec<u32>, Instant, Duration)> = Vec::new();
    for (signal, least) in cases {
        let folder = crate::harness::Folder::new();
        let (script, ready) = (folder.script("deaf", program), folder.join("ready").display().to_string());
        let args = ["-n", "2", "-t", "0.4", "--ack-after", "0", "--", &script, &ready];
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        let mut pids = supervisor.await_healthy(2);
        for pid in &pids {
            let ready = supervisor.folder.join(&format!("ready.{pid}"));
            supervisor.eventually("it is deaf", |_| ready.exists().then_some(()));
        }
        let asleep: Vec<u32> = pids
            .iter()
            .map(|pid| supervisor.eventually("it sleeps", |_| children(*pid).first().copied()))
            .collect();
        pids.extend(asleep);
        supervisor.signal(signal);
        running.push((supervisor, pids, Instant::now(), least));
    }
    for (mut supervisor, pids, start, least) in running {
        await_clean_end(&mut supervisor, &pids[..2]);
        let took = start.elapsed();
        let most = least + Duration::from_secs(4);
        assert!(least - Duration::from_millis(50) < took && took < most, "{took:?}, not {least:?}");
        supervisor.eventually("what they started is gone too", |_| {
            (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
        });
        supervisor.await_log("is still there; sending KILL");
    }
}

#[test]
fn two_signals_are_passed_on_to_workers_and_three_mean_nothing() {
    let (mut supervisor, pids, notes) = recorders(3, &[], &[]);
    let mut expected = Vec::new();
    for (signal, name) in [(Signal::SIGUSR1, "USR1"), (Signal::SIGCONT, "CONT")] {
        for ignored in [Signal::SIGPIPE, Signal::SIGALRM, Signal::SIGWINCH] {
            supervisor.signal(ignored);
        }
        supervisor.signal(signal);
        expected.push(name);
        for pid in &pids {
            await_recorded(&mut supervisor, &notes, *pid, &expected);
        }
    }
    assert_eq!(supervisor.await_healthy(3), pids, "and that is all that happened");
}

#[test]
fn ttin_and_ttou_mean_one_worker_more_and_one_fewer_and_nobody_goes_below_one() {
    let (mut supervisor, pids, _) = recorders(1, &[], &[]);
    supervisor.signal(Signal::SIGTTIN);
    assert!(supervisor.await_healthy(2).contains(&pids[0]));
    supervisor.signal(Signal::SIGTTOU);
    supervisor.await_log("number of workers: 2 → 1");
    supervisor.signal(Signal::SIGTTOU);
    supervisor.await_log("number of workers: 1, as before; it can be from 1 to 10000");
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn usr1_does_not_end_a_worker_that_does_not_handle_it() {
    let mut supervisor = Supervisor::start(&["--ack-after", "0", "-n", "2", "sleep", "60"]);
    let pids = supervisor.await_healthy(2);
    supervisor.signal(Signal::SIGUSR1);
    supervisor.signal(Signal::SIGTTIN);
    let more = supervisor.await_healthy(3);
    assert!(pids.iter().all(|pid| more.contains(pid)), "{pids:?} {more:?}");
}

#[test]
fn a_signal_to_the_supervisors_process_group_reaches_it_alone() {
    let tune = |command: &mut std::process::Command| {
        command.process_group(0);
    };
    let (mut supervisor, pids, notes) = recorders_tuned(2, &[], &["TERM"], tune);
    assert_eq!(group(supervisor.pid()), Some(supervisor.pid()));
    for pid in &pids {
        assert_eq!(group(*pid), Some(*pid), "a group of its own");
    }
    // As Ctrl-C would.
    killpg(raw(supervisor.pid()), Signal::SIGINT).expect("a group");
    for pid in &pids {
        await_recorded(&mut supervisor, &notes, *pid, &["USR2"]);
    }
    killpg(raw(supervisor.pid()), Signal::SIGTERM).expect("a group");
    await_clean_end(&mut supervisor, &pids);
    for pid in &pids {
        assert_eq!(recorded(&notes, *pid), Some(vec!["USR2".into(), "TERM".into()]));
    }
}

#[test]
fn a_shutdown_does_not_wait_for_a_back_off() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        let folder = crate::harness::Folder::new();
        let program =
            folder.script("half", "#!/bin/sh\n[ $EINHORN_CHILD_INDEX = 0 ] || exit 1\nexec sleep 600\n");
        let args = ["-n", "2", "-s", "30", "--ack-after", "0.3", "-r", "100", "--", &program];
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        supervisor.await_log("trying again in 2");
        let start = Instant::now();
        supervisor.signal(signal);
        await_clean_end(&mut supervisor, &[]);
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}

#[test]
fn a_shutdown_does_not_wait_for_an_ack() {
    for (signal, name) in [(Signal::SIGINT, "USR2"), (Signal::SIGTERM, "TERM")] {
        let folder = crate::harness::Folder::new();
        let program = folder.script("mute", "#!/bin/sh\nexec sleep 600\n");
        let mut supervisor =
            Supervisor::start_in(folder, &["-n", "3", "-m", "--stop-signal", "USR2", "--", &program], |_| {});
        supervisor.eventually("they are started", |me| {
            let pending = me.workers(|worker| text(worker, "phase") == "pending-ack");
            (pending.len() == 3).then_some(())
        });
        supervisor.signal(signal);
        await_clean_end(&mut supervisor, &[]);
        supervisor.await_log(&format!("SIG{name}"));
    }
}

#[test]
fn a_shutdown_during_start_up_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        let mut supervisor = Supervisor::start(&["-n", "50", "--ack-after", "5", "--", "sleep", "600"]);
        let worker = supervisor.eventually("it starts workers", |me| me.children().first().copied());
        supervisor.signal(signal);
        await_clean_end(&mut supervisor, &[worker]);
    }
}

#[test]
fn workers_that_end_during_a_shutdown_are_not_replaced() {
    let (mut supervisor, pids, notes) = recorders(3, &[], &["TERM"]);
    supervisor.signal(Signal::SIGINT);
    for pid in &pids {
        await_recorded(&mut supervisor, &notes, *pid, &["USR2"]);
    }
    nix::sys::signal::kill(raw(pids[0]), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("it is gone", |me| (me.workers(|_| true).len() == 2).then_some(()));
    assert!(is_ok(&command(&supervisor, &["signal", "TERM"])));
    await_clean_end(&mut supervisor, &pids);
}

#[test]
fn idle_connections_do_not_keep_workers_from_going() {
    let (mut supervisor, _, pids) = releases(2, &[]);
    let address = supervisor.address(0);
    let idle: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(address).expect("a connection")).collect();
    assert_eq!(crate::load::get(address).expect("an answer").status, 200);
    supervisor.signal(Signal::SIGTERM);
    await_clean_end(&mut supervisor, &pids);
    drop(idle);
    assert!(crate::load::get(address).is_err(), "nobody listens any more");
}

#[test]
fn a_hundred_workers_go_at_once() {
    let (mut supervisor, pids) = sleepers(100, &[]);
    assert_eq!(number(&supervisor.status(), "healthy"), 100);
    supervisor.signal(Signal::SIGINT);
    await_clean_end(&mut supervisor, &pids);
}
