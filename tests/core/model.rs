//! A second, dumb machine: what a history means, worked out from its first line every time.
//!
//! It keeps nothing between two looks, has no index and no transition function: what happens to a
//! worker it reads in `fsm-spec/worker.table`. It decides by itself what every event means and which
//! orders must follow from it, and takes as given only what the machine is free to decide: which
//! worker to start where, whom to ask to go, and how upgrades proceed.

mod decisions;
mod pace;
mod passing;
mod proof;
mod requests;
mod workers;

use crate::table::Cell;
use einhyrningsins::fsm::{
    action::{Action, Reply, Scope},
    config::Config,
    event::{Event, EventKind, Proof, Prospect, SpawnError, Strategy},
    id::{Generation, Pid, RequestId, SlotId, WorkerId},
    life::Life,
    notice::Notice,
    reason::{Cause, Failure, Why},
    signal::{Shutdown, Signal},
    slot::{Hold, Side},
    supervisor::Outage,
    time::{Millis, Time},
    worker::{Input, PhaseTag},
};
use std::collections::{BTreeMap, VecDeque};

/// `fsm-spec/worker.table`.
pub type Table = BTreeMap<(PhaseTag, Input), Cell>;

/// What went in, and what came out.
#[derive(Clone, Debug)]
pub struct Step {
    pub event: Event,
    pub actions: Vec<Action>,
    /// Slots taken over by the upgrade before there was room to start a worker: decided without a word.
    pub taken: Vec<SlotId>,
}

/// Why the machine is wrong.
pub type Wrong = String;

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub slot: SlotId,
    pub generation: Generation,
    pub tag: PhaseTag,
    pub pid: Option<Pid>,
    pub why: Option<Why>,
    /// Whether it has all the time there is after TERM.
    pub patient: bool,
    pub born: Time,
    pub since: Time,
    pub proof: Option<Proof>,
    pub registered: Option<Time>,
    pub extended: Option<Time>,
    pub strict: bool,
}

/// A worker's place in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chair {
    pub worker: Option<WorkerId>,
    pub generation: Generation,
    pub served: bool,
    pub failures: u32,
    pub early: u32,
    pub lacks: u32,
    pub hold: Hold,
}

impl Chair {
    fn new(generation: Generation) -> Self {
        let (worker, served, hold) = (None, false, Hold::Ready);
        Self { worker, generation, served, failures: 0, early: 0, lacks: 0, hold }
    }

    fn forgive(&mut self) {
        (self.failures, self.early, self.lacks, self.hold) = (0, 0, 0, Hold::Ready);
    }
}

/// A slot: whoever is to stay, and whoever is being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub front: Chair,
    pub back: Option<Chair>,
}

impl Place {
    fn new(generation: Generation) -> Self {
        Self { front: Chair::new(generation), back: None }
    }

    fn outgoing(&self) -> Option<WorkerId> {
        self.back.as_ref()?.worker
    }

    fn chair(&mut self, side: Side) -> Option<&mut Chair> {
        match side {
            Side::Current => Some(&mut self.front),
            Side::Outgoing => self.back.as_mut(),
        }
    }

    fn side_of(&self, worker: WorkerId) -> Option<Side> {
        let front = (self.front.worker == Some(worker)).then_some(Side::Current);
        front.or_else(|| (self.outgoing() == Some(worker)).then_some(Side::Outgoing))
    }

    /// It was given up, or has failed as often as it takes for that and does not only wait for room. Whether
    /// its worker is healthy again must be asked besides.
    fn has_failed(&self, config: &Config) -> bool {
        let Chair { worker, failures, hold, .. } = self.front;
        let reserved = self.back.is_some() && worker.is_none() && hold == Hold::Ready;
        hold == Hold::GaveUp || (failures >= config.retries && !reserved)
    }

    /// Nobody stands in for who is gone.
    fn close(&mut self) {
        self.back.take_if(|back| back.worker.is_none());
    }
}

/// An upgrade under way.
#[derive(Clone, Copy, Debug)]
struct Upgrade {
    generation: Generation,
    soak: Millis,
    /// When it has taken as long as it may.
    timeout: Option<Time>,
    fleet: bool,
    /// Trials that are still to be passed.
    trials: u32,
    /// Whether it has shown all that was asked for.
    proven: bool,
    back: bool,
    /// Whether any worker of it was ever healthy.
    has_served: bool,
    /// Whether any worker of it has shown that it is ready.
    shows: bool,
    /// Whether nothing may be touched before the shell has told all it knows.
    fresh: bool,
    trial_end: Option<Time>,
}

/// What a history comes to.
pub struct Model<'a> {
    config: &'a Config,
    table: &'a Table,
    pub now: Time,
    pub skipped: Millis,
    /// The latest deadline that was put off since nothing ran.
    excused: Option<Time>,
    pub life: Life,
    pub target: u32,
    pub stable: Generation,
    /// Whether any worker of it was ever healthy.
    served: bool,
    /// Whether any worker of it has shown that it is ready.
    shows: bool,
    outage: Option<Outage>,
    upgrade: Option<Upgrade>,
    /// The generation whose program is being captured.
    pinning: Option<Generation>,
    last_worker: WorkerId,
    pub workers: BTreeMap<WorkerId, Known>,
    pub slots: BTreeMap<SlotId, Place>,
    /// What the machine ordered in the present step and is not accounted for yet.
    orders: VecDeque<Action>,
    /// When somebody was replaced out of turn, since nobody was left.
    pub turns: Vec<Time>,
}

/// What an input brings along.
#[derive(Clone, Copy, Default)]
struct With {
    pid: Option<Pid>,
    why: Option<Why>,
    failure: Option<Failure>,
    proof: Option<Proof>,
}

/// Whether that is the machine's fault, and nobody else's.
fn is_short(error: Option<SpawnError>) -> bool {
    error.is_some_and(|error| error.prospect == Prospect::Shortage)
}

fn why(why: Why) -> With {
    With { why: Some(why), ..With::default() }
}

fn failing(failure: Failure) -> With {
    With { failure: Some(failure), ..With::default() }
}

impl<'a> Model<'a> {
    /// Reads a history from its beginning.
    pub fn of(config: &'a Config, table: &'a Table, history: &[Step]) -> Result<Self, Wrong> {
        let mut model = Self {
            config,
            table,
            now: Time(0),
            skipped: Millis(0),
            excused: None,
            life: Life::New,
            target: 0,
            stable: Generation(0),
            served: false,
            shows: false,
            outage: None,
            upgrade: None,
            pinning: None,
            last_worker: WorkerId(0),
            workers: BTreeMap::new(),
            slots: BTreeMap::new(),
            orders: VecDeque::new(),
            turns: Vec::new(),
        };
        for Step { event, actions, taken } in history {
            model.orders =
                actions.iter().filter(|action| decisions::concerns(action, &event.kind)).cloned().collect();
            model.pass_time(event.at)?;
            model.take_in(&event.kind)?;
            model.accept_decisions()?;
            let mut pins = actions.iter().filter_map(|action| match action {
                Action::Pin { generation, .. } if model.life.is_running() => Some(*generation),
                _ => None,
            });
            model.pinning = pins.next_back().or(model.pinning);
            taken.iter().try_for_each(|slot| model.take_over(*slot))?;
            model.look_whether_up();
            model.look_whether_proven();
            model.look_whether_down()?;
        }
        Ok(model)
    }

    /// Whose process that is.
    fn owner(&self, pid: Pid) -> Option<WorkerId> {
        self.workers.iter().find(|(_, known)| known.pid == Some(pid)).map(|(id, _)| *id)
    }

    fn tag(&self, worker: Option<WorkerId>) -> Option<PhaseTag> {
        Some(self.workers.get(&worker?)?.tag)
    }

    fn wanted(&self) -> Generation {
        self.coming().map_or(self.stable, |upgrade| upgrade.generation)
    }

    /// The upgrade, if it goes forward.
    fn coming(&self) -> Option<Upgrade> {
        self.upgrade.filter(|upgrade| !upgrade.back)
    }

    /// The upgrade, if it goes forward to that generation and that is not trusted yet.
    fn is_coming(&self, generation: Generation) -> Option<Upgrade> {
        self.coming().filter(|upgrade| upgrade.generation == generation && !upgrade.proven)
    }

    /// The next order must be this one.
    fn must(&mut self, expected: Action) -> Result<(), Wrong> {
        match self.orders.pop_front() {
            Some(found) if found == expected => Ok(()),
            found => Err(format!("{expected:?} is called for, not {found:?}")),
        }
    }

    fn must_tell(&mut self, notice: Notice) -> Result<(), Wrong> {
        self.must(Action::Notice { notice })
    }

    fn must_answer(&mut self, request: Option<RequestId>, reply: Reply) -> Result<(), Wrong> {
        request.map_or(Ok(()), |request| self.must(Action::Reply { request, reply }))
    }

    fn must_be_impossible(&mut self) -> Result<(), Wrong> {
        match self.orders.pop_front() {
            Some(Action::Notice { notice: Notice::Impossible { .. } }) => Ok(()),
            found => Err(format!("that was impossible, and {found:?} came of it")),
        }
    }

    fn take_in(&mut self, kind: &EventKind) -> Result<(), Wrong> {
        let running = self.life.is_running();
        if let EventKind::Pinned { generation } | EventKind::PinFailed { generation, .. } = kind {
            self.pinning = self.pinning.filter(|pinning| pinning != generation);
        }
        match kind {
            EventKind::Start if self.life == Life::New => self.life = Life::Pinning,
            EventKind::Pinned { generation: Generation(1) } if self.life == Life::Pinning => {
                self.stable = Generation(1);
                self.life = Life::Binding { done: 0 };
                self.run_if_bound();
            }
            EventKind::Bound { listener } if self.life == (Life::Binding { done: listener.0 }) => {
                self.life = Life::Binding { done: listener.0 + 1 };
                self.run_if_bound();
            }
            EventKind::Pinned { generation } if running => return self.upgrade(*generation),
            EventKind::Woke => return self.woke(),
            EventKind::Spawned { worker, pid } => return self.spawned(*worker, *pid),
            EventKind::SpawnFailed { worker, error } => {
                if self.workers.get(worker).is_some_and(|known| known.pid.is_some()) {
                    return self.must_be_impossible();
                }
                let input = if is_short(Some(*error)) { Input::Short } else { Input::SpawnFailed };
                return self.apply(*worker, input, failing(Failure::Spawn(*error)));
            }
            EventKind::Exited { pid, status, error, orphans } => {
                return self.exited(*pid, (*status, *error), *orphans);
            }
            EventKind::Acked { pid, sender, group, request }
            | EventKind::Pinged { pid, sender, group, request } => {
                let reply = self.message(*pid, *sender, *group, matches!(kind, EventKind::Acked { .. }))?;
                return self.must_answer(*request, reply);
            }
            EventKind::Seen { pid, sight } => return self.seen(*pid, *sight),
            EventKind::Notified { pid, word } => return self.notified(*pid, *word),
            EventKind::Extended { pid, by } => self.extended(*pid, *by),
            EventKind::Signalled { signal } => match signal {
                Signal::Ttin if self.life.is_running() => self.step(self.target + 1)?,
                Signal::Ttou if self.life.is_running() => self.step(self.target - 1)?,
                Signal::Usr1 => {
                    self.pass_on(*signal, &[], Scope::Handler)?;
                }
                Signal::Cont => {
                    self.pass_on(*signal, &[], Scope::Process)?;
                }
                _ => {
                    // KILL cannot be caught, so nobody is told of it.
                    let shutdown = Shutdown::from_signal(*signal).filter(|_| *signal != Signal::Kill);
                    shutdown.map_or(Ok(None), |shutdown| self.stop(shutdown).map(Some))?;
                }
            },
            EventKind::Requested { request, command, .. } => return self.requested(*request, command),
            EventKind::Start
            | EventKind::Pinned { .. }
            | EventKind::PinFailed { .. }
            | EventKind::Bound { .. }
            | EventKind::BindFailed { .. }
            | EventKind::ClientGone { .. } => {}
        }
        Ok(())
    }

    fn run_if_bound(&mut self) {
        if self.life == (Life::Binding { done: self.config.listeners }) {
            self.life = Life::Starting;
            self.set_target(self.config.target);
        }
    }

    fn set_target(&mut self, target: u32) {
        for id in (self.target..target).map(SlotId) {
            let fresh = Place::new(self.stable);
            self.slots.entry(id).or_insert(fresh);
        }
        self.target = target;
        self.prune();
    }

    /// A slot beyond the target is there for its workers only.
    fn prune(&mut self) {
        let target = self.target;
        for (_, place) in self.slots.iter_mut().filter(|(id, _)| id.0 >= target) {
            place.close();
        }
        self.slots.retain(|id, place| id.0 < target || place.front.worker.is_some() || place.back.is_some());
    }

    /// A newer upgrade takes over from an older one where that has got nowhere.
    fn upgrade(&mut self, generation: Generation) -> Result<(), Wrong> {
        let begins = |action: &Action| matches!(action, Action::Notice { notice: Notice::Upgrading { .. } });
        if !self.orders.iter().any(begins) {
            return Ok(());
        }
        if self.upgrade.is_some() {
            let healthy = Some(PhaseTag::Healthy);
            for slot in self.replacing() {
                let place = &self.slots[&slot];
                let proven = place.back.as_ref().is_some_and(|back| back.generation == self.stable);
                let left = place.front.generation != self.stable;
                if left && (proven || self.tag(place.front.worker) != healthy) {
                    self.give_back(slot)?;
                }
            }
        }
        let Some(Action::Notice {
            notice: Notice::Upgrading { generation: told, soak, canary, strategy, timeout },
        }) = self.orders.pop_front()
        else {
            return Err(format!("generation {generation} comes, and something else is told first"));
        };
        let soak = soak.unwrap_or_default();
        self.upgrade = Some(Upgrade {
            generation,
            soak,
            timeout: timeout.map(|time| self.now + time),
            fleet: strategy == Strategy::Fleet,
            trials: if soak > Millis(0) { 1 + u32::from(canary.is_some()) } else { 0 },
            proven: false,
            back: false,
            has_served: false,
            shows: false,
            fresh: true,
            trial_end: None,
        });
        if told == generation { Ok(()) } else { Err(format!("{told} comes, and {generation} was captured")) }
    }

    /// The new generation is taken back: every slot in the middle of a change is given back.
    fn set_back(&mut self, cause: Cause, failed: Option<(SlotId, Failure)>) -> Result<(), Wrong> {
        let to = self.stable;
        let upgrade = self.upgrade.as_mut().filter(|upgrade| !upgrade.back).ok_or("nothing comes")?;
        (upgrade.back, upgrade.fresh, upgrade.trial_end) = (true, false, None);
        let generation = upgrade.generation;
        let (mut slot, mut failure) = failed.unzip();
        if cause == Cause::TimedOut
            && let Some(Action::Notice { notice: Notice::RollingBack { slot: lacking, failure: last, .. } }) =
                self.orders.front()
        {
            // Whatever lacks a worker, if anything does.
            (slot, failure) = (*lacking, *last);
        }
        self.must_tell(Notice::RollingBack { generation, to, cause, slot, failure })?;
        let left = |slot: &SlotId| self.slots[slot].front.generation != to;
        let left: Vec<SlotId> = self.replacing().into_iter().filter(left).collect();
        left.into_iter().try_for_each(|slot| self.give_back(slot))
    }

    fn replacing(&self) -> Vec<SlotId> {
        let replacing = |(id, place): &(&SlotId, &Place)| id.0 < self.target && place.back.is_some();
        self.slots.iter().filter(replacing).map(|(id, _)| *id).collect()
    }

    fn give_back(&mut self, slot: SlotId) -> Result<(), Wrong> {
        let place = self.slots.get_mut(&slot).ok_or("a slot is missing")?;
        let back = place.back.take().ok_or("nobody to give the slot back to")?;
        let attempt = std::mem::replace(&mut place.front, back);
        place.front.forgive();
        let serves = |worker| self.workers[&worker].tag == PhaseTag::Healthy;
        place.front.served = place.front.worker.is_some_and(serves);
        let gone = attempt.worker;
        place.back = Some(attempt).filter(|attempt| attempt.worker.is_some());
        match gone {
            Some(worker) if self.tag(Some(worker)) != Some(PhaseTag::Healthy) => {
                self.apply(worker, Input::Drain, why(Why::Withdrawn))
            }
            _ => Ok(()),
        }
    }
}
