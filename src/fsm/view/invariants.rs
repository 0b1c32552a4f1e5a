//! The numbered invariants of `fsm-spec/invariants.md`, for every harness to check.
//!
//! A [`Monitor`] watches one run from its first step. It keeps its own account of what happened, made
//! from events and actions alone, so that it does not believe what it is to check. The machine that runs
//! never calls it; what a snapshot tells of must pass it before it runs.

use crate::fsm::fleet::worker::PhaseTag;
use crate::fsm::machine::supervisor::Supervisor;
use crate::fsm::words::{
    action::{Action, Reply, Scope},
    config::{BACKOFF_MAX, KILL_AFTER, TARGET_MAX},
    event::{Command, Event, EventKind, Strategy},
    id::{ClientId, Generation, ListenerId, Pid, RequestId, SlotId, WorkerId},
    notice::Notice,
    reason::{Next, Sequel, Why},
    signal::{Shutdown, Signal},
    time::{Millis, Time},
};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
};
use core::fmt;

mod list;
mod pace;
mod proof;
mod relief;
mod state;
#[cfg(test)]
mod tests;

pub use list::{ALL, Kind};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number.
    pub number: u8,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}: {}", self.number, self.what)
    }
}

impl core::error::Error for Violation {}

fn holds(number: u8, condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { number, what: what() }) }
}

/// What the monitor knows of a worker.
#[derive(Clone, Debug)]
struct Known {
    slot: SlotId,
    generation: Generation,
    born: Time,
    pid: Option<Pid>,
    healthy: bool,
    termed: Option<Time>,
}

/// A signal that the machine orders.
#[derive(Clone, Copy, Debug)]
struct Sent {
    worker: WorkerId,
    pid: Pid,
    signal: Signal,
    scope: Scope,
}

/// Watches a run.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    workers: BTreeMap<WorkerId, Known>,
    pids: BTreeMap<Pid, WorkerId>,
    healthy: u32,
    last_worker: WorkerId,
    last_generation: Generation,
    pinned: BTreeSet<Generation>,
    /// Generations of which some worker was ever healthy.
    served: BTreeSet<Generation>,
    next_listener: u32,
    listeners_bound: u32,
    spawned_any: bool,
    target: Option<u32>,
    /// The same before the present step.
    target_before: Option<u32>,
    stopping: bool,
    ended: bool,
    waiting: BTreeMap<RequestId, ClientId>,
    delays: BTreeMap<SlotId, (Generation, u32, Millis)>,
    /// The worker that ended last, and when it was started.
    ended_last: Option<(WorkerId, Time)>,
    /// When such as had ended early were replaced at once within the last second, and where if that counts by slot.
    followed: VecDeque<(Time, Option<SlotId>)>,
    /// When such as were healthy have ended early and left nobody, within the last two seconds.
    last_ones: VecDeque<Time>,
    phases: BTreeMap<WorkerId, PhaseTag>,
    /// The machine's time and its nearest deadline after the last step.
    last: (Time, Option<Time>),
    /// The soak of the upgrade under way, and when its trial last began.
    soak: Millis,
    on_trial: Option<Time>,
    /// Generations of which some worker has said that it is ready, or was seen accepting.
    shown: BTreeSet<Generation>,
    /// The generation that was proven after the last step.
    stable: Generation,
    /// Slots in which something newer was to replace somebody after the last step.
    replacing: BTreeSet<SlotId>,
    /// The upgrade under way, if it began with nothing left from another.
    clean_upgrade: Option<Generation>,
}

impl Monitor {
    /// A monitor for a run that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks one step: `event` went in, `actions` came out, `after` is the state since. Costs as much
    /// as there are actions, and as there are workers during upgrades.
    ///
    /// # Errors
    /// The first violation found.
    pub fn step(&mut self, event: &Event, actions: &[Action], after: &Supervisor) -> Result<(), Violation> {
        holds(31, !self.ended || actions.is_empty(), || "actions after the exit".into())?;
        self.target_before = self.target;
        let lost = self.lost(&event.kind);
        let expected = self.take_in(&event.kind, after);
        let mut answered = None;
        for action in actions {
            holds(31, !self.ended, || format!("{action:?} after the exit"))?;
            match action {
                Action::Notice { notice } => {
                    self.notice(notice, &event.kind, after)?;
                }
                Action::Reply { request, .. } if expected == Some(*request) => {
                    holds(16, answered.replace(*request).is_none(), || format!("two replies to {request}"))?;
                }
                Action::Reply { request, reply } => self.reply(*request, reply, after)?,
                Action::Progress { request, .. } => {
                    let waits = self.waiting.contains_key(request);
                    holds(16, waits, || format!("progress for {request}, which does not wait"))?;
                }
                Action::Spawn { worker, slot, generation } => {
                    self.spawn(*worker, *slot, *generation, after)?
                }
                Action::Signal { worker, pid, signal, scope } => {
                    let sent = Sent { worker: *worker, pid: *pid, signal: *signal, scope: *scope };
                    if matches!(&event.kind, EventKind::Requested { command: Command::Signal { .. }, .. }) {
                        self.addressed(sent.worker, sent.pid)?;
                    } else {
                        self.signal(&sent, after)?;
                    }
                }
                Action::Stop { worker, pid } => {
                    self.addressed(*worker, *pid)?;
                }
                Action::Pin { generation, .. } => {
                    holds(13, *generation > self.last_generation, || {
                        format!("generation {generation} again")
                    })?;
                    self.last_generation = *generation;
                }
                Action::Forget { generation } => self.forget(*generation, after)?,
                Action::Bind { listener } => {
                    let in_order = *listener == ListenerId(self.next_listener) && !self.spawned_any;
                    holds(19, in_order, || format!("listener {listener} bound out of order"))?;
                    self.next_listener += 1;
                }
                Action::Sweep { .. } => {}
                Action::Exit { .. } => self.ended = true,
            }
        }
        holds(16, expected == answered, || format!("{expected:?} is to be answered, not {answered:?}"))?;
        holds(16, !self.ended || self.waiting.is_empty(), || format!("{:?} never answered", self.waiting))?;
        self.targets(after)?;
        self.relieved(lost, after)?;
        self.stable = after.stable();
        self.last = (after.now(), after.nearest().map(|(time, _)| time));
        self.stopping |= after.life().shutdown().is_some() || after.life().is_done();
        Ok(())
    }

    /// Notes what an event says by itself. Returns the request that must be answered in this step.
    fn take_in(&mut self, kind: &EventKind, after: &Supervisor) -> Option<RequestId> {
        match kind {
            EventKind::Spawned { worker, pid } => {
                let taken = self.pids.contains_key(pid);
                if let Some(known) =
                    self.workers.get_mut(worker).filter(|known| known.pid.is_none() && !taken)
                {
                    known.pid = Some(*pid);
                    self.pids.insert(*pid, *worker);
                }
            }
            EventKind::SpawnFailed { worker, .. } => {
                if let Some(known) = self.workers.get(worker).filter(|known| known.pid.is_none()) {
                    self.ended_last = Some((*worker, known.born));
                    self.workers.remove(worker);
                }
            }
            EventKind::Exited { pid, .. } => {
                let ended = self.pids.remove(pid).and_then(|id| Some((id, self.workers.remove(&id)?)));
                self.healthy -= u32::from(ended.as_ref().is_some_and(|(_, known)| known.healthy));
                self.ended_last = ended.map(|(id, known)| (id, known.born)).or(self.ended_last);
            }
            EventKind::Pinned { generation } => {
                if after.pinned().contains(generation) {
                    self.pinned.insert(*generation);
                }
            }
            EventKind::Bound { listener }
                if listener.0 == self.listeners_bound && listener.0 < self.next_listener =>
            {
                self.listeners_bound += 1;
            }
            EventKind::Requested { client, request, .. } => {
                self.waiting.entry(*request).or_insert(*client);
                self.followed.clear();
            }
            EventKind::Signalled { .. } => self.followed.clear(),
            EventKind::ClientGone { client } => self.waiting.retain(|_, waiting| waiting != client),
            EventKind::Acked { request, .. } | EventKind::Pinged { request, .. } if !self.ended => {
                return *request;
            }
            EventKind::Acked { .. }
            | EventKind::Pinged { .. }
            | EventKind::Bound { .. }
            | EventKind::Start
            | EventKind::Woke
            | EventKind::PinFailed { .. }
            | EventKind::BindFailed { .. }
            | EventKind::Seen { .. }
            | EventKind::Notified { .. }
            | EventKind::Extended { .. } => {}
        }
        if self.ended {
            self.waiting.clear();
        }
        None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most of what people are told binds nobody")]
    fn notice(&mut self, notice: &Notice, cause: &EventKind, after: &Supervisor) -> Result<(), Violation> {
        let now = after.now();
        match notice {
            Notice::Healthy { worker, pid, generation, proof, .. } => {
                self.served.insert(*generation);
                self.proved(*generation, *proof, after)?;
                let known = self.workers.get_mut(worker);
                let first = known.is_some_and(|known| !core::mem::replace(&mut known.healthy, true));
                holds(9, first, || format!("worker {worker} is healthy twice"))?;
                self.healthy += 1;
                self.may_ack(*pid, cause)
            }
            Notice::Draining { worker, slot, generation, why, .. } => {
                self.drained(*worker, *slot, *why)?;
                let proven = *generation == after.stable() && *why == Why::Replaced;
                if proven { self.replaced(*worker, *slot, after.wanted()) } else { Ok(()) }
            }
            Notice::Gap { .. } => {
                let (before, deadline) = self.last;
                let crossed = deadline.is_some_and(|deadline| before < deadline && deadline <= now);
                holds(18, !crossed, || format!("a gap led from {before:?} to {now:?}, past {deadline:?}"))
            }
            Notice::StartFailed {
                slot, generation, failures: Some(failures), next: Next::In(delay), ..
            } => self.delay(*slot, *generation, *failures, *delay),
            Notice::StartFailed { worker, slot, failures: None, next: Next::In(Millis(0)), .. } => {
                self.followed((*worker, *slot), after)
            }
            Notice::Crashed { worker, slot, generation, next: Next::In(delay), .. } => {
                self.last_one(*worker, *generation, *delay, after)?;
                if *delay == Millis(0) { self.followed((*worker, *slot), after) } else { Ok(()) }
            }
            Notice::GaveUp { slot, generation, then, .. } if *then != Sequel::Ending => {
                let served = *generation == after.stable() && self.served.contains(generation);
                holds(38, !served, || format!("slot {slot} of {generation} is given up, which has served"))
            }
            Notice::Target { old, new } => {
                let before = self.target.replace(*new);
                holds(14, before == Some(*old), || format!("told it was {old}, and it was {before:?}"))
            }
            Notice::OnTrial { .. } => {
                self.on_trial = Some(now);
                Ok(())
            }
            Notice::Upgrading { generation, soak, .. } => {
                self.on_trial = None;
                self.soak = soak.unwrap_or_default();
                let clean = after.fleet().index().replacing.is_empty();
                self.clean_upgrade = Some(*generation).filter(|_| clean);
                Ok(())
            }
            Notice::Upgraded { generation, .. } => {
                let trial = self.on_trial.take().map(|since| now.since(since));
                let soak = self.soak;
                let soaked = soak == Millis(0) || trial.is_some_and(|trial| trial >= soak);
                holds(33, soaked, || format!("generation {generation} is done after {trial:?} of {soak:?}"))
            }
            _ => Ok(()),
        }
    }

    fn may_ack(&self, pid: Pid, cause: &EventKind) -> Result<(), Violation> {
        let EventKind::Acked { pid: claimed, sender, group, .. } = cause else {
            return Ok(());
        };
        let is_worker = self.pids.contains_key(sender);
        let may = sender == claimed || (group.is_none_or(|group| group == *claimed) && !is_worker);
        holds(9, pid == *claimed && may, || format!("pid {pid} made healthy by {cause:?}"))
    }

    fn drained(&mut self, worker: WorkerId, slot: SlotId, why: Why) -> Result<(), Violation> {
        let known = self.workers.get_mut(&worker);
        if !known.is_some_and(|known| core::mem::take(&mut known.healthy)) {
            return Ok(());
        }
        self.healthy -= 1;
        if matches!(why, Why::Replaced | Why::Withdrawn) {
            let replaced = self.workers.values().any(|known| known.slot == slot && known.healthy);
            holds(8, replaced, || format!("worker {worker} of slot {slot} is {why} by nobody"))?;
        }
        if why == Why::Surplus {
            let target = self.target.unwrap_or_default();
            let left = self.healthy;
            holds(7, left >= target, || format!("worker {worker} is {why}; {left} of {target} are left"))?;
        }
        Ok(())
    }

    /// A worker of the proven generation is to be replaced: by one of the generation that is wanted?
    fn replaced(&self, worker: WorkerId, slot: SlotId, wanted: Generation) -> Result<(), Violation> {
        let replaces = |known: &Known| known.slot == slot && known.healthy && known.generation == wanted;
        let by_the_wanted = self.workers.values().any(replaces);
        holds(39, by_the_wanted, || format!("worker {worker} of slot {slot} goes for one of no worth"))
    }

    fn delay(
        &mut self,
        slot: SlotId,
        generation: Generation,
        failures: u32,
        delay: Millis,
    ) -> Result<(), Violation> {
        holds(15, delay <= BACKOFF_MAX, || format!("slot {slot} waits {delay:?}"))?;
        if let Some((last_generation, last_failures, last)) = self.delays.get(&slot) {
            let consecutive =
                *last_generation == generation && last_failures.checked_add(1) == Some(failures);
            holds(15, !consecutive || delay >= *last, || {
                format!("slot {slot} waits {delay:?} after {last:?}")
            })?;
        }
        self.delays.insert(slot, (generation, failures, delay));
        Ok(())
    }

    fn reply(&mut self, request: RequestId, reply: &Reply, after: &Supervisor) -> Result<(), Violation> {
        holds(16, self.waiting.remove(&request).is_some(), || {
            format!("{request} does not wait for {reply:?}")
        })?;
        if let Reply::Target { old, new } = reply {
            let (before, now) = (self.target_before, after.fleet().target());
            holds(14, before == Some(*old), || format!("told it was {old}, and it was {before:?}"))?;
            holds(14, *new == now && self.target == Some(now), || format!("told {new}, and it is {now}"))?;
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        worker: WorkerId,
        slot: SlotId,
        generation: Generation,
        after: &Supervisor,
    ) -> Result<(), Violation> {
        holds(4, worker > self.last_worker, || format!("worker {worker} after {}", self.last_worker))?;
        holds(12, !self.stopping, || format!("worker {worker} started during a shutdown"))?;
        let proven = generation == after.stable() || generation == after.wanted();
        // The generation that was wanted until this very step may have been started in it first.
        let wanted = proven || after.rollout().is_some_and(|rollout| rollout.generation == generation);
        holds(3, wanted, || format!("worker {worker} started in generation {generation}"))?;
        holds(29, self.pinned.contains(&generation), || format!("generation {generation} is not captured"))?;
        let all = self.listeners_bound == after.fleet().config().listeners;
        holds(19, all, || format!("worker {worker} started before all sockets were bound"))?;
        self.last_worker = worker;
        self.spawned_any = true;
        let born = after.now();
        self.workers
            .insert(worker, Known { slot, generation, born, pid: None, healthy: false, termed: None });
        Ok(())
    }

    /// A signal goes to the process that a worker has, if it has one.
    fn addressed(&mut self, worker: WorkerId, pid: Pid) -> Result<&mut Known, Violation> {
        let known = self.workers.get_mut(&worker).filter(|known| known.pid == Some(pid));
        known.ok_or_else(|| Violation {
            number: 5,
            what: format!("a signal to worker {worker}, which is not pid {pid}"),
        })
    }

    /// What the machine sends of its own accord follows the rungs.
    fn signal(&mut self, sent: &Sent, after: &Supervisor) -> Result<(), Violation> {
        let now = after.now();
        let known = self.addressed(sent.worker, sent.pid)?;
        if sent.signal == Signal::Term {
            known.termed.get_or_insert(now);
        }
        if sent.signal == Signal::Kill {
            let patience = KILL_AFTER.min(after.fleet().config().grace);
            let waited = known.termed.is_some_and(|at| now.since(at) >= patience);
            let harshest = after.life().shutdown() == Some(Shutdown::Kill);
            holds(11, sent.scope == Scope::Group && (waited || harshest), || {
                format!("worker {} killed early", sent.worker)
            })?;
        }
        Ok(())
    }

    fn forget(&mut self, generation: Generation, after: &Supervisor) -> Result<(), Violation> {
        self.pinned.remove(&generation);
        let runs = after.fleet().index().generations.contains_key(&generation);
        let will = generation == after.stable() || generation == after.wanted();
        let slots = after.fleet().index().slots.count(generation);
        holds(29, !runs && !will && slots == 0, || format!("generation {generation} is released and needed"))
    }

    fn targets(&mut self, after: &Supervisor) -> Result<(), Violation> {
        let target = after.fleet().target();
        if !after.life().is_running() {
            return Ok(());
        }
        holds(14, (1..=TARGET_MAX).contains(&target), || format!("target {target}"))?;
        let told = *self.target.get_or_insert(target);
        holds(14, told == target, || format!("target {target}, and {told} was told"))
    }

    /// Checks a state. Costs as much as there are workers.
    ///
    /// # Errors
    /// The first violation found.
    pub fn state(&mut self, state: &Supervisor) -> Result<(), Violation> {
        state::all(state)?;
        self.surge(state)?;
        for (id, worker) in state.fleet().workers() {
            let tag = worker.phase().tag();
            let before = self.phases.get(id).copied().unwrap_or(PhaseTag::SpawningWanted);
            holds(10, before.order() <= tag.order(), || format!("worker {id} went from {before} to {tag}"))?;
        }
        self.phases =
            state.fleet().workers().iter().map(|(id, worker)| (*id, worker.phase().tag())).collect();
        Ok(())
    }

    fn surge(&self, state: &Supervisor) -> Result<(), Violation> {
        let (fleet, config) = (state.fleet(), state.fleet().config());
        let rolling = state.rollout().filter(|rollout| {
            rollout.terms.strategy == Strategy::Rolling && self.clean_upgrade == Some(rollout.generation)
        });
        if rolling.is_none() {
            return Ok(());
        }
        let count = fleet.index().doubled.len();
        let most = usize::try_from(config.max_surge).unwrap_or(usize::MAX);
        holds(2, count <= most, || format!("{count} workers beyond the target, {most} may be"))
    }
}
