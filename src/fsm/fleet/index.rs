//! What the fleet can be asked quickly: counts and sets derived from workers and slots.
//!
//! Every entry is a function of one worker, or of one slot and its workers' phases. The fleet asks for
//! the entries of what it is about to change, and hands them in afterwards with those that are right now:
//! only where they differ is anything written, which is what keeps a step quick. Nothing else writes here,
//! and [`Index`] is `Eq` so that a check can build one anew and compare.

use super::{
    slot::{Hold, Seat, Side, Slot},
    worker::{Phase, PhaseTag, Rung, Worker},
};
use crate::fsm::words::{
    config::{AckMode, Config, EXTENSION, FREE_ENDS_IN_A_CROWD},
    id::{Generation, Pid, SlotId, WorkerId},
    time::{Millis, Time},
};
use alloc::collections::{BTreeMap, BTreeSet};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A step left something undone so as not to take too long. Fires at once.
    Unfinished,
    /// A starting worker has stayed alive long enough to count as healthy, where time can be a proof.
    AckAfter(WorkerId),
    /// A starting worker has neither acknowledged nor been seen in time, where it must.
    AckTimeout(WorkerId),
    /// A draining worker has not gone in time. Fires on every rung but the last.
    Rung(WorkerId),
    /// A seat of a slot that failed may try again.
    Backoff(SlotId, Side),
    /// The trial of a new generation is over.
    Soak,
    /// The time that the upgrade may take is over.
    Upgrade,
    /// Nobody has served for another while.
    Down,
}

/// Slots by generation, with counts at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf(BTreeMap<Generation, BTreeSet<SlotId>>);

impl Shelf {
    /// Moves a slot from where it was, if it was here, to where it is, if it is.
    fn change(&mut self, slot: SlotId, before: Option<Generation>, after: Option<Generation>) {
        if before == after {
            return;
        }
        if let Some(generation) = before
            && let Some(slots) = self.0.get_mut(&generation)
        {
            slots.remove(&slot);
            if slots.is_empty() {
                self.0.remove(&generation);
            }
        }
        if let Some(generation) = after {
            self.0.entry(generation).or_default().insert(slot);
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
    fn add(&mut self, tag: PhaseTag) {
        if let Some(count) = self.0.get_mut(tag.order()) {
            *count = count.saturating_add(1);
        }
    }

    fn subtract(&mut self, tag: PhaseTag) {
        if let Some(count) = self.0.get_mut(tag.order()) {
            *count = count.saturating_sub(1);
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

/// The derived entries. Read-only outside the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Live processes.
    pub pids: BTreeMap<Pid, WorkerId>,
    /// Everything that waits for a time. At most one entry a worker and one a seat.
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
    /// Slots within the target without a healthy current worker.
    pub unready: Shelf,
    /// Slots within the target that were given up.
    pub gave_up: Shelf,
    /// Those of `unready` that were given up, or have failed as often in a row as it takes for that and are
    /// not `reserved`.
    pub failed: Shelf,
    /// Those of `unready` that are not `failed` and have had a healthy worker of their generation.
    pub lapsed: Shelf,
    /// Those of `unready` that are neither `failed` nor `lapsed`, and for which the machine has lacked something as
    /// often in a row as it takes to give one up.
    pub short: Shelf,
    /// Slots within the target in which nobody is being replaced, so that they can be taken over.
    pub open: Shelf,
    /// Those of `open` that have no current worker either.
    pub idle: Shelf,
    /// Slots within the target that have no worker at all and may start one now.
    pub vacant: BTreeSet<SlotId>,
    /// Slots within the target with somebody who is being replaced, nobody to replace them, and who may start
    /// now: a worker beyond the target.
    pub reserved: Shelf,
    /// Those of `reserved` that have not had a healthy worker of their generation.
    pub awaited: Shelf,
    /// Slots within the target in which somebody is being replaced: a worker, or whoever is to stand in for one
    /// that ended meanwhile.
    pub replacing: BTreeSet<SlotId>,
    /// Those of `replacing` that have failed: nobody waits for them.
    pub stalled: BTreeSet<SlotId>,
    /// Those of `replacing` that have a current worker too.
    pub doubled: BTreeSet<SlotId>,
    /// Those of `replacing` whose outgoing worker has ended.
    pub vacated: Shelf,
    /// Those of them that may start another in its place now.
    pub relief: BTreeSet<SlotId>,
    /// Slots within the target that have had more early ends in a row than are free in a crowd.
    pub restless: BTreeSet<SlotId>,
    /// Those of `doubled` whose current worker is healthy and whose outgoing worker is not.
    pub replaced_idle: Shelf,
    /// Those of `doubled` whose current worker and outgoing worker are both healthy.
    pub replaced: Shelf,
}

/// What one worker has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerEntries {
    id: WorkerId,
    generation: Generation,
    tag: PhaseTag,
    pid: Option<Pid>,
    deadline: Option<(Time, TimerKind)>,
    /// Its slot, if that is beyond the target and the worker is up.
    surplus: Option<SlotId>,
}

impl WorkerEntries {
    /// `surplus`: its slot is beyond the target.
    pub(super) fn of(worker: &Worker, surplus: bool, config: &Config) -> Self {
        let tag = worker.phase().tag();
        Self {
            id: worker.id(),
            generation: worker.generation(),
            tag,
            pid: worker.phase().pid(),
            deadline: deadline(worker, config),
            surplus: (surplus && tag.is_up()).then_some(worker.slot()),
        }
    }

    fn phase(self) -> (PhaseTag, WorkerId) {
        (self.tag, self.id)
    }

    fn surplus(self) -> Option<(bool, core::cmp::Reverse<SlotId>, WorkerId)> {
        Some((self.tag == PhaseTag::Healthy, core::cmp::Reverse(self.surplus?), self.id))
    }
}

/// What one slot within the target has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotEntries {
    generation: Generation,
    hold: Hold,
    /// It had a healthy current worker of that generation.
    served: bool,
    /// It has failed as often in a row as it takes to be given up.
    failing: bool,
    /// The machine has lacked something for it as often in a row.
    lacking: bool,
    /// It has no current worker.
    empty: bool,
    /// What stands aside, if anything does.
    aside: Option<Aside>,
    /// It has had more early ends in a row than are free in a crowd.
    restless: bool,
    /// The current worker serves.
    ready: bool,
    /// The outgoing worker serves.
    outgoing_serves: bool,
}

/// The seat of a slot that stands aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aside {
    hold: Hold,
    empty: bool,
}

impl SlotEntries {
    pub(super) fn of(slot: &Slot, occupants: Occupants, config: &Config) -> Self {
        let serves = |tag: Option<PhaseTag>| tag == Some(PhaseTag::Healthy);
        let (seat, aside) = (slot.seat(), slot.aside());
        let restless = |seat: &Seat| seat.early() > FREE_ENDS_IN_A_CROWD;
        Self {
            generation: slot.generation(),
            hold: seat.hold(),
            served: seat.served(),
            failing: seat.failures() >= config.retries,
            lacking: seat.lacks() >= config.retries,
            empty: slot.current().is_none(),
            aside: aside.map(|aside| Aside { hold: aside.hold(), empty: aside.worker().is_none() }),
            restless: restless(seat) || aside.is_some_and(restless),
            ready: serves(occupants.current),
            outgoing_serves: serves(occupants.outgoing),
        }
    }

    fn open(&self) -> bool {
        self.aside.is_none()
    }

    fn hold(&self, side: Side) -> Option<Hold> {
        match side {
            Side::Current => Some(self.hold),
            Side::Outgoing => self.aside.map(|aside| aside.hold),
        }
    }

    fn vacated(&self) -> bool {
        self.aside.is_some_and(|aside| aside.empty)
    }

    fn gave_up(&self) -> bool {
        self.hold == Hold::GaveUp
    }

    fn failed(&self) -> bool {
        self.gave_up() || (self.failing && !self.ready && !self.reserved())
    }

    fn reserved(&self) -> bool {
        !self.open() && self.empty && self.hold == Hold::Ready
    }

    fn lapsed(&self) -> bool {
        self.served && !self.ready && !self.failed()
    }

    fn short(&self) -> bool {
        self.lacking && !self.ready && !self.failed() && !self.lapsed() && !self.reserved()
    }
}

fn change<T: Ord>(set: &mut BTreeSet<T>, before: Option<T>, after: Option<T>) {
    if before == after {
        return;
    }
    if let Some(value) = before {
        set.remove(&value);
    }
    if let Some(value) = after {
        set.insert(value);
    }
}

impl Index {
    /// Brings a worker's entries from what they were to what they are. `None`: there is no such worker.
    pub(super) fn worker(&mut self, before: Option<WorkerEntries>, after: Option<WorkerEntries>) {
        if before == after {
            return;
        }
        let pid =
            |entries: Option<WorkerEntries>| entries.and_then(|entries| Some((entries.pid?, entries.id)));
        if pid(before) != pid(after) {
            pid(before).map(|(pid, _)| self.pids.remove(&pid));
            pid(after).map(|(pid, id)| self.pids.insert(pid, id));
        }
        let deadline = |entries: WorkerEntries| entries.deadline;
        change(&mut self.deadlines, before.and_then(deadline), after.and_then(deadline));
        change(&mut self.phases, before.map(WorkerEntries::phase), after.map(WorkerEntries::phase));
        let surplus = WorkerEntries::surplus;
        change(&mut self.surplus, before.and_then(surplus), after.and_then(surplus));
        if let Some(WorkerEntries { tag, generation, .. }) = after {
            self.census.add(tag);
            self.generations.entry(generation).or_default().add(tag);
        }
        if let Some(WorkerEntries { tag, generation, .. }) = before {
            self.census.subtract(tag);
            if let Some(tally) = self.generations.get_mut(&generation) {
                tally.subtract(tag);
                if *tally == Tally::default() {
                    self.generations.remove(&generation);
                }
            }
        }
    }

    /// Brings a slot's entries from what they were to what they are. `None`: the slot is not within the
    /// target.
    pub(super) fn slot(&mut self, id: SlotId, before: Option<SlotEntries>, after: Option<SlotEntries>) {
        if before == after {
            return;
        }
        let shelf = |shelf: &mut Shelf, belongs: fn(&SlotEntries) -> bool| {
            let generation =
                |entries: Option<SlotEntries>| entries.filter(belongs).map(|entries| entries.generation);
            shelf.change(id, generation(before), generation(after));
        };
        let set = |set: &mut BTreeSet<SlotId>, belongs: fn(&SlotEntries) -> bool| {
            change(set, before.filter(belongs).map(|_| id), after.filter(belongs).map(|_| id));
        };
        shelf(&mut self.slots, |_| true);
        shelf(&mut self.unready, |slot| !slot.ready);
        shelf(&mut self.gave_up, SlotEntries::gave_up);
        shelf(&mut self.failed, SlotEntries::failed);
        shelf(&mut self.open, SlotEntries::open);
        shelf(&mut self.idle, |slot| slot.open() && slot.empty);
        shelf(&mut self.replaced_idle, |slot| !slot.open() && slot.ready && !slot.outgoing_serves);
        shelf(&mut self.replaced, |slot| !slot.open() && slot.ready && slot.outgoing_serves);
        shelf(&mut self.reserved, SlotEntries::reserved);
        shelf(&mut self.awaited, |slot| slot.reserved() && !slot.served);
        shelf(&mut self.lapsed, SlotEntries::lapsed);
        shelf(&mut self.short, SlotEntries::short);
        shelf(&mut self.vacated, SlotEntries::vacated);
        set(&mut self.relief, |slot| {
            slot.aside.is_some_and(|aside| aside.empty && aside.hold == Hold::Ready)
        });
        set(&mut self.restless, |slot| slot.restless);
        set(&mut self.vacant, |slot| slot.open() && slot.empty && slot.hold == Hold::Ready);
        set(&mut self.doubled, |slot| !slot.open() && !slot.empty);
        set(&mut self.replacing, |slot| !slot.open());
        set(&mut self.stalled, |slot| !slot.open() && slot.failed());
        for side in [Side::Current, Side::Outgoing] {
            let deadline = |entries: SlotEntries| match entries.hold(side)? {
                Hold::Until(time) => Some((time, TimerKind::Backoff(id, side))),
                Hold::Ready | Hold::GaveUp => None,
            };
            change(&mut self.deadlines, before.and_then(deadline), after.and_then(deadline));
        }
    }
}

/// The phases of a slot's workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occupants {
    pub(super) current: Option<PhaseTag>,
    pub(super) outgoing: Option<PhaseTag>,
}

/// A worker's one deadline: a function of its phase, of when that began, and of the configuration; later if it has
/// asked for that.
fn deadline(worker: &Worker, config: &Config) -> Option<(Time, TimerKind)> {
    let (since, patience, kind) = term(worker, config)?;
    Some(((since + patience).max(worker.extended().unwrap_or_default()), kind))
}

/// Until when a worker may put its deadline off. `None` if it has none, or one that it may not.
pub(super) fn latest(worker: &Worker, config: &Config) -> Option<Time> {
    let asks = !matches!(worker.phase(), Phase::Draining { rung: Rung::Kill, .. });
    let (since, patience, _) = term(worker, config).filter(|_| asks)?;
    Some(since + Millis(patience.0.saturating_mul(EXTENSION)))
}

/// From when on a worker has how long, and for what.
fn term(worker: &Worker, config: &Config) -> Option<(Time, Millis, TimerKind)> {
    let (id, since) = (worker.id(), worker.since());
    match worker.phase() {
        Phase::PendingAck { .. } => {
            let after = |since: Time, time| Some((since, time, TimerKind::AckAfter(id)));
            let timeout = |time| Some((since, time, TimerKind::AckTimeout(id)));
            match (config.ack, worker.registered()) {
                (AckMode::After(time), _) => after(since, time),
                (AckMode::Manual(time), _) => timeout(time),
                (AckMode::Accepting(patience) | AckMode::Auto(patience), Some(registered)) => {
                    after(registered, patience.after)
                }
                (AckMode::Auto(patience), None) if !worker.strict() => after(since, patience.after),
                (AckMode::Accepting(patience) | AckMode::Auto(patience), None) => timeout(patience.timeout),
            }
        }
        Phase::Draining { rung, .. } => Some((since, rung.patience(config)?, TimerKind::Rung(id))),
        Phase::Spawning { .. } | Phase::Healthy { .. } | Phase::Dead => None,
    }
}
