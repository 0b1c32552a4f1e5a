//! Waiting that Ctrl-C ends.
//!
//! While nobody waits, SIGINT does what it does to every program. While somebody does, it ends the waiting
//! and nothing else; a second one that finds the first not noticed yet ends the client.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use signal_hook::{consts::SIGINT, flag, low_level::pipe};
use std::{
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Notices SIGINT.
#[derive(Debug)]
pub struct Interrupts {
    /// `None` if the signal is not caught: then it ends the client without a word.
    caught: Option<Caught>,
}

#[derive(Debug)]
struct Caught {
    /// Has something to be read once the signal has come.
    pipe: UnixStream,
    /// Whether the next signal has its usual effect.
    unattended: Arc<AtomicBool>,
}

/// Why waiting has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is something to be read, or an end or an error to be told of.
    Ready,
    /// The time is over.
    TimedOut,
    /// Somebody pressed Ctrl-C.
    Interrupted,
    /// Nobody reads any more what is shown.
    Unread,
}

/// For as long as this is there, SIGINT ends waiting only.
#[derive(Debug)]
pub struct Attended<'a> {
    interrupts: &'a Interrupts,
    /// Where is shown what is waited for, if it is in vain once nobody reads there.
    shown: Option<BorrowedFd<'a>>,
}

impl Interrupts {
    /// Catches the signal from here on.
    #[must_use]
    pub fn catch() -> Self {
        let catch = || -> io::Result<Caught> {
            let unattended = Arc::new(AtomicBool::new(true));
            let (pipe, end) = UnixStream::pair()?;
            pipe.set_nonblocking(true)?;
            // In this order: what was attended is not any more after the first signal.
            flag::register_conditional_default(SIGINT, Arc::clone(&unattended))?;
            flag::register(SIGINT, Arc::clone(&unattended))?;
            pipe::register(SIGINT, end)?;
            Ok(Caught { pipe, unattended })
        };
        Self { caught: catch().ok() }
    }

    /// Leaves the signal alone.
    #[must_use]
    pub fn leave() -> Self {
        Self { caught: None }
    }

    /// Makes the signal end waiting only, and forgets those that came before.
    #[must_use]
    pub fn attend(&self) -> Attended<'_> {
        if let Some(Caught { pipe, unattended }) = &self.caught {
            let mut pipe = pipe;
            while matches!(pipe.read(&mut [0; 64]), Ok(1..)) {}
            unattended.store(false, Ordering::SeqCst);
        }
        Attended { interrupts: self, shown: None }
    }
}

impl<'a> Attended<'a> {
    /// The same, and waiting ends when whoever reads from `shown` has left: of a pipe the system tells that unasked.
    #[must_use]
    pub fn for_reader_of(mut self, shown: Option<BorrowedFd<'a>>) -> Self {
        self.shown = shown;
        self
    }

    /// Waits until there is something to be read from `from`, or for `patience`.
    #[must_use]
    pub fn wait(&self, from: Option<BorrowedFd<'_>>, patience: Option<Duration>) -> Waited {
        let pipe = self.interrupts.caught.as_ref().map(|caught| caught.pipe.as_fd());
        let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let shown = self.shown.map(|fd| PollFd::new(fd, PollFlags::empty()));
        let mut fds: Vec<PollFd<'_>> = pipe.into_iter().chain(from).map(watched).chain(shown).collect();
        let timeout = match patience {
            // Rounded up, so that the time is over when it is said to be.
            Some(patience) => {
                PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        loop {
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) => return Waited::TimedOut,
                // What cannot be waited for is tried at once, and says itself what is wrong with it.
                Err(_) => return Waited::Ready,
                Ok(_) => break,
            }
        }
        // Who wants to leave does not want to see more.
        let interrupted = pipe.is_some() && fds.first().and_then(PollFd::any).unwrap_or(true);
        let unread = self.shown.is_some() && fds.last().and_then(PollFd::any).unwrap_or(true);
        match (interrupted, unread) {
            (true, _) => Waited::Interrupted,
            (false, true) => Waited::Unread,
            (false, false) => Waited::Ready,
        }
    }
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        if let Some(caught) = &self.interrupts.caught {
            caught.unattended.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// One whose signal never comes, but by hand.
    fn by_hand() -> (Interrupts, UnixStream) {
        let (pipe, end) = UnixStream::pair().unwrap();
        pipe.set_nonblocking(true).unwrap();
        (Interrupts { caught: Some(Caught { pipe, unattended: Arc::new(AtomicBool::new(true)) }) }, end)
    }

    #[test]
    fn waiting_ends_by_what_comes_first() {
        let (interrupts, mut signal) = by_hand();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (from, soon) = (Some(ours.as_fd()), Some(Duration::from_millis(1)));
        let attended = interrupts.attend();
        assert_eq!(attended.wait(from, soon), Waited::TimedOut);
        assert_eq!(attended.wait(None, soon), Waited::TimedOut);
        theirs.write_all(b"words").unwrap();
        assert_eq!(attended.wait(from, None), Waited::Ready);
        signal.write_all(b"!").unwrap();
        assert_eq!(attended.wait(from, None), Waited::Interrupted);
        assert_eq!(attended.wait(None, None), Waited::Interrupted);
    }

    #[test]
    fn who_waits_for_a_reader_notices_that_it_has_left() {
        let (interrupts, _signal) = by_hand();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let attended = interrupts.attend().for_reader_of(Some(writer.as_fd()));
        assert_eq!(attended.wait(Some(ours.as_fd()), Some(Duration::from_millis(1))), Waited::TimedOut);
        drop(reader);
        assert_eq!(attended.wait(Some(ours.as_fd()), None), Waited::Unread);
    }

    #[test]
    fn a_signal_of_before_interrupts_nothing() {
        let (interrupts, mut signal) = by_hand();
        signal.write_all(b"!!").unwrap();
        let attended = interrupts.attend();
        assert_eq!(attended.wait(None, Some(Duration::from_millis(1))), Waited::TimedOut);
        let unattended = &interrupts.caught.as_ref().unwrap().unattended;
        assert!(!unattended.load(Ordering::SeqCst));
        drop(attended);
        assert!(unattended.load(Ordering::SeqCst), "from then on it has its usual effect");
    }
}
