//! The system calls in which a thread can wait for a connection, by their numbers on this machine.

use super::super::procfs::Call;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A connection on this descriptor.
    Accept(i32),
    /// A message on this descriptor.
    Receive(i32),
    /// What is in an array of `struct pollfd`: where it is in the memory of the process, and how many.
    Poll(u64, u64),
    /// What is in an `fd_set`: where, and how many bits.
    Select(u64, u64),
    /// What an epoll instance watches, by its descriptor.
    Epoll(i32),
    /// What was asked of an io_uring.
    Ring,
    /// Something else.
    Other,
    /// Not to be known, since the process numbers its calls in another way.
    Foreign,
}

/// What a system call waits for.
///
/// Whether a process is one of 32 bits is told by its stack, since no 64-bit process has its own where
/// 32 bits would reach.
pub(super) fn wait(call: &Call) -> Wait {
    if u32::try_from(call.stack).is_ok() { Wait::Foreign } else { native(call) }
}

/// Architectures with other calls (such as `socketcall`) are left out.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn native(_: &Call) -> Wait {
    Wait::Foreign
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn native(call: &Call) -> Wait {
    use nix::libc;

    /// `IORING_ENTER_GETEVENTS`: to wait for events.
    const GETEVENTS: u64 = 1;

    let [first, second, third, fourth, ..] = call.arguments;
    // Of a descriptor the kernel takes the lower half of the register.
    #[expect(clippy::cast_possible_truncation, reason = "it does so, too")]
    let descriptor = first as i32;
    match call.number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Wait::Poll(first, second),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => Wait::Select(second, first),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => Wait::Epoll(descriptor),
        libc::SYS_accept | libc::SYS_accept4 => Wait::Accept(descriptor),
        libc::SYS_ppoll => Wait::Poll(first, second),
        libc::SYS_pselect6 => Wait::Select(second, first),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Wait::Epoll(descriptor),
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_recvmmsg | libc::SYS_read => {
            Wait::Receive(descriptor)
        }
        libc::SYS_io_uring_enter if third > 0 && fourth & GETEVENTS != 0 => Wait::Ring,
        _ => Wait::Other,
    }
}
