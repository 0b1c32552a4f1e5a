//! What happens to single workers: answers to `Spawn`, exits, acks, deadlines.

use super::{
    life::{Life, LifeChange},
    supervisor::{BURST, Supervisor},
};
use crate::fsm::{
    fleet::{
        Applied, Counted, Moved,
        index::TimerKind,
        slot::{Role, Side, SlotRejected, Tries},
        worker::{Change, Effect, Phase, PhaseTag},
    },
    words::{
        action::{Action, Reply, Scope},
        config::{AckMode, SETTLED},
        event::{ExitStatus, Proof, SpawnError},
        id::{Generation, Pid, RequestId, SlotId, WorkerId},
        notice::Notice,
        reason::{Failure, Next, Sequel, Why},
        signal::{Shutdown, Signal},
        time::{Millis, Time},
    },
};
use alloc::format;

/// By then a program that can be executed at all has been, even on a busy machine.
const FIRST_MOMENT: Time = Time(1_000);

impl Supervisor {
    /// The one way to change a worker: applies the table and orders what follows from the move.
    pub(super) fn change(&mut self, worker: WorkerId, change: Change) -> Option<Moved> {
        match self.fleet.apply(worker, change, self.clock.now()) {
            Applied::Moved(moved) => {
                self.announce(&moved);
                for effect in moved.effects {
                    self.follow(&moved, *effect, change.failure(moved.before.pid(), moved.age));
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

    fn announce(&mut self, moved: &Moved) {
        let Moved { worker, slot, generation, .. } = *moved;
        match (moved.before, moved.after) {
            (Phase::Spawning { .. }, Phase::PendingAck { pid }) => {
                self.notice(Notice::Spawned { worker, slot, generation, pid });
            }
            (_, Phase::Healthy { pid }) => {
                let proof = moved.proof.unwrap_or(Proof::Timer);
                if proof != Proof::Timer {
                    self.releases.note_shown(generation);
                }
                self.notice(Notice::Healthy { worker, slot, generation, pid, took: moved.age, proof });
                self.live(LifeChange::Healthy);
                if self.releases.note_healthy(generation) {
                    // What was given up while nobody knew whether the program runs at all is tried again.
                    self.fleet.retry(self.clock.now());
                }
            }
            (before, Phase::Draining { pid, why, .. }) if !before.tag().is_draining() => {
                self.notice(Notice::Draining { worker, slot, generation, pid, why });
            }
            _ => {}
        }
    }

    fn follow(&mut self, moved: &Moved, effect: Effect, failure: Option<Failure>) {
        match (effect, failure) {
            (Effect::SignalStop, _) => match self.fleet.config().stop_signal {
                Some(signal) => self.send(moved, signal, Scope::Awake),
                None => self.stop(moved),
            },
            (Effect::SignalTerm, _) => self.send(moved, Signal::Term, Scope::Awake),
            (Effect::SignalKill, _) => self.send(moved, Signal::Kill, Scope::Group),
            (Effect::FailedStart, Some(failure)) => self.count_failure(moved, failure),
            // Counted as healthy before it had become the program, which takes `--ack-after 0`.
            (Effect::Crash, Some(failure @ Failure::Spawn(_))) => self.count_failure(moved, failure),
            (Effect::Crash, Some(failure @ Failure::Exited(_))) => self.count_end(moved, failure),
            (Effect::Left, _) => self.count_end(moved, Failure::Left),
            (Effect::Shortage, Some(failure)) => self.wait_for_want(moved, failure),
            // The table has these effects only where a worker ends.
            (Effect::FailedStart | Effect::Crash | Effect::Shortage, _) => {}
            (Effect::ReportStuck, _) => {
                if let Some(pid) = moved.after.pid() {
                    self.notice(Notice::Stuck { worker: moved.worker, pid });
                }
            }
        }
    }

    /// The stop signal is the first that is sent, so there is no other that it follows.
    fn stop(&mut self, moved: &Moved) {
        if let Some(pid) = moved.after.pid() {
            self.act(Action::Stop { worker: moved.worker, pid });
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
        // A release of which nobody has been healthy and that misses its deadline hangs; another try would only
        // be told later.
        let hangs = matches!(failure, Failure::Unacknowledged { .. }) && self.releases.is_untried(generation);
        let tries = if lasting.is_some() || hangs { Tries::None } else { self.tries(generation) };
        let counted =
            self.vacated(moved).and_then(|side| self.fail((slot, side), failure, (tries, moved.age)));
        let failures = counted.and_then(|counted| counted.failures);
        // Where health takes no time, it is only known now.
        let died = moved.before.tag() == PhaseTag::Healthy && self.releases.is_coming(generation);
        let next = counted.map_or(Next::NotReplaced, |counted| self.unless_on_trial(died, counted.next));
        self.notice(Notice::StartFailed { worker, slot, generation, failure, failures, retries, next });
        // The very first program cannot run at all, and will not: say so with the exit status.
        let end = lasting.filter(|_| self.rollout().is_none() && self.life().is_running());
        self.tell_if_failed(moved, counted, failure, end.is_some());
        if died && counted.is_some() {
            self.died_on_trial(slot, failure);
        }
        if let Some(code) = end {
            self.abandon(Shutdown::Kill, code, failure);
        }
    }

    /// The machine lacked something for a start. That counts against nobody and is tried again for ever.
    fn wait_for_want(&mut self, moved: &Moved, failure: Failure) {
        let Moved { worker, slot, generation, .. } = *moved;
        let retries = self.fleet.config().retries;
        let mut next = Next::NotReplaced;
        if let Some(side) = self.vacated(moved) {
            let waits = self.fleet.wait((slot, side), failure, self.clock.now());
            next = self.allowed(slot, waits).flatten().map_or(next, Next::In);
        }
        self.notice(Notice::StartFailed { worker, slot, generation, failure, failures: None, retries, next });
    }

    /// Reports a change of a slot that its table rejects; there is none that the machine makes on purpose.
    pub(super) fn allowed<T>(&mut self, slot: SlotId, changed: Result<T, SlotRejected>) -> Option<T> {
        match changed {
            Ok(changed) => Some(changed),
            Err(SlotRejected { hold, input }) => {
                self.impossible(format!("slot {slot} is {hold} and gets {input}"));
                None
            }
        }
    }

    /// What comes next, unless a worker has `died` and with a soak that is the end of its generation.
    fn unless_on_trial(&self, died: bool, next: Next) -> Next {
        let again = matches!(next, Next::In(_));
        if died && again && self.releases.soaks() { Next::NotReplaced } else { next }
    }

    /// The seat that a worker has left and that is to be filled by another of its generation, if there is one. In the
    /// place of one that was being replaced the proven generation serves until something newer does.
    fn vacated(&mut self, moved: &Moved) -> Option<Side> {
        let Role::In(side) = moved.role else {
            return None;
        };
        let (slot, stable) = (*self.fleet.slots().get(&moved.slot)?, self.stable());
        if side == Side::Outgoing && slot.generation() == stable {
            self.fleet.close(moved.slot);
            return None;
        }
        let gap = side == Side::Current || slot.aside().is_some();
        if !gap || !self.life().is_running() {
            return None;
        }
        if side == Side::Outgoing && moved.generation != stable {
            // How that one failed says nothing about the proven generation.
            self.fleet.reseat(moved.slot, stable);
            return None;
        }
        Some(side)
    }

    /// How often a slot may fail to start a worker of that generation. What is known to serve is tried for
    /// ever: that it cannot be started says something of the moment, and nobody is there to try it later.
    fn tries(&self, generation: Generation) -> Tries {
        if self.releases.is_known_to_serve(generation) { Tries::Endless } else { Tries::Some }
    }

    /// Counts a failure of a seat, and says what comes next.
    fn fail(&mut self, seat: (SlotId, Side), failure: Failure, tries: (Tries, Millis)) -> Option<Counted> {
        let counted = self.fleet.fail(seat, failure, tries, self.clock.now());
        self.allowed(seat.0, counted).flatten()
    }

    /// Says so if that was the last failure that a slot may have, or would have been.
    fn tell_if_failed(&mut self, moved: &Moved, counted: Option<Counted>, failure: Failure, abandoned: bool) {
        let Moved { slot, generation, .. } = *moved;
        match counted {
            Some(Counted { next: Next::GivenUp { failures }, .. }) => {
                // A generation that is on its way in is left for the one before.
                let goes_back = self.releases.is_coming(generation);
                let then = if abandoned || (self.has_given_up() && !goes_back) {
                    Sequel::Ending
                } else if goes_back {
                    Sequel::TakenBack
                } else {
                    Sequel::UntilAsked
                };
                self.notice(Notice::GaveUp { slot, generation, failures, failure, then });
            }
            Some(Counted { failures: Some(failures), next: Next::In(_) })
                if failures == self.fleet.config().retries =>
            {
                self.notice(Notice::Failing { slot, generation, failures, failure });
            }
            _ => {}
        }
    }

    /// The exit status for a failure that trying again will not mend. That ends the first start, and
    /// an upgrade; a program that ran before may be back in a moment.
    fn is_lasting(&self, generation: Generation, failure: Failure) -> Option<u8> {
        let Failure::Spawn(error) = failure else {
            return None;
        };
        let new = match self.rollout() {
            Some(_) => self.releases.is_coming(generation),
            None => self.life() == Life::Starting || self.in_first_moment(),
        };
        error.exit_code().filter(|_| new)
    }

    /// Whether no worker can have shown yet that the program runs: where health takes no time, a
    /// process counts as healthy before it has become the program.
    fn in_first_moment(&self) -> bool {
        self.fleet.config().ack == AckMode::After(Millis(0)) && self.clock.now() < FIRST_MOMENT
    }

    /// A worker that served has ended unasked, or says that it is about to.
    fn count_end(&mut self, moved: &Moved, failure: Failure) {
        let Moved { worker, slot, generation, .. } = *moved;
        let vacated = self.vacated(moved);
        let coming = self.releases.is_coming(generation) && vacated.is_some();
        let mut counted = None;
        let next = if let (true, Some(side)) = (coming, vacated) {
            // A release that is not proven yet gets no benefit of the doubt: an end is a failure, and on
            // trial the last one. But those of workers that served for long are not in a row.
            if moved.lasted >= SETTLED {
                let forgiven = self.fleet.forgive(slot, self.clock.now());
                self.allowed(slot, forgiven);
            }
            counted = self.fail((slot, side), failure, (Tries::Some, moved.age));
            counted.map(|counted| self.unless_on_trial(true, counted.next))
        } else if let Some(side) = vacated {
            let crashed = self.fleet.crash((slot, side), moved.age, self.clock.now());
            self.allowed(slot, crashed).flatten().map(Next::In)
        } else {
            None
        };
        let next = next.unwrap_or(Next::NotReplaced);
        if let (Failure::Exited(status), Some(pid)) = (failure, moved.before.pid()) {
            self.notice(Notice::Crashed { worker, slot, generation, pid, status, next });
        }
        self.tell_if_failed(moved, counted, failure, false);
        if coming {
            self.died_on_trial(slot, failure);
        }
    }

    pub(super) fn spawned(&mut self, worker: WorkerId, pid: Pid) {
        if self.fleet.by_pid(pid).is_some() {
            return self.impossible(format!("pid {pid} of worker {worker} belongs to another"));
        }
        let moved = self.change(worker, Change::Spawned(pid));
        let at_once = self.fleet.config().ack == AckMode::After(Millis(0));
        if at_once && moved.is_some_and(|moved| moved.after.tag() == PhaseTag::PendingAck) {
            self.change(worker, Change::Ack(Proof::Timer));
        }
    }

    pub(super) fn spawn_failed(&mut self, worker: WorkerId, error: SpawnError) {
        // Its end will tell what became of a process that there is.
        if self.fleet.worker(worker).is_some_and(|worker| worker.phase().pid().is_some()) {
            return self.impossible(format!("worker {worker} has a process and failed to get one"));
        }
        self.change(worker, Change::SpawnFailed(error));
    }

    pub(super) fn exited(&mut self, pid: Pid, status: ExitStatus, error: Option<SpawnError>, orphans: bool) {
        // A stranger: a child of ours by inheritance only.
        let Some(worker) = self.fleet.by_pid(pid).map(|worker| worker.id()) else {
            return;
        };
        if orphans {
            self.notice(Notice::Orphans { worker, pid });
            self.act(Action::Sweep { pid });
        }
        let failure = error.map_or(Failure::Exited(status), Failure::Spawn);
        if let Some(moved) = self.change(worker, Change::Exited(failure)) {
            let Moved { slot, generation, .. } = moved;
            self.fleet.note_exit(slot, generation, status);
            if moved.before.tag().is_draining() {
                let unasked = moved.before.why() == Some(Why::Leaving);
                self.notice(Notice::Gone { worker, slot, generation, pid, status, unasked });
            }
        }
    }

    pub(super) fn acked(&mut self, pid: Pid, sender: Pid, group: Option<Pid>, request: Option<RequestId>) {
        let reply = match self.speaks_for(pid, sender, group) {
            Err(refusal) => refusal,
            Ok((worker, PhaseTag::Healthy)) => {
                self.prove(worker, Proof::Acknowledged);
                Reply::AlreadyAcked { pid }
            }
            Ok((worker, PhaseTag::PendingAck)) => {
                self.change(worker, Change::Ack(Proof::Acknowledged));
                Reply::Acked { pid }
            }
            Ok((worker, _)) => {
                self.change(worker, Change::Ack(Proof::Acknowledged));
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

    /// The worker with process `pid`, if `sender` is that process or one of its group. A helper that had ended
    /// before anybody asked where it belongs is taken for such a one: most wait for no answer.
    fn speaks_for(
        &mut self,
        pid: Pid,
        sender: Pid,
        group: Option<Pid>,
    ) -> Result<(WorkerId, PhaseTag), Reply> {
        let Some(worker) = self.fleet.by_pid(pid) else {
            return Err(Reply::NoSuchWorker { pid });
        };
        let found = (worker.id(), worker.phase().tag());
        let helper = self.fleet.by_pid(sender).is_none() && group.is_none_or(|group| group == pid);
        if sender != pid && !helper {
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
        let now = self.clock.now();
        self.releases.unseal();
        for _ in 0..BURST {
            match self.fleet.index().deadlines.first() {
                Some((time, kind)) if *time <= now => self.fire(*kind),
                _ => break,
            }
        }
        // After the others: who missed a deadline of its own has not passed the trial.
        if self.releases.trial_end().is_some_and(|time| time <= now) {
            self.end_trial();
        }
        if self.releases.timeout().is_some_and(|time| time <= now) {
            self.time_out();
        }
    }

    fn fire(&mut self, kind: TimerKind) {
        match kind {
            TimerKind::Unfinished | TimerKind::Soak | TimerKind::Upgrade | TimerKind::Down => {}
            TimerKind::AckAfter(worker) => self.outlive(worker),
            TimerKind::AckTimeout(worker) => {
                self.change(worker, Change::AckExpired);
            }
            TimerKind::Rung(worker) => {
                self.change(worker, Change::RungExpired);
            }
            TimerKind::Backoff(slot, side) => {
                let released = self.fleet.release(slot, side, self.clock.now());
                self.allowed(slot, released);
            }
        }
    }
}
