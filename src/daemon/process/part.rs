//! A process that goes on in this program, beside us.

use super::{child, inherited::hold_signals_back, known, send::target};
use crate::fsm::id::Pid;
use nix::{
    errno::Errno as Sys,
    libc,
    sys::{
        signal::{self, SigSet, SigmaskHow},
        wait::waitpid,
    },
    unistd::{self, ForkResult, fork},
};
use std::ptr;

/// Makes a process that does what `body` says, with all signals held back, in a process group of its own. Whatever the
/// supervisor has is there, too, and what it owns is never freed there.
pub(crate) fn part(body: impl FnOnce()) -> Result<Pid, Sys> {
    let held_back = hold_signals_back();
    // SAFETY: this process has one thread, so the other one finds everything as it is, no lock taken.
    let forked = unsafe { fork() };
    match forked {
        Ok(ForkResult::Child) => {
            // What a terminal sends to the supervisor's group is not meant for it.
            let _ = unistd::setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0));
            body();
            leave(1)
        }
        Ok(ForkResult::Parent { child }) => {
            held_back.undo();
            Ok(known(child))
        }
        Err(errno) => {
            held_back.undo();
            Err(errno)
        }
    }
}

/// Ends this process at once, without giving back anything of its supervisor's.
pub(crate) fn leave(status: u8) -> ! {
    child::leave(status)
}

/// Who has made this process, as long as that has not ended.
pub(crate) fn parent() -> Pid {
    known(unistd::getppid())
}

/// Ends a child of ours, and waits for that.
pub(crate) fn end(pid: Pid) {
    let Ok(raw) = target(pid) else { return };
    let _ = signal::kill(raw, signal::SIGKILL);
    while waitpid(raw, None) == Err(Sys::EINTR) {}
}

/// Lets in the one signal that ends a write which waits.
pub(crate) fn let_interrupt_in() {
    let _ = SigSet::from(super::super::sink::INTERRUPT).thread_unblock();
}

/// Forgets which of these signals have come.
pub(crate) fn forget(signals: &SigSet) {
    let mut before = SigSet::empty();
    let _ = signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(signals), Some(&mut before));
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: takes one that waits, if there is one, and waits for none.
    while unsafe { libc::sigtimedwait(signals.as_ref(), ptr::null_mut(), &raw const none) } > 0 {}
}
