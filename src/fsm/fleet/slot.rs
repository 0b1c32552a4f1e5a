//! A position that is to be filled with a worker, and what it remembers from one worker to the next:
//! failures, back-off, generation. Changed by the [`fleet`](super) only.

use super::backoff;
use crate::fsm::words::{
    config::{Config, SETTLED},
    event::ExitStatus,
    id::{Generation, SlotId, WorkerId},
    reason::{Failure, Next},
    time::{Millis, Time},
};

/// A position that is to be filled with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The worker that is to stay.
    pub current: Option<WorkerId>,
    /// The worker it takes over from.
    pub outgoing: Option<WorkerId>,
    /// What the current worker runs, or the next one will.
    pub generation: Generation,
    /// Whether a current worker of that generation has been healthy here.
    pub served: bool,
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

impl Slot {
    /// An empty slot that is to run `generation`.
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            current: None,
            outgoing: None,
            generation,
            served: false,
            failures: 0,
            strikes: 0,
            hold: Hold::Ready,
            starts: 0,
            last_failure: None,
            last_exit: None,
        }
    }

    /// Whether it has no worker at all.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.outgoing.is_none()
    }

    /// What a worker is to it.
    pub(super) fn role(&self, worker: WorkerId) -> Role {
        if self.current == Some(worker) {
            Role::Current
        } else if self.outgoing == Some(worker) {
            Role::Outgoing
        } else {
            Role::Loose
        }
    }

    /// Takes in the current worker that was started for it.
    pub(super) fn fill(&mut self, worker: WorkerId) {
        self.current = Some(worker);
        self.starts = self.starts.saturating_add(1);
    }

    /// Lets a worker go.
    pub(super) fn leave(&mut self, worker: WorkerId) {
        match self.role(worker) {
            Role::Current => self.current = None,
            Role::Outgoing => self.outgoing = None,
            Role::Loose => {}
        }
    }

    /// Runs another generation from here on. What failed before says nothing about that.
    pub(super) fn turn_to(&mut self, generation: Generation) {
        self.generation = generation;
        self.served = false;
        self.forgive();
    }

    /// Runs another generation: its current worker, if it has one, becomes outgoing. Changes nothing if
    /// it is in the middle of a change already.
    pub(super) fn begin(&mut self, generation: Generation) {
        if self.outgoing.is_none() {
            self.outgoing = self.current.take();
            self.turn_to(generation);
        }
    }

    /// The outgoing worker becomes current again, and the one that was to replace it outgoing.
    pub(super) fn revert(&mut self, generation: Generation, serves: bool) {
        core::mem::swap(&mut self.current, &mut self.outgoing);
        self.turn_to(generation);
        self.served = serves;
    }

    /// May try again as if nothing had failed.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.strikes = 0;
        self.hold = Hold::Ready;
    }

    /// May try again now if it backs off.
    pub(super) fn release(&mut self) {
        if matches!(self.hold, Hold::Until(_)) {
            self.hold = Hold::Ready;
        }
    }

    /// Counts a failed start. A `lasting` failure is not worth another try.
    pub(super) fn fail(
        &mut self,
        id: SlotId,
        failure: Failure,
        lasting: bool,
        (now, config): (Time, &Config),
    ) -> Next {
        self.failures = self.failures.saturating_add(1);
        self.strikes = self.strikes.saturating_add(1);
        self.last_failure = Some(failure);
        if lasting || self.failures >= config.retries {
            self.hold = Hold::GaveUp;
            return Next::GivenUp { failures: self.failures };
        }
        let delay = backoff::delay(config.backoff, self.strikes, id);
        self.wait(now, delay);
        Next::In(delay)
    }

    /// Notes the end of a worker that had served for `served`. Returns when the next starts.
    pub(super) fn crash(&mut self, id: SlotId, served: Millis, (now, config): (Time, &Config)) -> Millis {
        if served >= SETTLED {
            self.failures = 0;
            self.strikes = 0;
            return Millis(0);
        }
        // The first early end costs nothing; a slot whose workers keep ending early backs off.
        let delay = backoff::delay(config.backoff, self.strikes, id);
        self.strikes = self.strikes.saturating_add(1);
        self.wait(now, delay);
        delay
    }

    fn wait(&mut self, now: Time, delay: Millis) {
        self.hold = if delay > Millis(0) { Hold::Until(now + delay) } else { Hold::Ready };
    }
}
