//! What the supervisor costs when there is nothing to do, and after there was much.

use crate::{
    harness::{eventually, is_alive},
    tools::{have, quiet, releases, skip, sleepers, status_field, ticks, within},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// How long nothing must happen.
const WHILE: Duration = Duration::from_secs(3);

#[test]
fn an_idle_supervisor_of_a_hundred_workers_makes_no_system_call() {
    let (mut supervisor, pids) = sleepers(100, &[]);
    quiet(&mut supervisor);
    let pid = supervisor.pid();
    let cost = || {
        ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .map(|name| status_field(pid, name).expect("a number"))
    };
    let before = (cost(), ticks(pid));
    // Not a wait for anything: the time in which nothing may happen.
    thread::sleep(WHILE);
    assert_eq!((cost(), ticks(pid)), before, "it woke up");

    if !have("strace", &["-V"]) {
        return skip("there is no strace to see system calls with");
    }
    let seen = supervisor.folder.join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &pid.to_string(), "-o"])
        .arg(&seen)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace can be run");
    let attached = eventually("strace is attached or cannot be", || {
        if strace.try_wait().expect("strace can be waited for").is_some() {
            return Some(false);
        }
        (status_field(pid, "TracerPid") != Some(0)).then_some(true)
    });
    if !attached {
        return skip("strace may not look at other processes");
    }
    thread::sleep(Duration::from_secs(1));
    kill(crate::harness::raw(strace.id()), Signal::SIGTERM).expect("strace can be ended");
    strace.wait().expect("strace ends");
    let seen = fs::read_to_string(seen).expect("what strace saw");
    // To attach interrupts the wait, which is begun again after a look for dead children and for signals.
    let calls: Vec<&str> = seen.lines().filter(|line| line.contains('(')).collect();
    let waits = calls.iter().filter(|call| call.contains("epoll_wait(")).count();
    assert!(calls.last().is_some_and(|call| call.contains("epoll_wait(")), "{seen}");
    assert!(waits <= 2 && calls.len() <= 4, "{seen}");
    assert!(pids.iter().all(|pid| is_alive(*pid)));
}

#[test]
fn descriptors_are_a_function_of_state_whatever_came_before() {
    let (mut supervisor, release, _) = releases(2, &["-r", "1", "-s", "0.001"]);
    let fine = fs::read_link(release.path()).expect("a link").display().to_string();
    let broken = within(&supervisor, "broken");
    let before = quiet(&mut supervisor);
    for _ in 0..50 {
        supervisor.ctl_ok(&["upgrade"]);
    }
    supervisor.await_healthy(2);
    assert_eq!(quiet(&mut supervisor), before, "after 50 upgrades");
    for round in 0..50 {
        // Every other one does not even get to a worker.
        match round % 2 {
            0 => release.switch(&broken),
            _ => release.remove(),
        }
        assert_eq!(supervisor.ctl(&["upgrade"]).status.code(), Some(1));
        release.switch(&fine);
    }
    supervisor.await_healthy(2);
    assert_eq!(quiet(&mut supervisor), before, "after 50 failed upgrades");
    for _ in 0..20 {
        supervisor.ctl_ok(&["set_workers", "9"]);
        supervisor.ctl_ok(&["set_workers", "2"]);
    }
    supervisor.await_healthy(2);
    assert_eq!(quiet(&mut supervisor), before, "after the number of workers went up and down");
}
