//! Why starts fail, why generations are taken back, and why workers are asked to go.

use super::{
    event::{ExitStatus, SpawnError},
    text::{BadText, Field, put_display, words},
};
use alloc::string::String;

/// Why a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The process could not be made, or did not become the program.
    Spawn(SpawnError),
    /// It ended before it was healthy.
    Exited(ExitStatus),
    /// It did not acknowledge in time.
    Unacknowledged,
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
            Self::Unacknowledged => put_display(out, "unacknowledged"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("spawn", error)) => SpawnError::get(error).map(Self::Spawn),
            Some(("exited", status)) => ExitStatus::get(status).map(Self::Exited),
            _ if word == "unacknowledged" => Ok(Self::Unacknowledged),
            _ => Err(BadText::new(format_args!("`{word}` is none of: spawn:…, exited:…, unacknowledged"))),
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
        /// Somebody asked for it.
        "aborted" => Aborted,
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
        /// It did not acknowledge in time.
        "unacknowledged" => Unacknowledged,
        /// The supervisor shuts down.
        "shutdown" => Shutdown,
        /// The supervisor shuts down and gives it the whole grace period after TERM.
        "fast-shutdown" => FastShutdown,
    }
}
