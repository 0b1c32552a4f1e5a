//! What can go wrong for a worker, told so that its author can put it right.

use std::{ffi::OsString, fmt, io, os::fd::RawFd, path::PathBuf};

/// Why a socket could not be had, or a message not be delivered.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The program is not the direct child of a supervisor.
    NotSupervised {
        /// `EINHORN_MASTER_PID`, if it is set.
        supervisor: Option<OsString>,
        /// The process that did start this one.
        parent: u32,
    },
    /// An environment variable is missing or is not what it should be.
    Variable {
        /// Its name.
        name: String,
        /// What it is set to, if it is.
        value: Option<OsString>,
        /// What it should be.
        wanted: &'static str,
    },
    /// There are fewer sockets than that.
    NoSuchSocket {
        /// The one asked for, from 0.
        index: usize,
        /// How many were inherited.
        count: usize,
    },
    /// The socket was handed out before, and whoever has it owns it.
    Taken {
        /// The file descriptor.
        fd: RawFd,
    },
    /// The file descriptor is none that a supervisor hands on: standard input, output or error, or
    /// not a socket.
    NotASocket {
        /// The file descriptor.
        fd: RawFd,
    },
    /// The system refused an operation on an inherited file descriptor.
    Socket {
        /// What was tried, as in "cannot … file descriptor 3".
        tried: &'static str,
        /// The file descriptor.
        fd: RawFd,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused an operation on the control socket.
    Control {
        /// What was tried, as in "cannot … the supervisor's control socket".
        tried: &'static str,
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The supervisor answered that it does not accept the message.
    Refused {
        /// The control socket.
        path: PathBuf,
        /// The reason it gave.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupervised { supervisor: None, .. } => {
                f.write_str("not started by a supervisor: EINHORN_MASTER_PID is not set")
            }
            Self::NotSupervised { supervisor: Some(pid), parent } => write!(
                f,
                "not the direct child of a supervisor: EINHORN_MASTER_PID is {pid:?}, but the parent is \
                 process {parent} (a shell script in between must `exec` the worker)"
            ),
            Self::Variable { name, value: None, wanted } => {
                write!(f, "{name} is not set in the environment; it should be {wanted}")
            }
            Self::Variable { name, value: Some(value), wanted } => {
                write!(f, "{name} is {value:?} in the environment; it should be {wanted}")
            }
            Self::NoSuchSocket { index, count } => write!(
                f,
                "there is no socket {index}: {count} were inherited, counted from 0 in the order of the \
                 supervisor's --bind options"
            ),
            Self::Taken { fd } => {
                write!(f, "the inherited socket at file descriptor {fd} has already been taken")
            }
            Self::NotASocket { fd } => write!(f, "file descriptor {fd} is not an inherited socket"),
            Self::Socket { tried, fd, source } => {
                write!(f, "cannot {tried} file descriptor {fd}: {source}")
            }
            Self::Control { tried, path, source } => {
                write!(f, "cannot {tried} the supervisor's control socket {}: {source}", path.display())
            }
            Self::Refused { path, message } => {
                write!(f, "the supervisor at {} refused: {message}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket { source, .. } | Self::Control { source, .. } => Some(source),
            Self::NotSupervised { .. }
            | Self::Variable { .. }
            | Self::NoSuchSocket { .. }
            | Self::Taken { .. }
            | Self::NotASocket { .. }
            | Self::Refused { .. } => None,
        }
    }
}
