//! How nice processes are, setpriority(2).

use super::errno;
use crate::{cli::Nice, fsm::id::Errno};
use nix::{
    errno::Errno as Sys,
    libc::{self, c_int},
};

/// Sets how nice the calling process is. Fit for a forked child.
pub(super) fn set(niceness: c_int) -> Result<(), Sys> {
    // SAFETY: takes and returns numbers only; 0 is the caller. On Linux that is one thread, and there is one.
    Sys::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) }).map(drop)
}

/// Makes the supervisor as nice as it is to be, and sees whether workers can be made as nice as they are to be:
/// to be less so takes a right.
///
/// # Errors
/// Which of the two cannot be had, and why.
pub(crate) fn renice(nice: Nice) -> Result<(), (c_int, Errno)> {
    let Nice { supervisor, worker } = nice;
    let try_on = |niceness| set(niceness).map_err(|sys| (niceness, errno(sys)));
    try_on(supervisor)?;
    match worker {
        // Back again is always allowed.
        Some(worker) if worker < supervisor => try_on(worker).and_then(|()| try_on(supervisor)),
        _ => Ok(()),
    }
}
