//! What makes a worker count as healthy, short of its own word: what is seen of it from outside, and time, where
//! that is a proof.
//!
//! With `--ready auto` time is one only as long as nobody shows more: where a worker has said that it is ready, or
//! was seen waiting for connections, those that are to replace it must do so too. So a release that hangs fails, and
//! a program that cannot be seen is no worse off.

use super::supervisor::Supervisor;
use crate::fsm::{
    fleet::worker::{Change, PhaseTag},
    words::{
        event::{Proof, Sight},
        id::{Pid, WorkerId},
    },
};

/// So many workers of a generation stand for all, if there are some among so many.
const SAMPLE: usize = 4;
const SAMPLE_AMONG: usize = 64;

impl Supervisor {
    /// Something was seen of a worker from outside. Whoever has gone since, or has gone on, is not concerned.
    pub(super) fn seen(&mut self, pid: Pid, sight: Sight) {
        let found = self.fleet.by_pid(pid).filter(|_| self.fleet.config().ack.looks());
        let Some((worker, tag)) = found.map(|worker| (worker.id(), worker.phase().tag())) else {
            return;
        };
        match (tag, sight) {
            (PhaseTag::PendingAck, Sight::Accepting) => {
                self.change(worker, Change::Ack(Proof::Seen));
            }
            (PhaseTag::PendingAck, Sight::Registered) => self.fleet.register(worker, self.clock.now()),
            (PhaseTag::Healthy, _) => self.prove(worker, Proof::Seen),
            _ => {}
        }
    }

    /// A healthy worker shows what may have been taken for granted so far.
    pub(super) fn prove(&mut self, worker: WorkerId, proof: Proof) {
        let generation = self.fleet.worker(worker).map(|worker| worker.generation());
        self.fleet.prove(worker, proof);
        if let Some(generation) = generation {
            self.releases.note_shown(generation);
        }
    }

    /// A worker has stayed alive for long enough, if that is a proof: not where others like it have shown more.
    pub(super) fn outlive(&mut self, worker: WorkerId) {
        let Some(known) = self.fleet.worker(worker).copied() else {
            return;
        };
        let must_show = self.fleet.config().ack.looks() && self.releases.must_show(known.generation());
        match known.registered() {
            None if must_show => self.fleet.call_for_proof(worker),
            registered => {
                let proof = registered.map_or(Proof::Timer, |_| Proof::Seen);
                self.change(worker, Change::Ack(proof));
            }
        }
    }

    /// Whom to look at from outside: who is to be seen yet, and, as long as nobody of the generation that serves has
    /// shown anything, some of those whom a new one will be measured by.
    pub fn unseen(&self) -> impl Iterator<Item = Pid> + '_ {
        let fleet = &self.fleet;
        let looks = fleet.config().ack.looks() && self.life().is_running();
        let within = move |tag| {
            let phases = fleet.index().phases.range((tag, WorkerId(0))..=(tag, WorkerId(u64::MAX)));
            phases.filter_map(move |(_, id)| fleet.worker(*id))
        };
        let pending = looks.then(|| within(PhaseTag::PendingAck)).into_iter().flatten();
        let unknown = looks && self.wanted() != self.stable() && !self.releases.named().shows;
        let healthy = unknown.then(|| within(PhaseTag::Healthy)).into_iter().flatten().take(SAMPLE_AMONG);
        let of_the_proven = healthy.filter(|worker| worker.generation() == self.stable()).take(SAMPLE);
        pending.chain(of_the_proven).filter_map(|worker| worker.phase().pid())
    }
}
