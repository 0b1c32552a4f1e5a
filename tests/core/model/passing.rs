//! What follows from the time, and from where a step has led.

use super::{Chair, Known, Model, Place, Wrong};
use einhyrningsins::fsm::{
    action::Action,
    config::{AckMode, DOWN_AGAIN, KILL_AFTER},
    id::{SlotId, WorkerId},
    index::TimerKind,
    life::Life,
    notice::Notice,
    slot::{Hold, Side},
    supervisor::Outage,
    time::{CATCH_UP, LATE, Millis, Time},
    worker::PhaseTag,
};

impl Model<'_> {
    /// Once all slots have a healthy worker at the end of a step, the service is up.
    pub(super) fn look_whether_up(&mut self) {
        let serves = |id: u32| {
            let current = self.slots.get(&SlotId(id)).and_then(|place| place.front.worker);
            self.tag(current) == Some(PhaseTag::Healthy)
        };
        if self.life == Life::Serving && (0..self.target).all(serves) {
            self.life = Life::Up;
        }
    }

    /// Without a trial, an upgrade is trusted once every slot has had a healthy worker of it and, unless it
    /// keeps the old ones for the end, nobody is being replaced any more.
    pub(super) fn look_whether_proven(&mut self) {
        let Some(upgrade) = self.coming().filter(|upgrade| upgrade.trials == 0 && !upgrade.fresh) else {
            return;
        };
        let places = (0..self.target).filter_map(|id| self.slots.get(&SlotId(id)));
        let done = |place: &Place| {
            place.front.generation == upgrade.generation
                && place.front.served
                && (upgrade.soak > Millis(0) || upgrade.fleet || place.back.is_none())
        };
        let proven = self.life.is_running() && places.into_iter().all(done);
        if let Some(upgrade) = self.upgrade.as_mut() {
            upgrade.proven |= proven || upgrade.soak > Millis(0);
        }
    }

    /// For as long as nobody serves that is told once a minute, and that it is over, if it was told.
    pub(super) fn look_whether_down(&mut self) -> Result<(), Wrong> {
        let serves = self.workers.values().any(|known| known.tag == PhaseTag::Healthy);
        let down = self.life.is_running() && self.served && !serves;
        let (now, before) = (self.now, self.outage);
        self.outage = Some(before.unwrap_or(Outage { since: now, next: now + DOWN_AGAIN })).filter(|_| down);
        let told = match (self.outage.as_mut(), before) {
            (Some(outage), _) if outage.next <= now => {
                outage.next = now + DOWN_AGAIN;
                let lasted = now.since(outage.since);
                self.orders.pop_front().filter(
                    |told| matches!(told, Action::Notice { notice: Notice::Down { lasted: told, .. } } if *told == lasted),
                )
            }
            (None, Some(over)) if serves && self.life.is_running() && over.next > over.since + DOWN_AGAIN => {
                return self.must_tell(Notice::NoLongerDown { lasted: now.since(over.since) });
            }
            _ => return Ok(()),
        };
        told.map(|_| ()).ok_or_else(|| "nobody serves, and nobody hears of it".into())
    }

    /// The nearest deadline of a worker or a slot, on the machine's own clock: a matter of phase, hold
    /// and configuration.
    pub(super) fn deadline_of_any<'m>(&'m self) -> Option<(Time, TimerKind)> {
        let of_worker = |(id, known): (&WorkerId, &Known)| {
            let (since, patience, kind) = self.term((id, known))?;
            Some(((since + patience).max(known.extended.unwrap_or_default()), kind))
        };
        let within = |(id, place): (&'m SlotId, &'m Place)| (id.0 < self.target).then_some((*id, place));
        let chairs = self.slots.iter().filter_map(within).flat_map(|(id, place)| {
            let back = place.back.as_ref().map(|back| (id, Side::Outgoing, back));
            [Some((id, Side::Current, &place.front)), back].into_iter().flatten()
        });
        let of_chair = |(id, side, chair): (SlotId, Side, &Chair)| match chair.hold {
            Hold::Until(time) => Some((time, TimerKind::Backoff(id, side))),
            Hold::Ready | Hold::GaveUp => None,
        };
        self.workers.iter().filter_map(of_worker).chain(chairs.filter_map(of_chair)).min()
    }

    /// From when on a worker has how long, and for what.
    pub(super) fn term(&self, (id, known): (&WorkerId, &Known)) -> Option<(Time, Millis, TimerKind)> {
        let grace = self.config.grace;
        if let (PhaseTag::PendingAck, AckMode::Accepting(both) | AckMode::Auto(both), Some(registered)) =
            (known.tag, self.config.ack, known.registered)
        {
            return Some((registered, both.after, TimerKind::AckAfter(*id)));
        }
        let (patience, kind) = match (known.tag, self.config.ack) {
            (PhaseTag::PendingAck, AckMode::After(time)) => (time, TimerKind::AckAfter(*id)),
            (PhaseTag::PendingAck, AckMode::Auto(both)) if !known.strict => {
                (both.after, TimerKind::AckAfter(*id))
            }
            (PhaseTag::PendingAck, AckMode::Manual(time)) => (time, TimerKind::AckTimeout(*id)),
            (PhaseTag::PendingAck, AckMode::Accepting(both) | AckMode::Auto(both)) => {
                (both.timeout, TimerKind::AckTimeout(*id))
            }
            (PhaseTag::DrainingStop, _) => (grace, TimerKind::Rung(*id)),
            (PhaseTag::DrainingTerm, _) if known.patient => (grace, TimerKind::Rung(*id)),
            (PhaseTag::DrainingTerm | PhaseTag::DrainingKill, _) => (KILL_AFTER, TimerKind::Rung(*id)),
            _ => return None,
        };
        Some((known.since, patience, kind))
    }

    fn deadline(&self) -> Option<(Time, TimerKind)> {
        let trial = self.upgrade.and_then(|upgrade| Some((upgrade.trial_end?, TimerKind::Soak)));
        let timed = self.coming().filter(|upgrade| !upgrade.proven);
        let timeout = timed.and_then(|upgrade| Some((upgrade.timeout?, TimerKind::Upgrade)));
        let down = self.outage.map(|outage| (outage.next, TimerKind::Down));
        self.deadline_of_any().into_iter().chain(trial).chain(timeout).chain(down).min()
    }

    /// When it wants to be woken: an upgrade that is fresh wants to go on at once.
    pub fn next(&self) -> Option<(Time, TimerKind)> {
        let at_once = self.upgrade.filter(|upgrade| upgrade.fresh).map(|_| (self.now, TimerKind::Unfinished));
        at_once.or_else(|| self.deadline()).map(|(time, kind)| (time + self.skipped, kind))
    }

    /// The machine's clock leaves out what goes far beyond its nearest deadline.
    pub(super) fn pass_time(&mut self, at: Time) -> Result<(), Wrong> {
        let at = at - self.skipped;
        // Counted from the last event, if that came behind the deadline.
        let late = self.deadline().filter(|(deadline, _)| at.since(*deadline.max(&self.now)) > LATE);
        // A second time: then it is the supervisor alone that does not get to run.
        let excused = self.excused;
        let new = |deadline: Time| excused.is_none_or(|excused| deadline > excused);
        if let Some((deadline, _)) = late.filter(|(deadline, _)| new(*deadline)) {
            self.excused = Some(deadline);
            let resume = self.now.max(deadline - CATCH_UP);
            let lost = at.since(resume);
            self.skipped = Millis(self.skipped.0 + lost.0);
            self.now = resume;
            return self.must_tell(Notice::Gap { lost });
        }
        self.now = self.now.max(at);
        Ok(())
    }
}
