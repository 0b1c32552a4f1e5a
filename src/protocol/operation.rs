//! What a request comes to.

use super::release::Release;
use crate::fsm::{event::Command, id::Pid};

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A worker is ready.
    Ack {
        /// Its process, as claimed.
        pid: Pid,
    },
    /// A worker is alive.
    Ping {
        /// Its process, as claimed.
        pid: Pid,
        /// What it was working on, as it likes to call that.
        request_id: Option<String>,
    },
    /// Something for the machine to decide about.
    Machine(Command),
    /// The same, with what the next generation is to run.
    Upgrade {
        /// For the machine.
        upgrade: Command,
        /// For the shell.
        release: Release,
    },
    /// What came of the generations so far.
    History,
    /// Hello.
    Ehlo {
        /// Who says so.
        user: Option<String>,
    },
    /// Which commands there are.
    Help,
    /// Which version this is.
    Version,
    /// Log more.
    Louder,
    /// Log less.
    Quieter,
}
