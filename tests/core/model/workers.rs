//! What happens to single workers, and what must follow from it.

use super::{Chair, Known, Model, Place, Upgrade, With, Wrong, failing, is_short, proof::proved};
use crate::table::Cell;
use einhyrningsins::fsm::{
    action::{Action, Reply, Scope},
    backoff,
    config::{AckMode, EARLY, SETTLED, SHORTAGE_RETRY},
    event::{ExitStatus, Proof, SpawnError},
    id::{Generation, Pid, SlotId, WorkerId},
    index::TimerKind,
    life::Life,
    notice::Notice,
    reason::{Cause, Failure, Next, Sequel, Why},
    signal::{Shutdown, Signal},
    slot::{Hold, Side, Tries},
    time::{Millis, Time},
    worker::{Effect, Input, PhaseTag},
};

pub(super) fn is_up(tag: PhaseTag) -> bool {
    matches!(tag, PhaseTag::SpawningWanted | PhaseTag::PendingAck | PhaseTag::Healthy)
}

fn is_draining(tag: PhaseTag) -> bool {
    tag.word().starts_with("draining/")
}

impl Model<'_> {
    /// Looks the input up in the table; requires the orders that follow from it.
    pub(super) fn apply(&mut self, worker: WorkerId, input: Input, with: With) -> Result<(), Wrong> {
        let Some(before) = self.workers.get(&worker).cloned() else {
            return self.must_be_impossible();
        };
        let (next, effects) = match &self.table[&(before.tag, input)] {
            Cell::Stay => return Ok(()),
            Cell::Reject => return self.must_be_impossible(),
            Cell::Move(next, effects) => (*next, effects),
        };
        let mut after = Known { tag: next, since: self.now, pid: with.pid.or(before.pid), ..before.clone() };
        after.patient = input == Input::Terminate && self.life.shutdown() == Some(Shutdown::Fast);
        after.proof = with.proof.or(before.proof);
        after.extended = None;
        if is_draining(next) {
            let leaving = (input == Input::Leave).then_some(Why::Leaving);
            after.why = leaving.or(with.why).or(before.why).or(Some(Why::Withdrawn));
        }
        if next == PhaseTag::Dead {
            self.workers.remove(&worker);
        } else {
            self.workers.insert(worker, after.clone());
        }
        let left = self.settle_in_slot(worker, input, &after);
        self.prune();
        self.must_announce(worker, &before, &after)?;
        for effect in effects {
            self.must_follow(worker, (&before, &after), *effect, (left, with.failure))?;
        }
        Ok(())
    }

    /// What a change of a worker means for its slot. Returns the chair that it has left and that is to be filled
    /// again: in that of an outgoing worker, the proven generation serves until what is newer does.
    fn settle_in_slot(&mut self, worker: WorkerId, input: Input, after: &Known) -> Option<Side> {
        let (stable, within) = (self.stable, after.slot.0 < self.target);
        let current = self.slots.get(&after.slot)?.front.worker;
        let serves = self.tag(current) == Some(PhaseTag::Healthy);
        let place = self.slots.get_mut(&after.slot)?;
        let side = place.side_of(worker)?;
        if is_up(after.tag) {
            if after.tag == PhaseTag::Healthy && side == Side::Current {
                place.front.served = true;
                place.close();
            }
            return None;
        }
        if let Some(chair) = place.chair(side) {
            chair.worker = None;
        }
        let asked = matches!(input, Input::Drain | Input::Terminate | Input::Kill);
        if asked || serves {
            place.close();
        }
        if side == Side::Outgoing && place.front.generation == stable {
            place.close();
        }
        let open = side == Side::Current || place.back.is_some();
        if !within || !open || !self.life.is_running() {
            return None;
        }
        if side == Side::Outgoing && after.generation != stable {
            place.back = Some(Chair::new(stable));
            return None;
        }
        Some(side)
    }

    fn must_announce(&mut self, worker: WorkerId, before: &Known, after: &Known) -> Result<(), Wrong> {
        let Known { slot, generation, .. } = *after;
        match (after.tag, after.pid, after.why) {
            (PhaseTag::PendingAck, Some(pid), _) => {
                self.must_tell(Notice::Spawned { worker, slot, generation, pid })
            }
            (PhaseTag::Healthy, Some(pid), _) => {
                if self.life == Life::Starting {
                    self.life = Life::Serving;
                }
                if let Some(upgrade) = self.upgrade.as_mut().filter(|it| it.generation == generation) {
                    upgrade.has_served = true;
                }
                let first = generation == self.stable && !self.served;
                let took = self.now.since(after.born);
                let proof = after.proof.ok_or("healthy for no reason")?;
                if proof != Proof::Timer {
                    self.note_shown(generation);
                }
                self.must_tell(Notice::Healthy { worker, slot, generation, pid, took, proof })?;
                if first {
                    self.served = true;
                    self.retry();
                }
                Ok(())
            }
            (tag, Some(pid), Some(why)) if is_draining(tag) && !is_draining(before.tag) => {
                self.must_tell(Notice::Draining { worker, slot, generation, pid, why })
            }
            _ => Ok(()),
        }
    }

    fn must_follow(
        &mut self,
        worker: WorkerId,
        (before, after): (&Known, &Known),
        effect: Effect,
        (left, failure): (Option<Side>, Option<Failure>),
    ) -> Result<(), Wrong> {
        let process = after.pid.ok_or("an effect on no process");
        let (signal, scope) = match effect {
            Effect::SignalStop => match self.config.stop_signal {
                Some(signal) => (signal, Scope::Awake),
                None => return self.must(Action::Stop { worker, pid: process? }),
            },
            Effect::SignalTerm => (Signal::Term, Scope::Awake),
            Effect::SignalKill => (Signal::Kill, Scope::Group),
            Effect::ReportStuck => return self.must_tell(Notice::Stuck { worker, pid: process? }),
            Effect::FailedStart => return self.failed(worker, before, left, failure),
            Effect::Crash => return self.crashed(worker, before, left, failure),
            Effect::Left => return self.crashed(worker, before, left, Some(Failure::Left)),
            Effect::Shortage => return self.waits(worker, before, left, failure),
        };
        let pid = process?;
        if is_draining(before.tag) {
            self.must_tell(Notice::Escalated { worker, pid, signal })?;
        }
        self.must(Action::Signal { worker, pid, signal, scope })
    }

    fn failed(
        &mut self,
        worker: WorkerId,
        before: &Known,
        left: Option<Side>,
        failure: Option<Failure>,
    ) -> Result<(), Wrong> {
        let (retries, Known { slot, generation, .. }) = (self.config.retries, before.clone());
        let failure = failure.ok_or("a start failed for no reason")?;
        let coming = match self.upgrade {
            Some(_) => self.is_coming(generation).is_some(),
            None => {
                // Where health takes no time, it proves nothing in the first moment.
                let early = self.config.ack == AckMode::After(Millis(0)) && self.now < Time(1_000);
                self.life == Life::Starting || early
            }
        };
        let code = if let Failure::Spawn(error) = failure { error.exit_code() } else { None };
        let lasting = code.is_some() && coming;
        // What has never served and misses its first deadline hangs.
        let untried = self.is_coming(generation).is_some_and(|it| !it.has_served);
        let last = lasting || (untried && matches!(failure, Failure::Unacknowledged { .. }));
        let tries = if last { Tries::None } else { self.tries(generation) };
        let age = self.now.since(before.born);
        let spared = left.is_some_and(|side| self.spares((slot, side), failure, age, tries));
        let counted = left.filter(|_| !spared).and_then(|side| self.count(slot, side, tries));
        let otherwise = if spared { Next::In(Millis(0)) } else { Next::NotReplaced };
        let (failures, next) = counted.map_or((None, otherwise), |(count, next)| (Some(count), next));
        // It counted as healthy, and only now it is known that it was not.
        let on_trial = self.is_coming(generation).is_some_and(|it| it.soak > Millis(0));
        let died = before.tag == PhaseTag::Healthy && on_trial && failures.is_some();
        let next = if died && matches!(next, Next::In(_)) { Next::NotReplaced } else { next };
        self.must_tell(Notice::StartFailed { worker, slot, generation, failure, failures, retries, next })?;
        let abandoned = lasting && self.upgrade.is_none() && self.life.is_running();
        self.must_tell_if_failed((slot, generation), (failures, next), failure, abandoned)?;
        if died {
            self.set_back(Cause::Died, Some((slot, failure)))?;
        }
        if let Some(code) = code.filter(|_| abandoned) {
            self.life = Life::Stopping { shutdown: Shutdown::Kill, code };
            self.pinning = None;
            self.must_tell(Notice::Lost { failure })?;
        }
        Ok(())
    }

    /// What the machine lacks for a while counts against nobody.
    fn waits(
        &mut self,
        worker: WorkerId,
        before: &Known,
        left: Option<Side>,
        failure: Option<Failure>,
    ) -> Result<(), Wrong> {
        let (retries, Known { slot, generation, .. }) = (self.config.retries, before.clone());
        let failure = failure.ok_or("a start failed for no reason")?;
        let mut next = Next::NotReplaced;
        if let Some(chair) = left.and_then(|side| self.slots.get_mut(&slot)?.chair(side)) {
            let delay = backoff::spread_out(SHORTAGE_RETRY, slot);
            chair.hold = Hold::Until(self.now + delay);
            chair.lacks += 1;
            next = Next::In(delay);
        }
        self.must_tell(Notice::StartFailed {
            worker,
            slot,
            generation,
            failure,
            failures: None,
            retries,
            next,
        })
    }

    fn must_tell_if_failed(
        &mut self,
        (slot, generation): (SlotId, Generation),
        (failures, next): (Option<u32>, Next),
        failure: Failure,
        abandoned: bool,
    ) -> Result<(), Wrong> {
        // No slot is left to try, and nothing to go back to.
        let over = |place: &Place| place.front.hold == Hold::GaveUp;
        let goes_back = self.is_coming(generation).is_some();
        let lost = !goes_back && (0..self.target).all(|id| self.slots.get(&SlotId(id)).is_some_and(over));
        let kept = if goes_back { Sequel::TakenBack } else { Sequel::UntilAsked };
        let then = if abandoned || lost { Sequel::Ending } else { kept };
        match next {
            Next::GivenUp { failures } => {
                self.must_tell(Notice::GaveUp { slot, generation, failures, failure, then })
            }
            Next::In(_) if failures == Some(self.config.retries) => {
                let failures = self.config.retries;
                self.must_tell(Notice::Failing { slot, generation, failures, failure })
            }
            Next::In(_) | Next::NotReplaced => Ok(()),
        }
    }

    /// What is proven and has served is tried for ever.
    fn tries(&self, generation: Generation) -> Tries {
        let proven = self.coming().is_some_and(|it| it.generation == generation && it.proven);
        if proven || (generation == self.stable && self.served) { Tries::Endless } else { Tries::Some }
    }

    /// Counts a failure of a slot: how often it has failed, and what comes next.
    fn count(&mut self, slot: SlotId, side: Side, tries: Tries) -> Option<(u32, Next)> {
        let place = self.slots.get_mut(&slot)?;
        let chair = place.chair(side)?;
        chair.failures += 1;
        chair.lacks = 0;
        let failures = chair.failures;
        let delay = backoff::delay(self.config.backoff, failures, slot);
        let again = match tries {
            Tries::None => false,
            Tries::Some => failures < self.config.retries,
            Tries::Endless => true,
        };
        chair.hold = if again { Hold::Until(self.now + delay) } else { Hold::GaveUp };
        let next = match side {
            _ if again => Next::In(delay),
            Side::Current => Next::GivenUp { failures },
            Side::Outgoing => {
                place.back = None;
                Next::NotReplaced
            }
        };
        Some((failures, next))
    }

    fn crashed(
        &mut self,
        worker: WorkerId,
        before: &Known,
        left: Option<Side>,
        failure: Option<Failure>,
    ) -> Result<(), Wrong> {
        // It counted as healthy before it had become the program.
        let Some(failure @ (Failure::Exited(_) | Failure::Left)) = failure else {
            return self.failed(worker, before, left, failure);
        };
        let Known { slot, generation, pid, .. } = *before;
        let pid = pid.ok_or("a worker served without a process")?;
        let coming = self.is_coming(generation).filter(|_| left.is_some());
        let (mut failures, mut next) = (None, Next::NotReplaced);
        if let (Some(upgrade), Some(side)) = (coming, left) {
            // What is not proven gets no benefit of the doubt, and on trial no second chance.
            if self.now.since(before.since) >= SETTLED
                && let Some(place) = self.slots.get_mut(&slot)
            {
                place.front.forgive();
            }
            if let Some((count, after)) = self.count(slot, side, Tries::Some) {
                (failures, next) = (Some(count), after);
            }
            if upgrade.soak > Millis(0) && matches!(next, Next::In(_)) {
                next = Next::NotReplaced;
            }
        } else if let Some(chair) = left.and_then(|side| self.slots.get_mut(&slot)?.chair(side)) {
            let age = self.now.since(before.born);
            let ends = if age >= EARLY { 0 } else { chair.early + 1 };
            let delay = if ends > 0 { self.spacing(slot, ends, age) } else { Millis(0) };
            if let Some(chair) = left.and_then(|side| self.slots.get_mut(&slot)?.chair(side)) {
                (chair.failures, chair.early, chair.lacks) = (0, ends, 0);
                if delay > Millis(0) {
                    chair.hold = Hold::Until(self.now + delay);
                }
            }
            next = Next::In(delay);
        }
        if let Failure::Exited(status) = failure {
            self.must_tell(Notice::Crashed { worker, slot, generation, pid, status, next })?;
        }
        self.must_tell_if_failed((slot, generation), (failures, next), failure, false)?;
        match coming {
            Some(upgrade) if upgrade.soak > Millis(0) => self.set_back(Cause::Died, Some((slot, failure))),
            _ => Ok(()),
        }
    }

    pub(super) fn spawned(&mut self, worker: WorkerId, pid: Pid) -> Result<(), Wrong> {
        if self.owner(pid).is_some() {
            return self.must_be_impossible();
        }
        let starting = self.tag(Some(worker)) == Some(PhaseTag::SpawningWanted);
        self.apply(worker, Input::Spawned, With { pid: Some(pid), ..With::default() })?;
        if starting && self.config.ack == AckMode::After(Millis(0)) {
            self.apply(worker, Input::Ack, proved(Proof::Timer))?;
        }
        Ok(())
    }

    pub(super) fn exited(
        &mut self,
        pid: Pid,
        (status, error): (ExitStatus, Option<SpawnError>),
        orphans: bool,
    ) -> Result<(), Wrong> {
        let failure = error.map_or(Failure::Exited(status), Failure::Spawn);
        let input = if is_short(error) { Input::Short } else { Input::Exited };
        let Some(worker) = self.owner(pid) else {
            return Ok(());
        };
        let Known { slot, generation, tag, why, .. } = self.workers[&worker].clone();
        if orphans {
            self.must_tell(Notice::Orphans { worker, pid })?;
            self.must(Action::Sweep { pid })?;
        }
        self.apply(worker, input, failing(failure))?;
        if is_draining(tag) {
            let unasked = why == Some(Why::Leaving);
            self.must_tell(Notice::Gone { worker, slot, generation, pid, status, unasked })?;
        }
        Ok(())
    }

    /// A message for the worker with process `pid`: only itself and its descendants may speak for it. Whoever
    /// has ended cannot be asked whether it was one.
    pub(super) fn message(
        &mut self,
        pid: Pid,
        sender: Pid,
        group: Option<Pid>,
        is_ack: bool,
    ) -> Result<Reply, Wrong> {
        let Some(worker) = self.owner(pid) else {
            return Ok(Reply::NoSuchWorker { pid });
        };
        let known_stranger = group.is_some_and(|leader| leader != pid);
        let descends = !known_stranger && self.owner(sender).is_none();
        if sender != pid && !descends {
            self.must_tell(Notice::NotYours { pid, sender })?;
            return Ok(Reply::NotYours { pid, sender });
        }
        if !is_ack {
            return Ok(Reply::Pinged { pid });
        }
        let before = self.tag(Some(worker));
        self.apply(worker, Input::Ack, proved(Proof::Acknowledged))?;
        if before == Some(PhaseTag::Healthy) {
            self.prove(worker, Proof::Acknowledged);
        }
        Ok(match before {
            Some(PhaseTag::Healthy) => Reply::AlreadyAcked { pid },
            Some(PhaseTag::PendingAck) => Reply::Acked { pid },
            _ => Reply::AckedWhileDraining { pid },
        })
    }

    /// Every deadline that has come takes effect, the nearest first.
    pub(super) fn woke(&mut self) -> Result<(), Wrong> {
        let now = self.now;
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.fresh = false;
        }
        while let Some((_, kind)) = self.deadline_of_any().filter(|(time, _)| *time <= now) {
            self.fire(kind)?;
        }
        // After the others: who missed a deadline of its own has not passed the trial.
        match self.upgrade {
            Some(Upgrade { generation, soak, trial_end: Some(end), .. }) if end <= now => {
                self.end_trial(generation, soak)?;
                self.look_whether_proven();
            }
            _ => {}
        }
        let timed = self.coming().filter(|upgrade| !upgrade.proven);
        if timed.and_then(|upgrade| upgrade.timeout).is_some_and(|end| end <= now) {
            return self.set_back(Cause::TimedOut, None);
        }
        Ok(())
    }

    /// The trial is passed if all that is on trial is healthy by its end; or else it is held again.
    fn end_trial(&mut self, generation: Generation, soak: Millis) -> Result<(), Wrong> {
        let healthy = |worker: Option<WorkerId>| self.tag(worker) == Some(PhaseTag::Healthy);
        let mut places = self
            .slots
            .iter()
            .filter(|(id, place)| id.0 < self.target && place.front.generation == generation);
        let passed = places.all(|(_, place)| healthy(place.front.worker));
        let workers = self.workers.values().filter(|known| known.generation == generation);
        let workers = workers.filter(|known| known.tag == PhaseTag::Healthy).count() as u32;
        let again = self.now + soak;
        let upgrade = self.upgrade.as_mut().ok_or("nothing is on trial")?;
        upgrade.trial_end = Some(again).filter(|_| !passed);
        upgrade.trials -= u32::from(passed);
        if passed { Ok(()) } else { self.must_tell(Notice::OnTrial { generation, workers, soak }) }
    }

    fn fire(&mut self, kind: TimerKind) -> Result<(), Wrong> {
        match kind {
            TimerKind::AckAfter(worker) => self.outlives(worker),
            TimerKind::AckTimeout(worker) => {
                let known = self.workers.get(&worker).ok_or("no such worker")?;
                let age = self.now.since(known.born);
                let failure = known.pid.map(|pid| Failure::Unacknowledged { pid, age });
                let with = With { why: Some(Why::Unacknowledged), failure, ..With::default() };
                self.apply(worker, Input::AckExpired, with)
            }
            TimerKind::Rung(worker) => self.apply(worker, Input::RungExpired, With::default()),
            TimerKind::Backoff(slot, side) => {
                let place = self.slots.get_mut(&slot).ok_or("no such slot")?;
                place.chair(side).ok_or("no such chair")?.hold = Hold::Ready;
                Ok(())
            }
            TimerKind::Unfinished | TimerKind::Soak | TimerKind::Upgrade | TimerKind::Down => {
                Err("that belongs to nobody".into())
            }
        }
    }
}
