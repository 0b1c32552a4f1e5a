//! How the service is, in one short line for people.

use crate::{
    fsm::{Supervisor, id::Generation, life::Life, signal::Shutdown},
    protocol::{visible::visible, words::count},
};

/// The longest part of a line that others have written, in characters.
const LONGEST: usize = 300;

/// What the line comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    does: Does,
    healthy: u32,
    target: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Starting,
    Serving(Generation, Aftermath),
    Upgrading(Generation),
    OnTrial(Generation),
    GoingBack(Generation),
    Stopping(Shutdown, u32),
    Ended(u8),
}

/// What came of the last upgrade, if it was not what had been wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Aftermath {
    #[default]
    None,
    /// It was taken back.
    TakenBack(Generation),
    /// It did not even begin.
    Refused(Generation),
}

impl View {
    pub(super) fn of(supervisor: &Supervisor, aftermath: Aftermath) -> Self {
        let (fleet, wanted, stage) = (supervisor.fleet(), supervisor.wanted(), supervisor.stage());
        let rollout = supervisor.rollout();
        let does = match supervisor.life() {
            Life::Done { code } => Does::Ended(code),
            Life::Stopping { shutdown, .. } => Does::Stopping(shutdown, fleet.index().census.total()),
            _ if rollout.is_some() && stage.is_trial() => Does::OnTrial(wanted),
            _ if rollout.is_some() && stage.is_forward() => Does::Upgrading(wanted),
            _ if rollout.is_some() => Does::GoingBack(wanted),
            Life::Up => Does::Serving(supervisor.stable(), aftermath),
            Life::New | Life::Pinning | Life::Binding { .. } | Life::Starting | Life::Serving => {
                Does::Starting
            }
        };
        let healthy = match does {
            Does::Upgrading(generation) | Does::OnTrial(generation) | Does::GoingBack(generation) => {
                fleet.healthy_of(generation)
            }
            Does::Starting | Does::Serving(..) => fleet.healthy(),
            Does::Stopping(..) | Does::Ended(_) => 0,
        };
        Self { does, healthy, target: fleet.target() }
    }

    /// Whether no other can follow.
    pub(super) fn is_last(self) -> bool {
        matches!(self.does, Does::Ended(_))
    }

    /// The line; `why` is why the service failed, if it did.
    pub(super) fn words(self, why: Option<&str>) -> String {
        let workers = format!("{}/{} healthy", self.healthy, count(self.target, "worker"));
        match self.does {
            Does::Starting => format!("starting: {workers}"),
            Does::Serving(generation, Aftermath::None) => format!("{workers}, generation {generation}"),
            Does::Serving(generation, Aftermath::TakenBack(other)) => {
                format!("{workers}, generation {generation}; generation {other} was rolled back")
            }
            Does::Serving(generation, Aftermath::Refused(other)) => {
                format!("{workers}, generation {generation}; generation {other} was refused")
            }
            Does::Upgrading(generation) => format!("upgrading to generation {generation}: {workers}"),
            Does::OnTrial(generation) => format!("generation {generation} is on trial: {workers}"),
            Does::GoingBack(generation) => format!("going back to generation {generation}: {workers}"),
            Does::Stopping(shutdown, left) => format!("{shutdown} shutdown; {} to go", count(left, "worker")),
            Does::Ended(0) => "stopped".to_owned(),
            Does::Ended(code) => {
                let why = why.map(|why| format!(": {}", visible(why))).unwrap_or_default();
                let short: String = why.chars().take(LONGEST).collect();
                format!("failed with status {code}{short}")
            }
        }
    }
}
