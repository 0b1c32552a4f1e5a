//! For authors of worker programs: what the supervisor hands over, and how to answer it.
//!
//! A worker finds its listening sockets already open, at the file descriptors named in its
//! environment, and tells the supervisor once it is ready to serve. This module reads the environment
//! (`EINHORN_FD_COUNT`, `EINHORN_FD_0` …), hands out each socket as an owned value, and speaks the two
//! commands of the control socket that are meant for workers. It uses the standard library alone.
//!
//! It does not install signal handlers and knows no event loop. A worker that wants to be replaced
//! without a dropped connection handles the stop signal (`SIGUSR2` unless the supervisor was told
//! otherwise): it stops accepting, finishes what it has accepted, and exits. `tests/workers/http.rs`
//! in the repository is a whole worker, with that part.
//!
//! Every function may be called by any program. One that was not started by a supervisor, or is not
//! its direct child, is told so: [`is_supervised`] is `false`, [`socket_count`] is 0 and [`ack`] is
//! [`Answer::Standalone`], so that the same program runs on its own.
//!
//! ```no_run
//! use einhyrningsins::worker;
//! use std::{error::Error, io::Write, net::TcpListener};
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     // The first socket (`--bind`) if there is a supervisor, a socket of our own if there is none.
//!     let listener = if worker::is_supervised() {
//!         worker::listener(0)?
//!     } else {
//!         TcpListener::bind("127.0.0.1:8080")?
//!     };
//!     // Open files, connect to the database, fill caches: then say so. With `--manual` the
//!     // supervisor stops no older worker before it has heard this.
//!     worker::ack()?;
//!     for connection in listener.incoming() {
//!         connection?.write_all(b"hello\n")?;
//!     }
//!     Ok(())
//! }
//! ```

mod control;
mod error;
mod inherited;

pub use error::Error;

use control::{connect, converse, quoted, send};
use inherited::{environment, take};
use std::{
    net::TcpListener,
    os::fd::{OwnedFd, RawFd},
    process,
    time::Duration,
};

/// How long [`ack`] and [`ping`] wait for a reply before they go on without one.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What came of a message to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The supervisor replied, and did not refuse.
    Confirmed,
    /// The message was delivered, but the supervisor closed the connection without a reply, or sent
    /// none within [`REPLY_TIMEOUT`], or none was waited for. Not a failure: not every supervisor replies to
    /// workers.
    Unanswered,
    /// This program was not started by a supervisor; nothing was sent.
    Standalone,
}

/// Whether a supervisor started this process: `EINHORN_MASTER_PID` is the parent's pid.
///
/// A grandchild that merely inherited the environment is not supervised, nor is a worker whose
/// supervisor is gone.
#[must_use]
pub fn is_supervised() -> bool {
    environment().supervised().is_ok()
}

/// How many sockets were inherited (`EINHORN_FD_COUNT`); 0 if not supervised.
///
/// # Errors
/// If there is a supervisor and the variable is missing or is no number.
pub fn socket_count() -> Result<usize, Error> {
    let environment = environment();
    if environment.supervised().is_err() {
        return Ok(0);
    }
    environment.socket_count()
}

/// The number of this worker's slot (`EINHORN_CHILD_INDEX`), from 0.
///
/// The replacement of a worker has the same number, so that it can name a log file or a shard.
#[must_use]
pub fn index() -> Option<u32> {
    environment().index()
}

/// The file descriptor of an inherited socket (`EINHORN_FD_0` …), in the order of the supervisor's
/// `--bind` options, from 0.
///
/// This only tells the number; [`socket`] and [`listener`] give the socket itself.
///
/// # Errors
/// If not supervised, if there is no such socket, or if the environment is damaged.
pub fn fd(index: usize) -> Result<RawFd, Error> {
    environment().fd(index)
}

/// Takes an inherited socket, of whichever family, counted as in [`fd`].
///
/// Each can be taken once: afterwards it belongs to the caller. What is returned is close-on-exec, so
/// that programs started by the worker do not keep the socket open; therefore its number is another
/// than [`fd`] tells. Blocking or non-blocking is as the supervisor set it (`--bind ADDR:PORT,n`), and
/// is shared with every other worker that has the socket.
///
/// Take the sockets early, before anything else in the program could close or reuse their numbers.
///
/// # Errors
/// As [`fd`]; if the socket has been taken already; if the descriptor is not open or not a socket.
pub fn socket(index: usize) -> Result<OwnedFd, Error> {
    take(fd(index)?)
}

/// Takes an inherited TCP listener, as [`socket`] does.
///
/// # Errors
/// As [`socket`], and if the socket is not an internet socket; in this case it is closed.
pub fn listener(index: usize) -> Result<TcpListener, Error> {
    let fd = fd(index)?;
    let listener = TcpListener::from(take(fd)?);
    // A UNIX socket would pass for a TCP listener until the first accept: ask for its address now.
    match listener.local_addr() {
        Ok(_) => Ok(listener),
        Err(source) => Err(Error::Socket { tried: "read an internet address from", fd, source }),
    }
}

/// Tells the supervisor that this worker is ready to serve.
///
/// With `--manual` a worker counts as healthy from here on. It may be sent more than once, and
/// without `--manual`. It takes a moment, at most [`REPLY_TIMEOUT`] once the supervisor has accepted
/// the connection.
///
/// A worker that cannot connect, since it runs as another user or in another file system, reports over the
/// connection that it has inherited, if it has (`EINHORN_SOCK_FD`, by the supervisor's
/// `--command-socket-as-fd`). That is closed for other programs by then, and no reply is waited for.
///
/// # Errors
/// If the supervisor cannot be reached, or if it refuses.
pub fn ack() -> Result<Answer, Error> {
    let pid = process::id();
    tell(&format!("{{\"command\":\"worker:ack\",\"pid\":{pid}}}\n"))
}

/// Tells the supervisor that this worker is alive; its `status` shows when. The `id`, what the worker is at, goes
/// to the supervisor's log if that has details.
///
/// # Errors
/// As [`ack`].
pub fn ping(id: &str) -> Result<Answer, Error> {
    let pid = process::id();
    tell(&format!("{{\"command\":\"worker:ping\",\"pid\":{pid},\"request_id\":{}}}\n", quoted(id)))
}

/// Sends a line to the supervisor of this process, if there is one.
fn tell(line: &str) -> Result<Answer, Error> {
    let environment = environment();
    if environment.supervised().is_err() {
        return Ok(Answer::Standalone);
    }
    let path = environment.control_path()?;
    match (connect(&path), environment.connection()) {
        (Ok(stream), _) => converse(stream, &path, line, REPLY_TIMEOUT),
        (Err(_), Some(fd)) => send(fd, line, REPLY_TIMEOUT),
        (Err(error), None) => Err(error),
    }
}
