//! A process held by a descriptor, pidfd_open(2): its number may be taken by another once it has ended and was
//! reaped; what is held stays itself. The calls are not in nix.
#![expect(unsafe_code, reason = "system calls that have no safe form")]

use crate::fsm::{event::ExitStatus, id::Pid};
use nix::{
    errno::Errno,
    libc::{self, c_int, c_long},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// How long, in milliseconds, the end of a process may take to be known.
const MOMENT: u8 = 5;

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

impl PidFd {
    /// A duplicate of what it has open under that number, pidfd_getfd(2).
    ///
    /// # Errors
    /// If it has nothing there, or we may not look into it as a debugger would: ptrace(2).
    pub(crate) fn duplicate(&self, number: RawFd) -> Result<OwnedFd, Errno> {
        let number = c_long::from(number);
        // SAFETY: takes any number, and gives a descriptor of our own or an error.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0) })
    }

    /// Whether it has ended; it may still be waiting for its parent.
    pub(crate) fn has_ended(&self) -> bool {
        let mut held = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut held, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// How it has ended, where the kernel tells that to others than its parent: since Linux 6.15, and once the parent
    /// knows.
    pub(crate) fn status(&self) -> ExitStatus {
        let told = self.told().and_then(|told| {
            told.or_else(|| {
                // Whoever inherited it, as the first process does, learns of it in this moment, too. Kernels that tell
                // also tell when that has been.
                let mut held = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
                let _ = poll(&mut held, PollTimeout::from(MOMENT));
                self.told().flatten()
            })
        });
        let Some(status) = told else { return ExitStatus::Unknown };
        match status & 0x7f {
            0 => ExitStatus::Code((status >> 8) & 0xff),
            signal => ExitStatus::Signal(signal),
        }
    }

    /// The status as wait(2) has it, if the parent has it by now; nothing at all where the kernel does not tell of
    /// processes.
    fn told(&self) -> Option<Option<c_int>> {
        /// The first version of the kernel's structure, which it asks for and fills in.
        #[repr(C)]
        struct Info {
            mask: u64,
            others: [u64; 6],
            last: u32,
            status: c_int,
        }
        const WITH_STATUS: u64 = 1 << 3;
        /// PIDFD_GET_INFO for a structure of that size, ioctl_pidfd(2).
        const GET_INFO: libc::c_ulong = 0xc040_ff0b;
        let mut info = Info { mask: WITH_STATUS, others: [0; 6], last: 0, status: 0 };
        // SAFETY: the kernel writes no more than the size that is part of the request, which is that of `info`.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_INFO as _, &raw mut info) };
        (done >= 0).then(|| (info.mask & WITH_STATUS != 0).then_some(info.status))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn owned(result: c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: new, open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn whoever_is_held_is_told_apart_from_who_has_its_number() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let held = PidFd::open(Pid(child.id())).unwrap();
        assert!(!held.has_ended());
        assert_eq!(held.status(), ExitStatus::Unknown);
        held.signal(libc::SIGTERM).unwrap();
        super::super::scratch::eventually("its end", || held.has_ended().then_some(()));
        child.wait().unwrap();
        assert_eq!(held.signal(0), Err(Errno::ESRCH));
        // Older kernels do not tell.
        let told = [ExitStatus::Unknown, ExitStatus::Signal(libc::SIGTERM)];
        assert!(told.contains(&held.status()), "{:?}", held.status());
        assert!(PidFd::open(Pid(u32::MAX)).is_err());
    }
}
