//! The signal that makes a worker drain, where nobody has said which: by what the worker is seen to be at the
//! moment when it is to be stopped. Which programs are known is said in [`crate::cli::drain`]; when a signal
//! is sent, and what follows if it does not help, is decided by the core.
//!
//! A program that is not known gets what einhorn would send it, USR2, if it has a handler for that. Without one
//! it would end at once, and so it gets TERM, which more programs understand. A handler tells nothing where
//! the runtime has one for every signal, as Go's has: a USR2 that such a program does not expect is lost, and
//! the worker goes on as if nothing had been asked. It gets USR2 only if it has reported as einhorn's workers
//! do, and so knows what einhorn sends. The same holds for a worker that cannot be looked at.
//!
//! Three files are read, about twelve system calls.

use super::procfs::Signals;
use crate::{
    cli::drain::{Drain, NOTIFIES_EARLY, by_file, by_process},
    fsm::{id::Pid, signal::Signal},
};
use nix::libc::SIGUSR2;
use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// How much is read of each file: a command line may be of any length.
const FILE: u64 = 4_096;

/// What a worker is known to understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// It has reported as einhorn's workers do.
    Einhorn,
    /// It has not.
    Unknown,
}

/// A signal, and how it was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) signal: Signal,
    pub(crate) reason: Reason,
}

/// How a signal was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The worker runs a program of which it is known.
    Known(&'static str),
    /// It has a handler for the signal.
    Caught,
    /// It has no handler for USR2.
    NotCaught,
    /// It has a handler for every signal, which tells nothing, and has reported in these manners.
    Runtime(Manners),
    /// It cannot be looked at, and has reported in these manners.
    Unseen(Manners),
}

/// A clause that goes on behind the name of the signal.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(program) => write!(f, "which makes {program} drain"),
            Self::Caught => f.write_str("which it catches"),
            Self::NotCaught => f.write_str("since it does not catch USR2"),
            Self::Runtime(Manners::Einhorn) => f.write_str("since it reports as workers of einhorn do"),
            Self::Runtime(Manners::Unknown) => {
                f.write_str("since its runtime catches every signal, so that USR2 may mean nothing to it")
            }
            Self::Unseen(Manners::Einhorn) => {
                f.write_str("since it cannot be looked at, and reports as workers of einhorn do")
            }
            Self::Unseen(Manners::Unknown) => f.write_str("since it cannot be looked at"),
        }
    }
}

/// The signal that makes a worker drain that was started from this file. It must not be reaped yet.
pub(crate) fn choose(worker: Pid, executable: &Path, manners: Manners) -> Choice {
    // Whatever was started, what it has become counts.
    let known = program_of(worker).unwrap_or_else(|_| by_file(executable.as_os_str().as_bytes()));
    if let Some(drain) = known {
        return Choice { signal: drain.signal, reason: Reason::Known(drain.program) };
    }
    let status = read(worker, "status").ok();
    by_handlers(status.and_then(|status| Signals::caught(&status)), manners)
}

/// The signal that makes a program drain that nobody can look at by then, by its file alone; of a program that is
/// not known, it is what einhorn would send.
pub(crate) fn by_executable(executable: &Path) -> Signal {
    by_file(executable.as_os_str().as_bytes()).map_or(Signal::Usr2, |known| known.signal)
}

/// Whether a worker is known to say that it is ready before its application is loaded.
pub(crate) fn notifies_early(worker: Pid) -> bool {
    program_of(worker).ok().flatten().is_some_and(|known| NOTIFIES_EARLY.contains(&known.program))
}

/// What is known of the program that a worker runs by now, if anything is.
fn program_of(worker: Pid) -> io::Result<Option<&'static Drain>> {
    let comm = read(worker, "comm")?;
    Ok(by_process(&comm, &read(worker, "cmdline").unwrap_or_default()))
}

/// The signal for a program that is not known.
fn by_handlers(caught: Option<Signals>, manners: Manners) -> Choice {
    let by_manners = match manners {
        Manners::Einhorn => Signal::Usr2,
        Manners::Unknown => Signal::Term,
    };
    let (signal, reason) = match caught {
        None => (by_manners, Reason::Unseen(manners)),
        Some(caught) if caught.are_those_of_a_runtime() => (by_manners, Reason::Runtime(manners)),
        Some(caught) if caught.contains(SIGUSR2) == Some(true) => (Signal::Usr2, Reason::Caught),
        Some(_) => (Signal::Term, Reason::NotCaught),
    };
    Choice { signal, reason }
}

fn read(worker: Pid, name: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(2_048);
    File::open(format!("/proc/{worker}/{name}"))?.take(FILE).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
