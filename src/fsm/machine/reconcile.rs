//! The second half of every step: brings what is closer to what is wanted, until nothing is left to
//! decide, or [`BURST`] decisions are made and the rest is left to the next step.

use super::{
    life::{FAILED, Life, LifeChange},
    supervisor::{BURST, Outage, Supervisor},
};
use crate::fsm::{
    fleet::{
        slot::{Side, Slot},
        worker::{Change, PhaseTag},
    },
    words::{
        action::Action,
        config::DOWN_AGAIN,
        id::{SlotId, WorkerId},
        notice::Notice,
        reason::{Failure, Why},
        signal::Shutdown,
    },
};

impl Supervisor {
    pub(super) fn reconcile(&mut self) {
        let mut decisions = 0;
        while decisions < BURST && self.decide() {
            decisions += 1;
        }
        self.leave_undone(decisions == BURST);
        self.tell_progress();
        self.note_up();
        self.look_whether_down();
        self.forget_unused();
    }

    /// Takes one decision. Returns whether there may be another.
    fn decide(&mut self) -> bool {
        match self.life() {
            Life::Starting | Life::Serving | Life::Up => {
                // A generation that has failed is left before anything more is started of it.
                self.turn_back()
                    || self.fill_vacancy()
                    || self.drop_surplus()
                    || self.advance_upgrade()
                    || self.give_in()
            }
            Life::Stopping { shutdown, .. } => self.bring_down(shutdown) || self.end_if_empty(),
            Life::New | Life::Pinning | Life::Binding { .. } | Life::Done { .. } => false,
        }
    }

    /// Starts a worker where one is missing.
    fn fill_vacancy(&mut self) -> bool {
        if self.close_vacated() || self.relieve() {
            return true;
        }
        let vacant = self.fleet.index().vacant.first().copied();
        let Some(slot) = vacant.or_else(|| self.superseded()).or_else(|| self.reserved()) else {
            return false;
        };
        if !self.leave_superseded(slot) {
            self.start_worker(slot, Side::Current);
        }
        true
    }

    fn start_worker(&mut self, slot: SlotId, side: Side) {
        if let Some((worker, generation)) = self.fleet.spawn(slot, side, self.clock.now()) {
            self.act(Action::Spawn { worker, slot, generation });
        }
    }

    /// Who ended while it was being replaced needs no stand-in where what is to replace it is proven by now.
    fn close_vacated(&mut self) -> bool {
        let vacated = self.fleet.index().vacated.first(self.stable());
        vacated.inspect(|slot| self.fleet.close(*slot)).is_some()
    }

    /// Starts the proven generation in the place of a worker that ended while it was being replaced: what is to
    /// replace it does not serve yet, and may never do so.
    fn relieve(&mut self) -> bool {
        let slot = self.fleet.index().relief.first().copied();
        slot.map(|slot| self.start_worker(slot, Side::Outgoing)).is_some()
    }

    /// A slot that was to start a worker of a generation that nobody wants any more.
    fn superseded(&self) -> Option<SlotId> {
        let reserved = &self.fleet.index().reserved;
        let (stable, wanted) = (self.stable(), self.wanted());
        let other = reserved.generations().find(|other| *other != stable && *other != wanted)?;
        reserved.first(other)
    }

    /// A vacant slot of a generation that is neither proven nor wanted goes back to the proven one.
    fn leave_superseded(&mut self, id: SlotId) -> bool {
        let (stable, wanted) = (self.stable(), self.wanted());
        let slot = self.fleet.slots().get(&id).map(|slot| (slot.generation(), slot.aside().is_some()));
        match slot {
            Some((generation, _)) if generation == stable || generation == wanted => false,
            Some((_, true)) => {
                self.give_back(id);
                true
            }
            Some((_, false)) => {
                let reassigned = self.fleet.reassign(id, stable);
                self.allowed(id, reassigned).is_some()
            }
            None => false,
        }
    }

    /// Asks a worker beyond the target to go, unless it fills in for one that does not serve.
    fn drop_surplus(&mut self) -> bool {
        let spare = self.fleet.healthy() > self.fleet.target();
        match self.fleet.index().surplus.first().copied() {
            Some((healthy, _, worker)) if spare || !healthy => {
                self.change(worker, Change::Drain(Why::Surplus));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends if there is nothing left to try, or if it is to end once everything has failed.
    fn give_in(&mut self) -> bool {
        // Without one, nothing can have been given up.
        let Some(failure) = self.last_failure() else {
            return false;
        };
        if self.is_hopeless() {
            self.notice(Notice::Lost { failure });
            self.live(LifeChange::Lost);
            return false;
        }
        let ends = self.fleet.config().exit_on_failure && self.has_failed();
        if ends {
            // What is on its way out may have something to finish.
            self.abandon(Shutdown::Graceful, FAILED, failure);
        }
        ends
    }

    /// How a start failed the last time, in the slot that has failed most.
    fn last_failure(&self) -> Option<Failure> {
        let failed = self.fleet.index().failed.iter().filter_map(|slot| self.fleet.slots().get(&slot));
        failed.map(Slot::seat).max_by_key(|seat| seat.failures())?.past().last_failure
    }

    /// Whether every slot has failed, and nobody serves.
    fn has_failed(&self) -> bool {
        let index = self.fleet.index();
        index.failed.total() == index.slots.total() && self.fleet.healthy() == 0
    }

    /// Tells now and then that nobody serves, for as long as it lasts.
    fn look_whether_down(&mut self) {
        let (now, serves) = (self.clock.now(), self.fleet.healthy() > 0);
        let down = self.life().is_running() && !serves && self.releases.is_known_to_serve(self.stable());
        self.outage = match self.outage {
            None if down => Some(Outage { since: now, next: now + DOWN_AGAIN }),
            Some(Outage { since, next }) if down && next <= now => {
                self.notice(Notice::Down { lasted: now.since(since), failure: self.last_failure() });
                Some(Outage { since, next: now + DOWN_AGAIN })
            }
            outage if down => outage,
            Some(Outage { since, next }) => {
                if serves && next > since + DOWN_AGAIN {
                    self.notice(Notice::NoLongerDown { lasted: now.since(since) });
                }
                None
            }
            None => None,
        };
    }

    /// Whether no slot is left to try, and no worker is left but those that nothing removes.
    fn is_hopeless(&self) -> bool {
        self.has_given_up() && self.nobody_is_left()
    }

    fn nobody_is_left(&self) -> bool {
        let census = &self.fleet.index().census;
        census.total() == census.count(PhaseTag::DrainingStuck)
    }

    /// Whether no slot is left to try.
    pub(super) fn has_given_up(&self) -> bool {
        let index = self.fleet.index();
        index.gave_up.total() == index.slots.total()
    }

    /// Gives the next worker what the shutdown has for it.
    fn bring_down(&mut self, shutdown: Shutdown) -> bool {
        let last = match shutdown {
            Shutdown::Graceful => PhaseTag::Healthy,
            Shutdown::Fast | Shutdown::Quick => PhaseTag::DrainingStop,
            Shutdown::Kill => PhaseTag::DrainingTerm,
        };
        let Some(worker) = self.first_in(last) else {
            return false;
        };
        let change = match shutdown {
            Shutdown::Graceful => Change::Drain(Why::Shutdown),
            Shutdown::Fast => Change::TerminatePatiently(Why::Shutdown),
            Shutdown::Quick => Change::Terminate(Why::Shutdown),
            Shutdown::Kill => Change::Kill(Why::Shutdown),
        };
        self.change(worker, change).is_some()
    }

    /// A worker in a phase up to `last`, those that nobody wants any more but have no process yet
    /// left out: nothing can be done to them.
    fn first_in(&self, last: PhaseTag) -> Option<WorkerId> {
        let phases = &self.fleet.index().phases;
        let in_range = |first: PhaseTag, last: PhaseTag| {
            phases.range((first, WorkerId(0))..=(last, WorkerId(u64::MAX))).next().map(|(_, worker)| *worker)
        };
        in_range(PhaseTag::SpawningWanted, PhaseTag::SpawningWanted)
            .or_else(|| in_range(PhaseTag::PendingAck, last))
    }

    /// Ends once every worker is gone, but for those that nothing removes.
    fn end_if_empty(&mut self) -> bool {
        let stuck = self.fleet.index().census.count(PhaseTag::DrainingStuck);
        if self.nobody_is_left() {
            self.live(LifeChange::Empty { stuck });
        }
        false
    }

    fn note_up(&mut self) {
        if self.life() == Life::Serving && self.fleet.index().unready.total() == 0 {
            self.live(LifeChange::AllHealthy);
        }
    }
}
