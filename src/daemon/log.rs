//! Words about what happens, to standard error and, if wanted, to syslog.
//!
//! The service matters more than its log: writing never waits and never fails. A terminal that is
//! stopped, a pipe that nobody reads, a syslog daemon that is away: such lines are lost, and the next
//! one that gets through is preceded by how many there were.
//!
//! A record is one line, whatever is in it, and never longer than a pipe takes in one piece; so lines
//! of several processes in one log do not mix, and no client can forge one.

use super::sink::{Lost, Outlet, Sink};
use crate::protocol::{visible::visible, words::count};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{Config, ConfigBuilder, WriteLogger};
use std::{
    fmt::Write as _,
    io::{self, Write},
    mem,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process,
    sync::Mutex,
};
use syslog::{Facility, Formatter3164, LogFormat, LoggerBackend};

/// The name in front of every line.
const NAME: &str = "einhyrningsins";

/// The longest line, its end included: what a pipe takes whole or not at all, `PIPE_BUF` in pipe(7).
const LONGEST_LINE: usize = 4096;

/// Where the local syslog daemon listens, syslog(3).
const SYSLOG_PATH: &str = "/dev/log";

/// Starts logging from `level` up, also to syslog from WARN up if `syslog`. Once per process: the first
/// call counts.
pub(crate) fn init(level: LevelFilter, syslog: bool) {
    let lines = Lines::new(Outlet::new(io::stderr()));
    let syslog = syslog.then(|| Mutex::new(Syslog::new(SYSLOG_PATH.into())));
    if log::set_boxed_logger(Box::new(Both { lines: logger(lines), syslog })).is_ok() {
        set_level(level);
    }
}

/// Changes what is logged, from now on.
pub(crate) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// The next level that tells more.
pub(crate) fn louder(level: LevelFilter) -> LevelFilter {
    match level {
        LevelFilter::Off | LevelFilter::Error => LevelFilter::Warn,
        LevelFilter::Warn => LevelFilter::Info,
        LevelFilter::Info => LevelFilter::Debug,
        LevelFilter::Debug | LevelFilter::Trace => LevelFilter::Trace,
    }
}

/// The next level that tells less; errors are told at any.
pub(crate) fn quieter(level: LevelFilter) -> LevelFilter {
    match level {
        LevelFilter::Trace => LevelFilter::Debug,
        LevelFilter::Debug => LevelFilter::Info,
        LevelFilter::Info => LevelFilter::Warn,
        LevelFilter::Warn | LevelFilter::Error | LevelFilter::Off => LevelFilter::Error,
    }
}

/// Its own filter is open: what passes is for [`set_level`] to say.
fn logger<S: Sink + Send + 'static>(lines: Lines<S>) -> Box<WriteLogger<Lines<S>>> {
    WriteLogger::new(LevelFilter::Trace, config(), lines)
}

/// The time in UTC, the level, the words.
fn config() -> Config {
    ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

struct Both<S: Sink + Send + 'static> {
    lines: Box<WriteLogger<Lines<S>>>,
    syslog: Option<Mutex<Syslog>>,
}

impl<S: Sink + Send + 'static> Log for Both<S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // It writes in pieces; the flush tells that the line is complete.
        self.lines.log(record);
        self.lines.flush();
        if record.level() <= Level::Warn
            && let Some(Ok(mut syslog)) = self.syslog.as_ref().map(Mutex::lock)
        {
            syslog.log(record);
        }
    }

    fn flush(&self) {}
}

/// What stands in place of lines that were lost.
fn confession(lost: u64) -> String {
    let were = if lost == 1 { "was" } else { "were" };
    format!("{} of this log {were} lost here", count(u32::try_from(lost).unwrap_or(u32::MAX), "line"))
}

/// Makes lines of what is written, up to a flush, and counts what is lost.
struct Lines<S> {
    sink: S,
    pid: u32,
    line: Vec<u8>,
    lost: u64,
    torn: bool,
}

impl<S: Sink> Lines<S> {
    fn new(sink: S) -> Self {
        Self { sink, pid: process::id(), line: Vec::new(), lost: 0, torn: false }
    }

    /// Writes the line that was collected.
    fn end(&mut self) {
        if self.pid != process::id() {
            self.pid = process::id();
            self.sink.renew();
        }
        let line = tidy(whole_seconds(&mut self.line));
        self.line.clear();
        if !line.is_empty() && (!self.confess() || !self.put(&line)) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Tells of lost lines. Answers whether there is nothing left to tell.
    fn confess(&mut self) -> bool {
        if self.lost == 0 {
            return true;
        }
        let told = self.put(format!("[WARN] {}", confession(self.lost)).as_bytes());
        if told {
            self.lost = 0;
        }
        told
    }

    fn put(&mut self, words: &[u8]) -> bool {
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        let _ = write!(line, "{NAME}[{}] ", self.pid);
        line.extend_from_slice(words);
        line.truncate(LONGEST_LINE - 1);
        line.push(b'\n');
        match self.sink.put(&line) {
            Ok(()) => self.torn = false,
            Err(Lost::Whole) => return false,
            Err(Lost::Torn) => {
                self.torn = true;
                return false;
            }
        }
        true
    }
}

impl<S: Sink> Write for Lines<S> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        self.line.extend(piece.iter().take(room));
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end();
        Ok(())
    }
}

/// Cuts the nanoseconds out of `2026-01-02T03:04:05.678901234Z` at the start of a line. The formatter has
/// a form of its own without them, but only for crates that depend on `time` themselves.
fn whole_seconds(line: &mut Vec<u8>) -> &[u8] {
    const DOT: usize = "2026-01-02T03:04:05".len();
    if line.get(DOT) == Some(&b'.')
        && let Some(length) = line.iter().skip(DOT).position(|byte| *byte == b'Z')
    {
        line.drain(DOT..DOT.saturating_add(length));
    }
    line
}

/// One line of words: without its end, and with whatever would end it early or steer a terminal escaped.
fn tidy(words: &[u8]) -> Vec<u8> {
    visible(&String::from_utf8_lossy(words.trim_ascii_end())).into_bytes()
}

/// The local syslog daemon. It may come and go; each line tries anew.
///
/// Times are UTC, as the formatter has it; daemons put their own in their place.
struct Syslog {
    path: PathBuf,
    formatter: Formatter3164,
    backend: Option<LoggerBackend>,
    lost: u64,
}

impl Syslog {
    fn new(path: PathBuf) -> Self {
        let formatter = Formatter3164 {
            facility: Facility::LOG_DAEMON,
            hostname: None,
            process: NAME.into(),
            pid: process::id(),
        };
        Self { path, formatter, backend: None, lost: 0 }
    }

    fn log(&mut self, record: &Record<'_>) {
        if self.formatter.pid != process::id() {
            // What was connected is closed in this process, and its number anybody's.
            self.formatter.pid = process::id();
            mem::forget(self.backend.take());
        }
        let mut words = String::new();
        let _ = write!(words, "{}", record.args());
        let words = String::from_utf8_lossy(&tidy(words.as_bytes())).chars().take(LONGEST_LINE / 4).collect();
        if !self.confess() || !self.put(record.level(), words) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn confess(&mut self) -> bool {
        let told = self.lost == 0 || self.put(Level::Warn, confession(self.lost));
        if told {
            self.lost = 0;
        }
        told
    }

    /// A daemon that was started again has a new socket: what fails over the old connection may work
    /// over a new one. A daemon that does not read has a full one, and gets no second try.
    fn put(&mut self, level: Level, words: String) -> bool {
        if self.backend.is_some() {
            match self.send(level, words.clone()) {
                Ok(()) => return true,
                Err(Some(io::ErrorKind::WouldBlock)) => return false,
                Err(_) => self.backend = None,
            }
        }
        self.backend = self.connect().ok();
        self.send(level, words).is_ok()
    }

    fn connect(&self) -> io::Result<LoggerBackend> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(LoggerBackend::Unix(socket))
    }

    fn send(&mut self, level: Level, words: String) -> Result<(), Option<io::ErrorKind>> {
        let Some(backend) = self.backend.as_mut() else { return Err(None) };
        let sent = match level {
            Level::Error => self.formatter.err(backend, words),
            Level::Warn => self.formatter.warning(backend, words),
            Level::Info => self.formatter.info(backend, words),
            Level::Debug | Level::Trace => self.formatter.debug(backend, words),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(syslog::Error::Write(error) | syslog::Error::Io(error)) => Err(Some(error.kind())),
            Err(syslog::Error::Initialization(_)) => Err(None),
        }
    }
}

#[cfg(test)]
mod tests;
