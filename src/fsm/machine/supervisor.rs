//! The machine: one event in, the actions it calls for out.

use super::rollout::Rollout;
use crate::fsm::fleet::{Fleet, index::TimerKind};
use crate::fsm::words::upgrade::{Stage, Terms};
use crate::fsm::words::{
    action::Action,
    config::Config,
    event::{Command, Event, EventKind, SpawnError},
    id::{ClientId, Errno, Generation, ListenerId, RequestId},
    notice::Notice,
    signal::Shutdown,
    time::{Clock, Time},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::fmt::Debug;

/// The most a step decides of its own accord. What is left is done in the next, which is due at once,
/// so that a burst of starts never keeps the shell from reaping.
pub const BURST: u32 = 256;

/// Where the supervisor itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nothing has happened yet.
    New,
    /// The first generation's program is being captured.
    Pinning,
    /// So many sockets are still to be bound.
    Binding(u32),
    /// Workers are kept running.
    Running,
    /// Workers are brought down.
    Stopping(Shutdown),
    /// It is over.
    Done,
}

/// An upgrade whose program is being captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinning {
    /// The generation it will be.
    pub generation: Generation,
    /// What it is to be like.
    pub terms: Terms,
    /// Who waits for it.
    pub request: Option<RequestId>,
}

/// The machine. See the [module](crate::fsm) for how it works and what the shell owes it.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(in crate::fsm) clock: Clock,
    pub(in crate::fsm) life: Life,
    pub(in crate::fsm) fleet: Fleet,
    /// The generation that is proven.
    pub(in crate::fsm) stable: Generation,
    /// The generation that was named last.
    pub(in crate::fsm) newest: Generation,
    /// Generations whose program is captured.
    pub(in crate::fsm) pinned: BTreeSet<Generation>,
    pub(in crate::fsm) pinning: Option<Pinning>,
    pub(in crate::fsm) rollout: Option<Rollout>,
    /// Requests that wait for an answer, and who sent them.
    pub(in crate::fsm) waiting: BTreeMap<RequestId, ClientId>,
    /// The exit status to end with.
    pub(in crate::fsm) code: u8,
    /// Whether every slot had a healthy worker at some time.
    pub(in crate::fsm) was_up: bool,
    /// Whether any worker was ever healthy.
    pub(in crate::fsm) ever_healthy: bool,
    /// Whether the last step left something undone.
    pub(in crate::fsm) unfinished: bool,
    /// Whether the impossible is a panic.
    strict: bool,
    /// What the present step has ordered so far; empty between steps.
    actions: Vec<Action>,
}

impl Supervisor {
    /// A machine that has not begun; its first event is `Start`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            clock: Clock::default(),
            life: Life::New,
            fleet: Fleet::new(config),
            stable: Generation(0),
            newest: Generation(0),
            pinned: BTreeSet::new(),
            pinning: None,
            rollout: None,
            waiting: BTreeMap::new(),
            code: 0,
            was_up: false,
            ever_healthy: false,
            unfinished: false,
            strict: cfg!(debug_assertions),
            actions: Vec::new(),
        }
    }

    /// Makes impossible events notices in debug builds too, for tests that send them on purpose.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.strict = false;
        self
    }

    /// Takes an event in and returns what to do, in order. Total: whatever the event, the state stays
    /// sound and nothing is lost.
    ///
    /// # Panics
    /// In debug builds, on an event that cannot happen, unless [`lenient`](Self::lenient). Never in
    /// release builds.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        if self.life == Life::Done {
            return Vec::new();
        }
        let deadline = self.nearest().map(|(time, _)| time);
        if let Some(lost) = self.clock.advance(event.at, deadline) {
            self.notice(Notice::Gap { lost });
        }
        self.take_in(event.kind);
        self.reconcile();
        core::mem::take(&mut self.actions)
    }

    /// When the machine wants to be woken, on the shell's clock, and what for. May be in the past.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Time, TimerKind)> {
        if self.life == Life::Done {
            return None;
        }
        if self.unfinished || self.rollout.as_ref().is_some_and(|rollout| rollout.fresh) {
            return Some((self.clock.outside(self.clock.now()), TimerKind::Unfinished));
        }
        let (time, kind) = self.nearest()?;
        Some((self.clock.outside(time), kind))
    }

    /// The nearest deadline, on the machine's own clock.
    #[must_use]
    pub fn nearest(&self) -> Option<(Time, TimerKind)> {
        let fleet = self.fleet.index().deadlines.first().copied();
        let trial = self.trial_end().map(|time| (time, TimerKind::Soak));
        fleet.into_iter().chain(trial).min()
    }

    /// When the trial of the new generation is over, if it is on trial.
    #[must_use]
    pub fn trial_end(&self) -> Option<Time> {
        let rollout = self.rollout.as_ref().filter(|rollout| rollout.stage.is_trial())?;
        Some(rollout.stage_since + rollout.terms.soak)
    }

    /// How far the upgrade is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.rollout.as_ref().map_or(Stage::Settled, |rollout| rollout.stage)
    }

    /// Workers and slots, for those who want to look.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Where the supervisor itself is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// The generation that is proven.
    #[must_use]
    pub fn stable(&self) -> Generation {
        self.stable
    }

    /// The generation slots are brought to.
    #[must_use]
    pub fn wanted(&self) -> Generation {
        match &self.rollout {
            Some(rollout) if rollout.stage.is_forward() => rollout.generation,
            Some(_) | None => self.stable,
        }
    }

    /// The upgrade under way.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    /// Requests that wait for an answer, and who sent them.
    #[must_use]
    pub fn waiting(&self) -> &BTreeMap<RequestId, ClientId> {
        &self.waiting
    }

    /// Generations whose program is captured.
    #[must_use]
    pub fn pinned(&self) -> &BTreeSet<Generation> {
        &self.pinned
    }

    /// The machine's own time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    fn take_in(&mut self, kind: EventKind) {
        match kind {
            EventKind::Start => self.start(),
            EventKind::Woke => self.woke(),
            EventKind::Pinned { generation } => self.pinned_as(generation),
            EventKind::PinFailed { generation, error } => self.pin_failed(generation, error),
            EventKind::Bound { listener } => self.bound(listener),
            EventKind::BindFailed { listener, errno } => self.bind_failed(listener, errno),
            EventKind::Spawned { worker, pid } => self.spawned(worker, pid),
            EventKind::SpawnFailed { worker, error } => self.spawn_failed(worker, error),
            EventKind::Exited { pid, status, error, orphans } => self.exited(pid, status, error, orphans),
            EventKind::Acked { pid, sender, group, request } => self.acked(pid, sender, group, request),
            EventKind::Pinged { pid, sender, group, request } => self.pinged(pid, sender, group, request),
            EventKind::Signalled { signal } => self.signalled(signal),
            EventKind::Requested { client, request, command } => self.requested(client, request, command),
            EventKind::ClientGone { client } => self.waiting.retain(|_, waiting| *waiting != client),
        }
    }

    fn start(&mut self) {
        if self.life != Life::New {
            return self.impossible("start after the start");
        }
        self.life = Life::Pinning;
        self.newest = Generation(1);
        self.act(Action::Pin { generation: self.newest, request: None });
    }

    /// Whether a generation's program may just have been captured, or not.
    fn is_named(&self, generation: Generation) -> bool {
        (Generation(1)..=self.newest).contains(&generation) && !self.pinned.contains(&generation)
    }

    fn pinned_as(&mut self, generation: Generation) {
        if !self.is_named(generation) {
            return self.impossible(format!("generation {generation} pinned unasked"));
        }
        if self.life == Life::Pinning {
            self.pinned.insert(generation);
            self.stable = generation;
            self.life = Life::Binding(0);
            match self.fleet.config().listeners {
                0 => self.run(),
                _ => self.act(Action::Bind { listener: ListenerId(0) }),
            }
        } else if let Some(pinning) = self.pinning.take_if(|pinning| pinning.generation == generation) {
            self.pinned.insert(generation);
            self.begin_upgrade(pinning);
        } else {
            // Superseded, or the shutdown came first.
            self.act(Action::Forget { generation });
        }
    }

    fn pin_failed(&mut self, generation: Generation, error: SpawnError) {
        if !self.is_named(generation) {
            return self.impossible(format!("generation {generation} not pinned unasked"));
        }
        if self.life == Life::Pinning {
            self.notice(Notice::PinFailed { generation, error });
            self.end(error.exit_code().unwrap_or(1));
        } else if let Some(pinning) = self.pinning.take_if(|pinning| pinning.generation == generation) {
            self.refuse_upgrade(pinning, error);
        }
    }

    fn bound(&mut self, listener: ListenerId) {
        if self.life != Life::Binding(listener.0) {
            return self.impossible(format!("listener {listener} bound unasked"));
        }
        let done = listener.0 + 1;
        self.life = Life::Binding(done);
        if done < self.fleet.config().listeners {
            self.act(Action::Bind { listener: ListenerId(done) });
        } else {
            self.run();
        }
    }

    fn bind_failed(&mut self, listener: ListenerId, errno: Errno) {
        if self.life != Life::Binding(listener.0) {
            return self.impossible(format!("listener {listener} not bound unasked"));
        }
        self.notice(Notice::BindFailed { listener, errno });
        self.end(1);
    }

    fn run(&mut self) {
        self.life = Life::Running;
        self.fleet.set_target(self.fleet.config().target, self.stable);
    }

    /// Orders something.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Tells people something.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.act(Action::Notice { notice });
    }

    /// Reports what cannot happen, having changed nothing.
    pub(super) fn impossible(&mut self, what: impl Into<String> + Debug) {
        let what = what.into();
        if self.strict {
            impossible_in_tests(&what);
        }
        self.notice(Notice::Impossible { what });
    }

    /// Notes who waits for an answer. A request's name is never used twice.
    pub(super) fn expect_answer(&mut self, client: ClientId, request: RequestId, command: &Command) -> bool {
        if self.waiting.contains_key(&request) {
            self.impossible(format!("request {request} sent twice: {command:?}"));
            return false;
        }
        self.waiting.insert(request, client);
        true
    }
}

/// Kept apart so that the one deliberate panic is easy to find.
#[cold]
#[expect(clippy::panic, reason = "an impossible event is a bug, and tests are to find it")]
fn impossible_in_tests(what: &str) {
    panic!("impossible: {what}");
}
