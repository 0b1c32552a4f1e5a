//! Learning of the end of children.

use super::known;
use crate::fsm::{event::ExitStatus, id::Pid};
use nix::{
    errno::Errno as Sys,
    libc::{self, c_int},
    unistd,
};

/// A child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// Which. Possibly a stranger: process 1 and subreapers inherit children.
    pub(crate) pid: Pid,
    /// How.
    pub(crate) status: ExitStatus,
}

/// Reaps one child that has ended, if there is one. To be repeated until there is none.
pub(crate) fn reap() -> Option<Reaped> {
    reap_one(-1)
}

/// `selector` as in waitpid(2).
pub(super) fn reap_one(selector: libc::pid_t) -> Option<Reaped> {
    // Not nix's `waitpid`: that is an error when a real-time signal ended the child, which is gone then.
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match Sys::result(unsafe { libc::waitpid(selector, &raw mut status, libc::WNOHANG) }) {
            Ok(0) => return None,
            Ok(pid) => {
                return Some(Reaped { pid: known(unistd::Pid::from_raw(pid)), status: decode(status) });
            }
            Err(Sys::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn decode(status: c_int) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}
