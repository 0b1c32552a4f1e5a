//! Who is ended with a worker, and who is not: its group, workers that have joined it, strangers that have
//! its number, and processes that have left it.

use crate::{
    harness::{Folder, Supervisor, eventually, is_alive, raw},
    probe::{own_address, puppet, puppets, run, start_through},
    tools::{group, have, skip, state},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
};

fn end(pid: u32) {
    kill(raw(pid), Signal::SIGKILL).expect("it is there");
}

/// Waits until all `count` workers are healthy, the first of them another than `old`.
#[track_caller]
fn replaced(supervisor: &mut Supervisor, old: u32, count: usize) -> u32 {
    supervisor.eventually("the first worker is replaced", |me| {
        Some(me.healthy()).filter(|new| new.len() == count && new[0] != old).map(|new| new[0])
    })
}

/// A process that leads a group and has the pid `number`, which must be free.
fn stranger(number: u32) -> Option<Child> {
    for _ in 0..20 {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).ok()?;
        let mut child = Command::new("sleep").arg("900").process_group(0).spawn().expect("sleep can be run");
        if child.id() == number {
            return Some(child);
        }
        child.kill().and_then(|()| child.wait()).expect("it can be ended");
    }
    None
}

#[test]
fn a_stranger_that_has_taken_the_number_of_a_dead_worker_is_left_alone() {
    if !have("strace", &["-V"]) || fs::write("/proc/sys/kernel/ns_last_pid", "1000").is_err() {
        return skip("it takes strace, and root to choose a pid");
    }
    // Reaping takes long, and what comes after it comes late: time enough for the number to be taken.
    let slow = ["strace", "-D", "-o", "/dev/null", "-e", "inject=wait4:delay_exit=700000"];
    let args = ["--ack-after", "0", "sleep", "900"];
    let mut supervisor = start_through(Folder::new(), &slow, &args);
    for _ in 0..10 {
        let worker = supervisor.await_healthy(1)[0];
        end(worker);
        eventually("it is reaped", || state(worker).is_none().then_some(()));
        // Anybody may be quicker.
        let Some(mut stranger) = stranger(worker) else { continue };
        replaced(&mut supervisor, worker, 1);
        assert!(is_alive(stranger.id()), "{}", supervisor.log());
        assert!(!supervisor.log().contains("left processes behind"), "{}", supervisor.log());
        stranger.kill().and_then(|()| stranger.wait()).expect("it can be ended");
        return;
    }
    skip("others take every pid that is free");
}

#[test]
fn a_worker_that_joined_anothers_group_is_not_ended_with_it() {
    let mut supervisor = puppets(&["-n", "2", "--ack-after", "0.1"], &[]);
    let workers = supervisor.await_healthy(2);
    let [host, guest] = workers[..] else { panic!("two workers") };
    let left: u32 =
        puppet(&supervisor, 0, "answer = subprocess.Popen(['sleep', '900']).pid").parse().expect("a pid");
    puppet(&supervisor, 1, &format!("os.setpgid(0, {host})"));
    assert_eq!((group(left), group(guest)), (Some(host), Some(host)));

    end(host);
    let other = replaced(&mut supervisor, host, 2);
    eventually("what the host left is killed", || (!is_alive(left)).then_some(()));
    supervisor.await_log("has left processes behind");
    assert_eq!(supervisor.await_healthy(2), [other, guest]);

    // Nor with one that has to be killed.
    puppet(&supervisor, 0, "[signal.signal(it, signal.SIG_IGN) for it in (signal.SIGUSR2, signal.SIGTERM)]");
    puppet(&supervisor, 1, &format!("os.setpgid(0, {other})"));
    supervisor.ctl_ok(&["signal", "KILL", &other.to_string()]);
    let third = replaced(&mut supervisor, other, 2);
    assert_eq!(supervisor.await_healthy(2), [third, guest]);
}

#[test]
fn a_worker_that_has_left_its_group_is_killed_and_the_supervisors_group_is_not() {
    let folder = Folder::new();
    let args = crate::probe::puppet_args(&["--ack-after", "0.1"], &[]);
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.process_group(0);
    });
    let worker = supervisor.await_healthy(1)[0];
    let leave = "os.setpgid(0, os.getpgid(os.getppid()))\n\
                 [signal.signal(it, signal.SIG_IGN) for it in (signal.SIGUSR2, signal.SIGTERM)]";
    puppet(&supervisor, 0, leave);
    assert_eq!(group(worker), Some(supervisor.pid()));
    supervisor.signal(Signal::SIGQUIT);
    supervisor.await_log("quick shutdown");
    supervisor.signal(Signal::SIGQUIT);
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    assert!(!is_alive(worker));
    assert!(!supervisor.log().contains("nothing more can be done"), "{}", supervisor.log());
}

#[test]
fn a_stopped_worker_goes_when_it_is_asked_to_and_not_when_its_time_is_up() {
    let stop = |worker: u32| {
        kill(raw(worker), Signal::SIGSTOP).expect("the worker is there");
        eventually("it is stopped", || (state(worker)? == "T").then_some(()));
    };
    let mut supervisor = Supervisor::start(&["--ack-after", "0.1", "sleep", "900"]);
    let worker = supervisor.await_healthy(1)[0];
    stop(worker);
    supervisor.ctl_ok(&["upgrade"]);
    eventually("it is gone", || (!is_alive(worker)).then_some(()));

    let worker = supervisor.await_healthy(1)[0];
    stop(worker);
    supervisor.ctl_ok(&["die"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.log().contains("is still there; sending"), "{}", supervisor.log());

    // KILL takes no waking, nor does it ask.
    let deaf = "trap '' USR2 TERM; sleep 900 & while :; do sleep 1000; done";
    let mut supervisor = Supervisor::start(&["--ack-after", "0.1", "/bin/sh", "-c", deaf]);
    let worker = supervisor.await_healthy(1)[0];
    let family =
        eventually("its family", || Some(crate::harness::children(worker)).filter(|it| it.len() == 2));
    family.iter().copied().chain([worker]).for_each(stop);
    supervisor.signal(Signal::SIGQUIT);
    supervisor.await_log("quick shutdown");
    supervisor.signal(Signal::SIGQUIT);
    assert_eq!(supervisor.await_exit(), 0);
    eventually("all are gone", || (!family.iter().any(|pid| is_alive(*pid))).then_some(()));
}

#[test]
fn a_process_that_keeps_the_port_without_a_worker_is_told_of_once_and_to_the_next_start() {
    let address = own_address().to_string();
    let mut supervisor = puppets(&["-n", "2", "--ack-after", "0.1", "-b", &address], &[]);
    let worker = supervisor.await_healthy(2)[0];
    let stray = |supervisor: &Supervisor, slot: u32| -> u32 {
        puppet(supervisor, slot, "answer = stray(*listeners)").parse().expect("a pid")
    };
    // One whose worker stays is that worker's affair.
    let theirs = stray(&supervisor, 1);
    let left = stray(&supervisor, 0);
    end(worker);
    let told =
        |pid: u32| format!("pid {pid} (sleep), which comes from no worker that runs, has {address} open");
    supervisor.await_log(&told(left));

    let worker = replaced(&mut supervisor, worker, 2);
    let second = stray(&supervisor, 0);
    end(worker);
    supervisor.await_log(&told(second));
    let log = supervisor.log();
    assert_eq!(log.matches(&told(left)).count(), 1, "{log}");
    assert!(!log.contains(&told(theirs)), "{log}");

    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    let log = supervisor.log();
    for pid in [left, second, theirs] {
        assert!(
            is_alive(pid) && log.rsplit("shutdown").next().is_some_and(|end| end.contains(&told(pid))),
            "{log}"
        );
    }

    let ended = run(&["-b", &address, "sleep", "900"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for pid in [left, second, theirs] {
        assert!(ended.stderr.contains(&format!("pid {pid} (sleep)")), "{}", ended.stderr);
        end(pid);
    }
}

#[test]
fn a_supervisor_that_was_killed_leaves_workers_that_the_next_start_names() {
    let address = own_address().to_string();
    let mut supervisor =
        Supervisor::start(&["--no-keeper", "--ack-after", "0", "-b", &address, "sleep", "900"]);
    let worker = supervisor.await_healthy(1)[0];
    supervisor.signal(Signal::SIGKILL);
    supervisor.eventually("it is gone", |me| me.has_exited().then_some(()));
    let ended = run(&["-b", &address, "sleep", "900"]);
    end(worker);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("pid {worker} (sleep) has it")), "{}", ended.stderr);
}
