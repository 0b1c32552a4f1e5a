//! Process groups: who is signalled and swept with one, and who is not.

use super::*;

/// A worker of the table, which a shell script makes of itself.
fn worker(workers: &mut Children, spawner: &mut Spawner, script: &str) -> Pid {
    let child = start(spawner, &shell(script));
    workers.insert(child.pid, child.ticket);
    child.pid
}

fn is_alive(pid: Pid) -> bool {
    crate::daemon::facts::kin(pid).is_some()
}

/// Ends a worker as the shell does, and answers whether others were in its group.
fn bury(workers: &mut Children, pid: Pid) -> bool {
    let ended = eventually("a worker's end", || ended_of(pid));
    workers.remove(&pid);
    ended.bury(workers)
}

#[test]
fn what_a_worker_leaves_behind_is_killed_while_the_number_is_its_own() {
    let (mut workers, mut spawner) = (Children::new(), spawner());
    let pid = worker(&mut workers, &mut spawner, "sleep 60 & exit 0");
    let ended = eventually("its end", || ended_of(pid));
    let none = Children::new();
    let left: Vec<Pid> = send::stragglers(pid, &none).collect();
    assert_eq!(left.len(), 1, "the one that has ended is none");
    workers.remove(&pid);
    assert!(ended.bury(&workers));
    eventually("the group's end", || (!group_exists(pid)).then_some(()));

    let tidy = worker(&mut workers, &mut spawner, "exit 0");
    assert!(!bury(&mut workers, tidy));
}

/// Makes a worker of a group that is not its own, as setpgid(2) allows to a process of the same session.
fn join(workers: &mut Children, spawner: &mut Spawner, group: &str) -> Pid {
    let python = format!("import os, signal\nos.setpgid(0, {group})\nsignal.pause()");
    let program = program("python3", &["-c", &python]);
    let child = start(spawner, &program);
    eventually("it has another group", || (group_of(child.pid) != Some(child.pid)).then_some(()));
    workers.insert(child.pid, child.ticket);
    child.pid
}

/// The processes of a group that are no workers, once there are that many.
fn family(group: Pid, workers: &Children, count: usize) -> Vec<Pid> {
    eventually("a family", || {
        let family: Vec<Pid> = send::stragglers(group, workers).collect();
        (family.len() == count).then_some(family)
    })
}

#[test]
fn a_live_worker_that_has_joined_a_group_is_neither_swept_nor_signalled_with_it() {
    let (mut workers, mut spawner) = (Children::new(), spawner());
    let host = worker(&mut workers, &mut spawner, "sleep 60 & sleep 60");
    let guest = join(&mut workers, &mut spawner, &host.to_string());
    let left = family(host, &workers, 2);

    signal(host, Signal::Kill, Scope::Group, &workers).unwrap();
    eventually("its family is killed", || left.iter().all(|pid| !is_alive(*pid)).then_some(()));
    bury(&mut workers, host);
    assert!(is_alive(guest));

    // The same for one that ends by itself.
    let host = worker(&mut workers, &mut spawner, "sleep 60 & sleep 60");
    let second = join(&mut workers, &mut spawner, &host.to_string());
    let left = family(host, &workers, 2);
    signal(host, Signal::Kill, Scope::Process, &workers).unwrap();
    assert!(bury(&mut workers, host), "somebody is left");
    assert!(left.iter().all(|pid| is_alive(*pid)), "and killed when that is ordered");
    sweep(host, &workers);
    eventually("they are killed", || left.iter().all(|pid| !is_alive(*pid)).then_some(()));
    for guest in [guest, second] {
        assert!(is_alive(guest));
        signal(guest, Signal::Kill, Scope::Group, &workers).unwrap();
        bury(&mut workers, guest);
    }
}

#[test]
fn a_worker_that_has_left_its_group_gets_the_signal_and_its_new_group_does_not() {
    let (mut workers, mut spawner) = (Children::new(), spawner());
    // Into our own group.
    let stray = join(&mut workers, &mut spawner, &unistd::getpgrp().to_string());
    assert!(!group_exists(stray));
    signal(stray, Signal::Kill, Scope::Group, &workers).unwrap();
    assert_eq!(wait(stray), ExitStatus::Signal(9));
}

/// A group whose number has been taken by somebody else since: its leader exists.
#[test]
fn a_group_that_a_stranger_leads_is_left_alone() {
    let (mut workers, mut spawner) = (Children::new(), spawner());
    let stranger = worker(&mut workers, &mut spawner, "sleep 60 & sleep 60");
    workers.clear();
    family(stranger, &workers, 3);
    sweep(stranger, &workers);
    assert_eq!(send::stragglers(stranger, &workers).count(), 3);
    signal(stranger, Signal::Kill, Scope::Group, &workers).unwrap();
    wait(stranger);
}

#[test]
fn numbers_that_mean_more_than_one_process_are_never_signalled() {
    for pid in [0, 1, u32::MAX, 1 << 31] {
        for scope in [Scope::Process, Scope::Group] {
            let sent = signal(Pid(pid), Signal::Winch, scope, &Children::new());
            assert_eq!(sent, Err(Errno(Sys::ESRCH as i32)));
        }
        assert!(!group_exists(Pid(pid)));
    }
}
