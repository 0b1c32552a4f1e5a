//! At what pace those that end early are replaced.

use super::{Monitor, Violation, holds};
use crate::fsm::{
    machine::supervisor::Supervisor,
    words::{
        config::{EARLY, TURNS},
        id::{Generation, SlotId, WorkerId},
        time::{Millis, Time},
    },
};
use alloc::{collections::VecDeque, format};

/// More than that no slot comes to in a second: four in a row, a few at distances that grow, and the same
/// again in each seat that an upgrade under way gives it.
const EACH: usize = 30;

/// Whatever was taken by then, all turns are back after that time.
const TWO_SECONDS: Millis = Millis(2_000);

/// How many there are, once those that are over are gone.
fn recent<T>(times: &mut VecDeque<T>, over: impl Fn(&T) -> bool) -> usize {
    while times.front().is_some_and(&over) {
        times.pop_front();
    }
    times.len()
}

impl Monitor {
    /// Whether that worker has ended within a second of its start.
    fn was_early(&self, worker: WorkerId, now: Time) -> bool {
        let known = self.workers.get(&worker).map(|known| known.born);
        let born = known.or(self.ended_last.filter(|(ended, _)| *ended == worker).map(|(_, born)| born));
        born.is_some_and(|born| now.since(born) < EARLY)
    }

    /// Whether a service of several has been left without any, but for those that are started in this step.
    fn nobody_was_left(&self, after: &Supervisor) -> bool {
        let (fleet, newest) = (after.fleet(), self.last_worker);
        let target = fleet.target();
        let mut others = fleet.workers().values().filter(|worker| worker.id() <= newest);
        target > 1 && !others.any(|worker| worker.slot().0 < target && worker.phase().tag().is_up())
    }

    /// That worker has ended or failed, and another is to be started in its place at once.
    pub(super) fn followed(
        &mut self,
        (worker, slot): (WorkerId, SlotId),
        after: &Supervisor,
    ) -> Result<(), Violation> {
        let now = after.now();
        if !self.was_early(worker, now) {
            return Ok(());
        }
        let place = Some(slot).filter(|_| !self.nobody_was_left(after));
        self.followed.push_back((now, place));
        recent(&mut self.followed, |(time, _)| now.since(*time) > Millis(1_000));
        let many = self.followed.iter().filter(|(_, other)| *other == place).count();
        let slots = usize::try_from(after.fleet().target()).unwrap_or(usize::MAX);
        let turns = usize::try_from(2 * TURNS).unwrap_or(usize::MAX);
        let most = if place.is_some() { EACH } else { slots.saturating_mul(EACH).saturating_add(turns) };
        holds(43, many <= most, || format!("{many} that ended early were replaced at once within a second"))
    }

    /// That healthy worker has ended, and the next in its place waits so long.
    pub(super) fn last_one(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        delay: Millis,
        after: &Supervisor,
    ) -> Result<(), Violation> {
        let now = after.now();
        if !self.was_early(worker, now) || !self.nobody_was_left(after) {
            return Ok(());
        }
        let before = recent(&mut self.last_ones, |time| now.since(*time) > TWO_SECONDS);
        self.last_ones.push_back(now);
        let exhausted = u32::try_from(before).is_ok_and(|before| before >= TURNS);
        let bound = delay == Millis(0) || generation != self.stable || exhausted;
        holds(44, bound, || format!("worker {worker} was the last one, and the next waits {delay:?}"))
    }
}
