//! What a request comes to.

use super::{events::Wanted, release::Release};
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
    /// Another number of workers, counted from the one at the moment.
    Scale(Change),
    /// What came of the generations so far.
    History,
    /// What happens, as it does.
    Events(Wanted),
    /// How things stand, as einhorn would say it.
    State,
    /// Which options are in effect.
    Config,
    /// Hello.
    Ehlo {
        /// Who says so.
        user: Option<String>,
    },
    /// Which commands there are.
    Help {
        /// The name of the one to tell more of.
        command: Option<&'static str>,
    },
    /// Which version this is.
    Version,
    /// Have another program go on in the supervisor's place.
    Reexec {
        /// Which, unless it is the one that is where this one was.
        path: Option<String>,
    },
    /// Log more.
    Louder,
    /// Log less.
    Quieter,
}

impl Operation {
    /// The process that it is a report on, if it is one. All else is asked for by people and their scripts.
    #[must_use]
    pub fn reported(&self) -> Option<Pid> {
        match self {
            Self::Ack { pid } | Self::Ping { pid, .. } => Some(*pid),
            Self::Machine(_)
            | Self::Upgrade { .. }
            | Self::Scale(_)
            | Self::History
            | Self::Events(_)
            | Self::State
            | Self::Config
            | Self::Ehlo { .. }
            | Self::Help { .. }
            | Self::Version
            | Self::Reexec { .. }
            | Self::Louder
            | Self::Quieter => None,
        }
    }
}

/// A number of workers, as a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many more.
    More(u32),
    /// So many fewer.
    Fewer(u32),
}

impl Change {
    /// The number that this makes of `workers`. Whether there can be so many is for the machine to say.
    #[must_use]
    pub fn applied_to(self, workers: u32) -> u32 {
        match self {
            Self::More(more) => workers.saturating_add(more),
            Self::Fewer(fewer) => workers.saturating_sub(fewer),
        }
    }
}
