//! Signals to processes and groups: never to a number that may be somebody else's by now.
//!
//! The number of a worker is its own until it is reaped, and what the machine orders is carried out before
//! that. The number of its group is so too, but a group has other members, and some may be workers
//! themselves. Processes that are no children of ours are held by a descriptor: for as long as they live, if they are
//! workers, else while they are looked at.

use super::{
    super::{facts, pidfd::PidFd},
    Children, Ticket, errno, known,
};
use crate::fsm::{
    action::Scope,
    id::{Errno, Pid},
    signal::Signal,
};
use log::debug;
use nix::{errno::Errno as Sys, sys::signal, unistd};
use std::{ffi::c_int, process};

/// Sends a signal to a worker that is not reaped yet, or to its group, which no other of the `workers` is
/// taken for a part of.
pub(crate) fn signal(pid: Pid, signal: Signal, scope: Scope, workers: &Children) -> Result<(), Errno> {
    let raw = target(pid).map_err(errno)?;
    let worker = Worker { pid: raw, held: workers.get(&pid).and_then(Ticket::held) };
    match scope {
        Scope::Process => worker.signal(number(signal)),
        Scope::Handler if handles(raw, signal) => worker.signal(number(signal)),
        Scope::Handler => Ok(()),
        Scope::Awake => worker.signal(number(signal)).and_then(|()| worker.wake()),
        Scope::Group => {
            if worker.is_there() {
                signal_group(pid, signal, workers);
            }
            // It may have left its group, which may not exist any more.
            worker.signal(number(signal))
        }
    }
    .map_err(errno)
}

/// One that has not been reaped by us, or that is held.
struct Worker<'a> {
    pid: unistd::Pid,
    held: Option<&'a PidFd>,
}

impl Worker<'_> {
    fn signal(&self, signal: signal::Signal) -> Result<(), Sys> {
        self.held.map_or_else(|| signal::kill(self.pid, signal), |held| held.signal(signal as c_int))
    }

    /// Whether its number is its own still.
    fn is_there(&self) -> bool {
        self.held.is_none_or(|held| held.signal(0) != Err(Sys::ESRCH))
    }

    /// Continues it if it is stopped: it takes nothing in before it goes on. One that is not may have a
    /// meaning of its own for CONT, and is spared it.
    fn wake(&self) -> Result<(), Sys> {
        match facts::is_stopped(known(self.pid)) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => self.signal(signal::SIGCONT),
        }
    }
}

fn signal_group(leader: Pid, signal: Signal, workers: &Children) {
    let joined = |other: &Pid| *other != leader && group_of(*other) == Some(leader);
    if workers.keys().any(joined) {
        signal_stragglers(leader, signal, workers);
    } else if let Ok(group) = target(leader) {
        // Without an error worth a word: that it has no group any more is the worker's own affair.
        let _ = signal::killpg(group, number(signal));
    }
}

/// Kills all of the group that a process leads which has ended and is not reaped.
pub(super) fn kill_group(leader: Pid) {
    if let Ok(group) = target(leader) {
        let _ = signal::killpg(group, signal::SIGKILL);
    }
}

/// Kills what a worker has left behind in its group, one by one, and spares workers. For a group that lives
/// on because a live worker has joined it; any other was killed as a whole before its leader was
/// [reaped](super::Ended::bury), and its number may be another's by now.
pub(crate) fn sweep(group: Pid, workers: &Children) {
    if workers.keys().any(|worker| group_of(*worker) == Some(group)) {
        signal_stragglers(group, Signal::Kill, workers);
    }
}

/// Kills what a worker has left behind that was no child of ours and has ended. Answers whether anybody is left of it.
pub(crate) fn clear(group: Pid, workers: &Children) -> bool {
    // A group keeps its number from everybody else, as long as it lives. Who lives under that number now came later,
    // and the group with it.
    if !group_exists(group) || facts::kin(group).is_some() {
        return false;
    }
    signal_stragglers(group, Signal::Kill, workers);
    stragglers(group, workers).next().is_some()
}

fn signal_stragglers(group: Pid, signal: Signal, workers: &Children) {
    for pid in stragglers(group, workers) {
        if let Err(errno) = signal_member(pid, group, signal) {
            debug!("SIG{signal} to pid {pid} in group {group}: {}", errno.desc());
        }
    }
}

/// Processes of a group that are neither workers nor ourselves. Looks through all there are.
pub(super) fn stragglers<'a>(group: Pid, workers: &'a Children) -> impl Iterator<Item = Pid> + 'a {
    let strange = |pid: &Pid| pid.0 != process::id() && !workers.contains_key(pid);
    let member = move |pid: &Pid| facts::kin(*pid).is_some_and(|kin| kin.group == group);
    facts::processes().filter(strange).filter(member)
}

/// Sends a signal to a process if it is in that group. It may end meanwhile, and its number be taken: then
/// nobody gets it.
fn signal_member(pid: Pid, group: Pid, signal: Signal) -> Result<(), Sys> {
    let held = PidFd::open(known(target(pid)?))?;
    // If this is another's group already, the one that is held has ended.
    if group_of(pid) != Some(group) {
        return Err(Sys::ESRCH);
    }
    held.signal(number(signal) as c_int)
}

/// Whether a worker would survive a signal that most programs end by.
fn handles(pid: unistd::Pid, signal: Signal) -> bool {
    facts::catches(known(pid), number(signal) as c_int)
        .inspect_err(|error| debug!("pid {pid}: it is not known whether it handles SIG{signal}: {error}"))
        .unwrap_or(false)
}

/// Whether any process, even one that has ended, is in the group of that number.
pub(super) fn group_exists(group: Pid) -> bool {
    target(group).and_then(|raw| signal::killpg(raw, None)) != Err(Sys::ESRCH)
}

/// Whether there is a process of that number, even one that has ended.
pub(super) fn process_exists(pid: Pid) -> bool {
    target(pid).and_then(|raw| signal::kill(raw, None)) != Err(Sys::ESRCH)
}

/// The process group of any process, if that exists and we may know.
pub(crate) fn group_of(pid: Pid) -> Option<Pid> {
    let pid = i32::try_from(pid.0).ok().filter(|raw| *raw > 0)?;
    unistd::getpgid(Some(unistd::Pid::from_raw(pid))).ok().map(known)
}

/// A process that can be one of ours. To kill(2), 0 is our own group and, as a group, 1 is everybody. Our
/// own group has no worker's number: as long as we are in it, no process is given that.
pub(super) fn target(pid: Pid) -> Result<unistd::Pid, Sys> {
    match i32::try_from(pid.0) {
        Ok(raw) if raw > 1 => Ok(unistd::Pid::from_raw(raw)),
        _ => Err(Sys::ESRCH),
    }
}

/// The system's number for a signal.
pub(crate) fn number(signal: Signal) -> signal::Signal {
    match signal {
        Signal::Hup => signal::SIGHUP,
        Signal::Int => signal::SIGINT,
        Signal::Quit => signal::SIGQUIT,
        Signal::Usr1 => signal::SIGUSR1,
        Signal::Usr2 => signal::SIGUSR2,
        Signal::Term => signal::SIGTERM,
        Signal::Kill => signal::SIGKILL,
        Signal::Stop => signal::SIGSTOP,
        Signal::Tstp => signal::SIGTSTP,
        Signal::Cont => signal::SIGCONT,
        Signal::Ttin => signal::SIGTTIN,
        Signal::Ttou => signal::SIGTTOU,
        Signal::Winch => signal::SIGWINCH,
        Signal::Alrm => signal::SIGALRM,
        Signal::Abrt => signal::SIGABRT,
        Signal::Pipe => signal::SIGPIPE,
    }
}
