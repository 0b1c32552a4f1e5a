//! How things stand, as plain data. A picture taken on request; nothing here is state.

use crate::fsm::fleet::{slot::Hold, worker::PhaseTag};
use crate::fsm::words::{
    event::{ExitStatus, Proof, Strategy},
    id::{Generation, Pid, SlotId, WorkerId},
    reason::Failure,
    signal::Shutdown,
    time::Millis,
};
use crate::fsm::{machine::supervisor::Supervisor, words::upgrade::Stage};
use alloc::vec::Vec;

/// Everything `status` tells that the core knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Workers to keep running.
    pub target: u32,
    /// Workers that serve.
    pub healthy: u32,
    /// The generation that is proven: the one that serves, or that an upgrade would go back to.
    pub generation: Generation,
    /// The upgrade under way.
    pub upgrade: Option<UpgradeStatus>,
    /// The shutdown under way.
    pub stopping: Option<Shutdown>,
    /// Every slot, in order.
    pub slots: Vec<SlotStatus>,
    /// Every worker, in the order of their start.
    pub workers: Vec<WorkerStatus>,
}

/// An upgrade under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeStatus {
    /// The generation that comes; when rolling back, the one that is restored.
    pub generation: Generation,
    /// In which order.
    pub strategy: Strategy,
    /// How far it is.
    pub stage: Stage,
    /// Slots of other generations that are still to be taken over.
    pub untouched: u32,
    /// Slots of that generation without a healthy worker.
    pub unready: u32,
    /// How long its trial still takes, while it is on trial.
    pub trial_left: Option<Millis>,
    /// Healthy workers of that generation.
    pub healthy: u32,
    /// Workers of other generations asked to go since it began.
    pub retired: u32,
    /// How long it has been under way.
    pub age: Millis,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Its number.
    pub slot: SlotId,
    /// Consecutive failed starts.
    pub failures: u32,
    /// Consecutive starts that the machine lacked something for.
    pub lacks: u32,
    /// How often it was filled again after the first time.
    pub restarts: u32,
    /// How its last failed start failed.
    pub last_failure: Option<Failure>,
    /// How its last worker ended, however that was.
    pub last_exit: Option<ExitStatus>,
    /// Time to its next try, while it backs off.
    pub retry_in: Option<Millis>,
    /// Whether it failed too often and is not tried again.
    pub gave_up: bool,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its name.
    pub worker: WorkerId,
    /// The slot it was started for.
    pub slot: SlotId,
    /// Its process, once there is one.
    pub pid: Option<Pid>,
    /// The program it runs.
    pub generation: Generation,
    /// Where it is.
    pub phase: PhaseTag,
    /// How it was found healthy, if it was.
    pub proof: Option<Proof>,
    /// Time since its start.
    pub age: Millis,
    /// Time since its last ping.
    pub pinged: Option<Millis>,
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Supervisor {
    /// How things stand. Walks over all slots and workers.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.now();
        let fleet = self.fleet();
        let index = fleet.index();
        let upgrade = self.rollout().map(|rollout| UpgradeStatus {
            generation: self.wanted(),
            strategy: rollout.terms.strategy,
            stage: rollout.stage,
            untouched: as_u32(index.slots.total() - index.slots.count(self.wanted())),
            unready: as_u32(index.unready.count(self.wanted())),
            trial_left: self.releases().trial_end().map(|end| end.since(now)),
            healthy: fleet.healthy_of(self.wanted()),
            retired: rollout.retired,
            age: now.since(rollout.since),
        });

        let slots = fleet.slots().iter().map(|(id, slot)| (*id, slot.seat())).map(|(id, seat)| SlotStatus {
            slot: id,
            // The row of failed starts is over while its worker is healthy.
            failures: if seat.worker().is_some_and(|id| fleet.is_healthy(id)) { 0 } else { seat.failures() },
            lacks: if seat.worker().is_some_and(|id| fleet.is_healthy(id)) { 0 } else { seat.lacks() },
            restarts: seat.past().starts.saturating_sub(1),
            last_failure: seat.past().last_failure,
            last_exit: seat.past().last_exit,
            retry_in: if let Hold::Until(time) = seat.hold() { Some(time.since(now)) } else { None },
            gave_up: seat.hold() == Hold::GaveUp,
        });
        let workers = fleet.workers().values().map(|worker| WorkerStatus {
            worker: worker.id(),
            slot: worker.slot(),
            pid: worker.phase().pid(),
            generation: worker.generation(),
            phase: worker.phase().tag(),
            proof: worker.proof(),
            age: now.since(worker.born()),
            pinged: worker.pinged().map(|at| now.since(at)),
        });
        Status {
            target: fleet.target(),
            healthy: fleet.healthy(),
            generation: self.stable(),
            upgrade,
            stopping: self.life().shutdown(),
            slots: slots.collect(),
            workers: workers.collect(),
        }
    }
}
