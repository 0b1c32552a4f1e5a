//! The end of children: looked at first, reaped then.
//!
//! A process that has ended keeps its number until it is reaped, and with it that of the group it led. From
//! then on the number may be anybody's. So what a worker leaves behind is killed in between, and nothing is
//! sent to the number afterwards.

use super::{
    Children, known,
    send::{group_exists, kill_group, process_exists, stragglers},
};
use crate::fsm::{event::ExitStatus, id::Pid};
use nix::{
    errno::Errno as Sys,
    libc::{self, c_int, id_t, idtype_t, siginfo_t},
    unistd,
};
use std::{collections::BTreeSet, mem, ptr};

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

/// The workers that are stopped, as by SIGSTOP or by a terminal.
pub(crate) fn stopped(workers: &Children) -> BTreeSet<Pid> {
    let is_there = |kind, number| look(kind, number, libc::WSTOPPED).is_ok_and(|found| found.is_some());
    // Nearly always none is, and that is known at once. Nobody takes the news of it away.
    if !is_there(libc::P_ALL, 0) {
        return BTreeSet::new();
    }
    workers.keys().copied().filter(|pid| is_there(libc::P_PID, pid.0)).collect()
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
