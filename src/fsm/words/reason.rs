//! Why starts fail, why generations are taken back, and why workers are asked to go.

use super::{
    event::{ExitStatus, SpawnError},
    id::Pid,
    text::{BadText, Field, get_number, put_display, words},
    time::Millis,
};
use alloc::string::String;

/// Why a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The process could not be made, or did not become the program.
    Spawn(SpawnError),
    /// It ended before it was healthy.
    Exited(ExitStatus),
    /// It was not ready in time.
    Unacknowledged {
        /// Its process.
        pid: Pid,
        /// How old it was.
        age: Millis,
    },
    /// It has said that it is stopping.
    Left,
}

impl Field for Failure {
    fn put(&self, out: &mut String) {
        match self {
            Self::Spawn(error) => {
                out.push_str("spawn:");
                error.put(out);
            }
            Self::Exited(status) => {
                out.push_str("exited:");
                status.put(out);
            }
            Self::Unacknowledged { pid, age: Millis(age) } => {
                put_display(out, format_args!("unacknowledged:{pid}:{age}"));
            }
            Self::Left => out.push_str("left"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("spawn", error)) => SpawnError::get(error).map(Self::Spawn),
            Some(("exited", status)) => ExitStatus::get(status).map(Self::Exited),
            Some(("unacknowledged", rest)) => {
                let (pid, age) = rest.split_once(':').unwrap_or((rest, ""));
                Ok(Self::Unacknowledged { pid: Pid::get(pid)?, age: get_number(age).map(Millis)? })
            }
            None if word == "left" => Ok(Self::Left),
            _ => {
                let accepted = "spawn:…, exited:…, unacknowledged:PID:MS, left";
                Err(BadText::new(format_args!("`{word}` is none of: {accepted}")))
            }
        }
    }
}

/// What comes in the place of a worker that ended, or that could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its slot starts another after this time.
    In(Millis),
    /// Its slot has failed so often in a row that it starts none any more.
    GivenUp {
        /// How often.
        failures: u32,
    },
    /// None: it was not the one to stay in its slot, or nothing more of its generation is wanted.
    NotReplaced,
}

impl Field for Next {
    fn put(&self, out: &mut String) {
        match self {
            Self::In(Millis(after)) => put_display(out, format_args!("in:{after}")),
            Self::GivenUp { failures } => put_display(out, format_args!("given-up:{failures}")),
            Self::NotReplaced => out.push_str("not-replaced"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("in", after)) => Millis::get(after).map(Self::In),
            Some(("given-up", failures)) => u32::get(failures).map(|failures| Self::GivenUp { failures }),
            _ if word == "not-replaced" => Ok(Self::NotReplaced),
            _ => Err(BadText::new(format_args!("`{word}` is none of: in:MS, given-up:COUNT, not-replaced"))),
        }
    }
}

words! {
    /// Why a generation is taken back.
    pub enum Cause {
        /// A slot of it was given up: too many starts failed, or one failed for good.
        "gave-up" => GaveUp,
        /// A worker of it ended while it was on trial.
        "died" => Died,
        /// It was not trusted within the time that the upgrade may take.
        "timed-out" => TimedOut,
        /// Somebody asked for it.
        "aborted" => Aborted,
    }
}

words! {
    /// Why an upgrade ends that has neither succeeded nor failed.
    pub enum Cancel {
        /// Somebody asked for it before it had begun.
        "aborted" => Aborted,
        /// The supervisor shuts down.
        "shutdown" => Shutdown,
    }
}

words! {
    /// What becomes of a slot that was given up.
    pub enum Sequel {
        /// It stays as it is until somebody asks for more.
        "until-asked" => UntilAsked,
        /// Its generation is taken back, and the slot goes back to the one before.
        "taken-back" => TakenBack,
        /// It was the last one; the supervisor ends.
        "ending" => Ending,
    }
}

words! {
    /// Why a worker is asked to go.
    pub enum Why {
        /// Its replacement is healthy.
        "replaced" => Replaced,
        /// Its generation failed or was superseded.
        "withdrawn" => Withdrawn,
        /// Fewer workers are wanted.
        "surplus" => Surplus,
        /// It was not ready in time.
        "unacknowledged" => Unacknowledged,
        /// It is not: it has said that it is stopping.
        "leaving" => Leaving,
        /// The supervisor shuts down.
        "shutdown" => Shutdown,
    }
}
