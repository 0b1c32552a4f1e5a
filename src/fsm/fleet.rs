//! Workers and the slots they fill. The only writer of a phase, a slot, a count or a deadline.
//!
//! A slot is a position that is to be filled. It has at most one *current* worker and, while that is
//! to take over from another, one *outgoing* worker; both are up. A worker that is asked to go leaves
//! its slot at once and is on its own from then on.

use super::{
    action::{Failure, Why},
    backoff,
    config::{Config, SETTLED},
    event::ExitStatus,
    id::{Generation, Pid, SlotId, WorkerId},
    index::{Index, Occupants, SlotEntries, WorkerEntries},
    time::{Millis, Time},
    worker::{Change, Effect, Outcome, Phase, PhaseTag, Rung, Worker, transition},
};
use alloc::collections::BTreeMap;

/// A position that is to be filled with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The worker that is to stay.
    pub current: Option<WorkerId>,
    /// The worker it takes over from.
    pub outgoing: Option<WorkerId>,
    /// What the current worker runs, or the next one will.
    pub generation: Generation,
    /// Consecutive failed starts; too many of them and the slot is given up.
    pub failures: u32,
    /// The same, and healthy workers that ended too soon; the back-off grows with them.
    pub strikes: u32,
    /// Whether it may start a worker.
    pub hold: Hold,
    /// How many workers were started for it.
    pub starts: u32,
    /// How the last failed start failed.
    pub last_failure: Option<Failure>,
    /// How its last worker ended.
    pub last_exit: Option<ExitStatus>,
}

/// Whether a slot may start a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may, as soon as it has none.
    Ready,
    /// Not before this time.
    Until(Time),
    /// No more; it failed too often.
    GaveUp,
}

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

/// What a worker is to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that is to stay.
    Current,
    /// The one that is being replaced.
    Outgoing,
    /// None of it: it was asked to go before, or the slot is beyond the target.
    Loose,
}

/// What a failed start means for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It tries again after this time.
    RetryIn(Millis),
    /// It does not try again.
    GiveUp,
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
    pub(super) fn from_parts(
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
    pub(super) fn index_mut(&mut self) -> &mut Index {
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

    fn phase_of(&self, worker: Option<WorkerId>) -> Option<PhaseTag> {
        self.worker(worker?).map(|worker| worker.phase.tag())
    }

    fn occupants(&self, slot: &Slot) -> Occupants {
        Occupants { current: self.phase_of(slot.current), outgoing: self.phase_of(slot.outgoing) }
    }

    fn is_surplus(&self, slot: SlotId) -> bool {
        slot.0 >= self.target
    }

    /// What a slot has in the index; `None` for one beyond the target.
    fn slot_entries(&self, id: SlotId) -> Option<SlotEntries> {
        let slot = self.slots.get(&id).filter(|_| !self.is_surplus(id))?;
        Some(SlotEntries::of(slot, self.occupants(slot)))
    }

    fn worker_entries(&self, id: WorkerId) -> Option<WorkerEntries> {
        let worker = self.workers.get(&id)?;
        Some(WorkerEntries::of(worker, self.is_surplus(worker.slot), &self.config))
    }

    /// Brings the index up to date with a slot that may have changed.
    fn index_slot(&mut self, id: SlotId, before: Option<SlotEntries>) {
        self.touched += 1;
        let after = self.slot_entries(id);
        self.index.slot(id, before, after);
    }

    /// The same for a worker.
    fn index_worker(&mut self, id: WorkerId, before: Option<WorkerEntries>) {
        self.touched += 1;
        let after = self.worker_entries(id);
        self.index.worker(before, after);
    }

    /// Changes a slot and its entries, and drops it if nothing needs it any more.
    fn edit_slot<R>(&mut self, id: SlotId, edit: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let before = self.slot_entries(id);
        let result = self.slots.get_mut(&id).map(edit);
        self.index_slot(id, before);
        self.drop_if_unused(id);
        result
    }

    fn drop_if_unused(&mut self, id: SlotId) {
        let unused = |slot: &Slot| slot.current.is_none() && slot.outgoing.is_none();
        if self.is_surplus(id) && self.slots.get(&id).is_some_and(unused) {
            self.slots.remove(&id);
        }
    }

    /// Changes the number of slots to fill; new ones are to run `generation`. Slots beyond the
    /// target stay for as long as they have workers.
    pub fn set_target(&mut self, target: u32, generation: Generation) {
        let crossing: alloc::vec::Vec<SlotId> =
            (self.target.min(target)..self.target.max(target)).map(SlotId).collect();
        let occupants = |fleet: &Self, id: &SlotId| {
            fleet.slots.get(id).map_or([None; 2], |slot| [slot.current, slot.outgoing]).into_iter().flatten()
        };
        let workers: alloc::vec::Vec<(WorkerId, Option<WorkerEntries>)> = crossing
            .iter()
            .flat_map(|id| occupants(self, id))
            .map(|worker| (worker, self.worker_entries(worker)))
            .collect();
        let slots: alloc::vec::Vec<(SlotId, Option<SlotEntries>)> =
            crossing.iter().map(|id| (*id, self.slot_entries(*id))).collect();
        if target > self.target {
            for id in &crossing {
                self.slots.entry(*id).or_insert_with(|| Slot::new(generation));
            }
        }
        self.target = target;
        workers.into_iter().for_each(|(worker, before)| self.index_worker(worker, before));
        slots.into_iter().for_each(|(id, before)| self.index_slot(id, before));
        crossing.iter().for_each(|id| self.drop_if_unused(*id));
    }

    /// Starts a worker for a vacant slot.
    pub fn spawn(&mut self, slot: SlotId, now: Time) -> Option<(WorkerId, Generation)> {
        let generation = self.slots.get(&slot).filter(|slot| slot.current.is_none())?.generation;
        let id = self.next_worker;
        self.next_worker = WorkerId(id.0 + 1);
        let phase = Phase::Spawning { wanted: true };
        self.workers.insert(id, Worker { id, slot, generation, born: now, since: now, phase, pinged: None });
        self.index_worker(id, None);
        self.edit_slot(slot, |slot| {
            slot.current = Some(id);
            slot.starts = slot.starts.saturating_add(1);
        });
        Some((id, generation))
    }

    /// Applies a change to a worker: its phase, its place in its slot, counts and deadlines together.
    pub fn apply(&mut self, id: WorkerId, change: Change, now: Time) -> Applied {
        let Some(worker) = self.workers.get(&id) else {
            return Applied::Unknown;
        };
        let (before, slot) = (worker.phase, worker.slot);
        let (next, effects) = match transition(before.tag(), change.input()) {
            Outcome::Move(next, effects) => (next, effects),
            Outcome::Stay => return Applied::Stayed,
            Outcome::Reject => return Applied::Rejected(before.tag()),
        };
        let Some(after) = enter(next, before, change) else {
            return Applied::Rejected(before.tag());
        };
        let role = self.role(id, slot);
        let moved = Moved {
            worker: id,
            slot,
            generation: worker.generation,
            before,
            after,
            lasted: now.since(worker.since),
            age: now.since(worker.born),
            role,
            effects,
        };
        let (slot_before, worker_before) = (self.slot_entries(slot), self.worker_entries(id));
        if after == Phase::Dead {
            self.workers.remove(&id);
        } else if let Some(worker) = self.workers.get_mut(&id) {
            worker.phase = after;
            worker.since = now;
        }
        if !after.tag().is_up()
            && let Some(slot) = self.slots.get_mut(&slot)
        {
            slot.leave(id);
        }
        self.index_worker(id, worker_before);
        self.index_slot(slot, slot_before);
        self.drop_if_unused(slot);
        Applied::Moved(moved)
    }

    fn role(&self, worker: WorkerId, slot: SlotId) -> Role {
        match self.slots.get(&slot) {
            Some(found) if self.is_surplus(slot) || found.occupied_by(worker).is_none() => Role::Loose,
            Some(found) => found.occupied_by(worker).unwrap_or(Role::Loose),
            None => Role::Loose,
        }
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
    pub fn fail(&mut self, id: SlotId, failure: Failure, lasting: bool, now: Time) -> (u32, Verdict) {
        let (first, retries) = (self.config.backoff, self.config.retries);
        let counted = self.edit_slot(id, |slot| {
            slot.failures = slot.failures.saturating_add(1);
            slot.strikes = slot.strikes.saturating_add(1);
            slot.last_failure = Some(failure);
            let delay = backoff::delay(first, slot.strikes, id);
            let verdict =
                if lasting || slot.failures >= retries { Verdict::GiveUp } else { Verdict::RetryIn(delay) };
            slot.hold = match verdict {
                Verdict::GiveUp => Hold::GaveUp,
                Verdict::RetryIn(Millis(0)) => Hold::Ready,
                Verdict::RetryIn(delay) => Hold::Until(now + delay),
            };
            (slot.failures, verdict)
        });
        counted.unwrap_or((0, Verdict::GiveUp))
    }

    /// Notes that a slot lost a worker that had served for `served`. Returns when the next starts.
    pub fn crash(&mut self, id: SlotId, served: Millis, now: Time) -> Millis {
        let first = self.config.backoff;
        let delay = self.edit_slot(id, |slot| {
            if served >= SETTLED {
                slot.failures = 0;
                slot.strikes = 0;
                return Millis(0);
            }
            // The first early end costs nothing; a worker that keeps ending early backs off.
            let delay = backoff::delay(first, slot.strikes, id);
            slot.strikes = slot.strikes.saturating_add(1);
            if delay > Millis(0) {
                slot.hold = Hold::Until(now + delay);
            }
            delay
        });
        delay.unwrap_or_default()
    }

    /// Lets a slot that backs off try again now.
    pub fn release(&mut self, id: SlotId) {
        self.edit_slot(id, |slot| {
            if matches!(slot.hold, Hold::Until(_)) {
                slot.hold = Hold::Ready;
            }
        });
    }

    /// Lets every slot that was given up try again. Returns how many there were.
    pub fn retry(&mut self) -> u32 {
        let slots: alloc::vec::Vec<SlotId> = self.index.gave_up.iter().collect();
        for id in &slots {
            self.edit_slot(*id, Slot::forgive);
        }
        u32::try_from(slots.len()).unwrap_or(u32::MAX)
    }

    /// Makes a slot run another generation: its current worker, if it has one, becomes outgoing.
    pub fn begin(&mut self, id: SlotId, generation: Generation) {
        self.edit_slot(id, |slot| {
            // A slot with an outgoing worker is in the middle of a change already.
            if slot.outgoing.is_none() {
                slot.outgoing = slot.current.take();
                slot.generation = generation;
                slot.forgive();
            }
        });
    }

    /// Undoes [`begin`](Self::begin): the outgoing worker becomes current again. Returns the worker
    /// that was to replace it, which is outgoing now.
    pub fn revert(&mut self, id: SlotId) -> Option<WorkerId> {
        let back = self.slots.get(&id)?.outgoing?;
        let generation = self.worker(back)?.generation;
        self.edit_slot(id, |slot| {
            core::mem::swap(&mut slot.current, &mut slot.outgoing);
            slot.generation = generation;
            slot.forgive();
            slot.outgoing
        })?
    }

    /// Makes an empty slot run another generation from its next worker on.
    pub fn reassign(&mut self, id: SlotId, generation: Generation) {
        self.edit_slot(id, |slot| slot.generation = generation);
    }

    /// Whether a worker is healthy.
    #[must_use]
    pub fn is_healthy(&self, worker: WorkerId) -> bool {
        self.phase_of(Some(worker)) == Some(PhaseTag::Healthy)
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

impl Slot {
    fn new(generation: Generation) -> Self {
        Self {
            current: None,
            outgoing: None,
            generation,
            failures: 0,
            strikes: 0,
            hold: Hold::Ready,
            starts: 0,
            last_failure: None,
            last_exit: None,
        }
    }

    fn forgive(&mut self) {
        self.failures = 0;
        self.strikes = 0;
        self.hold = Hold::Ready;
    }

    fn leave(&mut self, worker: WorkerId) {
        match self.occupied_by(worker) {
            Some(Role::Current) => self.current = None,
            Some(Role::Outgoing) => self.outgoing = None,
            Some(Role::Loose) | None => {}
        }
    }

    fn occupied_by(&self, worker: WorkerId) -> Option<Role> {
        if self.current == Some(worker) {
            Some(Role::Current)
        } else if self.outgoing == Some(worker) {
            Some(Role::Outgoing)
        } else {
            None
        }
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
