//! The machine: one event in, the actions it calls for out.

use super::{
    life::{Life, LifeChange, LifeEffect},
    releases::{Releases, Rollout},
    requests::Requests,
};
use crate::fsm::{
    fleet::{Fleet, index::TimerKind},
    words::{
        action::{Action, Reply},
        config::Config,
        event::{Event, EventKind, SpawnError},
        id::{ClientId, Errno, Generation, ListenerId, RequestId},
        notice::Notice,
        reason::Failure,
        signal::Shutdown,
        text::record,
        time::{Clock, Time},
        upgrade::Stage,
    },
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::fmt::Debug;

/// The most a step decides of its own accord. What is left is done in the next, which is due at once,
/// so that a burst of starts never keeps the shell from reaping, nor a client waiting for more than some
/// milliseconds.
pub const BURST: u32 = 32;

/// The machine. See the [module](crate::fsm) for how it works and what the shell owes it.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(super) clock: Clock,
    pub(super) fleet: Fleet,
    pub(super) releases: Releases,
    life: Life,
    requests: Requests,
    pub(super) outage: Option<Outage>,
    /// Whether the last step left something undone.
    unfinished: bool,
    /// Whether the impossible is a panic.
    strict: bool,
    /// What the present step has ordered so far; empty between steps.
    actions: Vec<Action>,
}

record! {
    /// That nobody serves any more.
    #[derive(Copy)]
    pub struct Outage {
        /// Since when.
        pub since: Time,
        /// When that is told, or told again.
        pub next: Time,
    }
}

/// What a machine is put together from.
#[derive(Debug)]
pub(in crate::fsm) struct Parts {
    pub(in crate::fsm) clock: Clock,
    pub(in crate::fsm) fleet: Fleet,
    pub(in crate::fsm) releases: Releases,
    pub(in crate::fsm) life: Life,
    pub(in crate::fsm) requests: Requests,
    pub(in crate::fsm) outage: Option<Outage>,
    pub(in crate::fsm) unfinished: bool,
}

impl Supervisor {
    /// A machine that has not begun; its first event is `Start`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::assemble(Parts {
            clock: Clock::default(),
            fleet: Fleet::new(config),
            releases: Releases::new(),
            life: Life::New,
            requests: Requests::default(),
            outage: None,
            unfinished: false,
        })
    }

    fn assemble(parts: Parts) -> Self {
        let Parts { clock, fleet, releases, life, requests, outage, unfinished } = parts;
        let strict = cfg!(debug_assertions);
        Self { clock, fleet, releases, life, requests, outage, unfinished, strict, actions: Vec::new() }
    }

    /// A machine put together again.
    ///
    /// # Errors
    /// If the parts do not fit each other.
    pub(in crate::fsm) fn from_parts(parts: Parts) -> Result<Self, &'static str> {
        let Parts { fleet, releases, life, .. } = &parts;
        let running = life.is_running();
        if running && fleet.target() == 0 {
            return Err("the number of workers is out of bounds");
        }
        if matches!(life, Life::Binding { done } if *done > fleet.config().listeners) {
            return Err("more sockets are bound than there are");
        }
        let workers = fleet.workers().values().map(|worker| worker.generation());
        let slots = fleet.slots().values().map(|slot| slot.generation());
        if workers.chain(slots).max() > Some(releases.named().newest) {
            return Err("a generation is newer than the newest");
        }
        let captured = |generation| releases.named().pinned.contains(&generation);
        if running && !(captured(releases.stable()) && captured(releases.wanted())) {
            return Err("a generation that is needed is not captured");
        }
        Ok(Self::assemble(parts))
    }

    /// The same machine with other numbers, as a start with another command line has them. How many workers there are to
    /// be stays, until a command says otherwise; and so do the sockets that are bound.
    pub fn reconfigure(&mut self, config: Config) {
        self.fleet.reconfigure(config);
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
        if self.life.is_done() {
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
        if self.life.is_done() {
            return None;
        }
        if self.unfinished || self.releases.is_fresh() {
            return Some((self.clock.outside(self.clock.now()), TimerKind::Unfinished));
        }
        let (time, kind) = self.nearest()?;
        Some((self.clock.outside(time), kind))
    }

    /// The nearest deadline, on the machine's own clock.
    #[must_use]
    pub fn nearest(&self) -> Option<(Time, TimerKind)> {
        let fleet = self.fleet.index().deadlines.first().copied();
        let trial = self.releases.trial_end().map(|time| (time, TimerKind::Soak));
        let timeout = self.releases.timeout().map(|time| (time, TimerKind::Upgrade));
        let down = self.outage.map(|outage| (outage.next, TimerKind::Down));
        fleet.into_iter().chain(trial).chain(timeout).chain(down).min()
    }

    /// Since when nobody serves any more, if that is so.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// The generations, and the upgrade under way.
    #[must_use]
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// How far the upgrade is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.releases.stage()
    }

    /// Workers and slots, for those who want to look.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The same, for tests that spoil them.
    #[cfg(test)]
    pub(in crate::fsm) fn fleet_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// Where the supervisor itself is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// The generation that is proven.
    #[must_use]
    pub fn stable(&self) -> Generation {
        self.releases.stable()
    }

    /// The generation slots are brought to.
    #[must_use]
    pub fn wanted(&self) -> Generation {
        self.releases.wanted()
    }

    /// The upgrade under way.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        self.releases.rollout()
    }

    /// Requests that wait for an answer, and who sent them.
    #[must_use]
    pub fn waiting(&self) -> &BTreeMap<RequestId, ClientId> {
        self.requests.waiting()
    }

    /// Generations whose program is captured.
    #[must_use]
    pub fn pinned(&self) -> &BTreeSet<Generation> {
        &self.releases.named().pinned
    }

    /// The machine's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The machine's own time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Whether the last step left something undone, which the next one does.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
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
            EventKind::Notified { pid, word } => self.notified(pid, word),
            EventKind::Extended { pid, by } => self.extended(pid, by),
            EventKind::Seen { pid, sight } => self.seen(pid, sight),
            EventKind::Signalled { signal } => self.signalled(signal),
            EventKind::Requested { client, request, command } => self.requested(client, request, command),
            EventKind::ClientGone { client } => self.requests.leave(client),
        }
    }

    /// The one way to change the supervisor's own life: applies the table and does what follows.
    pub(super) fn live(&mut self, change: LifeChange) {
        match self.life.apply(change) {
            Ok(effects) => effects.iter().for_each(|effect| self.follow_life(*effect)),
            Err(rejected) => {
                self.impossible(format!("the supervisor is {}, and now {}", rejected.life, rejected.input));
            }
        }
    }

    fn follow_life(&mut self, effect: LifeEffect) {
        match effect {
            LifeEffect::Pin => {
                let generation = self.releases.name_next();
                self.act(Action::Pin { generation, request: None });
            }
            LifeEffect::Bind => {
                if let Life::Binding { done } = self.life {
                    self.act(Action::Bind { listener: ListenerId(done) });
                }
            }
            LifeEffect::Run => self.fleet.set_target(self.fleet.config().target, self.releases.stable()),
            LifeEffect::ReportUp => {
                let (workers, took) = (self.fleet.target(), self.clock.now().since(Time(0)));
                self.notice(Notice::Up { workers, took });
            }
            LifeEffect::ReportStopping => {
                if let Some(shutdown) = self.life.shutdown() {
                    let workers = self.fleet.index().census.total();
                    self.notice(Notice::Stopping { shutdown, workers });
                }
            }
            LifeEffect::Cancel => self.cancel_upgrade(),
            LifeEffect::Exit => self.exit(),
        }
    }

    /// The end. Whoever still waits for an answer gets one first.
    fn exit(&mut self) {
        self.cancel_upgrade();
        while let Some(request) = self.requests.first() {
            self.reply(request, Reply::NotRunning);
        }
        self.forget_unused();
        if let Life::Done { code } = self.life {
            self.act(Action::Exit { code });
        }
    }

    fn start(&mut self) {
        self.live(LifeChange::Start);
    }

    fn pinned_as(&mut self, generation: Generation) {
        if !self.releases.is_expected(generation) {
            return self.impossible(format!("generation {generation} pinned unasked"));
        }
        if self.life == Life::Pinning {
            self.releases.capture_first(generation);
            self.live(LifeChange::Pinned { listeners: self.fleet.config().listeners });
        } else if let Some(pinning) = self.releases.captured(generation) {
            self.begin_upgrade(pinning);
        } else {
            // Superseded, or the shutdown came first.
            self.act(Action::Forget { generation });
        }
    }

    fn pin_failed(&mut self, generation: Generation, error: SpawnError) {
        if !self.releases.is_expected(generation) {
            return self.impossible(format!("generation {generation} not pinned unasked"));
        }
        if self.life == Life::Pinning {
            self.notice(Notice::PinFailed { generation, error });
            self.live(LifeChange::PinFailed { code: error.exit_code().unwrap_or(1) });
        } else if let Some(pinning) = self.releases.not_captured(generation) {
            self.refuse_upgrade(pinning, error);
        }
    }

    fn bound(&mut self, listener: ListenerId) {
        if self.life != (Life::Binding { done: listener.0 }) {
            return self.impossible(format!("listener {listener} bound unasked"));
        }
        self.live(LifeChange::Bound { listeners: self.fleet.config().listeners });
    }

    fn bind_failed(&mut self, listener: ListenerId, errno: Errno) {
        if self.life != (Life::Binding { done: listener.0 }) {
            return self.impossible(format!("listener {listener} not bound unasked"));
        }
        self.notice(Notice::BindFailed { listener, errno });
        self.live(LifeChange::BindFailed);
    }

    /// Gives the service up: what runs is brought down, and the supervisor ends with `code`.
    pub(super) fn abandon(&mut self, shutdown: Shutdown, code: u8, failure: Failure) {
        self.notice(Notice::Lost { failure });
        self.live(LifeChange::Abandon { shutdown, code });
    }

    /// Notes whether this step has left something undone.
    pub(super) fn leave_undone(&mut self, unfinished: bool) {
        self.unfinished = unfinished;
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
    pub(super) fn expect_answer(&mut self, request: RequestId, client: ClientId) -> bool {
        self.requests.expect(request, client)
    }

    /// The final answer to a request, unless its client has left.
    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        if self.requests.settle(request) {
            self.act(Action::Reply { request, reply });
        }
    }
}

/// Kept apart so that the one deliberate panic is easy to find.
#[cold]
#[expect(clippy::panic, reason = "an impossible event is a bug, and tests are to find it")]
fn impossible_in_tests(what: &str) {
    panic!("impossible: {what}");
}
