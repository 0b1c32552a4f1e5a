//! A signal that interrupts whatever waits in the kernel, and does nothing else.

use super::super::sink::INTERRUPT;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};

/// Has [`INTERRUPT`] end a system call that waits, with EINTR or with what it has done so far. After handlers
/// that are installed in the usual way such a call is begun again.
pub(crate) fn arm_interrupt() {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, so it may run at any moment. Cannot fail for this signal.
    let _ = unsafe { sigaction(INTERRUPT, &action) };
}
