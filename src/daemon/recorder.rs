//! `--trace`: everything the machine was told and everything it ordered, appended to a file.
//!
//! A full disk, or a pipe that nobody reads, costs the trace and never the service. Where steps are missing
//! the file says so, as soon as it takes anything again.

use super::place::may_make;
use crate::fsm::{
    action::Action,
    config::Config,
    event::Event,
    supervisor::Supervisor,
    text::Record as _,
    trace::{Gap, Line, State, write_step},
};
use log::warn;
use nix::{
    errno::Errno,
    libc::{ENXIO, O_NOCTTY, O_NONBLOCK},
    unistd::{AccessFlags, eaccess},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Seek as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Whether the file could be opened for a trace, as far as can be seen without that.
///
/// # Errors
/// A line that names the option, the path and the reason.
pub(crate) fn look(path: &Path) -> Result<(), String> {
    let looked = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(Errno::EISDIR),
        Ok(_) => eaccess(path, AccessFlags::W_OK),
        Err(_) => may_make(path),
    };
    looked.map_err(|errno| format!("--trace: `{}` cannot be opened: {}", path.display(), errno.desc()))
}

/// An open trace.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    file: File,
    pending: String,
    /// Where in `pending` each of its steps ends.
    ends: Vec<usize>,
    /// How many steps were lost since the last one that was written; set while writing fails.
    lost: Option<u64>,
}

impl Recorder {
    /// Opens `path` for appending and begins a run. What is no regular file need not be one: it is never
    /// waited for. A pipe must have a reader.
    pub(crate) fn open(path: &Path, config: &Config) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(ENXIO) => io::Error::other("it is a pipe that nobody reads, or a socket"),
            _ => error,
        })?;
        let pending = config.to_line() + "\n";
        Ok(Self { path: path.to_path_buf(), file, pending, ends: Vec::new(), lost: None })
    }

    /// Goes on with a trace that was begun. After a `fault` nobody knows how much of it is missing: at least the step that
    /// was the end.
    pub(crate) fn reopen(path: &Path, fault: bool) -> io::Result<Self> {
        let mut recorder = Self::open(path, &Config::default())?;
        recorder.pending.clear();
        recorder.lost = fault.then_some(1);
        Ok(recorder)
    }

    /// Notes one step.
    pub(crate) fn step(&mut self, event: &Event, actions: &[Action], after: &Supervisor) {
        write_step(&mut self.pending, event, actions, State::of(after));
        self.ends.push(self.pending.len());
    }

    /// Writes what was noted, behind a mark if something is missing before it.
    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mark = self.lost.map(|steps| format!("{}\n", Line::Gap(Gap { steps }))).unwrap_or_default();
        // Also behind the beginning of a line, which it tells apart from a whole one.
        self.pending.insert_str(0, &mark);
        match self.append(self.pending.as_bytes()) {
            Ok(()) => self.lost = None,
            Err(Short { written, error }) => {
                if self.lost.is_none() {
                    let path = self.path.display();
                    warn!("trace {path} cannot be written: {error}; it has gaps from here on");
                }
                let kept = written.checked_sub(mark.len());
                let missing = self.ends.iter().filter(|end| **end > kept.unwrap_or(0)).count();
                let unmarked = self.lost.filter(|_| kept.is_none()).unwrap_or(0);
                self.lost = Some(unmarked.saturating_add(u64::try_from(missing).unwrap_or(u64::MAX)));
            }
        }
        self.pending.clear();
        self.ends.clear();
    }

    fn append(&self, text: &[u8]) -> Result<(), Short> {
        let mut rest = text;
        loop {
            let error = match (&self.file).write(rest) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) if count >= rest.len() => return Ok(()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let written = text.len() - rest.len();
            let torn = text.iter().take(written).rev().take_while(|byte| **byte != b'\n').count();
            return Err(Short { written: written - self.take_back(torn), error });
        }
    }

    /// Removes that many bytes from the end of the file, if they are ours and it is a file. Returns how many
    /// it has removed.
    fn take_back(&self, count: usize) -> usize {
        let end = (&self.file).stream_position().ok().zip(self.file.metadata().ok());
        let end = end.filter(|(position, file)| file.is_file() && file.len() == *position);
        let rest = end.and_then(|(position, _)| position.checked_sub(u64::try_from(count).ok()?));
        let done = rest.is_some_and(|rest| self.file.set_len(rest).is_ok());
        if done { count } else { 0 }
    }
}

/// Not all was written.
struct Short {
    /// How many bytes stay written.
    written: usize,
    error: io::Error,
}
