//! A position that is to be filled with a worker. Changed by the [`fleet`](super) only.
//!
//! It has a [`Seat`] for its current worker. While that is to take over from another, the other has one too, which
//! stands *aside*: its worker is the outgoing one. If that ends unasked, the seat stays, and is filled again
//! for as long as nobody serves in its place; what failed in one seat says nothing about the other.

use super::seat::SlotChange;
pub use super::seat::{Hold, HoldTag, Past, Seat, SlotEffect, SlotInput, SlotRejected, Tries, transition};
use crate::fsm::words::{
    event::ExitStatus,
    id::{Generation, WorkerId},
    text::record,
    time::Time,
};

record! {
    /// A position that is to be filled with a worker.
    #[derive(Copy)]
    pub struct Slot {;
        seat: Seat,
        aside: Option<Seat>,
    }
}

/// One of the two seats of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// That of the worker that is to stay.
    Current,
    /// That of the worker that is being replaced.
    Outgoing,
}

/// What a worker is to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is in one of its seats.
    In(Side),
    /// Nothing: it was asked to go before, or the slot is beyond the target.
    Loose,
}

impl Slot {
    /// An empty slot that is to run `generation`.
    pub(super) fn new(generation: Generation) -> Self {
        Self { seat: Seat::new(generation), aside: None }
    }

    /// The seat of the worker that is to stay.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The seat of the worker that is being replaced, or of the next one in its place.
    #[must_use]
    pub fn aside(&self) -> Option<&Seat> {
        self.aside.as_ref()
    }

    /// A seat, if it has it.
    #[must_use]
    pub fn side(&self, side: Side) -> Option<&Seat> {
        match side {
            Side::Current => Some(&self.seat),
            Side::Outgoing => self.aside.as_ref(),
        }
    }

    fn side_mut(&mut self, side: Side) -> Option<&mut Seat> {
        match side {
            Side::Current => Some(&mut self.seat),
            Side::Outgoing => self.aside.as_mut(),
        }
    }

    /// The worker that is to stay.
    #[must_use]
    pub fn current(&self) -> Option<WorkerId> {
        self.seat.worker()
    }

    /// The worker it takes over from.
    #[must_use]
    pub fn outgoing(&self) -> Option<WorkerId> {
        self.aside?.worker()
    }

    /// What the current worker runs, or the next one will.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.seat.generation()
    }

    /// Whether it has no worker at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current().is_none() && self.outgoing().is_none()
    }

    /// What a worker is to it.
    #[must_use]
    pub fn role(&self, worker: WorkerId) -> Role {
        if self.current() == Some(worker) {
            Role::In(Side::Current)
        } else if self.outgoing() == Some(worker) {
            Role::In(Side::Outgoing)
        } else {
            Role::Loose
        }
    }

    /// Changes a seat by the table.
    pub(super) fn apply(&mut self, side: Side, change: SlotChange, now: Time) -> Result<(), SlotRejected> {
        self.side_mut(side).map_or(Ok(()), |seat| seat.apply(change, now))
    }

    /// It is to run another generation; who is in it is to be replaced.
    pub(super) fn begin(&mut self, generation: Generation) -> Result<(), SlotRejected> {
        if self.aside.is_some() {
            return Err(self.rejects("begin"));
        }
        let before = core::mem::replace(&mut self.seat, Seat::new(generation));
        self.aside = before.worker().map(|_| before);
        Ok(())
    }

    /// It goes back to the seat that stands aside, whose worker `serves` or not.
    pub(super) fn revert(&mut self, serves: bool, now: Time) -> Result<(), SlotRejected> {
        let back = self.aside.take().ok_or(self.rejects("revert"))?;
        let attempt = core::mem::replace(&mut self.seat, back);
        self.aside = attempt.worker().map(|_| attempt);
        self.seat.return_to(serves, now)
    }

    /// It is empty, and its next worker is to run another generation.
    pub(super) fn reassign(&mut self, generation: Generation) -> Result<(), SlotRejected> {
        if !self.is_empty() || self.aside.is_some() {
            return Err(self.rejects("reassign"));
        }
        self.seat = Seat::new(generation);
        Ok(())
    }

    /// The next worker that stands in for the outgoing one is to run another generation.
    pub(super) fn reseat(&mut self, generation: Generation) {
        let is_other = |aside: &Seat| aside.worker().is_none() && aside.generation() != generation;
        if self.aside.as_ref().is_some_and(is_other) {
            self.aside = Some(Seat::new(generation));
        }
    }

    /// Nobody is to stand in for the outgoing worker any more, unless somebody does.
    pub(super) fn close(&mut self) {
        self.aside = self.aside.filter(|aside| aside.worker().is_some());
    }

    fn rejects(&self, input: &'static str) -> SlotRejected {
        SlotRejected { hold: self.seat.hold().tag(), input }
    }

    /// Takes in a worker that was started for it.
    pub(super) fn fill(&mut self, side: Side, worker: WorkerId) {
        if let Some(seat) = self.side_mut(side) {
            seat.fill(worker);
        }
    }

    /// Its current worker is healthy: nobody is to stand in for the outgoing one any more.
    pub(super) fn serve(&mut self) {
        self.seat.serve();
        self.close();
    }

    /// Lets a worker go from a seat.
    pub(super) fn leave(&mut self, side: Side) {
        if let Some(seat) = self.side_mut(side) {
            seat.leave();
        }
    }

    /// Notes how a worker ended, if it was of a generation that a seat is of.
    pub(super) fn note_exit(&mut self, generation: Generation, status: ExitStatus) {
        let side = if self.generation() == generation { Side::Current } else { Side::Outgoing };
        if let Some(seat) = self.side_mut(side).filter(|seat| seat.generation() == generation) {
            seat.note_exit(status);
        }
    }
}
