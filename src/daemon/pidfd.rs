//! A process held by a descriptor, pidfd_open(2): its number may be taken by another once it has ended and was
//! reaped; what is held stays itself. The calls are not in nix.
#![expect(unsafe_code, reason = "system calls that have no safe form")]

use crate::fsm::id::Pid;
use nix::{
    errno::Errno,
    libc::{self, c_int, c_long},
};
use std::{
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// A process.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Holds the process that has the number now.
    ///
    /// # Errors
    /// If there is none, or the system refuses.
    pub(crate) fn open(pid: Pid) -> Result<Self, Errno> {
        let number = c_int::try_from(pid.0).map_err(|_| Errno::ESRCH)?;
        // SAFETY: takes any number, and gives a descriptor of our own or an error.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) }).map(Self)
    }

    /// Sends it the signal with that number.
    ///
    /// # Errors
    /// If it has ended, or the system refuses.
    pub(crate) fn signal(&self, number: c_int) -> Result<(), Errno> {
        let none = ptr::null::<libc::siginfo_t>();
        let (held, number) = (self.0.as_raw_fd(), c_long::from(number));
        // SAFETY: without the structure that could say who sends it, that is all.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, held, number, none, 0) };
        Errno::result(sent).map(drop)
    }
}

fn owned(result: c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: new, open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
