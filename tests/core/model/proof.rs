//! What makes a worker count as healthy, short of its own word.

use super::{Model, With, Wrong};
use einhyrningsins::fsm::{
    event::{Proof, Sight},
    id::{Generation, Pid, WorkerId},
    worker::{Input, PhaseTag},
};

/// A worker is healthy, and how that is known.
pub(super) fn proved(proof: Proof) -> With {
    With { proof: Some(proof), ..With::default() }
}

impl Model<'_> {
    /// Somebody of that generation has shown that it is ready.
    pub(super) fn note_shown(&mut self, generation: Generation) {
        if let Some(upgrade) = self.upgrade.as_mut().filter(|it| it.generation == generation) {
            upgrade.shows = true;
        }
        self.shows |= generation == self.stable;
    }

    /// What is seen counts for those that are looked at and wait for it; of a healthy one, for its generation.
    pub(super) fn seen(&mut self, pid: Pid, sight: Sight) -> Result<(), Wrong> {
        let Some(worker) = self.owner(pid).filter(|_| self.config.ack.looks()) else {
            return Ok(());
        };
        match (self.tag(Some(worker)), sight) {
            (Some(PhaseTag::PendingAck), Sight::Accepting) => {
                return self.apply(worker, Input::Ack, proved(Proof::Seen));
            }
            (Some(PhaseTag::PendingAck), Sight::Registered) => {
                let now = self.now;
                let known = self.workers.get_mut(&worker).ok_or("no such worker")?;
                known.registered.get_or_insert(now);
            }
            (Some(PhaseTag::Healthy), _) => self.prove(worker, Proof::Seen),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn prove(&mut self, worker: WorkerId, proof: Proof) {
        let Some(known) = self.workers.get_mut(&worker) else {
            return;
        };
        if known.proof == Some(Proof::Timer) {
            known.proof = Some(proof);
        }
        let generation = known.generation;
        self.note_shown(generation);
    }

    /// Time is a proof for those that were seen half-way, and where nobody shows more.
    pub(super) fn outlives(&mut self, worker: WorkerId) -> Result<(), Wrong> {
        let known = self.workers.get_mut(&worker).ok_or("no such worker")?;
        let shown = self.shows
            || self.upgrade.is_some_and(|upgrade| upgrade.shows && upgrade.generation == known.generation);
        match known.registered {
            Some(_) => self.apply(worker, Input::Ack, proved(Proof::Seen)),
            None if shown && self.config.ack.looks() => {
                known.strict = true;
                Ok(())
            }
            None => self.apply(worker, Input::Ack, proved(Proof::Timer)),
        }
    }
}
