//! Carries out what [`rollout::plan`](super::rollout::plan) decides, and answers for it.

use super::{
    releases::{Pinning, Rollout, Setback},
    rollout::{Counts, Decision, Limits, Situation, plan},
    supervisor::Supervisor,
};
use crate::fsm::{
    fleet::{
        Fleet,
        slot::Slot,
        worker::{Change, Phase, Worker},
    },
    words::{
        action::{Action, Reply},
        config::AckMode,
        event::{SpawnError, Strategy},
        id::{Generation, RequestId, SlotId, WorkerId},
        notice::Notice,
        reason::{Cancel, Cause, Failure, Why},
        time::Millis,
        upgrade::{Stage, Terms},
    },
};
use alloc::vec::Vec;

impl Supervisor {
    /// First step of an upgrade: nothing is touched until the new program is captured.
    pub(super) fn pin_upgrade(&mut self, terms: Terms, request: Option<RequestId>) {
        let generation = self.releases.name_next();
        if let Some(before) = self.releases.await_capture(Pinning { generation, request, terms }) {
            self.supersede(before.generation, before.request, generation);
        }
        self.act(Action::Pin { generation, request });
    }

    pub(super) fn refuse_upgrade(&mut self, pinning: Pinning, error: SpawnError) {
        let generation = pinning.generation;
        self.notice(Notice::PinFailed { generation, error });
        if let Some(request) = pinning.request {
            self.reply(request, Reply::UpgradeRefused { generation, error });
        }
    }

    pub(super) fn begin_upgrade(&mut self, pinning: Pinning) {
        let Pinning { generation, terms, .. } = pinning;
        if let Some(before) = self.releases.drop_rollout() {
            self.supersede(before.generation, before.request, generation);
            // What is proven serves until something newer is.
            let stable = self.stable();
            self.withdraw(|fleet, slot| {
                fleet.slots().get(&slot).is_some_and(|slot| {
                    let serves = slot.current().is_some_and(|worker| fleet.is_healthy(worker));
                    slot.aside().is_some_and(|aside| aside.generation() == stable) || !serves
                })
            });
        }
        let Terms { strategy, canary, soak, timeout } = terms;
        let canary = Some(canary).filter(|canary| *canary > 0);
        let on_trial = Some(soak).filter(|soak| *soak > Millis(0));
        self.notice(Notice::Upgrading { generation, strategy, canary, soak: on_trial, timeout });
        self.releases.begin(pinning, self.clock.now());
    }

    /// Goes on to the next stage.
    pub(super) fn advance_stage(&mut self) {
        let on_trial = self.releases.advance(self.clock.now());
        self.tell_trial(on_trial);
    }

    fn tell_trial(&mut self, on_trial: Option<Rollout>) {
        if let Some(Rollout { generation, terms, .. }) = on_trial {
            let workers = self.fleet.healthy_of(generation);
            self.notice(Notice::OnTrial { generation, workers, soak: terms.soak });
        }
    }

    /// The time of the trial is over. Who is not healthy by then has not passed it, so it is held again.
    pub(super) fn end_trial(&mut self) {
        if self.fleet.index().unready.count(self.wanted()) == 0 {
            self.advance_stage();
        } else {
            let on_trial = self.releases.prolong(self.clock.now());
            self.tell_trial(on_trial);
        }
    }

    /// The upgrade has taken as long as it may, and is not trusted: go back.
    pub(super) fn time_out(&mut self) {
        let slot = self.fleet.index().unready.first(self.wanted());
        let seat = slot.and_then(|slot| Some(*self.fleet.slots().get(&slot)?.seat()));
        let late =
            seat.and_then(|seat| self.fleet.worker(seat.worker()?)).and_then(|worker| self.hangs(worker));
        let failure = late.or(seat.and_then(|seat| seat.past().last_failure));
        self.set_back(Setback { cause: Cause::TimedOut, slot, failures: None, failure });
    }

    /// How a worker fails that has not acknowledged by now.
    fn hangs(&self, worker: &Worker) -> Option<Failure> {
        let age = self.clock.now().since(worker.born());
        match (worker.phase(), self.fleet.config().ack) {
            (Phase::PendingAck { .. }, AckMode::After(_)) => None,
            (Phase::PendingAck { pid }, _) => Some(Failure::Unacknowledged { pid, age }),
            _ => None,
        }
    }

    /// A worker of the coming generation ended unasked. With a soak that is enough to go back.
    pub(super) fn died_on_trial(&mut self, slot: SlotId, failure: Failure) {
        if self.releases.soaks() && self.stage().is_forward() {
            let failures = self.fleet.slots().get(&slot).map(|slot| slot.seat().failures());
            let (slot, failure) = (Some(slot), Some(failure));
            self.set_back(Setback { cause: Cause::Died, slot, failures, failure });
        }
    }

    /// Gives the upgrade under way up, if there is one.
    pub(super) fn abort(&mut self, request: RequestId) {
        let reply = if let Some(pinning) = self.releases.drop_pinning() {
            let generation = pinning.generation;
            if let Some(waiting) = pinning.request {
                self.reply(waiting, Reply::Cancelled { generation, cause: Cancel::Aborted });
            }
            Reply::Aborting { generation }
        } else if let Some(generation) = self.rollout().map(|rollout| rollout.generation) {
            if self.stage().is_forward() {
                self.set_back(Setback { cause: Cause::Aborted, slot: None, failures: None, failure: None });
            }
            Reply::Aborting { generation }
        } else {
            Reply::NothingToAbort
        };
        self.reply(request, reply);
    }

    fn supersede(&mut self, generation: Generation, request: Option<RequestId>, by: Generation) {
        self.notice(Notice::Superseded { generation, by });
        if let Some(request) = request {
            self.reply(request, Reply::Superseded { generation, by });
        }
    }

    /// The shutdown wins over every upgrade.
    pub(super) fn cancel_upgrade(&mut self) {
        let pinning = self.releases.drop_pinning().map(|pinning| (pinning.generation, pinning.request));
        let rollout = self.releases.drop_rollout().map(|rollout| (rollout.generation, rollout.request));
        for (generation, request) in pinning.into_iter().chain(rollout) {
            if let Some(request) = request {
                self.reply(request, Reply::Cancelled { generation, cause: Cancel::Shutdown });
            }
        }
    }

    /// Gives slots that are in the middle of a change back to their outgoing workers, but for those that have
    /// been given back to the proven generation already.
    fn withdraw(&mut self, chosen: impl Fn(&Fleet, SlotId) -> bool) {
        let (fleet, stable) = (&self.fleet, self.stable());
        let left = |slot: &SlotId| fleet.slots().get(slot).is_some_and(|slot| slot.generation() != stable);
        let replacing = fleet.index().replacing.iter().copied();
        let slots: Vec<SlotId> = replacing.filter(left).filter(|slot| chosen(fleet, *slot)).collect();
        for slot in slots {
            self.give_back(slot);
        }
    }

    /// Gives a slot back to its outgoing worker. What was to replace it goes: at once if it does not
    /// serve yet, else when it can be spared.
    pub(super) fn give_back(&mut self, slot: SlotId) {
        let reverted = self.fleet.revert(slot, self.clock.now());
        let replacement = self.allowed(slot, reverted).flatten();
        if let Some(worker) = replacement.filter(|worker| !self.fleet.is_healthy(*worker)) {
            self.change(worker, Change::Drain(Why::Withdrawn));
        }
    }

    fn counts(&self) -> Counts {
        let (index, wanted) = (self.fleet.index(), self.wanted());
        Counts {
            target: as_count(self.fleet.target()),
            begun: index.slots.count(wanted) + self.ahead_beyond_the_target(),
            canary: self.rollout().map_or(usize::MAX, |rollout| as_count(rollout.terms.canary)),
            untouched: index.slots.total() - index.slots.count(wanted),
            open: index.open.total() - index.open.count(wanted),
            idle: index.idle.total() - index.idle.count(wanted),
            unready: index.unready.count(wanted),
            gave_up: index.failed.count(wanted),
            lapsed: index.lapsed.count(wanted),
            short: index.short.count(wanted),
            reserved: index.awaited.count(wanted),
            replacing: index.replacing.len() - index.stalled.len(),
            replaced: index.replaced.count(wanted),
            replaced_before: index.replaced.total() - index.replaced.count(wanted),
            replaced_idle: index.replaced_idle.total(),
        }
    }

    /// Canaries whose slot is beyond the target, and comes back when that grows again.
    fn ahead_beyond_the_target(&self) -> usize {
        if self.stage() != Stage::Canary {
            return 0;
        }
        let (wanted, fleet) = (self.wanted(), &self.fleet);
        let is_ahead =
            |worker: &WorkerId| fleet.worker(*worker).is_some_and(|worker| worker.generation() == wanted);
        fleet.index().surplus.iter().filter(|(_, _, worker)| is_ahead(worker)).count()
    }

    fn strategy(&self) -> Strategy {
        self.rollout().map_or(Strategy::Rolling, |rollout| rollout.terms.strategy)
    }

    pub(super) fn limits(&self) -> Limits {
        let config = self.fleet.config();
        Limits { unacked: as_count(config.max_unacked), surge: as_count(config.max_surge) }
    }

    /// A slot that may start a worker next to the one it has, if there is room for one beyond the
    /// target.
    pub(super) fn reserved(&self) -> Option<SlotId> {
        let (index, limits) = (self.fleet.index(), self.limits());
        let surge = limits.surge(self.stage(), self.strategy(), as_count(self.fleet.target()));
        let starting = index.doubled.len() - index.replaced.total();
        let room = index.doubled.len() < surge && starting < limits.unacked;
        // First those that somebody waits for: the others could come back to it again and again.
        index.awaited.iter().chain(index.reserved.iter()).next().filter(|_| room)
    }

    fn decision(&self) -> Decision {
        if self.releases.is_fresh() {
            return Decision::Wait;
        }
        let (counts, limits) = (self.counts(), self.limits());
        plan(Situation { stage: self.stage(), strategy: self.strategy(), counts: &counts, limits: &limits })
    }

    /// Goes back if the new generation has failed. Returns whether it had.
    pub(super) fn turn_back(&mut self) -> bool {
        let failed =
            self.fleet.index().failed.count(self.wanted()) > 0 && self.decision() == Decision::Collapse;
        if failed {
            self.collapse();
        }
        failed
    }

    /// Takes the next decision of the upgrade. Returns whether there may be another.
    pub(super) fn advance_upgrade(&mut self) -> bool {
        let decision = self.decision();
        let (index, wanted) = (self.fleet.index(), self.wanted());
        let (retire, take_over) = match decision {
            Decision::Wait => return false,
            Decision::Collapse => return self.turn_back(),
            Decision::Advance => {
                self.advance_stage();
                return true;
            }
            Decision::Finish => {
                self.tell_progress();
                return self.finish_upgrade();
            }
            Decision::RetireIdle => (index.replaced_idle.iter().next(), None),
            Decision::Retire => (index.replaced.first(wanted), None),
            Decision::RetireBefore => (index.replaced.first_other(wanted), None),
            Decision::BeginIdle => (None, index.idle.first_other(wanted)),
            Decision::Begin => (None, index.open.first_other(wanted)),
        };
        self.retire(retire);
        self.take_over(take_over);
        true
    }

    fn take_over(&mut self, slot: Option<SlotId>) {
        let wanted = self.wanted();
        if let Some(slot) = slot {
            let begun = self.fleet.begin(slot, wanted);
            self.allowed(slot, begun);
        }
    }

    fn retire(&mut self, slot: Option<SlotId>) {
        let outgoing = |slot| self.fleet.slots().get(&slot).and_then(Slot::outgoing);
        if let Some(worker) = slot.and_then(outgoing) {
            self.retire_worker(worker, self.why_retired(worker));
        }
    }

    fn why_retired(&self, worker: WorkerId) -> Why {
        let generation = self.fleet.worker(worker).map(Worker::generation);
        if generation == Some(self.stable()) { Why::Replaced } else { Why::Withdrawn }
    }

    fn retire_worker(&mut self, worker: WorkerId, why: Why) {
        let healthy = self.fleet.is_healthy(worker);
        self.change(worker, Change::Drain(why));
        if healthy {
            self.releases.note_retired();
        }
    }

    /// A slot of the new generation was given up: go back.
    fn collapse(&mut self) {
        let slot = self.fleet.index().failed.first(self.wanted());
        let found = slot.and_then(|id| Some((id, self.fleet.slots().get(&id)?)));
        if let Some((slot, failed)) = found {
            let seat = failed.seat();
            let (failures, failure) = (Some(seat.failures()), seat.past().last_failure);
            self.set_back(Setback { cause: Cause::GaveUp, slot: Some(slot), failures, failure });
        }
    }

    /// Takes the new generation back: from here on the proven one is wanted.
    fn set_back(&mut self, setback: Setback) {
        let to = self.stable();
        let Some(generation) = self.releases.set_back(setback, self.clock.now()) else {
            return;
        };
        let Setback { cause, slot, failure, .. } = setback;
        self.notice(Notice::RollingBack { generation, to, cause, slot, failure });
        self.withdraw(|_, _| true);
    }

    fn finish_upgrade(&mut self) -> bool {
        let counts = self.counts();
        let restored = counts.untouched == 0 && counts.gave_up == 0 && counts.short == 0;
        let Some(rollout) = self.releases.finish() else {
            return false;
        };
        let Rollout { generation, since, request, setback, .. } = rollout;
        let (target, took) = (self.fleet.target(), self.clock.now().since(since));
        let reply = match setback {
            None => {
                self.notice(Notice::Upgraded { generation, took });
                Reply::Upgraded { generation, workers: self.fleet.healthy_of(generation), target, took }
            }
            Some(Setback { cause, slot, failures, failure }) => {
                let serving = self.stable();
                let healthy = self.fleet.healthy_of(serving);
                self.notice(Notice::RolledBack { to: serving, healthy, target });
                if restored {
                    Reply::RolledBack {
                        generation,
                        serving,
                        cause,
                        slot,
                        failures,
                        failure,
                        healthy,
                        target,
                        took,
                    }
                } else {
                    Reply::NotRestored { generation, serving, cause, slot, failure, healthy, target }
                }
            }
        };
        if let Some(request) = request {
            self.reply(request, reply);
        }
        true
    }

    /// Tells who waits for the upgrade how far it is, if that changed.
    pub(super) fn tell_progress(&mut self) {
        let (generation, target) = (self.wanted(), self.fleet.target());
        let healthy = self.fleet.healthy_of(generation);
        let news =
            self.releases.tell(healthy).map(|rollout| (rollout.request, rollout.retired, rollout.stage));
        if let Some((Some(request), retired, stage)) = news
            && self.waiting().contains_key(&request)
        {
            self.act(Action::Progress { request, generation, healthy, target, retired, stage });
        }
    }

    /// Releases every captured program that nothing runs or will run.
    pub(super) fn forget_unused(&mut self) {
        while let Some(generation) = self.take_unused() {
            self.act(Action::Forget { generation });
        }
    }

    fn take_unused(&mut self) -> Option<Generation> {
        let index = self.fleet.index();
        let used = |other| index.generations.contains_key(&other) || index.slots.count(other) > 0;
        self.releases.take_unused(used)
    }
}

fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
