//! What came of a command, and the exit status for it.

use std::process::ExitCode;

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was refused, or failed.
    Failed,
    /// No supervisor could be reached.
    Unreachable,
}

impl From<Outcome> for ExitCode {
    /// The documented exit status. (2 is for usage errors, which have no outcome.)
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => 0.into(),
            Outcome::Failed => 1.into(),
            Outcome::Unreachable => 3.into(),
        }
    }
}
