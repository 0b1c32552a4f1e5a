//! Another program takes over on command: it is tried first, with a copy of the journal, while the service goes on; then
//! it is executed between two turns of the loop, when nothing is under way.

use super::Shell;
use crate::{
    daemon::{
        kept::{Bytes, Kept, Successor},
        process,
        successor::{self, Verdict},
    },
    fsm::{id::RequestId, time::Millis, time::Time},
    protocol::{Envelope, visible::visible},
};
use log::{debug, error, info, warn};
use std::{
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

/// How long the other program may take to say that it could take over: less than clients wait for an answer.
const PATIENCE: Millis = Millis(8_000);

/// How often it is looked at meanwhile.
const LOOK: Millis = Millis(20);

/// A program that is tried.
#[derive(Debug)]
pub(super) struct Trial {
    request: RequestId,
    path: PathBuf,
    attempt: successor::Attempt,
    end: Time,
    look: Time,
}

impl Shell<'_> {
    /// Begins to try the program that is to take over: the one that is named, or the one that is where this one was
    /// started from.
    pub(super) fn try_successor(&mut self, request: RequestId, path: Option<String>) -> Result<(), String> {
        if let Some(trial) = &self.trial {
            return Err(format!("{} is being tried already; nothing was changed", trial.path.display()));
        }
        let named = path.map(PathBuf::from).or_else(|| self.options.reexec_as.clone());
        let path = successor::find(named.as_deref()).map_err(|(path, why)| {
            format!("{}: {why}; nothing was changed", visible(&path.display().to_string()))
        })?;
        let copy = self.journal.copy(&self.supervisor, |put| self.keep(put, false));
        let copy = copy.map_err(|why| format!("{why}; nothing was changed"))?;
        let attempt = successor::Attempt::begin(&path, &copy)
            .map_err(|why| format!("{} cannot be run: {why}; nothing was changed", path.display()))?;
        let now = self.clock.now();
        info!("{} is to take over, and is tried", path.display());
        self.trial = Some(Trial { request, path, attempt, end: now + PATIENCE, look: now + LOOK });
        Ok(())
    }

    /// When to look at the program that is tried.
    pub(super) fn trial_due(&self) -> Option<Time> {
        self.trial.as_ref().map(|trial| trial.look)
    }

    /// Looks at the program that is tried, and has it take over if it can.
    pub(super) fn hand_over_if_tried(&mut self) {
        let now = self.clock.now();
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.look <= now) else { return };
        trial.look = now + LOOK;
        let verdict = match trial.attempt.look() {
            Verdict::Pending if now < trial.end => return,
            Verdict::Pending => {
                trial.attempt.give_up();
                let secs = PATIENCE.0 / 1_000;
                Verdict::Refused(format!("it did not say within {secs} s that it can take over"))
            }
            verdict @ (Verdict::Able(_) | Verdict::Refused(_)) => verdict,
        };
        let Some(Trial { request, path, .. }) = self.trial.take() else { return };
        let why = match verdict {
            Verdict::Pending => return,
            Verdict::Able(version) => {
                debug!("{} is version {version}", path.display());
                self.hand_over(request, &path)
            }
            Verdict::Refused(why) => why,
        };
        let words = format!("{} cannot take over: {why}; nothing was changed", path.display());
        warn!("{words}");
        self.tell_client(request, Envelope::refused(words));
    }

    /// Has another program go on in this process. Returns only if that fails, with the reason.
    fn hand_over(&mut self, request: RequestId, path: &Path) -> String {
        if let Some(why) = self.journal.trouble() {
            return why;
        }
        let own = match successor::own_program() {
            Ok(own) => own,
            Err(why) => return format!("the program that runs cannot be kept for the way back: {why}"),
        };
        // From here on they wait, for whoever it will be.
        let held_back = process::hold_signals_back();
        self.take_signals();
        self.record();
        let successor = Successor {
            request: Some(request),
            path: Bytes::of(path),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fd: own.as_raw_fd(),
        };
        self.journal.compact(&self.supervisor, |put| {
            self.keep(put, true);
            put(&Kept::Successor { successor: successor.clone() });
        });
        self.journal.way_back(Some(own.as_raw_fd()));
        let failed =
            self.journal.trouble().unwrap_or_else(|| process::go_on_as(path.as_os_str()).desc().to_owned());
        error!("{} cannot take over: {failed}; this one goes on", path.display());
        self.journal.way_back(None);
        self.compact();
        held_back.undo();
        failed
    }
}
