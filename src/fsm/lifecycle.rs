//! What happens to single workers: answers to `Spawn`, exits, acks, deadlines.

use super::{
    action::{Action, Reply, Scope},
    config::AckMode,
    event::{ExitStatus, SpawnError},
    fleet::{Applied, Moved},
    id::{Generation, Pid, RequestId, WorkerId},
    index::TimerKind,
    notice::Notice,
    reason::Failure,
    signal::Signal,
    slot::{Role, Verdict},
    supervisor::{BURST, Life, Supervisor},
    time::{Millis, Time},
    worker::{Change, Effect, Phase, PhaseTag},
};
use alloc::format;

/// By then a program that can be executed at all has been, even on a busy machine.
const FIRST_MOMENT: Time = Time(1_000);

impl Supervisor {
    /// The one way to change a worker: applies the table and orders what follows from the move.
    /// `failure` is how a start failed, should this turn out to be the end of one.
    pub(super) fn change(&mut self, worker: WorkerId, change: Change, failure: Failure) -> Option<Moved> {
        match self.fleet.apply(worker, change, self.clock.now()) {
            Applied::Moved(moved) => {
                self.announce(&moved);
                for effect in moved.effects {
                    self.follow(&moved, *effect, failure);
                }
                Some(moved)
            }
            Applied::Stayed => None,
            Applied::Rejected(phase) => {
                self.impossible(format!("worker {worker} is {phase} and gets {}", change.input()));
                None
            }
            Applied::Unknown => {
                self.impossible(format!("no worker {worker} for {}", change.input()));
                None
            }
        }
    }

    /// Changes a worker in a way that cannot be the end of a start.
    pub(super) fn direct(&mut self, worker: WorkerId, change: Change) -> Option<Moved> {
        self.change(worker, change, Failure::Unacknowledged)
    }

    fn announce(&mut self, moved: &Moved) {
        let Moved { worker, slot, generation, .. } = *moved;
        match (moved.before, moved.after) {
            (Phase::Spawning { .. }, Phase::PendingAck { pid }) => {
                self.notice(Notice::Spawned { worker, slot, generation, pid });
            }
            (_, Phase::Healthy { pid }) => {
                self.ever_healthy = true;
                self.notice(Notice::Healthy { worker, slot, generation, pid, took: moved.age });
            }
            (before, Phase::Draining { pid, why, .. }) if !before.tag().is_draining() => {
                self.notice(Notice::Draining { worker, slot, generation, pid, why });
            }
            _ => {}
        }
    }

    fn follow(&mut self, moved: &Moved, effect: Effect, failure: Failure) {
        match effect {
            Effect::SignalStop => self.send(moved, self.fleet.config().stop_signal, Scope::Process),
            Effect::SignalTerm => self.send(moved, Signal::Term, Scope::Process),
            Effect::SignalKill => self.send(moved, Signal::Kill, Scope::Group),
            Effect::FailedStart => self.count_failure(moved, failure),
            Effect::Crash => self.count_crash(moved, failure),
            Effect::ReportStuck => {
                if let Some(pid) = moved.after.pid() {
                    self.notice(Notice::Stuck { worker: moved.worker, pid });
                }
            }
        }
    }

    fn send(&mut self, moved: &Moved, signal: Signal, scope: Scope) {
        let Some(pid) = moved.after.pid() else {
            return;
        };
        let worker = moved.worker;
        if moved.before.tag().is_draining() {
            self.notice(Notice::Escalated { worker, pid, signal });
        }
        self.act(Action::Signal { worker, pid, signal, scope });
    }

    /// A start failed. It counts against the slot if the worker was the one to fill it.
    fn count_failure(&mut self, moved: &Moved, failure: Failure) {
        let Moved { worker, slot, generation, .. } = *moved;
        let retries = self.fleet.config().retries;
        let lasting = self.is_lasting(generation, failure);
        let (failures, verdict) = match moved.role {
            Role::Current if self.life == Life::Running => {
                self.fleet.fail(slot, failure, lasting.is_some(), self.clock.now())
            }
            Role::Current | Role::Outgoing | Role::Loose => (0, Verdict::GiveUp),
        };
        let retry_in = if let Verdict::RetryIn(delay) = verdict { Some(delay) } else { None };
        self.notice(Notice::StartFailed { worker, slot, generation, failure, failures, retries, retry_in });
        if failures > 0 && verdict == Verdict::GiveUp {
            self.notice(Notice::GaveUp { slot, generation, failures, failure });
        }
        match lasting {
            // The very first program cannot run at all, and will not: say so with the exit status.
            Some(code) if self.rollout.is_none() => self.abandon(code, failure),
            Some(_) | None => {}
        }
    }

    /// The exit status for a failure that trying again will not mend. That ends the first start, and
    /// an upgrade; a program that ran before may be back in a moment.
    fn is_lasting(&self, generation: Generation, failure: Failure) -> Option<u8> {
        let Failure::Spawn(error) = failure else {
            return None;
        };
        let new = match &self.rollout {
            Some(rollout) => rollout.stage.is_forward() && generation == rollout.generation,
            None => !self.ever_healthy || self.in_first_moment(),
        };
        error.exit_code().filter(|_| new)
    }

    /// Whether no worker can have shown yet that the program runs: where health takes no time, a
    /// process counts as healthy before it has become the program.
    fn in_first_moment(&self) -> bool {
        self.fleet.config().ack == AckMode::After(Millis(0)) && self.clock.now() < FIRST_MOMENT
    }

    fn count_crash(&mut self, moved: &Moved, failure: Failure) {
        let Moved { worker, slot, generation, .. } = *moved;
        // Counted as healthy before it had become the program, which takes `--ack-after 0`.
        if matches!(failure, Failure::Spawn(_)) {
            return self.count_failure(moved, failure);
        }
        let Failure::Exited(status) = failure else {
            return;
        };
        let (now, failure) = (self.clock.now(), Failure::Exited(status));
        let coming = self.stage().is_forward() && generation == self.wanted();
        let (retry_in, failures) = match moved.role {
            // A release that is not proven yet gets no benefit of the doubt: an end is a failure.
            Role::Current if coming && self.life == Life::Running => {
                match self.fleet.fail(slot, failure, false, now) {
                    (_, Verdict::RetryIn(delay)) => (delay, None),
                    (failures, Verdict::GiveUp) => (Millis(0), Some(failures)),
                }
            }
            Role::Current => (self.fleet.crash(slot, moved.lasted, now), None),
            Role::Outgoing | Role::Loose => (Millis(0), None),
        };
        if let Some(pid) = moved.before.pid() {
            self.notice(Notice::Crashed { worker, slot, generation, pid, status, retry_in });
        }
        if let Some(failures) = failures {
            self.notice(Notice::GaveUp { slot, generation, failures, failure });
        }
        if coming && moved.role == Role::Current {
            self.died_on_trial(slot, failure);
        }
    }

    pub(super) fn spawned(&mut self, worker: WorkerId, pid: Pid) {
        if self.fleet.by_pid(pid).is_some() {
            return self.impossible(format!("pid {pid} of worker {worker} belongs to another"));
        }
        let moved = self.direct(worker, Change::Spawned(pid));
        let at_once = self.fleet.config().ack == AckMode::After(Millis(0));
        if at_once && moved.is_some_and(|moved| moved.after.tag() == PhaseTag::PendingAck) {
            self.direct(worker, Change::Ack);
        }
    }

    pub(super) fn spawn_failed(&mut self, worker: WorkerId, error: SpawnError) {
        self.change(worker, Change::SpawnFailed, Failure::Spawn(error));
    }

    pub(super) fn exited(&mut self, pid: Pid, status: ExitStatus, error: Option<SpawnError>, orphans: bool) {
        // A stranger: a child of ours by inheritance only.
        let Some(worker) = self.fleet.by_pid(pid).map(|worker| worker.id) else {
            return;
        };
        if orphans {
            self.notice(Notice::Orphans { worker, pid });
            self.act(Action::Sweep { pid });
        }
        let failure = error.map_or(Failure::Exited(status), Failure::Spawn);
        if let Some(moved) = self.change(worker, Change::Exited, failure) {
            let Moved { slot, generation, .. } = moved;
            self.fleet.note_exit(slot, status);
            if moved.before.tag().is_draining() {
                self.notice(Notice::Gone { worker, slot, generation, pid, status });
            }
        }
    }

    pub(super) fn acked(&mut self, pid: Pid, sender: Pid, group: Option<Pid>, request: Option<RequestId>) {
        let reply = match self.speaks_for(pid, sender, group) {
            Err(refusal) => refusal,
            Ok((_, PhaseTag::Healthy)) => Reply::AlreadyAcked { pid },
            Ok((worker, PhaseTag::PendingAck)) => {
                self.direct(worker, Change::Ack);
                Reply::Acked { pid }
            }
            Ok((worker, _)) => {
                self.direct(worker, Change::Ack);
                Reply::AckedWhileDraining { pid }
            }
        };
        self.reply_to(request, reply);
    }

    pub(super) fn pinged(&mut self, pid: Pid, sender: Pid, group: Option<Pid>, request: Option<RequestId>) {
        let reply = match self.speaks_for(pid, sender, group) {
            Err(refusal) => refusal,
            Ok((worker, _)) => {
                self.fleet.ping(worker, self.clock.now());
                Reply::Pinged { pid }
            }
        };
        self.reply_to(request, reply);
    }

    /// The worker with process `pid`, if `sender` is that process or one of its group.
    fn speaks_for(
        &mut self,
        pid: Pid,
        sender: Pid,
        group: Option<Pid>,
    ) -> Result<(WorkerId, PhaseTag), Reply> {
        let Some(worker) = self.fleet.by_pid(pid) else {
            return Err(Reply::NoSuchWorker { pid });
        };
        let found = (worker.id, worker.phase.tag());
        let another = sender != pid && self.fleet.by_pid(sender).is_some();
        if another || (sender != pid && group != Some(pid)) {
            self.notice(Notice::NotYours { pid, sender });
            return Err(Reply::NotYours { pid, sender });
        }
        Ok(found)
    }

    /// Answers a worker's message, which the machine never makes wait.
    fn reply_to(&mut self, request: Option<RequestId>, reply: Reply) {
        if let Some(request) = request {
            self.act(Action::Reply { request, reply });
        }
    }

    /// Lets every deadline take effect whose time has come.
    pub(super) fn woke(&mut self) {
        self.unfinished = false;
        let now = self.clock.now();
        if let Some(rollout) = &mut self.rollout {
            rollout.fresh = false;
        }
        for _ in 0..BURST {
            match self.fleet.index().deadlines.first() {
                Some((time, kind)) if *time <= now => self.fire(*kind),
                _ => break,
            }
        }
        // After the others: who missed a deadline of its own has not passed the trial.
        if self.trial_end().is_some_and(|time| time <= now) {
            self.advance_stage();
        }
    }

    fn fire(&mut self, kind: TimerKind) {
        match kind {
            TimerKind::Unfinished | TimerKind::Soak => {}
            TimerKind::AckAfter(worker) => {
                self.direct(worker, Change::Ack);
            }
            TimerKind::AckTimeout(worker) => {
                self.direct(worker, Change::AckExpired);
            }
            TimerKind::Rung(worker) => {
                self.direct(worker, Change::RungExpired);
            }
            TimerKind::Backoff(slot) => self.fleet.release(slot),
        }
    }
}
