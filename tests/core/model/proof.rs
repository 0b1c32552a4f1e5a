//! What makes a worker count as healthy, short of its own word.

use super::{Model, With, Wrong};
use einhyrningsins::fsm::{
    event::{Notification, Proof, Sight},
    id::{Generation, Pid, WorkerId},
    time::Millis,
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

    /// What a worker tells of itself counts as what it says in a request, and who leaves is not asked to.
    pub(super) fn notified(&mut self, pid: Pid, word: Notification) -> Result<(), Wrong> {
        let Some(worker) = self.owner(pid) else {
            return Ok(());
        };
        match word {
            Notification::Stopping => self.apply(worker, Input::Leave, With::default()),
            Notification::Ready if self.tag(Some(worker)) == Some(PhaseTag::Healthy) => {
                self.prove(worker, Proof::Notified);
                Ok(())
            }
            Notification::Ready => self.apply(worker, Input::Ack, proved(Proof::Notified)),
        }
    }

    /// A deadline is put off to ten times its distance at most, and never brought forward.
    pub(super) fn extended(&mut self, pid: Pid, by: Millis) {
        let Some(worker) = self.owner(pid) else {
            return;
        };
        let Some((since, patience, _)) = self.term((&worker, &self.workers[&worker])) else {
            return;
        };
        let until = (self.now + by).min(since + Millis(patience.0.saturating_mul(10)));
        if let Some(known) = self.workers.get_mut(&worker).filter(|it| it.tag != PhaseTag::DrainingKill) {
            known.extended = Some(known.extended.map_or(until, |before| before.max(until)));
        }
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
