//! A position that is to be filled with a worker, and what it remembers from one worker to the next:
//! failures, back-off, generation. Changed by the [`fleet`](super) only.
//!
//! Whether it may start a worker, its [`Hold`], is a machine of its own: [`transition`] is
//! `fsm-spec/slot.table`, which is edited first, and a test compares the two cell by cell. Who is in it
//! follows from what becomes of its workers.

use super::backoff;
use crate::fsm::words::{
    config::{Config, EARLY},
    event::ExitStatus,
    id::{Generation, SlotId, WorkerId},
    reason::{Failure, Next},
    table::Outcome,
    text::{BadText, Field, get_number, put_display, record, words},
    time::{Millis, Time},
};
use alloc::string::String;

record! {
    /// A position that is to be filled with a worker.
    #[derive(Copy)]
    pub opaque struct Slot {
        /// The worker that is to stay.
        current: Option<WorkerId>,
        /// The worker it takes over from.
        outgoing: Option<WorkerId>,
        /// What the current worker runs, or the next one will.
        generation: Generation,
        /// Whether a current worker of that generation has been healthy here.
        served: bool,
        /// Consecutive failed starts; too many of them and the slot is given up.
        failures: u32,
        /// Consecutive healthy workers that ended early; too many of them and its starts are spaced.
        early: u32,
        /// Whether it may start a worker.
        hold: Hold;
        /// What there is to tell of its workers of that generation.
        past: Past,
        /// The same of the outgoing worker's generation, in case the slot goes back to it.
        past_before: Option<Past>,
    }
}

record! {
    /// What there is to tell of a slot's workers of one generation. For people; nothing is decided by it.
    #[derive(Copy, Default)]
    pub struct Past {
        /// How many were started, but for those that the machine lacked something for.
        pub starts: u32,
        /// How the last failed start failed.
        pub last_failure: Option<Failure>,
        /// How the last one that ended did.
        pub last_exit: Option<ExitStatus>,
    }
}

/// Whether a slot may start a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may, as soon as it has none.
    Ready,
    /// Not before this time.
    Until(Time),
    /// No more; it failed too often.
    GaveUp,
}

impl Field for Hold {
    fn put(&self, out: &mut String) {
        match self {
            Self::Ready => out.push_str("ready"),
            Self::Until(time) => put_display(out, format_args!("until:{}", time.0)),
            Self::GaveUp => out.push_str("gave-up"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("until", time)) => get_number(time).map(Time).map(Self::Until),
            None if word == "ready" => Ok(Self::Ready),
            None if word == "gave-up" => Ok(Self::GaveUp),
            Some(_) | None => {
                Err(BadText::new(format_args!("`{word}` is none of: ready, until:MS, gave-up")))
            }
        }
    }
}

words! {
    /// A hold without its data: the rows of the table.
    pub enum HoldTag {
        /// It may start a worker.
        "ready" => Ready,
        /// Not yet.
        "waiting" => Waiting,
        /// No more.
        "gave-up" => GaveUp,
    }
}

words! {
    /// What can happen to a slot: the columns of the table. Guards are resolved before it: how a failure
    /// and the end of a worker that served weigh is settled by then.
    pub enum SlotInput {
        /// A start failed; the next has to wait.
        "fail" => Fail,
        /// A start failed, and that was the last.
        "fail-last" => FailLast,
        /// A worker ended that had lived long enough to owe nothing.
        "crash-late" => CrashLate,
        /// A worker ended early; the next may follow at once.
        "crash-now" => CrashNow,
        /// A worker ended early; the next has to wait.
        "crash-wait" => CrashWait,
        /// The machine lacks something for a while.
        "short" => Short,
        /// What failed so far is to count no more.
        "forgive" => Forgive,
        /// Its time has come.
        "release" => Release,
        /// It is to run another generation; who is in it is to be replaced.
        "begin" => Begin,
        /// It goes back to its outgoing worker.
        "revert" => Revert,
        /// It is empty, and its next worker is to run another generation.
        "reassign" => Reassign,
    }
}

words! {
    /// What follows from a move, beyond the move itself.
    pub enum SlotEffect {
        /// One more failed start in a row.
        "count" => Count,
        /// One more early end in a row.
        "early" => Early,
        /// The row of failed starts has ended.
        "recover" => Recover,
        /// No failures, no early ends.
        "clear" => Clear,
        /// The current worker, if there is one, becomes outgoing.
        "hand-over" => HandOver,
        /// Current and outgoing worker change places.
        "swap" => Swap,
        /// What was so far says nothing about this generation.
        "renew" => Renew,
    }
}

/// The table. Total: every input in every hold has an outcome.
#[must_use]
pub fn transition(hold: HoldTag, input: SlotInput) -> Outcome<HoldTag, SlotEffect> {
    use HoldTag::{GaveUp, Ready, Waiting};
    use Outcome::{Move, Reject};
    use SlotEffect::{Clear, Count, Early, HandOver, Recover, Renew, Swap};

    match (hold, input) {
        (Ready, SlotInput::Fail) => Move(Waiting, &[Count]),
        (Ready, SlotInput::FailLast) => Move(GaveUp, &[Count]),
        (Ready, SlotInput::CrashLate) => Move(Ready, &[Clear]),
        (Ready, SlotInput::CrashNow) => Move(Ready, &[Recover, Early]),
        (Ready, SlotInput::CrashWait) => Move(Waiting, &[Recover, Early]),
        (Ready, SlotInput::Short) => Move(Waiting, &[]),
        (Waiting, SlotInput::Release) => Move(Ready, &[]),
        (Ready | Waiting | GaveUp, SlotInput::Forgive) => Move(Ready, &[Clear]),
        (Ready | Waiting | GaveUp, SlotInput::Begin) => Move(Ready, &[HandOver, Renew, Clear]),
        (Ready | Waiting | GaveUp, SlotInput::Revert) => Move(Ready, &[Swap, Clear]),
        (Ready | Waiting | GaveUp, SlotInput::Reassign) => Move(Ready, &[Renew, Clear]),
        (Ready | GaveUp, SlotInput::Release)
        | (
            Waiting | GaveUp,
            SlotInput::Fail
            | SlotInput::FailLast
            | SlotInput::CrashLate
            | SlotInput::CrashNow
            | SlotInput::CrashWait
            | SlotInput::Short,
        ) => Reject,
    }
}

/// An input with the data that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotChange {
    Fail(Failure, Next),
    Crash(Crash),
    Short(Failure, Millis),
    Forgive,
    Release,
    Begin(Generation),
    Revert { generation: Generation, serves: bool },
    Reassign(Generation),
}

/// How many more starts a slot is given after one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// None: another would fail in the same way.
    None,
    /// As many in a row as the configuration says.
    Some,
    /// As many as it takes: what it runs has served.
    Endless,
}

/// How the end of a worker that served weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// It had lived long enough to owe nothing.
    Late,
    /// It ended early, and the next start has to wait so long.
    Early(Millis),
}

impl Crash {
    /// How long the next start has to wait.
    pub(super) fn delay(self) -> Millis {
        match self {
            Self::Late => Millis(0),
            Self::Early(delay) => delay,
        }
    }
}

impl SlotChange {
    fn input(self) -> SlotInput {
        match self {
            Self::Fail(_, Next::In(_)) => SlotInput::Fail,
            Self::Fail(_, Next::GivenUp { .. } | Next::NotReplaced) => SlotInput::FailLast,
            Self::Crash(Crash::Late) => SlotInput::CrashLate,
            Self::Crash(Crash::Early(Millis(0))) => SlotInput::CrashNow,
            Self::Crash(Crash::Early(_)) => SlotInput::CrashWait,
            Self::Short(..) => SlotInput::Short,
            Self::Forgive => SlotInput::Forgive,
            Self::Release => SlotInput::Release,
            Self::Begin(_) => SlotInput::Begin,
            Self::Revert { .. } => SlotInput::Revert,
            Self::Reassign(_) => SlotInput::Reassign,
        }
    }

    fn delay(self) -> Option<Millis> {
        match self {
            Self::Fail(_, Next::In(delay)) | Self::Crash(Crash::Early(delay)) | Self::Short(_, delay) => {
                Some(delay)
            }
            Self::Fail(_, Next::GivenUp { .. } | Next::NotReplaced)
            | Self::Crash(Crash::Late)
            | Self::Forgive
            | Self::Release
            | Self::Begin(_)
            | Self::Revert { .. }
            | Self::Reassign(_) => None,
        }
    }

    /// The generation it brings.
    fn generation(self) -> Option<Generation> {
        match self {
            Self::Begin(generation) | Self::Revert { generation, .. } | Self::Reassign(generation) => {
                Some(generation)
            }
            Self::Fail(..) | Self::Crash(_) | Self::Short(..) | Self::Forgive | Self::Release => None,
        }
    }
}

/// What a worker is to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that is to stay.
    Current,
    /// The one that is being replaced.
    Outgoing,
    /// None of it: it was asked to go before, or the slot is beyond the target.
    Loose,
}

/// That cannot happen to a slot now; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRejected {
    /// What it is.
    pub hold: HoldTag,
    /// What cannot happen then.
    pub input: SlotInput,
}

impl Hold {
    /// The row of the table.
    #[must_use]
    pub fn tag(self) -> HoldTag {
        match self {
            Self::Ready => HoldTag::Ready,
            Self::Until(_) => HoldTag::Waiting,
            Self::GaveUp => HoldTag::GaveUp,
        }
    }
}

impl Slot {
    /// An empty slot that is to run `generation`.
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            current: None,
            outgoing: None,
            generation,
            served: false,
            failures: 0,
            early: 0,
            hold: Hold::Ready,
            past: Past::default(),
            past_before: None,
        }
    }

    /// Whether it has no worker at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.outgoing.is_none()
    }

    /// What a worker is to it.
    #[must_use]
    pub fn role(&self, worker: WorkerId) -> Role {
        if self.current == Some(worker) {
            Role::Current
        } else if self.outgoing == Some(worker) {
            Role::Outgoing
        } else {
            Role::Loose
        }
    }

    /// What a failed start would lead to.
    pub(super) fn after_failure(&self, id: SlotId, tries: Tries, config: &Config) -> Next {
        let failures = self.failures.saturating_add(1);
        let over = match tries {
            Tries::None => true,
            Tries::Some => failures >= config.retries,
            Tries::Endless => false,
        };
        if over {
            return Next::GivenUp { failures };
        }
        Next::In(backoff::delay(config.backoff, failures, id))
    }

    /// How the end of a healthy worker weighs that has lived for `age`. What is bounded is what it costs: it
    /// is replaced at once, and only after several early ends in a row the next start keeps a distance from
    /// the last one, of a second at most. So whoever lived longer than that owes nothing.
    pub(super) fn after_crash(&self, id: SlotId, age: Millis, config: &Config) -> Crash {
        if age >= EARLY {
            return Crash::Late;
        }
        let spacing = backoff::spacing(config.backoff, self.early.saturating_add(1), id);
        Crash::Early(Millis(spacing.0.saturating_sub(age.0)))
    }

    /// The one way from one hold to another.
    pub(super) fn apply(&mut self, change: SlotChange, now: Time) -> Result<(), SlotRejected> {
        let (hold, input) = (self.hold.tag(), change.input());
        let rejected = SlotRejected { hold, input };
        let possible = match input {
            SlotInput::Begin => self.outgoing.is_none(),
            SlotInput::Revert => self.outgoing.is_some(),
            SlotInput::Reassign => self.is_empty(),
            SlotInput::Fail
            | SlotInput::FailLast
            | SlotInput::CrashLate
            | SlotInput::CrashNow
            | SlotInput::CrashWait
            | SlotInput::Short
            | SlotInput::Forgive
            | SlotInput::Release => true,
        };
        let (next, effects) = match transition(hold, input) {
            Outcome::Move(next, effects) if possible => (next, effects),
            Outcome::Stay => return Ok(()),
            Outcome::Move(..) | Outcome::Reject => return Err(rejected),
        };
        self.hold = match next {
            HoldTag::Ready => Hold::Ready,
            HoldTag::Waiting => Hold::Until(now + change.delay().ok_or(rejected)?),
            HoldTag::GaveUp => Hold::GaveUp,
        };
        effects.iter().for_each(|effect| self.follow(*effect));
        self.generation = change.generation().unwrap_or(self.generation);
        match change {
            SlotChange::Fail(failure, _) => self.past.last_failure = Some(failure),
            SlotChange::Short(failure, _) => {
                self.past.last_failure = Some(failure);
                // Nothing came to run that the next one would replace.
                self.past.starts = self.past.starts.saturating_sub(1);
            }
            SlotChange::Revert { serves, .. } => self.served = serves,
            SlotChange::Crash(_)
            | SlotChange::Forgive
            | SlotChange::Release
            | SlotChange::Begin(_)
            | SlotChange::Reassign(_) => {}
        }
        Ok(())
    }

    fn follow(&mut self, effect: SlotEffect) {
        match effect {
            SlotEffect::Count => self.failures = self.failures.saturating_add(1),
            SlotEffect::Early => self.early = self.early.saturating_add(1),
            SlotEffect::Recover => self.failures = 0,
            SlotEffect::Clear => (self.failures, self.early) = (0, 0),
            SlotEffect::HandOver => {
                self.outgoing = self.current.take();
                self.past_before = self.outgoing.map(|_| self.past);
            }
            SlotEffect::Swap => {
                core::mem::swap(&mut self.current, &mut self.outgoing);
                let before = self.past_before.take().unwrap_or_default();
                let attempt = core::mem::replace(&mut self.past, before);
                self.past_before = self.outgoing.map(|_| attempt);
            }
            SlotEffect::Renew => (self.past, self.served) = (Past::default(), false),
        }
    }

    /// Takes in the current worker that was started for it.
    pub(super) fn fill(&mut self, worker: WorkerId) {
        self.current = Some(worker);
        self.past.starts = self.past.starts.saturating_add(1);
    }

    /// Its current worker is healthy.
    pub(super) fn serve(&mut self) {
        self.served = true;
    }

    /// Lets a worker go.
    pub(super) fn leave(&mut self, worker: WorkerId) {
        match self.role(worker) {
            Role::Current => self.current = None,
            Role::Outgoing => (self.outgoing, self.past_before) = (None, None),
            Role::Loose => {}
        }
    }

    /// Notes how a worker ended, if it was of the generation that the slot is of.
    pub(super) fn note_exit(&mut self, generation: Generation, status: ExitStatus) {
        if generation == self.generation {
            self.past.last_exit = Some(status);
        }
    }
}
