//! Carries out what [`rollout::plan`](super::rollout::plan) decides, and answers for it.

use super::{
    rollout::{Counts, Decision, Limits, Rollout, Setback, plan},
    supervisor::{Pinning, Supervisor},
};
use crate::fsm::fleet::worker::Change;
use crate::fsm::words::upgrade::{Stage, Terms};
use crate::fsm::words::{
    action::{Action, Reply},
    event::{SpawnError, Strategy},
    id::{Generation, RequestId, SlotId, WorkerId},
    notice::Notice,
    reason::{Cause, Failure, Why},
    time::Millis,
};
use alloc::vec::Vec;

impl Supervisor {
    /// First step of an upgrade: nothing is touched until the new program is captured.
    pub(super) fn pin_upgrade(&mut self, terms: Terms, request: Option<RequestId>) {
        self.newest = Generation(self.newest.0.saturating_add(1));
        let generation = self.newest;
        if let Some(before) = self.pinning.replace(Pinning { generation, terms, request }) {
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
        let Pinning { generation, terms, request } = pinning;
        if let Some(before) = self.rollout.take() {
            self.supersede(before.generation, before.request, generation);
            self.withdraw(|fleet, slot| {
                let current = fleet.slots().get(&slot).and_then(|slot| slot.current);
                !current.is_some_and(|worker| fleet.is_healthy(worker))
            });
        }
        let Terms { strategy, canary, soak } = terms;
        let canary = Some(canary).filter(|canary| *canary > 0);
        let on_trial = Some(soak).filter(|soak| *soak > Millis(0));
        self.notice(Notice::Upgrading { generation, strategy, canary, soak: on_trial });
        self.rollout = Some(Rollout {
            generation,
            terms,
            since: self.clock.now(),
            request,
            retired: 0,
            told: (0, 0),
            stage: if canary.is_some() { Stage::Canary } else { Stage::Spread },
            stage_since: self.clock.now(),
            fresh: true,
            setback: None,
        });
    }

    /// Goes on to the next stage.
    pub(super) fn advance_stage(&mut self) {
        let (now, wanted) = (self.clock.now(), self.wanted());
        let workers = self.fleet.healthy_of(wanted);
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        rollout.stage = rollout.stage.next(rollout.terms.soak);
        rollout.stage_since = now;
        if rollout.stage.is_trial() {
            let (generation, soak) = (rollout.generation, rollout.terms.soak);
            self.notice(Notice::OnTrial { generation, workers, soak });
        }
    }

    /// Whether a new generation must pass a trial.
    pub(super) fn soaks(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.terms.soak > Millis(0))
    }

    /// A worker of the coming generation ended unasked. With a soak that is enough to go back.
    pub(super) fn died_on_trial(&mut self, slot: SlotId, failure: Failure) {
        if self.soaks() && self.stage().is_forward() {
            let failures = self.fleet.slots().get(&slot).map_or(1, |slot| slot.failures);
            let (slot, failure) = (Some(slot), Some(failure));
            self.set_back(Setback { cause: Cause::Died, slot, failures, failure });
        }
    }

    /// Gives the upgrade under way up, if there is one.
    pub(super) fn abort(&mut self, request: RequestId) {
        let reply = if let Some(pinning) = self.pinning.take() {
            let generation = pinning.generation;
            if let Some(waiting) = pinning.request {
                self.reply(waiting, Reply::Cancelled { generation });
            }
            Reply::Aborting { generation }
        } else if let Some(generation) = self.rollout.as_ref().map(|rollout| rollout.generation) {
            if self.stage().is_forward() {
                self.set_back(Setback { cause: Cause::Aborted, slot: None, failures: 0, failure: None });
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
        let pinning = self.pinning.take().map(|pinning| (pinning.generation, pinning.request));
        let rollout = self.rollout.take().map(|rollout| (rollout.generation, rollout.request));
        for (generation, request) in pinning.into_iter().chain(rollout) {
            if let Some(request) = request {
                self.reply(request, Reply::Cancelled { generation });
            }
        }
    }

    /// Gives slots that are in the middle of a change back to their outgoing workers.
    fn withdraw(&mut self, chosen: impl Fn(&crate::fsm::fleet::Fleet, SlotId) -> bool) {
        let slots: Vec<SlotId> =
            self.fleet.index().replacing.iter().copied().filter(|slot| chosen(&self.fleet, *slot)).collect();
        for slot in slots {
            self.give_back(slot);
        }
    }

    /// Gives a slot back to its outgoing worker. What was to replace it goes: at once if it does not
    /// serve yet, else when it can be spared.
    pub(super) fn give_back(&mut self, slot: SlotId) {
        if let Some(worker) = self.fleet.revert(slot).filter(|worker| !self.fleet.is_healthy(*worker)) {
            self.change(worker, Change::Drain(Why::Withdrawn));
        }
    }

    fn counts(&self) -> Counts {
        let (index, wanted) = (self.fleet.index(), self.wanted());
        Counts {
            target: as_count(self.fleet.target()),
            healthy: as_count(self.fleet.healthy()),
            begun: index.slots.count(wanted),
            canary: self.rollout.as_ref().map_or(usize::MAX, |rollout| as_count(rollout.terms.canary)),
            untouched: index.slots.total() - index.slots.count(wanted),
            open: index.open.total() - index.open.count(wanted),
            idle: index.idle.total() - index.idle.count(wanted),
            unready: index.unready.count(wanted),
            gave_up: index.gave_up.count(wanted),
            reserved: index.reserved.count(wanted),
            lapsed: index.lapsed.count(wanted),
            replacing: index.replacing.len() - index.stalled.len(),
            replaced: index.replaced.count(wanted),
            replaced_before: index.replaced.total() - index.replaced.count(wanted),
            replaced_idle: index.replaced_idle.total(),
        }
    }

    fn strategy(&self) -> Strategy {
        self.rollout.as_ref().map_or(Strategy::Rolling, |rollout| rollout.terms.strategy)
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
        index.reserved.iter().next().filter(|_| room)
    }

    fn decision(&self) -> Decision {
        if self.rollout.as_ref().is_some_and(|rollout| rollout.fresh) {
            return Decision::Wait;
        }
        plan(self.stage(), self.strategy(), &self.counts(), &self.limits())
    }

    /// Goes back if the new generation has failed. Returns whether it had.
    pub(super) fn turn_back(&mut self) -> bool {
        let failed =
            self.fleet.index().gave_up.count(self.wanted()) > 0 && self.decision() == Decision::Collapse;
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
            self.fleet.begin(slot, wanted);
        }
    }

    fn retire(&mut self, slot: Option<SlotId>) {
        let outgoing = |slot| self.fleet.slots().get(&slot).and_then(|slot| slot.outgoing);
        if let Some(worker) = slot.and_then(outgoing) {
            self.retire_worker(worker, self.why_retired(worker));
        }
    }

    fn why_retired(&self, worker: WorkerId) -> Why {
        let generation = self.fleet.worker(worker).map(|worker| worker.generation);
        if generation == Some(self.stable) { Why::Replaced } else { Why::Withdrawn }
    }

    fn retire_worker(&mut self, worker: WorkerId, why: Why) {
        let healthy = self.fleet.is_healthy(worker);
        self.change(worker, Change::Drain(why));
        if let Some(rollout) = self.rollout.as_mut().filter(|_| healthy) {
            rollout.retired = rollout.retired.saturating_add(1);
        }
    }

    /// A slot of the new generation was given up: go back.
    fn collapse(&mut self) {
        let slot = self.fleet.index().gave_up.first(self.wanted());
        let found = slot.and_then(|id| Some((id, self.fleet.slots().get(&id)?)));
        if let Some((slot, failed)) = found {
            let (failures, failure) = (failed.failures, failed.last_failure);
            self.set_back(Setback { cause: Cause::GaveUp, slot: Some(slot), failures, failure });
        }
    }

    /// Takes the new generation back: from here on the proven one is wanted.
    fn set_back(&mut self, setback: Setback) {
        let (now, to) = (self.clock.now(), self.stable);
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        rollout.stage = Stage::Back;
        rollout.stage_since = now;
        rollout.fresh = false;
        rollout.setback = Some(setback);
        let generation = rollout.generation;
        let Setback { cause, slot, failure, .. } = setback;
        self.notice(Notice::RollingBack { generation, to, cause, slot, failure });
        self.withdraw(|_, _| true);
    }

    fn finish_upgrade(&mut self) -> bool {
        let counts = self.counts();
        let restored = counts.untouched == 0 && counts.gave_up == 0;
        let Some(rollout) = self.rollout.take() else {
            return false;
        };
        let Rollout { generation, since, request, setback, .. } = rollout;
        let (target, took) = (self.fleet.target(), self.clock.now().since(since));
        let reply = match setback {
            None => {
                self.stable = generation;
                self.notice(Notice::Upgraded { generation, took });
                Reply::Upgraded { generation, workers: self.fleet.healthy_of(generation), took }
            }
            Some(Setback { cause, slot, failures, failure }) => {
                let serving = self.stable;
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
                    let healthy = self.fleet.healthy();
                    Reply::NotRestored { generation, cause, slot, failure, healthy, target }
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
        let (wanted, target) = (self.wanted(), self.fleet.target());
        let healthy = self.fleet.healthy_of(wanted);
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        let (tell, stage) = ((healthy, rollout.retired), rollout.stage);
        let retired = rollout.retired;
        if core::mem::replace(&mut rollout.told, tell) == tell {
            return;
        }
        if let Some(request) = rollout.request.filter(|request| self.waiting.contains_key(request)) {
            self.act(Action::Progress { request, generation: wanted, healthy, target, retired, stage });
        }
    }

    /// Releases every captured program that nothing runs or will run.
    pub(super) fn forget_unused(&mut self) {
        while let Some(generation) = self.pinned.iter().copied().find(|pinned| !self.is_used(*pinned)) {
            self.pinned.remove(&generation);
            self.act(Action::Forget { generation });
        }
    }

    fn is_used(&self, generation: Generation) -> bool {
        let index = self.fleet.index();
        generation == self.stable
            || generation == self.wanted()
            || index.generations.contains_key(&generation)
            || index.slots.count(generation) > 0
    }
}

fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
