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

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::{fs::FileTypeExt as _, net::UnixStream, process::parent_id},
    },
    path::{Path, PathBuf},
    process,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long [`ack`] and [`ping`] wait for a reply before they go on without one.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest line of the control socket's protocol, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Descriptors that have been handed out. A number stays in here for good: once the owner has closed
/// it, the kernel may give it to something else, which must not be taken for the inherited socket.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// What came of a message to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The supervisor replied, and did not refuse.
    Confirmed,
    /// The message was delivered, but the supervisor closed the connection without a reply, or sent
    /// none within [`REPLY_TIMEOUT`]. Not a failure: not every supervisor replies to workers.
    Unanswered,
    /// This program was not started by a supervisor; nothing was sent.
    Standalone,
}

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
/// # Errors
/// If the supervisor's control socket cannot be reached, or if the supervisor refuses.
pub fn ack() -> Result<Answer, Error> {
    let pid = process::id();
    tell(&format!("{{\"command\":\"worker:ack\",\"pid\":{pid}}}\n"))
}

/// Tells the supervisor that this worker is alive; its `status` shows when, and the `id`.
///
/// # Errors
/// As [`ack`].
pub fn ping(id: &str) -> Result<Answer, Error> {
    let pid = process::id();
    tell(&format!("{{\"command\":\"worker:ping\",\"pid\":{pid},\"request_id\":{}}}\n", quoted(id)))
}

/// The environment of this process.
fn environment() -> Environment<impl Fn(&str) -> Option<OsString>> {
    Environment { variable: |name: &str| env::var_os(name), parent: parent_id() }
}

/// What the supervisor wrote into the environment, read through a function so that tests need not
/// change the environment of their own process.
struct Environment<L> {
    variable: L,
    parent: u32,
}

impl<L: Fn(&str) -> Option<OsString>> Environment<L> {
    fn supervised(&self) -> Result<(), Error> {
        let supervisor = (self.variable)("EINHORN_MASTER_PID");
        if supervisor.as_deref().and_then(number::<u32>) == Some(self.parent) {
            return Ok(());
        }
        Err(Error::NotSupervised { supervisor, parent: self.parent })
    }

    fn socket_count(&self) -> Result<usize, Error> {
        self.required("EINHORN_FD_COUNT", "the number of inherited sockets", number)
    }

    fn index(&self) -> Option<u32> {
        self.supervised().ok()?;
        (self.variable)("EINHORN_CHILD_INDEX").as_deref().and_then(number)
    }

    fn fd(&self, index: usize) -> Result<RawFd, Error> {
        self.supervised()?;
        let count = self.socket_count()?;
        if index >= count {
            return Err(Error::NoSuchSocket { index, count });
        }
        self.required(&format!("EINHORN_FD_{index}"), "a file descriptor from 3 on", |value| {
            number(value).filter(|fd| *fd > 2)
        })
    }

    fn control_path(&self) -> Result<PathBuf, Error> {
        self.required("EINHORN_SOCK_PATH", "the absolute path of the control socket", |value| {
            let path = Path::new(value);
            path.is_absolute().then(|| path.to_path_buf())
        })
    }

    fn required<T>(
        &self,
        name: &str,
        wanted: &'static str,
        read: impl Fn(&OsStr) -> Option<T>,
    ) -> Result<T, Error> {
        let value = (self.variable)(name);
        value.as_deref().and_then(read).ok_or(Error::Variable { name: name.to_owned(), value, wanted })
    }
}

fn number<T: FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

/// Makes an inherited descriptor an owned, close-on-exec one; once per number.
fn take(fd: RawFd) -> Result<OwnedFd, Error> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(Error::Taken { fd });
    }
    // The one way to ask about a number that nobody owns yet.
    let kind = fs::metadata(format!("/proc/self/fd/{fd}"))
        .map_err(|source| Error::Socket { tried: "find an open socket at", fd, source })?
        .file_type();
    if fd < 3 || !kind.is_socket() {
        return Err(Error::NotASocket { fd });
    }
    taken.insert(fd);
    // SAFETY: `fd` is open, as was just seen, and nobody else owns it: the environment, written by our
    // parent for this process, names it as ours; `taken` keeps this module from claiming it twice; and
    // it is none of the three descriptors that the standard library uses.
    #[expect(unsafe_code, reason = "the standard library has no safe way from a number to an owner")]
    let inherited = unsafe { OwnedFd::from_raw_fd(fd) };
    // Inherited descriptors are not close-on-exec; a duplicate is.
    inherited.try_clone().map_err(|source| Error::Socket { tried: "duplicate", fd, source })
}

/// Sends a line to the supervisor of this process, if there is one.
fn tell(line: &str) -> Result<Answer, Error> {
    let environment = environment();
    if environment.supervised().is_err() {
        return Ok(Answer::Standalone);
    }
    converse(&environment.control_path()?, line, REPLY_TIMEOUT)
}

/// Sends a line and reads the one that answers it.
fn converse(path: &Path, line: &str, timeout: Duration) -> Result<Answer, Error> {
    let control = |tried| move |source| Error::Control { tried, path: path.to_path_buf(), source };
    let mut stream = UnixStream::connect(path).map_err(control("connect to"))?;
    stream.set_read_timeout(Some(timeout)).map_err(control("set a time-out for"))?;
    stream.set_write_timeout(Some(timeout)).map_err(control("set a time-out for"))?;
    stream.write_all(line.as_bytes()).map_err(control("write to"))?;

    // The reply is one line, written at once: the time-out of a single read bounds the whole.
    let mut reply = Vec::new();
    if let Err(error) = BufReader::new(stream.take(MAX_LINE_BYTES)).read_until(b'\n', &mut reply) {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Ok(Answer::Unanswered);
        }
        return Err(control("read a reply from")(error));
    }
    if reply.is_empty() {
        return Ok(Answer::Unanswered);
    }
    let reply = String::from_utf8_lossy(&reply);
    if member(&reply, "ok") != Some("false") {
        return Ok(Answer::Confirmed);
    }
    let message = member(&reply, "message").map_or_else(|| reply.trim().to_owned(), unquoted);
    Err(Error::Refused { path: path.to_path_buf(), message })
}

/// The text of one member of a JSON object: as much JSON as a reply needs.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = object.trim().strip_prefix('{')?.strip_suffix('}');
    while let Some(members) = rest {
        let (member, others) = split_outside(members, ',');
        if let (key, Some(value)) = split_outside(member, ':')
            && key.trim().strip_prefix('"').and_then(|key| key.strip_suffix('"')) == Some(name)
        {
            return Some(value.trim());
        }
        rest = others;
    }
    None
}

/// Splits JSON text at the first separator that is in no string, list or object.
fn split_outside(text: &str, separator: char) -> (&str, Option<&str>) {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match character {
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            found if found == separator && depth == 0 => {
                let (before, after) = text.split_at(at);
                return (before, after.strip_prefix(separator));
            }
            _ => {}
        }
    }
    (text, None)
}

/// A JSON string for `text`.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The text of a JSON string, for people: what cannot be read is shown as U+FFFD.
fn unquoted(string: &str) -> String {
    let mut out = String::new();
    let inner = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut rest = inner.unwrap_or(string).chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match rest.next() {
            Some('n' | 'r') => '\n',
            Some('t') => '\t',
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(other) => other,
            None => char::REPLACEMENT_CHARACTER,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        os::{
            fd::{AsRawFd as _, IntoRawFd as _},
            unix::net::UnixListener,
        },
        thread,
    };

    fn given(pairs: &[(&str, &str)]) -> Environment<impl Fn(&str) -> Option<OsString>> {
        Environment {
            variable: |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            },
            parent: 41,
        }
    }

    #[test]
    fn only_the_child_of_the_named_supervisor_is_supervised() {
        assert!(given(&[("EINHORN_MASTER_PID", "41")]).supervised().is_ok());
        for other in ["42", "", "4 1", "-41", "x"] {
            assert!(given(&[("EINHORN_MASTER_PID", other)]).supervised().is_err(), "{other:?}");
        }
        let message = given(&[]).supervised().unwrap_err().to_string();
        assert_eq!(message, "not started by a supervisor: EINHORN_MASTER_PID is not set");
        let message = given(&[("EINHORN_MASTER_PID", "7")]).supervised().unwrap_err().to_string();
        assert!(message.contains("\"7\"") && message.contains("process 41"), "{message}");
    }

    #[test]
    fn descriptors_are_read_in_order_and_checked() {
        let environment = given(&[
            ("EINHORN_MASTER_PID", "41"),
            ("EINHORN_FD_COUNT", "4"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_FD_1", "17"),
            ("EINHORN_FD_2", "2"),
        ]);
        assert_eq!(environment.socket_count().unwrap(), 4);
        assert_eq!(environment.fd(0).unwrap(), 3);
        assert_eq!(environment.fd(1).unwrap(), 17);
        assert!(matches!(environment.fd(2), Err(Error::Variable { value: Some(_), .. })));
        assert!(matches!(environment.fd(3), Err(Error::Variable { value: None, .. })));
        assert!(matches!(environment.fd(4), Err(Error::NoSuchSocket { index: 4, count: 4 })));
    }

    #[test]
    fn variables_of_somebody_elses_supervisor_are_not_used() {
        let environment = given(&[
            ("EINHORN_MASTER_PID", "1"),
            ("EINHORN_FD_COUNT", "1"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_CHILD_INDEX", "2"),
        ]);
        assert!(matches!(environment.fd(0), Err(Error::NotSupervised { .. })));
        assert_eq!(environment.index(), None);
    }

    #[test]
    fn the_slot_number_is_read() {
        let pairs = [("EINHORN_MASTER_PID", "41"), ("EINHORN_CHILD_INDEX", "2")];
        assert_eq!(given(&pairs).index(), Some(2));
    }

    #[test]
    fn a_relative_control_path_is_refused() {
        let message = given(&[("EINHORN_SOCK_PATH", "e.sock")]).control_path().unwrap_err().to_string();
        assert_eq!(
            message,
            "EINHORN_SOCK_PATH is \"e.sock\" in the environment; it should be the absolute path of the \
             control socket"
        );
    }

    #[test]
    fn only_an_open_socket_from_3_on_can_be_taken_and_only_once() {
        let file = File::open("/dev/null").unwrap();
        assert!(matches!(take(file.as_raw_fd()), Err(Error::NotASocket { .. })));
        assert!(matches!(take(0), Err(Error::NotASocket { .. })));
        let message = take(987_654).unwrap_err().to_string();
        assert!(message.starts_with("cannot find an open socket at file descriptor 987654: "), "{message}");

        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let fd = bound.into_raw_fd();
        let taken = TcpListener::from(take(fd).unwrap());
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(matches!(take(fd), Err(Error::Taken { fd: again }) if again == fd));
    }

    /// What [`converse`] makes of a supervisor that reads a line and answers `reply`, or, with `None`,
    /// keeps silent.
    fn conversation(name: &str, reply: Option<&'static str>) -> Result<Answer, Error> {
        let path = env::temp_dir().join(format!("einhyrningsins-worker-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let supervisor = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            match reply {
                Some(reply) => stream.write_all(reply.as_bytes()).unwrap(),
                None => assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the worker hangs up"),
            }
            line
        });
        let patience = Duration::from_millis(if reply.is_some() { 10_000 } else { 50 });
        let answer = converse(&path, "a line\n", patience);
        assert_eq!(supervisor.join().unwrap(), "a line\n");
        fs::remove_file(&path).unwrap();
        answer
    }

    #[test]
    fn a_reply_confirms() {
        let reply = "{\"message\":\"fine, \\\"ok\\\":false is not meant\",\"ok\":true}\n";
        assert_eq!(conversation("confirmed", Some(reply)).unwrap(), Answer::Confirmed);
    }

    #[test]
    fn no_reply_is_no_error() {
        assert_eq!(conversation("closed", Some("")).unwrap(), Answer::Unanswered);
        assert_eq!(conversation("silent", None).unwrap(), Answer::Unanswered);
    }

    #[test]
    fn a_refusal_is_an_error_with_its_reason() {
        let reply =
            "{\"message\":\"pid 7 is \\u0061 \\\"stranger\\\"\", \"x\":[{\"ok\":true}], \"ok\" : false}\n";
        let error = conversation("refused", Some(reply)).unwrap_err();
        assert!(error.to_string().ends_with(" refused: pid 7 is a \"stranger\""), "{error}");
    }

    #[test]
    fn a_missing_control_socket_is_an_error_with_its_path() {
        let error = converse(Path::new("/nowhere/e.sock"), "a line\n", REPLY_TIMEOUT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot connect to the supervisor's control socket /nowhere/e.sock: No such file or \
             directory (os error 2)"
        );
    }

    #[test]
    fn an_id_is_quoted() {
        assert_eq!(quoted("a\"b\\c\nð"), "\"a\\\"b\\\\c\\u000að\"");
        assert_eq!(unquoted(&quoted("a\"b\\c\tð")), "a\"b\\c\tð");
    }
}
