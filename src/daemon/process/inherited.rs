//! What a process finds when it begins, by whoever started it, and how that is put right: what signals do,
//! and the standard descriptors.

use super::errno;
use crate::fsm::id::Errno;
use nix::{
    fcntl::{OFlag, open},
    libc::{self, c_int},
    sys::{
        signal::{self, SigSet},
        stat::Mode,
    },
};
use std::{
    os::fd::{AsRawFd as _, IntoRawFd as _},
    ptr,
};

/// Signals are numbered from 1 to this, signal(7).
pub(super) const LAST_SIGNAL: c_int = 64;

/// The size of the kernel's set of signals, in bytes.
const SIGNAL_SET_SIZE: usize = 8;

/// The kernel's own structure for what a signal does, whatever its layout. All zero it means SIG_DFL, no
/// flags and nothing blocked.
type KernelAction = [u64; 8];

/// Gives a signal its default effect. Fails harmlessly for KILL and STOP.
///
/// By the system call itself: the C library's `sigaction` refuses the two signals it keeps for its
/// threads, and those are inherited like all others.
pub(super) fn default_signal(number: c_int) {
    let default: KernelAction = [0; 8];
    // SAFETY: reads no more than `default`. No handler is installed.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            default.as_ptr(),
            ptr::null_mut::<u64>(),
            SIGNAL_SET_SIZE,
        )
    };
}

/// Whether a signal has its default effect. A child need not set it then, which is most of what it would
/// have to do.
pub(super) fn is_default(number: c_int) -> bool {
    let mut action: KernelAction = [0; 8];
    // SAFETY: writes no more than `action`, which is larger than any kernel's structure.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            ptr::null::<u64>(),
            action.as_mut_ptr(),
            SIGNAL_SET_SIZE,
        )
    };
    action.iter().all(|word| *word == 0)
}

/// What whoever started the supervisor wants of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Nothing in particular: it is an order like others.
    Obeyed,
    /// To be left alone, as by nohup(1): the supervisor ignores it. Workers have the default all the same.
    Ignored,
}

/// Undoes what whoever started the supervisor may have left behind: an ignored SIGCHLD would have the
/// kernel reap our children, and blocked signals would never arrive. To be called before anything else.
/// Returns the one thing that is left as it was.
///
/// What Rust has set up for itself stays: SIGPIPE ignored, so that a closed pipe is an error of the
/// write, and the guards against stack overflow. So does what the C library may have (32 and 33). A file
/// that is at its limit (`ulimit -f`) is an error of the write as well.
pub(crate) fn reset_signals_at_start() -> Hangup {
    // No handler outlives an exec, execve(2): what has not its default effect is ignored.
    let hangup = if is_default(libc::SIGHUP) { Hangup::Obeyed } else { Hangup::Ignored };
    let kept = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS, 32, 33];
    let ignored = |number: &c_int| hangup == Hangup::Ignored && *number == libc::SIGHUP;
    (1..=LAST_SIGNAL).filter(|number| !kept.contains(number) && !ignored(number)).for_each(default_signal);
    // SAFETY: no handler. Ignoring it cannot fail.
    let _ = unsafe { signal::signal(signal::SIGXFSZ, signal::SigHandler::SigIgn) };
    let _ = SigSet::empty().thread_set_mask();
    hangup
}

/// Makes sure that descriptors 0 to 2 exist, so that nothing else takes their place and is written to
/// as standard error. They stay open in workers.
pub(crate) fn open_standard_fds() -> Result<(), Errno> {
    loop {
        // The lowest free number is taken.
        let fd = open("/dev/null", OFlag::O_RDWR, Mode::empty()).map_err(errno)?;
        if fd.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(());
        }
        let _ = fd.into_raw_fd();
    }
}
