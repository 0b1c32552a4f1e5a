//! Questions to a supervisor whose answers are not shown as they come, but made something of.

use super::{
    connection::{Connection, Lost, ReplyLine, Target, Unreachable},
    interrupt::Attended,
    outcome::Outcome,
    patience::Patience,
    process,
    report::{Past, Report},
};
use crate::protocol::Envelope;
use core::fmt;
use std::time::Duration;

/// Why a question has no answer.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody could be reached.
    Unreachable(Unreachable),
    /// The answer did not come.
    Lost {
        /// Why.
        lost: Lost,
        /// Who was asked.
        pid: Option<i32>,
    },
    /// The answer is a refusal, or makes no sense here.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(unreachable) => unreachable.fmt(f),
            Self::Lost { lost, pid } => {
                if let Some(pid) = pid {
                    write!(f, "pid {pid}: ")?;
                }
                write!(f, "{lost}")?;
                let is_silent = matches!(lost, Lost::Silent(_) | Lost::Stalled(_));
                let doing = pid.filter(|_| is_silent).and_then(process::doing);
                doing.map_or(Ok(()), |doing| write!(f, "; {doing}"))
            }
            Self::Refused(message) => f.write_str(message),
        }
    }
}

impl core::error::Error for Trouble {}

impl Trouble {
    /// What that comes to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::Lost { lost: Lost::Interrupted, .. } => Outcome::Interrupted,
            // No supervisor refuses what is asked here: who does so only says that there is none.
            Self::Lost { .. } | Self::Refused(_) => Outcome::Unreachable,
        }
    }
}

/// A connection over which questions are asked.
#[derive(Debug)]
pub struct Session<'a> {
    attended: &'a Attended<'a>,
    connection: Connection,
    pid: Option<i32>,
    /// How long an answer may take to begin.
    patience: Duration,
}

impl<'a> Session<'a> {
    /// Connects.
    ///
    /// # Errors
    /// If nobody can be reached there, or somebody who is not to be trusted.
    pub fn open(target: &Target, attended: &'a Attended<'a>) -> Result<Self, Trouble> {
        let connection = Connection::open(target).map_err(Trouble::Unreachable)?;
        let pid = connection.peer().ok().and_then(|peer| peer.pid);
        Ok(Self { attended, connection, pid, patience: target.patience.first })
    }

    /// From here on an answer may take as long as this says to begin.
    pub fn bound(&mut self, patience: Patience) {
        self.patience = patience.first;
    }

    /// Asks. The answer is what comes [next](Self::next).
    pub fn begin(&mut self, name: &str, args: &[String]) {
        self.connection.send(name, args);
    }

    /// Who is asked, and what that process is doing, as a clause, as far as that can be told.
    #[must_use]
    pub fn doing(&self) -> Option<String> {
        let pid = self.pid?;
        Some(format!("pid {pid}: {}", process::doing(pid)?))
    }

    /// Asks, and waits for the first line of the answer as long as one may take.
    ///
    /// # Errors
    /// If it does not come, or is a refusal.
    pub fn ask(&mut self, name: &str, args: &[String]) -> Result<Envelope, Trouble> {
        self.ask_within(name, args, self.patience)
    }

    /// The same, and waits so long.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_within(&mut self, name: &str, args: &[String], within: Duration) -> Result<Envelope, Trouble> {
        self.begin(name, args);
        let reply = self.connection.receive_soon(self.attended, within);
        let envelope = reply.map_err(|lost| self.lost(lost))?.envelope;
        if envelope.ok { Ok(envelope) } else { Err(Trouble::Refused(envelope.message)) }
    }

    /// The next line of the answer; `None` if none comes within `patience`.
    ///
    /// # Errors
    /// If the connection is lost, or waiting is interrupted.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Option<ReplyLine>, Trouble> {
        self.connection.receive(self.attended, patience).map_err(|lost| self.lost(lost))
    }

    /// How things stand.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn report(&mut self) -> Result<Report, Trouble> {
        let answer = self.ask("status", &[])?;
        Report::from_fields(&answer.fields).ok_or_else(|| Self::not_understood("status"))
    }

    /// What came of the last generations, oldest first.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn history(&mut self) -> Result<Vec<Past>, Trouble> {
        let answer = self.ask("history", &[])?;
        Past::from_fields(&answer.fields).ok_or_else(|| Self::not_understood("history"))
    }

    /// That an answer to this command makes no sense here.
    #[must_use]
    pub fn not_understood(command: &str) -> Trouble {
        Trouble::Refused(format!(
            "the answer to `{command}` cannot be understood: is it a supervisor of another version?"
        ))
    }

    /// The process that answers; `None` if it is of another pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// The end of this session, for that reason.
    #[must_use]
    pub fn lost(&self, lost: Lost) -> Trouble {
        Trouble::Lost { lost, pid: self.pid }
    }
}
