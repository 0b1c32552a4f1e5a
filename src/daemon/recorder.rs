//! `--trace`: everything the machine was told and everything it ordered, appended to a file.

use crate::fsm::{
    action::Action,
    config::Config,
    event::Event,
    supervisor::Supervisor,
    text::Record as _,
    trace::{State, write_step},
};
use log::warn;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An open trace.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    file: File,
    pending: String,
    failing: bool,
}

impl Recorder {
    /// Opens `path` for appending and begins a run.
    pub(crate) fn open(path: &Path, config: &Config) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let pending = config.to_line() + "\n";
        Ok(Self { path: path.to_path_buf(), file, pending, failing: false })
    }

    /// Notes one step.
    pub(crate) fn step(&mut self, event: &Event, actions: &[Action], after: &Supervisor) {
        write_step(&mut self.pending, event, actions, State::of(after));
    }

    /// Writes what was noted. A full disk costs the trace, never the service.
    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let result = self.file.write_all(self.pending.as_bytes());
        self.pending.clear();
        match result {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                warn!("trace {} cannot be written: {error}; it has gaps from here on", self.path.display());
            }
            Err(_) => {}
        }
    }
}
