//! Writing that never waits, whatever is at the other end and whoever owns it.
//!
//! A pipe or a terminal that cannot be opened again, as another user's, can be asked whether there is room.
//! But others write there too, and what is left may be less than a line; then the write would wait, for
//! ever if nobody reads. So there a timer interrupts it.

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigEvent, SigevNotify, Signal},
        socket::{MsgFlags, send},
        stat::{Mode, SFlag, fstat},
        time::TimeSpec,
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
    unistd::write,
};
use std::{
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd as _, OwnedFd},
    time::Duration,
};

/// The signal that ends a write that waits, once [the room for processes](super::process::arm_interrupt) has
/// armed it. To a process without a handler it means nothing, so that it harms nobody before.
pub(crate) const INTERRUPT: Signal = Signal::SIGURG;

/// How long a write may wait where it cannot be told not to.
const MOMENT: Duration = Duration::from_millis(5);

/// Takes one line at once, or says that it does not.
pub(crate) trait Sink {
    fn put(&mut self, line: &[u8]) -> Result<(), Lost>;

    /// Another process goes on with it, in which its descriptors are closed, and their numbers anybody's.
    fn renew(&mut self) {}
}

/// How a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing of it was written.
    Whole,
    /// The rest of it: what comes next begins a line of its own.
    Torn,
}

/// Standard error, by the way of writing that cannot block it.
///
/// `O_NONBLOCK` would be the simple way, but it belongs to the open file description, which workers and
/// the shell that started us share: they would find their own writes failing.
pub(crate) struct Outlet<F> {
    fd: F,
    way: Way,
}

enum Way {
    /// A description of our own of the same pipe or terminal, which does not block.
    Own(OwnedFd),
    /// A file. Writes do not wait for anybody, and a description of our own would have an offset of its
    /// own too: we and the workers would overwrite each other.
    Direct,
    /// A socket, where each call can say that it does not wait.
    Socket,
    /// What cannot be opened again: a terminal or a pipe of another user's, a pipe whose reader is gone.
    Shared,
}

impl<F: AsFd> Outlet<F> {
    pub(crate) fn new(fd: F) -> Self {
        Self { way: way(&fd), fd }
    }
}

fn way(fd: &impl AsFd) -> Way {
    let kind = fstat(fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    match kind {
        Ok(SFlag::S_IFREG) => Way::Direct,
        Ok(SFlag::S_IFSOCK) => Way::Socket,
        Ok(_) => reopen(fd.as_fd()).map_or(Way::Shared, Way::Own),
        Err(_) => Way::Shared,
    }
}

/// A description of our own of the same pipe or terminal: writing to it does not block, and leaves that of the
/// others as it is.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_APPEND | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags, Mode::empty())
}

impl<F: AsFd> Sink for Outlet<F> {
    fn renew(&mut self) {
        let way = mem::replace(&mut self.way, way(&self.fd));
        if let Way::Own(before) = way {
            let _ = before.into_raw_fd();
        }
    }

    fn put(&mut self, line: &[u8]) -> Result<(), Lost> {
        let fd = self.fd.as_fd();
        let written = match &self.way {
            Way::Own(own) => write(own, line),
            Way::Direct => write(fd, line),
            Way::Socket => send(fd.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Way::Shared if writable(fd) => write_for_a_moment(fd, line),
            Way::Shared => return Err(Lost::Whole),
        };
        match written {
            Ok(length) if length == line.len() => Ok(()),
            Ok(1..) => Err(Lost::Torn),
            Ok(0) | Err(_) => Err(Lost::Whole),
        }
    }
}

/// Writes as much as can be written within a moment.
fn write_for_a_moment(fd: BorrowedFd<'_>, line: &[u8]) -> Result<usize, Errno> {
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: INTERRUPT, si_value: 0 });
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, event)?;
    // Again and again: the first may come before there is anything to interrupt.
    let moment = TimeSpec::from_duration(MOMENT);
    timer.set(Expiration::IntervalDelayed(moment, moment), TimerSetTimeFlags::empty())?;
    write(fd, line)
}

fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    let ready = poll(&mut fds, PollTimeout::ZERO);
    ready == Ok(1) && fds.iter().all(|fd| fd.revents() == Some(PollFlags::POLLOUT))
}

#[cfg(test)]
mod tests;
