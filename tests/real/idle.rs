//! What the supervisor costs when there is nothing to do, and after there was much.

use crate::{
    harness::{Folder, Supervisor, eventually, is_alive, text},
    tools::{have, python, quiet, releases, skip, sleepers, status_field, ticks, within},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// How long nothing must happen.
const WHILE: Duration = Duration::from_secs(3);

#[test]
fn an_idle_supervisor_of_a_hundred_workers_makes_no_system_call() {
    let (mut supervisor, pids) = sleepers(100, &[]);
    does_nothing(&mut supervisor);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
}

/// Whoever was seen accepting, and whoever could not be and was healthy by time, is looked at no more.
#[test]
fn an_idle_supervisor_that_has_looked_at_its_workers_makes_no_system_call() {
    let Some(python) = python() else { return skip("there is no python3") };
    let accepts = "import socket; socket.socket(fileno=3).accept()";
    for (program, code, ready) in [(&*python, accepts, "seen"), ("sh", "exec sleep 600", "timer")] {
        let args = ["-n", "8", "--ready", "auto", "-b", "127.0.0.1:0,r", "--", program, "-c", code];
        let mut supervisor = Supervisor::start(&args);
        supervisor.await_healthy(8);
        // A slow machine may not have let them begin before time was enough.
        let found = supervisor.workers(|worker| [ready, "timer"].contains(&text(worker, "ready")));
        assert_eq!(found.len(), 8, "{}", supervisor.log());
        does_nothing(&mut supervisor);
    }
}

/// What a service manager is told costs nothing once it is told, unless it asks for a sign of life.
#[test]
fn an_idle_supervisor_under_a_service_manager_makes_no_system_call() {
    let folder = Folder::new();
    let manager = folder.join("notify");
    let _listens = UnixDatagram::bind(&manager).expect("a socket can be made");
    let args = ["-n", "8", "--ack-after", "0.05", "--", "sleep", "600"];
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.env("NOTIFY_SOCKET", manager).env_remove("WATCHDOG_USEC");
    });
    supervisor.await_healthy(8);
    does_nothing(&mut supervisor);
}

/// Sees that a supervisor sleeps until something happens.
#[track_caller]
fn does_nothing(supervisor: &mut Supervisor) {
    quiet(supervisor);
    let pid = supervisor.pid();
    let cost = || {
        ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .map(|name| status_field(pid, name).expect("a number"))
    };
    // A last look at workers may be due, with nobody left to look at: after ten times as long as the one before took.
    supervisor.eventually("it has come to rest", |_| {
        let cost_before = cost();
        thread::sleep(Duration::from_secs(2));
        (cost() == cost_before).then_some(())
    });
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
