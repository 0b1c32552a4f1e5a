//! At what pace those that end early are replaced.

use super::{Chair, Model, Place, workers::is_up};
use einhyrningsins::fsm::{
    backoff,
    config::{CROWD, EARLY, FREE_ENDS, FREE_ENDS_IN_A_CROWD, SPACING_IN_A_CROWD, TURNS},
    id::SlotId,
    reason::Failure,
    slot::{Side, Tries},
    time::{Millis, Time},
};

impl Model<'_> {
    fn is_crowded(&self) -> bool {
        let restless = |chair: &Chair| chair.early > FREE_ENDS_IN_A_CROWD;
        let restless = |place: &Place| restless(&place.front) || place.back.as_ref().is_some_and(restless);
        self.slots.iter().filter(|(id, place)| id.0 < self.target && restless(place)).count() >= CROWD
    }

    /// Of several, none is healthy or starting.
    fn nobody_is_left(&self) -> bool {
        let mut up = self.workers.values().filter(|known| known.slot.0 < self.target && is_up(known.tag));
        self.target > 1 && up.next().is_none()
    }

    /// Until when all turns last if another is taken now: each lasts as long as those since any of them together.
    pub fn turns_last(&self, others: &[Time]) -> Option<Time> {
        let all: Vec<Time> = self.turns.iter().chain(others).copied().collect();
        let since = |(before, from): (usize, &Time)| {
            let taken = u64::try_from(all.len() - before).expect("small");
            *from + Millis(taken * 1_000 / u64::from(TURNS))
        };
        all.iter().enumerate().map(since).max()
    }

    /// How long a chair waits that has lost a healthy worker of that age, the last of so many early ones.
    pub(super) fn spacing(&mut self, slot: SlotId, ends: u32, age: Millis) -> Millis {
        let spacing = if self.is_crowded() && ends > FREE_ENDS_IN_A_CROWD {
            backoff::spread_out(SPACING_IN_A_CROWD, slot)
        } else {
            backoff::spacing(self.config.backoff, ends, slot)
        };
        let due = Millis(spacing.0.saturating_sub(age.0));
        let last = self.turns_last(&[self.now]).map_or(Millis(0), |last| last.since(self.now));
        let turn = Millis(last.0.saturating_sub(1_000));
        if self.nobody_is_left() && turn < due {
            self.turns.push(self.now);
            return turn;
        }
        due
    }

    /// Whether what has failed counts as an early end and no more. It is noted if so.
    pub(super) fn spares(
        &mut self,
        (slot, side): (SlotId, Side),
        failure: Failure,
        age: Millis,
        tries: Tries,
    ) -> bool {
        let free = if self.is_crowded() { FREE_ENDS_IN_A_CROWD } else { FREE_ENDS };
        let early = matches!(failure, Failure::Exited(_)) && age < EARLY && tries == Tries::Endless;
        let chair = self.slots.get_mut(&slot).and_then(|place| place.chair(side));
        let Some(chair) = chair.filter(|chair| early && chair.early < free) else { return false };
        (chair.early, chair.lacks) = (chair.early + 1, 0);
        true
    }
}
