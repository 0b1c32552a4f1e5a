//! One connection to a supervisor.

use super::{
    clock::Clock,
    interrupt::{Attended, Waited},
    owner::{self, Foreign, Owner, Peer},
    patience::Patience,
};
use crate::{
    fsm::time::Millis,
    protocol::{
        BadReply, Envelope, LineBuffer, Overlong,
        json::{list, members, text},
        line::REPLY_MAX,
        words::{file_kind, io_error, span},
    },
};
use core::fmt;
use miniserde::json;
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use std::{
    collections::VecDeque,
    fs::FileType,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::FileTypeExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a supervisor is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path of its control socket.
    pub path: PathBuf,
    /// Whose that may be.
    pub owner: Owner,
    /// How long it may take to answer.
    pub patience: Patience,
}

/// No supervisor could be reached.
#[derive(Debug)]
pub struct Unreachable {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    System(io::Error),
    /// Something else is there.
    NoSocket(FileType),
    /// Whoever listens has not taken the connection in that time.
    Busy(Duration),
    Foreign(Foreign),
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let error = match &self.why {
            Why::System(error) => error,
            Why::NoSocket(kind) => {
                let kind = file_kind(*kind);
                return write!(
                    f,
                    "cannot reach a supervisor at {path}: what is there is {kind}, not a socket"
                );
            }
            Why::Busy(time) => {
                return write!(
                    f,
                    "the supervisor at {path} has taken no connection for {}: too many wait already; it is \
                     stopped, or hangs",
                    shown(*time)
                );
            }
            Why::Foreign(foreign) => return write!(f, "refused the control socket {path}: {foreign}"),
        };
        write!(f, "cannot reach a supervisor at {path}: {}", io_error(error))?;
        let hints = [
            (io::ErrorKind::NotFound, "; is one running, and with this --socket-path?"),
            (io::ErrorKind::ConnectionRefused, "; nobody listens there"),
            (io::ErrorKind::PermissionDenied, "; only root and the supervisor's own user may"),
        ];
        let hint = hints.iter().find(|(kind, _)| *kind == error.kind());
        f.write_str(hint.map_or("", |(_, hint)| hint))
    }
}

impl core::error::Error for Unreachable {}

/// Why the answer to a request did not come to its end.
#[derive(Debug)]
pub enum Lost {
    /// The supervisor closed the connection.
    Closed,
    /// The system says that the connection is broken.
    Broken(io::Error),
    /// A line is longer than any supervisor's.
    Overlong(Overlong),
    /// A line is not a reply.
    BadReply(BadReply),
    /// Not a line of the answer came, for so long.
    Silent(Duration),
    /// No further line came, for so long.
    Stalled(Duration),
    /// What was waited for after the answer did not come to its end within so long.
    Unfinished(Duration),
    /// Nobody reads what is shown of it any more.
    Unread,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

fn shown(time: Duration) -> String {
    span(Millis(time.as_millis().try_into().unwrap_or(u64::MAX)))
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the supervisor closed the connection before its last word"),
            Self::Broken(error) => write!(f, "the connection to the supervisor broke: {}", io_error(error)),
            Self::Overlong(error) => write!(f, "the answer cannot be understood: {error}"),
            Self::BadReply(error) => write!(f, "the answer cannot be understood: {error}"),
            // Whether it has accepted the connection nobody can see from here.
            Self::Silent(time) => {
                write!(f, "the supervisor does not answer: no line came for {}", shown(*time))
            }
            Self::Stalled(time) => write!(
                f,
                "the supervisor does not go on with its answer: no further line came for {}",
                shown(*time)
            ),
            Self::Unfinished(time) => write!(f, "not at its end after {}", shown(*time)),
            Self::Unread => f.write_str("nobody reads it any more"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for Lost {}

/// One line of an answer.
#[derive(Clone, Debug)]
pub struct ReplyLine {
    /// As it came, without its line end.
    pub line: Vec<u8>,
    /// As it is meant.
    pub envelope: Envelope,
}

/// An answer of our own, in the form that a supervisor would give it.
impl From<Envelope> for ReplyLine {
    fn from(envelope: Envelope) -> Self {
        Self { line: envelope.encode().trim_end().into(), envelope }
    }
}

/// A connection. After [`Lost`] it is of no use any more.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    buffer: LineBuffer,
    lines: VecDeque<Vec<u8>>,
    requests: u64,
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self { stream, buffer: LineBuffer::new(REPLY_MAX), lines: VecDeque::new(), requests: 0 }
    }
}

impl Connection {
    /// Connects to a supervisor.
    ///
    /// # Errors
    /// If nobody can be reached there, or only somebody whose socket it may not be, with the path and the
    /// reason.
    pub fn open(target: &Target) -> Result<Self, Unreachable> {
        let Target { path, owner, patience } = target;
        let failed = |why| Unreachable { path: path.clone(), why };
        let system = |error| failed(Why::System(error));
        let stream = match open(path, patience.first) {
            Ok(stream) => stream,
            Err(Errno::EAGAIN) => return Err(failed(Why::Busy(patience.first))),
            // The system says so of whatever is no socket, too.
            Err(errno @ Errno::ECONNREFUSED) => {
                let kind = path.metadata().map(|metadata| metadata.file_type());
                let other = kind.ok().filter(|kind| !kind.is_socket());
                return Err(failed(other.map_or_else(|| Why::System(errno.into()), Why::NoSocket)));
            }
            Err(errno) => return Err(system(errno.into())),
        };
        let foreign = match owner {
            Owner::RootOrSelf => owner::foreign(path, &stream).map_err(system)?,
            Owner::Anybody => None,
        };
        if let Some(foreign) = foreign {
            return Err(failed(Why::Foreign(foreign)));
        }
        Ok(stream.into())
    }

    /// The process that answers.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn peer(&self) -> io::Result<Peer> {
        owner::peer(&self.stream)
    }

    /// Whether the supervisor has hung up since its last answer, or says things nobody asked for.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        let probe = |stream: &mut UnixStream| {
            stream.set_nonblocking(true)?;
            let read = stream.read(&mut [0]);
            stream.set_nonblocking(false)?;
            read
        };
        // Between requests there is nothing to be read, so anything but "not yet" is an end.
        !self.lines.is_empty()
            || !matches!(probe(&mut self.stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a command and its arguments.
    pub fn send(&mut self, name: &str, args: &[String]) {
        self.requests += 1;
        let request = members([
            ("id", text(&self.requests.to_string())),
            ("command", text(name)),
            ("args", list(args.iter().map(|arg| text(arg)))),
        ]);
        let line = json::to_string(&request) + "\n";
        // A supervisor that refuses to listen says why before it hangs up, so what counts is what can
        // be read; and if nothing can, `receive` says so.
        let _ = self.stream.write_all(line.as_bytes());
    }

    /// Waits for the next line of the answer for as long as a supervisor may take that is not busy with
    /// anything long.
    ///
    /// # Errors
    /// If none comes by then, or one that makes no sense.
    pub fn receive_soon(&mut self, attended: &Attended<'_>, within: Duration) -> Result<ReplyLine, Lost> {
        let reply = self.receive(attended, Some(within))?;
        reply.ok_or(Lost::Silent(within))
    }

    /// Waits for the next line of the answer; `None` if it has not come as a whole within `patience`, however
    /// much of it has.
    ///
    /// # Errors
    /// If none comes, or one that makes no sense.
    pub fn receive(
        &mut self,
        attended: &Attended<'_>,
        patience: Option<Duration>,
    ) -> Result<Option<ReplyLine>, Lost> {
        let mut chunk = [0; 8 * 1024];
        let mut left = patience;
        let clock = Clock::start();
        loop {
            if let Some(line) = self.lines.pop_front() {
                let envelope = Envelope::parse(&line).map_err(Lost::BadReply)?;
                return Ok(Some(ReplyLine { line, envelope }));
            }
            match attended.wait(Some(self.stream.as_fd()), left) {
                Waited::Ready => {}
                Waited::TimedOut => return Ok(None),
                Waited::Interrupted => return Err(Lost::Interrupted),
                Waited::Unread => return Err(Lost::Unread),
            }
            let length = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Lost::Closed),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Lost::Closed),
                Err(error) => return Err(Lost::Broken(error)),
            };
            let mut rest = chunk.get(..length).unwrap_or_default();
            while let Some(line) = self.buffer.next_line(&mut rest) {
                self.lines.push_back(line.map_err(Lost::Overlong)?);
            }
            left = patience.map(|most| most.saturating_sub(clock.now()));
            if left == Some(Duration::ZERO) && self.lines.is_empty() {
                return Ok(None);
            }
        }
    }
}

/// Connects, and gives up after a while: who is stopped takes no connection once enough of them wait.
/// From then on it also limits how long a request may take to be written.
fn open(path: &Path, patience: Duration) -> Result<UnixStream, Errno> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&fd, SendTimeout, &limit)?;
    let address = UnixAddr::new(path)?;
    while let Err(errno) = connect(fd.as_raw_fd(), &address) {
        if errno != Errno::EINTR {
            return Err(errno);
        }
    }
    Ok(fd.into())
}
