//! Carries out what [`rollout::plan`](super::rollout::plan) decides, and answers for it.

use super::{
    action::{Action, Failure, Notice, Reply, Why},
    event::{SpawnError, Strategy},
    id::{Generation, RequestId, SlotId, WorkerId},
    rollout::{Collapse, Counts, Decision, Direction, Limits, Rollout, plan},
    supervisor::{Pinning, Supervisor},
    worker::Change,
};
use alloc::vec::Vec;

impl Supervisor {
    /// First step of an upgrade: nothing is touched until the new program is captured.
    pub(super) fn pin_upgrade(&mut self, strategy: Strategy, request: Option<RequestId>) {
        self.newest = Generation(self.newest.0.saturating_add(1));
        let generation = self.newest;
        if let Some(before) = self.pinning.replace(Pinning { generation, strategy, request }) {
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
        let Pinning { generation, strategy, request } = pinning;
        if let Some(before) = self.rollout.take() {
            self.supersede(before.generation, before.request, generation);
            self.withdraw(|fleet, slot| {
                let current = fleet.slots().get(&slot).and_then(|slot| slot.current);
                !current.is_some_and(|worker| fleet.is_healthy(worker))
            });
        }
        self.notice(Notice::Upgrading { generation, strategy });
        self.rollout = Some(Rollout {
            generation,
            strategy,
            since: self.clock.now(),
            request,
            retired: 0,
            told: (0, 0),
            collapse: None,
        });
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
    fn withdraw(&mut self, chosen: impl Fn(&super::fleet::Fleet, SlotId) -> bool) {
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
            self.direct(worker, Change::Drain(Why::Withdrawn));
        }
    }

    fn counts(&self) -> Counts {
        let (index, wanted) = (self.fleet.index(), self.wanted());
        Counts {
            target: as_count(self.fleet.target()),
            healthy: as_count(self.fleet.healthy()),
            untouched: index.slots.total() - index.slots.count(wanted),
            open: index.open.total() - index.open.count(wanted),
            idle: index.idle.total() - index.idle.count(wanted),
            unready: index.unready.count(wanted),
            gave_up: index.gave_up.count(wanted),
            reserved: index.reserved.count(wanted),
            replacing: index.replacing.len() - index.stalled.len(),
            replaced: index.replaced.count(wanted),
            replaced_before: index.replaced.total() - index.replaced.count(wanted),
            replaced_idle: index.replaced_idle.total(),
        }
    }

    /// Which way things go. Without an upgrade, back to where an earlier one did not get.
    pub(super) fn course(&self) -> (Direction, Strategy) {
        match &self.rollout {
            Some(Rollout { collapse: None, strategy, .. }) => (Direction::Forward, *strategy),
            Some(_) | None => (Direction::Back, Strategy::Rolling),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let config = self.fleet.config();
        Limits { unacked: as_count(config.max_unacked), surge: as_count(config.max_surge) }
    }

    /// A slot that may start a worker next to the one it has, if there is room for one beyond the
    /// target.
    pub(super) fn reserved(&self) -> Option<SlotId> {
        let (index, limits) = (self.fleet.index(), self.limits());
        let (direction, strategy) = self.course();
        let surge = limits.surge(direction, strategy, as_count(self.fleet.target()));
        let starting = index.doubled.len() - index.replaced.total() - index.replaced_idle.total();
        let room = index.doubled.len() < surge && starting < limits.unacked;
        index.reserved.iter().next().filter(|_| room)
    }

    fn decision(&self) -> Decision {
        let (direction, strategy) = self.course();
        plan(direction, strategy, &self.counts(), &self.limits())
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
        self.direct(worker, Change::Drain(why));
        if let Some(rollout) = self.rollout.as_mut().filter(|_| healthy) {
            rollout.retired = rollout.retired.saturating_add(1);
        }
    }

    /// The new generation has failed: go back to the proven one.
    fn collapse(&mut self) {
        let slot = self.fleet.index().gave_up.first(self.wanted());
        let found = slot.and_then(|id| Some((id, self.fleet.slots().get(&id)?)));
        let Some((slot, failed)) = found else {
            return;
        };
        let failure = failed.last_failure.unwrap_or(Failure::Unacknowledged);
        let collapse = Collapse { slot, failures: failed.failures, failure };
        if let Some(rollout) = &mut self.rollout {
            rollout.collapse = Some(collapse);
            let generation = rollout.generation;
            self.notice(Notice::RollingBack { generation, to: self.stable, slot, failure });
        }
        self.withdraw(|_, _| true);
    }

    fn finish_upgrade(&mut self) -> bool {
        let counts = self.counts();
        let restored = counts.untouched == 0 && counts.unready == 0;
        let Some(rollout) = self.rollout.take() else {
            return false;
        };
        let Rollout { generation, since, request, collapse, .. } = rollout;
        let (healthy, target) = (self.fleet.healthy(), self.fleet.target());
        let took = self.clock.now().since(since);
        let reply = match collapse {
            None => {
                self.stable = generation;
                self.notice(Notice::Upgraded { generation, took });
                Reply::Upgraded { generation, workers: healthy, took }
            }
            Some(Collapse { slot, failures, failure }) => {
                let serving = self.stable;
                self.notice(Notice::RolledBack { to: serving, healthy, target });
                if restored {
                    Reply::RolledBack { generation, serving, slot, failures, failure, healthy, took }
                } else {
                    Reply::NotRestored { generation, slot, failure, healthy, target }
                }
            }
        };
        if let Some(request) = request {
            self.reply(request, reply);
        }
        self.forget_unused();
        true
    }

    /// Tells who waits for the upgrade how far it is, if that changed.
    pub(super) fn tell_progress(&mut self) {
        let (wanted, target) = (self.wanted(), self.fleet.target());
        let healthy = self.fleet.healthy_of(wanted);
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        let tell = (healthy, rollout.retired);
        let retired = rollout.retired;
        if core::mem::replace(&mut rollout.told, tell) == tell {
            return;
        }
        if let Some(request) = rollout.request.filter(|request| self.waiting.contains_key(request)) {
            self.act(Action::Progress { request, generation: wanted, healthy, target, retired });
        }
    }

    /// Releases every captured program that nothing runs or will run.
    fn forget_unused(&mut self) {
        let pinned: Vec<Generation> = self.pinned.iter().copied().collect();
        pinned.into_iter().for_each(|generation| self.forget_if_unused(generation));
    }

    /// Releases a captured program if nothing runs or will run it.
    pub(super) fn forget_if_unused(&mut self, generation: Generation) {
        let index = self.fleet.index();
        let needed = generation == self.stable
            || generation == self.wanted()
            || index.generations.contains_key(&generation)
            || index.slots.count(generation) > 0;
        if !needed && self.pinned.remove(&generation) {
            self.act(Action::Forget { generation });
        }
    }
}

fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
