//! Workers and the slots they fill. The only writer of a phase, a slot, a count or a deadline.
//!
//! A slot is a position that is to be filled. It has at most one *current* worker and, while that is
//! to take over from another, one *outgoing* worker; both are up. A worker that is asked to go leaves
//! its slot at once and is on its own from then on. An outgoing worker that ends unasked leaves its seat
//! to another, for as long as nobody else serves there.
//!
//! Whatever is changed is looked up once and brings its derived entries along: with many workers, looking
//! things up is most of what a step costs.

pub mod backoff;
pub mod index;
mod seat;
mod seating;
pub mod slot;
pub mod worker;

use self::{
    index::{Index, Occupants, SlotEntries, WorkerEntries},
    slot::{Role, Side, Slot},
    worker::{Change, Effect, Phase, PhaseTag, Step, Worker},
};
use crate::fsm::words::{
    config::{Config, TARGET_MAX},
    event::{ExitStatus, Proof},
    id::{Generation, Pid, SlotId, WorkerId},
    reason::Next,
    text::record,
    time::{Millis, Time},
};
use alloc::{collections::BTreeMap, vec::Vec};

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The worker moved.
    Moved(Moved),
    /// Nothing changed, and that is right.
    Stayed,
    /// That cannot happen to this worker now; nothing changed.
    Rejected(PhaseTag),
    /// There is no such worker.
    Unknown,
}

/// A move, with what it was like before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which worker.
    pub worker: WorkerId,
    /// Its slot.
    pub slot: SlotId,
    /// Its generation.
    pub generation: Generation,
    /// Where it was.
    pub before: Phase,
    /// Where it is.
    pub after: Phase,
    /// How long it was there before.
    pub lasted: Millis,
    /// How old it is.
    pub age: Millis,
    /// What it was to its slot before.
    pub role: Role,
    /// How it was found healthy, if it was.
    pub proof: Option<Proof>,
    /// What follows.
    pub effects: &'static [Effect],
}

/// A failed start of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many in a row that makes; nothing if it counts as none.
    pub failures: Option<u32>,
    /// What comes next.
    pub next: Next,
}

record! {
    /// The numbers of a fleet.
    #[derive(Copy)]
    pub struct Extent {
        /// How many slots are to be filled.
        pub target: u32,
        /// The name the next worker will get.
        pub next_worker: WorkerId,
        /// Until when the turns last that were taken by those that left nobody.
        pub turns: Option<Time>,
    }
}

/// All workers and slots.
#[derive(Clone, Debug)]
pub struct Fleet {
    config: Config,
    extent: Extent,
    workers: BTreeMap<WorkerId, Worker>,
    slots: BTreeMap<SlotId, Slot>,
    index: Index,
    touched: u64,
}

impl Fleet {
    /// An empty fleet: no slot, no worker.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            extent: Extent { target: 0, next_worker: WorkerId(1), turns: None },
            workers: BTreeMap::new(),
            slots: BTreeMap::new(),
            index: Index::default(),
            touched: 0,
        }
    }

    /// A fleet put together again.
    ///
    /// # Errors
    /// If its numbers are of no fleet that there can be.
    pub(in crate::fsm) fn from_parts(
        config: Config,
        extent: Extent,
        workers: BTreeMap<WorkerId, Worker>,
        slots: BTreeMap<SlotId, Slot>,
    ) -> Result<Self, &'static str> {
        let Extent { target, next_worker, .. } = extent;
        if target > TARGET_MAX {
            return Err("the number of workers is out of bounds");
        }
        if workers.keys().any(|worker| *worker >= next_worker) {
            return Err("the next worker's name is taken");
        }
        if next_worker.0 >= u64::MAX / 2 {
            return Err("no names are left for workers");
        }
        let mut fleet = Self { extent, workers, slots, ..Self::new(config) };
        fleet.index = fleet.reindexed();
        Ok(fleet)
    }

    /// Other numbers from here on.
    pub(in crate::fsm) fn reconfigure(&mut self, config: Config) {
        self.config = config;
        self.index = self.reindexed();
    }

    /// What the command line said.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many slots are to be filled.
    #[must_use]
    pub fn target(&self) -> u32 {
        self.extent.target
    }

    /// Its numbers.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Every worker, in the order of their start.
    #[must_use]
    pub fn workers(&self) -> &BTreeMap<WorkerId, Worker> {
        &self.workers
    }

    /// Every slot, those beyond the target that still have a worker included.
    #[must_use]
    pub fn slots(&self) -> &BTreeMap<SlotId, Slot> {
        &self.slots
    }

    /// What is derived from workers and slots.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The same, for tests that spoil it.
    #[cfg(test)]
    pub(in crate::fsm) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// How many workers and slots were changed so far: a measure of cost, not of state.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched
    }

    /// A worker.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// The worker with that process.
    #[must_use]
    pub fn by_pid(&self, pid: Pid) -> Option<&Worker> {
        self.worker(*self.index.pids.get(&pid)?)
    }

    /// Healthy workers of any generation.
    #[must_use]
    pub fn healthy(&self) -> u32 {
        self.index.census.count(PhaseTag::Healthy)
    }

    /// Healthy workers of one generation.
    #[must_use]
    pub fn healthy_of(&self, generation: Generation) -> u32 {
        self.index.generations.get(&generation).map_or(0, |tally| tally.count(PhaseTag::Healthy))
    }

    /// Whether a worker is healthy.
    #[must_use]
    pub fn is_healthy(&self, worker: WorkerId) -> bool {
        self.worker(worker).is_some_and(|worker| worker.phase().tag() == PhaseTag::Healthy)
    }

    fn is_surplus(&self, slot: SlotId) -> bool {
        slot.0 >= self.extent.target
    }

    /// What a slot has in the index; `None` for one beyond the target.
    fn slot_entries(&self, id: SlotId) -> Option<SlotEntries> {
        let slot = self.slots.get(&id).filter(|_| !self.is_surplus(id))?;
        Some(SlotEntries::of(slot, occupants(&self.workers, slot, None), &self.config))
    }

    fn worker_entries(&self, id: WorkerId) -> Option<WorkerEntries> {
        let worker = self.workers.get(&id)?;
        Some(WorkerEntries::of(worker, self.is_surplus(worker.slot()), &self.config))
    }

    /// Changes a slot and its entries. Slots beyond the target change by their workers going only.
    fn edit_slot<R>(&mut self, id: SlotId, edit: impl FnOnce(&mut Slot, &Config) -> R) -> Option<R> {
        if self.is_surplus(id) {
            return None;
        }
        let Self { workers, slots, index, config, .. } = self;
        let slot = slots.get_mut(&id)?;
        let entries = |slot: &Slot| Some(SlotEntries::of(slot, occupants(workers, slot, None), config));
        let before = entries(slot);
        let result = edit(slot, config);
        index.slot(id, before, entries(slot));
        self.touched += 1;
        Some(result)
    }

    fn drop_if_unused(&mut self, id: SlotId) {
        if self.is_surplus(id) && self.slots.get(&id).is_some_and(Slot::is_empty) {
            self.slots.remove(&id);
        }
    }

    /// Changes the number of slots to fill; new ones are to run `generation`. Slots beyond the
    /// target stay for as long as they have workers.
    pub fn set_target(&mut self, target: u32, generation: Generation) {
        let before = self.extent.target;
        let crossing: Vec<SlotId> = (before.min(target)..before.max(target)).map(SlotId).collect();
        let slots: Vec<(SlotId, Option<SlotEntries>)> =
            crossing.iter().map(|id| (*id, self.slot_entries(*id))).collect();
        let found = crossing.iter().filter_map(|id| self.slots.get(id));
        let workers: Vec<(WorkerId, Option<WorkerEntries>)> = found
            .flat_map(|slot| [slot.current(), slot.outgoing()])
            .flatten()
            .map(|worker| (worker, self.worker_entries(worker)))
            .collect();
        let fresh = (before..target).map(SlotId).filter(|id| !self.slots.contains_key(id));
        let fresh: BTreeMap<SlotId, Slot> = fresh.map(|id| (id, Slot::new(generation))).collect();
        if self.slots.is_empty() {
            // A map that is made at once has full nodes; one that has grown by and by takes half as much again.
            self.slots = fresh;
        } else {
            self.slots.extend(fresh);
        }
        self.extent.target = target;
        for (id, before) in workers {
            let after = self.worker_entries(id);
            self.index.worker(before, after);
            self.touched += 1;
        }
        for (id, before) in slots {
            if let Some(slot) = self.slots.get_mut(&id).filter(|_| id.0 >= target) {
                slot.close();
            }
            let after = self.slot_entries(id);
            self.index.slot(id, before, after);
            self.touched += 1;
            self.drop_if_unused(id);
        }
    }

    /// Starts a worker for an empty seat of a slot within the target.
    pub fn spawn(&mut self, slot: SlotId, side: Side, now: Time) -> Option<(WorkerId, Generation)> {
        if self.is_surplus(slot) {
            return None;
        }
        let seat = self.slots.get(&slot)?.side(side).filter(|seat| seat.worker().is_none())?;
        let generation = seat.generation();
        let id = self.extent.next_worker;
        self.extent.next_worker = WorkerId(id.0 + 1);
        let worker = Worker::new(id, slot, generation, now);
        self.index.worker(None, Some(WorkerEntries::of(&worker, false, &self.config)));
        self.workers.insert(id, worker);
        self.touched += 1;
        self.edit_slot(slot, |slot, _| slot.fill(side, id));
        Some((id, generation))
    }

    /// Applies a change to a worker: its phase, its place in its slot, counts and deadlines together.
    pub fn apply(&mut self, id: WorkerId, change: Change, now: Time) -> Applied {
        let Self { config, extent, workers, slots, index, touched, .. } = self;
        let Some(worker) = workers.get(&id).copied() else {
            return Applied::Unknown;
        };
        let mut changed = worker;
        let effects = match changed.apply(change, now) {
            Step::Moved(effects) => effects,
            Step::Stayed => return Applied::Stayed,
            Step::Rejected => return Applied::Rejected(worker.phase().tag()),
        };
        let (before, after) = (worker.phase(), changed.phase());
        let (slot_id, surplus) = (worker.slot(), worker.slot().0 >= extent.target);
        let mut role = Role::Loose;
        if let Some(slot) = slots.get_mut(&slot_id) {
            let entries = |slot: &Slot, phase: Phase| {
                let occupants = occupants(workers, slot, Some((id, phase.tag())));
                (!surplus).then(|| SlotEntries::of(slot, occupants, config))
            };
            let slot_before = entries(slot, before);
            let place = slot.role(id);
            role = if surplus { Role::Loose } else { place };
            if let (false, Role::In(side)) = (after.tag().is_up(), place) {
                slot.leave(side);
                // Whose end was nobody's wish leaves a gap, unless somebody serves in it.
                let serves = |current| worker_phase(workers, current) == Some(PhaseTag::Healthy);
                if surplus || change.is_order() || slot.current().is_some_and(serves) {
                    slot.close();
                }
            } else if after.tag() == PhaseTag::Healthy && slot.current() == Some(id) {
                slot.serve();
            }
            index.slot(slot_id, slot_before, entries(slot, after));
        }
        let entries = |worker| WorkerEntries::of(worker, surplus, config);
        let gone = after == Phase::Dead;
        index.worker(Some(entries(&worker)), (!gone).then(|| entries(&changed)));
        if gone {
            workers.remove(&id)
        } else {
            workers.insert(id, changed)
        };
        *touched += 2;
        self.drop_if_unused(slot_id);
        Applied::Moved(Moved {
            worker: id,
            slot: slot_id,
            generation: worker.generation(),
            before,
            after,
            lasted: now.since(worker.since()),
            age: now.since(worker.born()),
            role,
            proof: changed.proof(),
            effects,
        })
    }

    /// Notes a sign of life.
    pub fn ping(&mut self, id: WorkerId, now: Time) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.ping(now);
        }
    }

    /// Changes what is known of a worker that stays in its phase, and its entries.
    fn edit_worker(&mut self, id: WorkerId, edit: impl FnOnce(&mut Worker)) {
        let before = self.worker_entries(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            edit(worker);
            self.touched += 1;
        }
        let after = self.worker_entries(id);
        self.index.worker(before, after);
    }

    /// Notes that a socket of a worker is registered for edge-triggered events.
    pub fn register(&mut self, id: WorkerId, now: Time) {
        self.edit_worker(id, |worker| worker.register(now));
    }

    /// Puts a worker's deadline off until then, as far as that may be.
    pub fn extend(&mut self, id: WorkerId, until: Time) {
        let latest = self.workers.get(&id).and_then(|worker| index::latest(worker, &self.config));
        if let Some(latest) = latest {
            self.edit_worker(id, |worker| worker.extend(until.min(latest)));
        }
    }

    /// Time alone is no proof for a worker from here on.
    pub fn call_for_proof(&mut self, id: WorkerId) {
        self.edit_worker(id, Worker::call_for_proof);
    }

    /// Notes that a worker has shown what time had been taken for.
    pub fn prove(&mut self, id: WorkerId, proof: Proof) {
        self.edit_worker(id, |worker| worker.prove(proof));
    }

    /// Notes how a slot's worker of that generation ended.
    pub fn note_exit(&mut self, slot: SlotId, generation: Generation, status: ExitStatus) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.note_exit(generation, status);
        }
    }

    /// Builds the index anew from workers and slots; equal to [`index`](Self::index) at all times.
    #[must_use]
    pub fn reindexed(&self) -> Index {
        let mut index = Index::default();
        self.workers.keys().for_each(|id| index.worker(None, self.worker_entries(*id)));
        self.slots.keys().for_each(|id| index.slot(*id, None, self.slot_entries(*id)));
        index
    }
}

fn worker_phase(workers: &BTreeMap<WorkerId, Worker>, id: WorkerId) -> Option<PhaseTag> {
    workers.get(&id).map(|worker| worker.phase().tag())
}

/// A worker of which the phase is known already.
type KnownPhase = (WorkerId, PhaseTag);

/// The phases of a slot's workers, of which that of one may be `known`.
fn occupants(workers: &BTreeMap<WorkerId, Worker>, slot: &Slot, known: Option<KnownPhase>) -> Occupants {
    let tag = |occupant: Option<WorkerId>| match known {
        Some((id, tag)) if occupant == Some(id) => Some(tag),
        _ => worker_phase(workers, occupant?),
    };
    Occupants { current: tag(slot.current()), outgoing: tag(slot.outgoing()) }
}
