//! A state that is being put together again from the lines of a snapshot.

use super::{BadSnapshot, Entry, whole};
use crate::fsm::fleet::{
    Fleet,
    slot::Slot,
    worker::{Phase, PhaseTag, Rung, Worker},
};
use crate::fsm::view::invariants::Monitor;
use crate::fsm::words::{
    config::{Config, TARGET_MAX},
    id::{ClientId, Generation, Pid, RequestId, SlotId, WorkerId},
    reason::Why,
    time::Clock,
};
use crate::fsm::{
    machine::{
        rollout::{Rollout, Setback},
        supervisor::{Life, Pinning, Supervisor},
    },
    words::upgrade::{Stage, Terms},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};

/// What has been read so far.
#[derive(Default)]
pub(super) struct Draft {
    config: Config,
    machine: Option<Entry>,
    pinned: BTreeSet<Generation>,
    pinning: Option<Pinning>,
    rollout: Option<Rollout>,
    slots: BTreeMap<SlotId, Slot>,
    workers: BTreeMap<WorkerId, Worker>,
    waiting: BTreeMap<RequestId, ClientId>,
}

fn once<T>(before: Option<T>, what: &str) -> Result<(), String> {
    if before.is_none() { Ok(()) } else { Err(format!("{what} for the second time")) }
}

impl Draft {
    pub(super) fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    pub(super) fn take(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Machine { .. } => once(self.machine.replace(entry), "machine"),
            Entry::Pinned { generation } => {
                once((!self.pinned.insert(generation)).then_some(()), &format!("generation {generation}"))
            }
            Entry::Pinning { generation, strategy, canary, soak, request } => {
                let terms = Terms { strategy, canary, soak };
                once(self.pinning.replace(Pinning { generation, terms, request }), "pinning")
            }
            Entry::Rollout {
                generation,
                strategy,
                canary,
                soak,
                stage,
                stage_since,
                fresh,
                since,
                request,
                retired,
                told_healthy,
                told_retired,
            } => {
                let rollout = Rollout {
                    generation,
                    terms: Terms { strategy, canary, soak },
                    since,
                    request,
                    retired,
                    told: (told_healthy, told_retired),
                    stage,
                    stage_since,
                    fresh,
                    setback: None,
                };
                once(self.rollout.replace(rollout), "rollout")
            }
            Entry::Setback { cause, slot, failures, failure } => match &mut self.rollout {
                Some(rollout) => {
                    once(rollout.setback.replace(Setback { cause, slot, failures, failure }), "setback")
                }
                None => Err("nothing is there that could be set back".into()),
            },
            Entry::Slot {
                slot: id,
                current,
                outgoing,
                generation,
                served,
                failures,
                strikes,
                hold,
                starts,
                last_failure,
                last_exit,
            } => {
                let slot = Slot {
                    current,
                    outgoing,
                    generation,
                    served,
                    failures,
                    strikes,
                    hold,
                    starts,
                    last_failure,
                    last_exit,
                };
                once(self.slots.insert(id, slot), &format!("slot {id}"))
            }
            Entry::Worker { worker: id, slot, generation, phase, pid, why, born, since, pinged } => {
                let phase = rebuild(phase, pid, why)?;
                let worker = Worker { id, slot, generation, born, since, phase, pinged };
                once(self.workers.insert(id, worker), &format!("worker {id}"))
            }
            Entry::Waiting { request, client } => {
                once(self.waiting.insert(request, client), &format!("request {request}"))
            }
        }
    }

    pub(super) fn finish(self) -> Result<Supervisor, BadSnapshot> {
        let Some(Entry::Machine {
            now,
            skipped,
            life,
            target,
            stable,
            newest,
            next_worker,
            code,
            was_up,
            ever_healthy,
            unfinished,
        }) = self.machine
        else {
            return Err(whole("there is no machine"));
        };
        let sane = |condition: bool, what: &str| if condition { Ok(()) } else { Err(whole(what)) };
        sane(
            (1..=TARGET_MAX).contains(&self.config.target),
            "the configured number of workers is out of bounds",
        )?;
        let least = u32::from(life == Life::Running);
        sane((least..=TARGET_MAX).contains(&target), "the number of workers is out of bounds")?;
        let bound = if let Life::Binding(done) = life { done } else { 0 };
        sane(bound <= self.config.listeners, "more sockets are bound than there are")?;
        sane(self.config.retries > 0, "workers could never be started")?;
        sane(self.config.max_unacked > 0 && self.config.max_surge > 0, "upgrades could never proceed")?;
        sane(self.workers.keys().all(|worker| *worker < next_worker), "the next worker's name is taken")?;
        sane(next_worker.0 < u64::MAX / 2, "no names are left for workers")?;
        let up_to_newest = |generation: Generation| generation <= newest;
        let workers = self.workers.values().map(|worker| worker.generation);
        let slots = self.slots.values().map(|slot| slot.generation);
        let rollout = self.rollout.iter().map(|rollout| rollout.generation);
        let pinning = self.pinning.iter().map(|pinning| pinning.generation);
        let named = self.pinned.iter().copied().chain(workers).chain(slots).chain(rollout).chain(pinning);
        sane(named.chain([stable]).all(up_to_newest), "a generation is newer than the newest")?;
        let forward = self.rollout.iter().filter(|rollout| rollout.stage.is_forward());
        let needed = forward.map(|rollout| rollout.generation).chain([stable]);
        let running = matches!(life, Life::Running);
        let captured = needed.filter(|_| running).all(|generation| self.pinned.contains(&generation));
        sane(captured, "a generation that is needed is not captured")?;
        let consistent = self.rollout.iter().all(|rollout| {
            rollout.stage != Stage::Settled && rollout.setback.is_some() == (rollout.stage == Stage::Back)
        });
        sane(consistent, "an upgrade goes back without a reason, or forward with one")?;
        let mut supervisor = Supervisor::new(self.config.clone());
        supervisor.clock = Clock::resume(now, skipped);
        supervisor.life = life;
        supervisor.fleet = Fleet::from_parts(self.config, target, self.workers, self.slots, next_worker);
        supervisor.stable = stable;
        supervisor.newest = newest;
        supervisor.pinned = self.pinned;
        supervisor.pinning = self.pinning;
        supervisor.rollout = self.rollout;
        supervisor.waiting = self.waiting;
        supervisor.code = code;
        supervisor.was_up = was_up;
        supervisor.ever_healthy = ever_healthy;
        supervisor.unfinished = unfinished;
        Monitor::new().state(&supervisor).map_err(|violation| whole(format!("cannot be: {violation}")))?;
        Ok(supervisor)
    }
}

/// A phase from its tag and its data, all of it and nothing else.
fn rebuild(tag: PhaseTag, pid: Option<Pid>, why: Option<Why>) -> Result<Phase, String> {
    let draining = |pid, why, rung| Ok(Phase::Draining { pid, why, rung });
    match (tag, pid, why) {
        (PhaseTag::SpawningWanted, None, None) => Ok(Phase::Spawning { wanted: true }),
        (PhaseTag::SpawningUnwanted, None, None) => Ok(Phase::Spawning { wanted: false }),
        (PhaseTag::PendingAck, Some(pid), None) => Ok(Phase::PendingAck { pid }),
        (PhaseTag::Healthy, Some(pid), None) => Ok(Phase::Healthy { pid }),
        (PhaseTag::DrainingStop, Some(pid), Some(why)) => draining(pid, why, Rung::Stop),
        (PhaseTag::DrainingTerm, Some(pid), Some(why)) => draining(pid, why, Rung::Term),
        (PhaseTag::DrainingKill, Some(pid), Some(why)) => draining(pid, why, Rung::Kill),
        (PhaseTag::DrainingStuck, Some(pid), Some(why)) => draining(pid, why, Rung::Stuck),
        _ => Err(format!("a worker cannot be {tag} with pid {pid:?} and reason {why:?}")),
    }
}
