//! What the fleet can be asked quickly: counts and sets derived from workers and slots.
//!
//! Every entry is a function of one worker, or of one slot and its current worker's phase. The fleet
//! takes the entries of what it is about to change out and puts them back afterwards; nothing else
//! writes here, and [`Index`] is `Eq` so that a check can build one anew and compare.

use super::{
    action::Why,
    config::{AckMode, Config, KILL_AFTER},
    fleet::{Hold, Slot},
    id::{Generation, Pid, SlotId, WorkerId},
    time::{Millis, Time},
    worker::{Phase, PhaseTag, Rung, Worker},
};
use alloc::collections::{BTreeMap, BTreeSet};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A step left something undone so as not to take too long. Fires at once.
    Unfinished,
    /// A starting worker has stayed alive long enough to count as healthy. Fires without
    /// `--manual` only.
    AckAfter(WorkerId),
    /// A starting worker has not acknowledged in time. Fires with `--manual` only.
    AckTimeout(WorkerId),
    /// A draining worker has not gone in time. Fires on every rung but the last.
    Rung(WorkerId),
    /// A slot that failed may try again.
    Backoff(SlotId),
    /// The trial of a new generation is over.
    Soak,
}

/// Slots by generation, with counts at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf(BTreeMap<Generation, BTreeSet<SlotId>>);

impl Shelf {
    fn set(&mut self, generation: Generation, slot: SlotId, present: Present) {
        match present {
            Present::Yes => {
                self.0.entry(generation).or_default().insert(slot);
            }
            Present::No => {
                if let Some(slots) = self.0.get_mut(&generation) {
                    slots.remove(&slot);
                    if slots.is_empty() {
                        self.0.remove(&generation);
                    }
                }
            }
        }
    }

    /// How many slots of that generation.
    #[must_use]
    pub fn count(&self, generation: Generation) -> usize {
        self.0.get(&generation).map_or(0, BTreeSet::len)
    }

    /// How many slots there are. Costs as much as there are generations.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The first slot of that generation.
    #[must_use]
    pub fn first(&self, generation: Generation) -> Option<SlotId> {
        self.0.get(&generation)?.first().copied()
    }

    /// The first slot of any other generation, oldest first.
    #[must_use]
    pub fn first_other(&self, generation: Generation) -> Option<SlotId> {
        self.0.iter().find(|(other, _)| **other != generation).and_then(|(_, slots)| slots.first().copied())
    }

    /// The generations that have any.
    pub fn generations(&self) -> impl Iterator<Item = Generation> + '_ {
        self.0.keys().copied()
    }

    /// All slots, oldest generation first.
    pub fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.0.values().flatten().copied()
    }
}

/// How many workers are in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u32; PhaseTag::ALL.len()]);

impl Tally {
    fn add(&mut self, tag: PhaseTag, present: Present) {
        if let Some(count) = self.0.get_mut(tag.order()) {
            *count = match present {
                Present::Yes => count.saturating_add(1),
                Present::No => count.saturating_sub(1),
            };
        }
    }

    /// How many are in that phase.
    #[must_use]
    pub fn count(&self, tag: PhaseTag) -> u32 {
        self.0.get(tag.order()).copied().unwrap_or_default()
    }

    /// How many there are at all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// How many are in one of the phases that `chosen` picks.
    #[must_use]
    pub fn count_where(&self, chosen: impl Fn(PhaseTag) -> bool) -> u32 {
        PhaseTag::ALL.iter().filter(|tag| chosen(**tag)).map(|tag| self.count(*tag)).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    Yes,
    No,
}

/// The derived entries. Read-only outside the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Live processes.
    pub pids: BTreeMap<Pid, WorkerId>,
    /// Everything that waits for a time. At most one entry a worker and one a slot.
    pub deadlines: BTreeSet<(Time, TimerKind)>,
    /// Workers by phase.
    pub phases: BTreeSet<(PhaseTag, WorkerId)>,
    /// Workers in each phase.
    pub census: Tally,
    /// The same by generation; no entry for a generation without workers.
    pub generations: BTreeMap<Generation, Tally>,
    /// Up workers of slots beyond the target, those that do not serve first, highest slot first.
    pub surplus: BTreeSet<(bool, core::cmp::Reverse<SlotId>, WorkerId)>,
    /// Slots within the target, by their generation.
    pub slots: Shelf,
    /// Those of them that have no healthy current worker.
    pub unready: Shelf,
    /// Those of them that were given up.
    pub gave_up: Shelf,
    /// Those of them that have no worker being replaced, so that they can be taken over.
    pub open: Shelf,
    /// Those of the latter that have no current worker either.
    pub idle: Shelf,
    /// Slots within the target that have no worker at all and may start one now.
    pub vacant: BTreeSet<SlotId>,
    /// Slots within the target that have a worker being replaced, none to replace it, and may start
    /// one now: a worker beyond the target.
    pub reserved: Shelf,
    /// Slots within the target that have a worker being replaced.
    pub replacing: BTreeSet<SlotId>,
    /// Those of them that were given up: they wait for nobody.
    pub stalled: BTreeSet<SlotId>,
    /// Those of them that have a current worker too.
    pub doubled: BTreeSet<SlotId>,
    /// Those of them whose current worker is healthy and whose outgoing worker is not.
    pub replaced_idle: Shelf,
    /// Those of them whose current worker and outgoing worker are both healthy.
    pub replaced: Shelf,
}

fn put<T: Ord>(set: &mut BTreeSet<T>, value: T, present: Present) {
    match present {
        Present::Yes => set.insert(value),
        Present::No => set.remove(&value),
    };
}

impl Index {
    /// Puts a worker's entries in or takes them out. `surplus`: its slot is beyond the target.
    pub(super) fn worker(&mut self, worker: &Worker, surplus: bool, config: &Config, present: Present) {
        let tag = worker.phase.tag();
        if let Some(pid) = worker.phase.pid() {
            match present {
                Present::Yes => self.pids.insert(pid, worker.id),
                Present::No => self.pids.remove(&pid),
            };
        }
        if let Some(deadline) = deadline(worker, config) {
            put(&mut self.deadlines, deadline, present);
        }
        put(&mut self.phases, (tag, worker.id), present);
        self.census.add(tag, present);
        let tally = self.generations.entry(worker.generation).or_default();
        tally.add(tag, present);
        if *tally == Tally::default() {
            self.generations.remove(&worker.generation);
        }
        if surplus && tag.is_up() {
            let key = (tag == PhaseTag::Healthy, core::cmp::Reverse(worker.slot), worker.id);
            put(&mut self.surplus, key, present);
        }
    }

    /// Puts the entries of a slot within the target in or takes them out.
    pub(super) fn slot(&mut self, id: SlotId, slot: &Slot, occupants: Occupants, present: Present) {
        let healthy = |tag: Option<PhaseTag>| tag == Some(PhaseTag::Healthy);
        let generation = slot.generation;
        self.slots.set(generation, id, present);
        if !healthy(occupants.current) {
            self.unready.set(generation, id, present);
        }
        match slot.hold {
            Hold::Ready if slot.current.is_none() && slot.outgoing.is_none() => {
                put(&mut self.vacant, id, present);
            }
            Hold::Ready if slot.current.is_none() => self.reserved.set(generation, id, present),
            Hold::Ready => {}
            Hold::Until(time) => put(&mut self.deadlines, (time, TimerKind::Backoff(id)), present),
            Hold::GaveUp => self.gave_up.set(generation, id, present),
        }
        if slot.outgoing.is_none() {
            self.open.set(generation, id, present);
            if slot.current.is_none() {
                self.idle.set(generation, id, present);
            }
            return;
        }
        put(&mut self.replacing, id, present);
        if slot.hold == Hold::GaveUp {
            put(&mut self.stalled, id, present);
        }
        if slot.current.is_some() {
            put(&mut self.doubled, id, present);
        }
        match (healthy(occupants.current), healthy(occupants.outgoing)) {
            (true, true) => self.replaced.set(generation, id, present),
            (true, false) => self.replaced_idle.set(generation, id, present),
            (false, _) => {}
        }
    }
}

/// The phases of a slot's workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occupants {
    pub(super) current: Option<PhaseTag>,
    pub(super) outgoing: Option<PhaseTag>,
}

/// A worker's one deadline: a function of its phase, of when that began, and of the configuration.
fn deadline(worker: &Worker, config: &Config) -> Option<(Time, TimerKind)> {
    let id = worker.id;
    match worker.phase {
        Phase::PendingAck { .. } => Some(match config.ack {
            AckMode::After(time) => (worker.since + time, TimerKind::AckAfter(id)),
            AckMode::Manual(time) => (worker.since + time, TimerKind::AckTimeout(id)),
        }),
        Phase::Draining { why, rung, .. } => {
            Some((worker.since + patience(why, rung, config)?, TimerKind::Rung(id)))
        }
        Phase::Spawning { .. } | Phase::Healthy { .. } | Phase::Dead => None,
    }
}

/// How long a rung lasts before the next.
fn patience(why: Why, rung: Rung, config: &Config) -> Option<Millis> {
    match rung {
        Rung::Stop => Some(config.grace),
        Rung::Term if why == Why::FastShutdown => Some(config.grace),
        Rung::Term | Rung::Kill => Some(KILL_AFTER),
        Rung::Stuck => None,
    }
}
