//! Workers and the slots they fill. The only writer of a phase, a slot, a count or a deadline.
//!
//! A slot is a position that is to be filled. It has at most one *current* worker and, while that is
//! to take over from another, one *outgoing* worker; both are up. A worker that is asked to go leaves
//! its slot at once and is on its own from then on.
//!
//! Whatever is changed is looked up once and brings its derived entries along: with many workers, looking
//! things up is most of what a step costs.

pub mod backoff;
pub mod index;
pub mod slot;
pub mod worker;

use self::{
    index::{Index, Occupants, SlotEntries, WorkerEntries},
    slot::{Role, Slot},
    worker::{Change, Effect, Outcome, Phase, PhaseTag, Rung, Worker, transition},
};
use crate::fsm::words::{
    config::Config,
    event::ExitStatus,
    id::{Generation, Pid, SlotId, WorkerId},
    reason::{Failure, Next, Why},
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
    /// What follows.
    pub effects: &'static [Effect],
}

/// All workers and slots.
#[derive(Clone, Debug)]
pub struct Fleet {
    config: Config,
    target: u32,
    workers: BTreeMap<WorkerId, Worker>,
    slots: BTreeMap<SlotId, Slot>,
    index: Index,
    next_worker: WorkerId,
    touched: u64,
}

impl Fleet {
    /// An empty fleet: no slot, no worker.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            target: 0,
            workers: BTreeMap::new(),
            slots: BTreeMap::new(),
            index: Index::default(),
            next_worker: WorkerId(1),
            touched: 0,
        }
    }

    /// A fleet put together again.
    pub(in crate::fsm) fn from_parts(
        config: Config,
        target: u32,
        workers: BTreeMap<WorkerId, Worker>,
        slots: BTreeMap<SlotId, Slot>,
        next_worker: WorkerId,
    ) -> Self {
        let mut fleet = Self { target, workers, slots, next_worker, ..Self::new(config) };
        fleet.index = fleet.reindexed();
        fleet
    }

    /// What the command line said.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many slots are to be filled.
    #[must_use]
    pub fn target(&self) -> u32 {
        self.target
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

    /// The name the next worker will get.
    #[must_use]
    pub fn next_worker(&self) -> WorkerId {
        self.next_worker
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
        self.worker(worker).is_some_and(|worker| worker.phase.tag() == PhaseTag::Healthy)
    }

    fn is_surplus(&self, slot: SlotId) -> bool {
        slot.0 >= self.target
    }

    /// What a slot has in the index; `None` for one beyond the target.
    fn slot_entries(&self, id: SlotId) -> Option<SlotEntries> {
        let slot = self.slots.get(&id).filter(|_| !self.is_surplus(id))?;
        Some(SlotEntries::of(slot, occupants(&self.workers, slot, None)))
    }

    fn worker_entries(&self, id: WorkerId) -> Option<WorkerEntries> {
        let worker = self.workers.get(&id)?;
        Some(WorkerEntries::of(worker, self.is_surplus(worker.slot), &self.config))
    }

    /// Changes a slot and its entries. Slots beyond the target change by their workers going only.
    fn edit_slot<R>(&mut self, id: SlotId, edit: impl FnOnce(&mut Slot, &Config) -> R) -> Option<R> {
        if self.is_surplus(id) {
            return None;
        }
        let Self { workers, slots, index, config, .. } = self;
        let slot = slots.get_mut(&id)?;
        let entries = |slot: &Slot| Some(SlotEntries::of(slot, occupants(workers, slot, None)));
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
        let crossing: Vec<SlotId> = (self.target.min(target)..self.target.max(target)).map(SlotId).collect();
        let slots: Vec<(SlotId, Option<SlotEntries>)> =
            crossing.iter().map(|id| (*id, self.slot_entries(*id))).collect();
        let found = crossing.iter().filter_map(|id| self.slots.get(id));
        let workers: Vec<(WorkerId, Option<WorkerEntries>)> = found
            .flat_map(|slot| [slot.current, slot.outgoing])
            .flatten()
            .map(|worker| (worker, self.worker_entries(worker)))
            .collect();
        for id in (self.target..target).map(SlotId) {
            self.slots.entry(id).or_insert_with(|| Slot::new(generation));
        }
        self.target = target;
        for (id, before) in workers {
            let after = self.worker_entries(id);
            self.index.worker(before, after);
            self.touched += 1;
        }
        for (id, before) in slots {
            let after = self.slot_entries(id);
            self.index.slot(id, before, after);
            self.touched += 1;
            self.drop_if_unused(id);
        }
    }

    /// Starts a worker for a slot within the target that has no current worker.
    pub fn spawn(&mut self, slot: SlotId, now: Time) -> Option<(WorkerId, Generation)> {
        if self.is_surplus(slot) {
            return None;
        }
        let generation = self.slots.get(&slot).filter(|slot| slot.current.is_none())?.generation;
        let id = self.next_worker;
        self.next_worker = WorkerId(id.0 + 1);
        let phase = Phase::Spawning { wanted: true };
        let worker = Worker { id, slot, generation, born: now, since: now, phase, pinged: None };
        self.index.worker(None, Some(WorkerEntries::of(&worker, false, &self.config)));
        self.workers.insert(id, worker);
        self.touched += 1;
        self.edit_slot(slot, |slot, _| slot.fill(id));
        Some((id, generation))
    }

    /// Applies a change to a worker: its phase, its place in its slot, counts and deadlines together.
    pub fn apply(&mut self, id: WorkerId, change: Change, now: Time) -> Applied {
        let Self { config, target, workers, slots, index, touched, .. } = self;
        let Some(worker) = workers.get(&id).copied() else {
            return Applied::Unknown;
        };
        let before = worker.phase;
        let (after, effects) = match move_of(before, change) {
            Ok(found) => found,
            Err(unmoved) => return unmoved,
        };
        let (slot_id, surplus) = (worker.slot, worker.slot.0 >= *target);
        let changed = Worker { phase: after, since: now, ..worker };
        let mut role = Role::Loose;
        if let Some(slot) = slots.get_mut(&slot_id) {
            let entries = |slot: &Slot, phase: Phase| {
                let occupants = occupants(workers, slot, Some((id, phase.tag())));
                (!surplus).then(|| SlotEntries::of(slot, occupants))
            };
            let slot_before = entries(slot, before);
            role = if surplus { Role::Loose } else { slot.role(id) };
            if !after.tag().is_up() {
                slot.leave(id);
            } else if after.tag() == PhaseTag::Healthy && slot.current == Some(id) {
                slot.served = true;
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
            generation: worker.generation,
            before,
            after,
            lasted: now.since(worker.since),
            age: now.since(worker.born),
            role,
            effects,
        })
    }

    /// Notes a sign of life.
    pub fn ping(&mut self, id: WorkerId, now: Time) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.pinged = Some(now);
        }
    }

    /// Notes how a slot's worker ended.
    pub fn note_exit(&mut self, slot: SlotId, status: ExitStatus) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.last_exit = Some(status);
        }
    }

    /// Counts a failed start of a slot. A `lasting` failure is not worth another try.
    pub fn fail(&mut self, id: SlotId, failure: Failure, lasting: bool, now: Time) -> Option<Next> {
        self.edit_slot(id, |slot, config| slot.fail(id, failure, lasting, (now, config)))
    }

    /// Notes that a slot lost a worker that had served for `served`. Returns when the next starts.
    pub fn crash(&mut self, id: SlotId, served: Millis, now: Time) -> Option<Millis> {
        self.edit_slot(id, |slot, config| slot.crash(id, served, (now, config)))
    }

    /// Lets a slot that backs off try again now.
    pub fn release(&mut self, id: SlotId) {
        self.edit_slot(id, |slot, _| slot.release());
    }

    /// Lets every slot that was given up try again. Returns how many there were.
    pub fn retry(&mut self) -> u32 {
        let slots: Vec<SlotId> = self.index.gave_up.iter().collect();
        for id in &slots {
            self.edit_slot(*id, |slot, _| slot.forgive());
        }
        u32::try_from(slots.len()).unwrap_or(u32::MAX)
    }

    /// Makes a slot run another generation: its current worker, if it has one, becomes outgoing.
    pub fn begin(&mut self, id: SlotId, generation: Generation) {
        self.edit_slot(id, |slot, _| slot.begin(generation));
    }

    /// Undoes [`begin`](Self::begin): the outgoing worker becomes current again. Returns the worker
    /// that was to replace it, which is outgoing now.
    pub fn revert(&mut self, id: SlotId) -> Option<WorkerId> {
        let back = self.worker(self.slots.get(&id)?.outgoing?)?;
        let (generation, serves) = (back.generation, back.phase.tag() == PhaseTag::Healthy);
        self.edit_slot(id, |slot, _| {
            slot.revert(generation, serves);
            slot.outgoing
        })?
    }

    /// Makes an empty slot run another generation from its next worker on.
    pub fn reassign(&mut self, id: SlotId, generation: Generation) {
        self.edit_slot(id, |slot, _| slot.turn_to(generation));
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

/// The phases of a slot's workers, of which that of one may be `known`.
fn occupants(
    workers: &BTreeMap<WorkerId, Worker>,
    slot: &Slot,
    known: Option<(WorkerId, PhaseTag)>,
) -> Occupants {
    let tag = |occupant: Option<WorkerId>| match known {
        Some((id, tag)) if occupant == Some(id) => Some(tag),
        _ => workers.get(&occupant?).map(|worker| worker.phase.tag()),
    };
    Occupants { current: tag(slot.current), outgoing: tag(slot.outgoing) }
}

/// Where a change takes a worker, and with what effects, or what comes of it instead.
fn move_of(before: Phase, change: Change) -> Result<(Phase, &'static [Effect]), Applied> {
    let rejected = Applied::Rejected(before.tag());
    match transition(before.tag(), change.input()) {
        Outcome::Move(next, effects) => {
            enter(next, before, change).map(|after| (after, effects)).ok_or(rejected)
        }
        Outcome::Stay => Err(Applied::Stayed),
        Outcome::Reject => Err(rejected),
    }
}

/// The phase a move leads to, with its data. `None` if the data is not to be had, which the table
/// rules out.
fn enter(next: PhaseTag, before: Phase, change: Change) -> Option<Phase> {
    let pid = change.pid().or(before.pid());
    let why = change.why().or(before.why()).unwrap_or(Why::Withdrawn);
    let draining = |rung| pid.map(|pid| Phase::Draining { pid, why, rung });
    match next {
        PhaseTag::SpawningWanted => Some(Phase::Spawning { wanted: true }),
        PhaseTag::SpawningUnwanted => Some(Phase::Spawning { wanted: false }),
        PhaseTag::PendingAck => pid.map(|pid| Phase::PendingAck { pid }),
        PhaseTag::Healthy => pid.map(|pid| Phase::Healthy { pid }),
        PhaseTag::DrainingStop => draining(Rung::Stop),
        PhaseTag::DrainingTerm => draining(Rung::Term),
        PhaseTag::DrainingKill => draining(Rung::Kill),
        PhaseTag::DrainingStuck => draining(Rung::Stuck),
        PhaseTag::Dead => Some(Phase::Dead),
    }
}
