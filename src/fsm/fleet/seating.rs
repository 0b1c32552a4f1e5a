//! What happens to the slots of a [`Fleet`] and their seats, short of their workers' own phases.

use super::{
    Counted, Fleet,
    backoff::{self, Turn},
    seat::{Crowd, SlotChange},
    slot::{Seat, Side, Slot, SlotRejected, Tries},
    worker::PhaseTag,
};
use crate::fsm::words::{
    config::{CROWD, Config, SHORTAGE_RETRY},
    id::{Generation, SlotId, WorkerId},
    reason::{Failure, Next},
    time::{Millis, Time},
};
use alloc::vec::Vec;

impl Fleet {
    /// Changes a slot within the target that has such a seat, which is shown as it was. `None` if it has not.
    fn edit_seat<T>(
        &mut self,
        (id, side): (SlotId, Side),
        edit: impl FnOnce(&mut Slot, Seat, &Config) -> Result<T, SlotRejected>,
    ) -> Result<Option<T>, SlotRejected> {
        let edit = |slot: &mut Slot, config: &Config| {
            let seat = slot.side(side).copied();
            seat.map(|seat| edit(slot, seat, config)).transpose()
        };
        self.edit_slot(id, edit).unwrap_or(Ok(None))
    }

    /// Changes a seat by the table.
    fn change_seat(
        &mut self,
        (id, side): (SlotId, Side),
        change: SlotChange,
        now: Time,
    ) -> Result<(), SlotRejected> {
        self.edit_seat((id, side), |slot, _, _| slot.apply(side, change, now)).map(Option::unwrap_or_default)
    }

    fn crowd(&self) -> Crowd {
        if self.index.restless.len() < CROWD { Crowd::Sparse } else { Crowd::Dense }
    }

    /// The turn of one that has ended, where it leaves several slots without any worker that is healthy or starting.
    fn last_turn(&self, now: Time) -> Option<Turn> {
        let up = self.index.census.count_where(PhaseTag::is_up);
        let nobody = usize::try_from(up).is_ok_and(|up| up == self.index.surplus.len());
        (nobody && self.extent.target > 1).then(|| Turn::next(self.extent.turns, now))
    }

    /// Counts a failed start of a seat that is given so many `tries`, of a worker of that `age`, and says what comes
    /// next. `None` if there is no such seat within the target. A seat that stands aside is not given up, but given
    /// back.
    ///
    /// # Errors
    /// If no start of it can have failed now.
    pub fn fail(
        &mut self,
        (id, side): (SlotId, Side),
        failure: Failure,
        (tries, age): (Tries, Millis),
        now: Time,
    ) -> Result<Option<Counted>, SlotRejected> {
        let crowd = self.crowd();
        self.edit_seat((id, side), |slot, seat, config| {
            let spared = seat.spares(failure, (tries, age), crowd);
            let failures = spared.is_none().then(|| seat.failures().saturating_add(1));
            let next = spared.unwrap_or_else(|| seat.after_failure(id, tries, config));
            slot.apply(side, SlotChange::Fail(failure, next), now)?;
            let over = side == Side::Outgoing && matches!(next, Next::GivenUp { .. });
            if over {
                slot.close();
            }
            Ok(Counted { failures, next: if over { Next::NotReplaced } else { next } })
        })
    }

    /// Notes that a seat lost a worker that had served, of that `age`, and says when the next starts: it does not wait
    /// for longer than for its turn if that was the last one. `None` if there is no such seat within the target.
    ///
    /// # Errors
    /// If it can have lost none now.
    pub fn crash(
        &mut self,
        (id, side): (SlotId, Side),
        age: Millis,
        now: Time,
    ) -> Result<Option<Millis>, SlotRejected> {
        let (crowd, turn) = (self.crowd(), self.last_turn(now));
        let crashed = self.edit_seat((id, side), |slot, seat, config| {
            let (crash, taken) = seat.after_crash(id, age, crowd, config).in_turn(turn);
            slot.apply(side, SlotChange::Crash(crash), now).map(|()| (crash.delay(), taken))
        })?;
        if let Some((_, Some(taken))) = crashed {
            self.extent.turns = Some(taken.until);
        }
        Ok(crashed.map(|(delay, _)| delay))
    }

    /// Lets a seat wait for what the machine lacks, and says for how long. `None` if there is no such seat within
    /// the target.
    ///
    /// # Errors
    /// If it was not about to start a worker.
    pub fn wait(
        &mut self,
        (id, side): (SlotId, Side),
        failure: Failure,
        now: Time,
    ) -> Result<Option<Millis>, SlotRejected> {
        let delay = backoff::spread_out(SHORTAGE_RETRY, id);
        let short = SlotChange::Short(failure, delay);
        self.edit_seat((id, side), |slot, _, _| slot.apply(side, short, now).map(|()| delay))
    }

    /// Lets a seat that backs off try again now.
    ///
    /// # Errors
    /// If it does not.
    pub fn release(&mut self, id: SlotId, side: Side, now: Time) -> Result<(), SlotRejected> {
        self.change_seat((id, side), SlotChange::Release, now)
    }

    /// Lets every slot that has failed try again now. Returns how many there were.
    pub fn retry(&mut self, now: Time) -> u32 {
        let slots: Vec<SlotId> = self.index.failed.iter().collect();
        let forgiven = slots.iter().filter(|id| self.forgive(**id, now).is_ok());
        u32::try_from(forgiven.count()).unwrap_or(u32::MAX)
    }

    /// Lets what failed in a slot so far count no more, and lets it try again now.
    ///
    /// # Errors
    /// Never: that can be done to any slot.
    pub fn forgive(&mut self, id: SlotId, now: Time) -> Result<(), SlotRejected> {
        self.change_seat((id, Side::Current), SlotChange::Forgive, now)
    }

    /// Makes a slot run another generation: its current worker, if it has one, becomes outgoing.
    ///
    /// # Errors
    /// If it is in the middle of a change already.
    pub fn begin(&mut self, id: SlotId, generation: Generation) -> Result<(), SlotRejected> {
        self.edit_slot(id, |slot, _| slot.begin(generation)).unwrap_or(Ok(()))
    }

    /// Undoes [`begin`](Self::begin): the seat that stands aside is the current one again. Returns the worker
    /// that was to replace what it has, which is outgoing now.
    ///
    /// # Errors
    /// If it is not in the middle of a change.
    pub fn revert(&mut self, id: SlotId, now: Time) -> Result<Option<WorkerId>, SlotRejected> {
        let outgoing = self.slots.get(&id).and_then(Slot::outgoing);
        let serves = outgoing.is_some_and(|worker| self.is_healthy(worker));
        self.edit_slot(id, |slot, _| slot.revert(serves, now)).unwrap_or(Ok(()))?;
        Ok(self.slots.get(&id).and_then(Slot::outgoing))
    }

    /// Makes an empty slot run another generation from its next worker on.
    ///
    /// # Errors
    /// If it is not empty.
    pub fn reassign(&mut self, id: SlotId, generation: Generation) -> Result<(), SlotRejected> {
        self.edit_slot(id, |slot, _| slot.reassign(generation)).unwrap_or(Ok(()))
    }

    /// Makes the next worker that stands in for an outgoing one run another generation.
    pub fn reseat(&mut self, id: SlotId, generation: Generation) {
        self.edit_slot(id, |slot, _| slot.reseat(generation));
    }

    /// Lets nobody stand in for an outgoing worker that has ended.
    pub fn close(&mut self, id: SlotId) {
        self.edit_slot(id, |slot, _| slot.close());
    }
}
