//! The end of children: looked at first, reaped then.
//!
//! A process that has ended keeps its number until it is reaped, and with it that of the group it led. From
//! then on the number may be anybody's. So what a worker leaves behind is killed in between, and nothing is
//! sent to the number afterwards.

use super::{
    super::{facts, pidfd::PidFd},
    Children, Ticket, known,
    send::{group_exists, kill_group, process_exists, stragglers},
};
use crate::fsm::{event::ExitStatus, id::Pid};
use mio::{Events, Interest, Poll, Registry, Token, unix::SourceFd};
use nix::{
    errno::Errno as Sys,
    libc::{self, c_int, id_t, idtype_t, siginfo_t},
    unistd,
};
use std::{
    collections::BTreeSet,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    time::Duration,
};

/// A child that has ended and is not reaped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Which. Possibly a stranger: process 1 and subreapers inherit children.
    pub(crate) pid: Pid,
    /// How.
    pub(crate) status: ExitStatus,
}

/// Looks at a child that has ended, if there is one: the same one until it is reaped.
pub(crate) fn ended() -> Option<Ended> {
    look(libc::P_ALL, 0, libc::WEXITED).ok().flatten()
}

impl Ended {
    /// Reaps a child that is nothing to us.
    pub(crate) fn reap(self) {
        reap(self.pid);
    }

    /// Reaps a worker, having killed what else is in its group. Answers whether anybody was.
    ///
    /// A live worker that has joined the group is spared, and with it, for now, all of the group. Its
    /// number lives on with it, so that [`sweep`](super::sweep) can take its time.
    pub(crate) fn bury(self, workers: &Children) -> bool {
        let shared = has_live_child(self.pid);
        if !shared {
            kill_group(self.pid);
        }
        reap(self.pid);
        if shared {
            return stragglers(self.pid, workers).next().is_some();
        }
        // A group that outlives its leader keeps the number from everybody else. One whose leader exists
        // is not the one that was. (That all of its members are gone already is possible: then there is
        // nothing to tell.)
        group_exists(self.pid) && !process_exists(self.pid)
    }
}

/// Whether a child of ours lives in that group: a worker, unless it is a child that we have inherited.
fn has_live_child(group: Pid) -> bool {
    // Asked for children that were stopped, the kernel passes over those that have ended. It says ECHILD
    // unless another is there that might yet be stopped.
    look(libc::P_PGID, group.0, libc::WSTOPPED).is_ok()
}

/// Whether that is a child of ours that is not reaped.
pub(crate) fn is_child(pid: Pid) -> bool {
    look(libc::P_PID, pid.0, libc::WEXITED).is_ok()
}

/// Looks at a child in one of these states without taking anything away from it.
fn look(kind: idtype_t, number: id_t, states: c_int) -> Result<Option<Ended>, Sys> {
    // Not nix's `waitid`: that is an error when a real-time signal ended the child.
    //
    // SAFETY: a structure of integers, for which zero is a valid value.
    let mut found: siginfo_t = unsafe { mem::zeroed() };
    let flags = states | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: `found` is a valid place for the answer.
        match Sys::result(unsafe { libc::waitid(kind, number, &raw mut found, flags) }) {
            Ok(_) => break,
            Err(Sys::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: filled in by waitid(2), or all zero if no child is in such a state.
    let (pid, status) = unsafe { (found.si_pid(), found.si_status()) };
    let status =
        if found.si_code == libc::CLD_EXITED { ExitStatus::Code(status) } else { ExitStatus::Signal(status) };
    Ok((pid != 0).then(|| Ended { pid: known(unistd::Pid::from_raw(pid)), status }))
}

/// Workers that whoever was here before has made: no children of ours, so that nobody tells us of their end but the
/// descriptors that hold them.
#[derive(Debug)]
pub(crate) struct Adopted(Poll);

/// How many ends are looked at at a time.
const ENDS: usize = 64;

impl Adopted {
    /// An event with that token tells that one has ended.
    ///
    /// # Errors
    /// If they cannot be watched.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let poll = Poll::new()?;
        registry.register(&mut SourceFd(&poll.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(poll))
    }

    /// Holds a worker.
    pub(crate) fn hold(&self, pid: Pid, held: PidFd, ticket: &mut Ticket) {
        let token = Token(usize::try_from(pid.0).unwrap_or(usize::MAX));
        let fd = held.as_fd().as_raw_fd();
        let watched = self.0.registry().register(&mut SourceFd(&fd), token, Interest::READABLE);
        // Fails for lack of memory; then it is taken to have ended, since nobody would learn of its end.
        if watched.is_ok() {
            ticket.hold(held);
        }
    }

    /// Those that have ended and are still among the workers.
    pub(crate) fn ended(&mut self, workers: &Children) -> Vec<Ended> {
        let mut events = Events::with_capacity(ENDS);
        if self.0.poll(&mut events, Some(Duration::ZERO)).is_err() {
            return Vec::new();
        }
        let pid = |token: Token| u32::try_from(token.0).ok().map(Pid);
        let all = events.iter().filter_map(|event| pid(event.token()));
        let held = |pid| Some((pid, workers.get(&pid)?.held()?));
        let ended = all.filter_map(held).filter(|(_, held)| held.has_ended());
        ended.map(|(pid, held)| Ended { pid, status: held.status() }).collect()
    }

    /// Whether there is a worker of whose end nobody else tells.
    pub(crate) fn is_needed(workers: &Children) -> bool {
        workers.values().any(|ticket| ticket.held().is_some())
    }
}

/// A process that is no child of ours, if one has that number and was there before then, in milliseconds since the machine
/// was started.
///
/// # Errors
/// If it may be there, and cannot be held.
pub(crate) fn held(pid: Pid, before: u64) -> Result<Option<PidFd>, Sys> {
    let held = match PidFd::open(pid) {
        Err(Sys::ESRCH) => return Ok(None),
        opened => opened?,
    };
    // By now it is held: what is read is about this one, or it has ended.
    if held.has_ended() {
        return Ok(None);
    }
    match facts::started(pid) {
        Some(began) => Ok((began <= before).then_some(held)),
        None if held.has_ended() => Ok(None),
        None => Err(Sys::EACCES),
    }
}

/// The workers that are stopped, as by SIGSTOP or by a terminal.
pub(crate) fn stopped(workers: &Children) -> BTreeSet<Pid> {
    let is_there = |kind, number| look(kind, number, libc::WSTOPPED).is_ok_and(|found| found.is_some());
    // Nearly always none is, and that is known at once. Nobody takes the news of it away.
    let mut stopped = BTreeSet::new();
    if is_there(libc::P_ALL, 0) {
        stopped.extend(workers.keys().copied().filter(|pid| is_there(libc::P_PID, pid.0)));
    }
    let adopted = workers.iter().filter(|(_, ticket)| ticket.held().is_some()).map(|(pid, _)| *pid);
    stopped.extend(adopted.filter(|pid| facts::is_stopped(*pid).unwrap_or(false)));
    stopped
}

fn reap(pid: Pid) {
    loop {
        // SAFETY: waitpid(2) takes any number, and nothing is asked of the status.
        match Sys::result(unsafe { libc::waitpid(pid.0.cast_signed(), ptr::null_mut(), libc::WNOHANG) }) {
            Err(Sys::EINTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
pub(super) fn ended_of(pid: Pid) -> Option<Ended> {
    look(libc::P_PID, pid.0, libc::WEXITED).ok().flatten()
}
