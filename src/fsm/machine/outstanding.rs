//! Orders that wait for an answer: known from the state, so that whoever takes over from a shell that is gone knows
//! what was asked of it.

use super::{life::Life, supervisor::Supervisor};
use crate::fsm::{
    fleet::worker::Phase,
    words::{action::Action, id::ListenerId},
};

impl Supervisor {
    /// What was ordered and not answered: the captures, sockets and starts there are to be. A capture that was
    /// superseded before it was answered is not among them, and its answer changes nothing. Walks over all workers.
    pub fn outstanding(&self) -> impl Iterator<Item = Action> + '_ {
        let releases = self.releases();
        let first = (self.life() == Life::Pinning)
            .then(|| Action::Pin { generation: releases.named().newest, request: None });
        let capture = releases
            .pinning()
            .map(|pinning| Action::Pin { generation: pinning.generation, request: pinning.request });
        let bind = match self.life() {
            Life::Binding { done } => Some(Action::Bind { listener: ListenerId(done) }),
            Life::New
            | Life::Pinning
            | Life::Starting
            | Life::Serving
            | Life::Up
            | Life::Stopping { .. }
            | Life::Done { .. } => None,
        };
        let spawn =
            self.fleet().workers().values().filter(|worker| matches!(worker.phase(), Phase::Spawning { .. }));
        let spawn = spawn.map(|worker| Action::Spawn {
            worker: worker.id(),
            slot: worker.slot(),
            generation: worker.generation(),
        });
        [first, capture, bind].into_iter().flatten().chain(spawn)
    }
}
