//! What came of a command, and the exit status for it.

use std::process::ExitCode;

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was refused, or failed.
    Failed,
    /// There is no such command, or it takes something else. Nothing was sent.
    Misused,
    /// No supervisor could be reached, or one that is not to be trusted.
    Unreachable,
    /// It is done, but not all that there was to say of it could be written.
    Unwritten,
    /// Whoever waited for it does so no longer.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    /// The documented exit status. The last one is how shells tell of who was ended by SIGINT.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => 0.into(),
            Outcome::Failed => 1.into(),
            Outcome::Misused => 2.into(),
            Outcome::Unreachable => 3.into(),
            Outcome::Unwritten => 4.into(),
            Outcome::Interrupted => 130.into(),
        }
    }
}
