//! A worker's place in a slot, and what it remembers from one worker to the next: failures, back-off,
//! generation. Changed by its [`slot`](super::slot) only.
//!
//! Whether it may start a worker, its [`Hold`], is a machine of its own: [`transition`] is
//! `fsm-spec/slot.table`, which is edited first, and a test compares the two cell by cell. Who is in it
//! follows from what becomes of its workers.

use super::backoff::{self, Turn};
use crate::fsm::words::{
    config::{Config, EARLY, FREE_ENDS, FREE_ENDS_IN_A_CROWD, SPACING_IN_A_CROWD},
    event::ExitStatus,
    id::{Generation, SlotId, WorkerId},
    reason::{Failure, Next},
    table::Outcome,
    text::{BadText, Field, get_number, put_display, record, words},
    time::{Millis, Time},
};
use alloc::string::String;

record! {
    /// A worker's place in a slot.
    #[derive(Copy)]
    pub opaque struct Seat {
        /// The worker.
        worker: Option<WorkerId>,
        /// What it runs, or the next one will.
        generation: Generation,
        /// Whether a current worker of that generation has been healthy here.
        served: bool,
        /// Consecutive failed starts; too many of them and the seat is given up.
        failures: u32,
        /// Consecutive workers that ended early, and were healthy or are spared; too many of them and its starts are
        /// spaced.
        early: u32,
        /// Consecutive starts that the machine lacked something for.
        lacks: u32,
        /// Whether it may start a worker.
        hold: Hold;
        /// What there is to tell of its workers.
        past: Past,
    }
}

record! {
    /// What there is to tell of the workers of a seat. For people; nothing is decided by it.
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

/// Whether a seat may start a worker.
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
    /// What can happen to a seat: the columns of the table. Guards are resolved before it: how a failure
    /// and the end of a worker that served weigh is settled by then.
    pub enum SlotInput {
        /// What is known to serve ended early, before it was healthy; the next may follow at once.
        "fail-now" => FailNow,
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
    }
}

words! {
    /// What follows from a move, beyond the move itself.
    pub enum SlotEffect {
        /// One more failed start in a row.
        "count" => Count,
        /// One more early end in a row.
        "early" => Early,
        /// One more start in a row that the machine lacked something for.
        "lack" => Lack,
        /// The row of failed starts has ended.
        "recover" => Recover,
        /// No failures, no early ends.
        "clear" => Clear,
    }
}

/// The table. Total: every input in every hold has an outcome.
#[must_use]
pub fn transition(hold: HoldTag, input: SlotInput) -> Outcome<HoldTag, SlotEffect> {
    use HoldTag::{GaveUp, Ready, Waiting};
    use Outcome::{Move, Reject};
    use SlotEffect::{Clear, Count, Early, Lack, Recover};

    match (hold, input) {
        (Ready, SlotInput::FailNow) => Move(Ready, &[Early]),
        (Ready, SlotInput::Fail) => Move(Waiting, &[Count]),
        (Ready, SlotInput::FailLast) => Move(GaveUp, &[Count]),
        (Ready, SlotInput::CrashLate) => Move(Ready, &[Clear]),
        (Ready, SlotInput::CrashNow) => Move(Ready, &[Recover, Early]),
        (Ready, SlotInput::CrashWait) => Move(Waiting, &[Recover, Early]),
        (Ready, SlotInput::Short) => Move(Waiting, &[Lack]),
        (Waiting, SlotInput::Release) => Move(Ready, &[]),
        (Ready | Waiting | GaveUp, SlotInput::Forgive) => Move(Ready, &[Clear]),
        (Ready | GaveUp, SlotInput::Release)
        | (
            Waiting | GaveUp,
            SlotInput::FailNow
            | SlotInput::Fail
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
}

/// How many more starts a seat is given after one that failed.
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

/// How many slots end early at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    /// So few that what they cost is no concern.
    Sparse,
    /// So many that they share what the machine can bear.
    Dense,
}

impl Crowd {
    /// So many early ends in a row are replaced at once.
    fn free_ends(self) -> u32 {
        match self {
            Self::Sparse => FREE_ENDS,
            Self::Dense => FREE_ENDS_IN_A_CROWD,
        }
    }
}

impl Crash {
    /// How long the next start has to wait.
    pub(super) fn delay(self) -> Millis {
        match self {
            Self::Late => Millis(0),
            Self::Early(delay) => delay,
        }
    }

    /// The same, unless a turn comes sooner; with it, if it is taken.
    pub(super) fn in_turn(self, turn: Option<Turn>) -> (Self, Option<Turn>) {
        match turn.filter(|turn| turn.wait < self.delay()) {
            Some(turn) => (Self::Early(turn.wait), Some(turn)),
            None => (self, None),
        }
    }
}

impl SlotChange {
    fn input(self) -> SlotInput {
        match self {
            Self::Fail(_, Next::In(Millis(0))) => SlotInput::FailNow,
            Self::Fail(_, Next::In(_)) => SlotInput::Fail,
            Self::Fail(_, Next::GivenUp { .. } | Next::NotReplaced) => SlotInput::FailLast,
            Self::Crash(Crash::Late) => SlotInput::CrashLate,
            Self::Crash(Crash::Early(Millis(0))) => SlotInput::CrashNow,
            Self::Crash(Crash::Early(_)) => SlotInput::CrashWait,
            Self::Short(..) => SlotInput::Short,
            Self::Forgive => SlotInput::Forgive,
            Self::Release => SlotInput::Release,
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
            | Self::Release => None,
        }
    }
}

/// That cannot happen to a slot now; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRejected {
    /// What it is.
    pub hold: HoldTag,
    /// What cannot happen then.
    pub input: &'static str,
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

impl Seat {
    /// An empty seat that is to run `generation`.
    pub(super) fn new(generation: Generation) -> Self {
        let (served, hold, past) = (false, Hold::Ready, Past::default());
        Self { worker: None, generation, served, failures: 0, early: 0, lacks: 0, hold, past }
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
    /// the last one. So whoever lived longer than that owes nothing.
    pub(super) fn after_crash(&self, id: SlotId, age: Millis, crowd: Crowd, config: &Config) -> Crash {
        if age >= EARLY {
            return Crash::Late;
        }
        let ends = self.early.saturating_add(1);
        let spacing = match crowd {
            Crowd::Dense if ends > FREE_ENDS_IN_A_CROWD => backoff::spread_out(SPACING_IN_A_CROWD, id),
            Crowd::Sparse | Crowd::Dense => backoff::spacing(config.backoff, ends, id),
        };
        Crash::Early(Millis(spacing.0.saturating_sub(age.0)))
    }

    /// What the end of a worker that was not healthy yet leads to, if it counts as an early end and not as a failed
    /// start: in what is known to serve, as long as such an end is replaced at once.
    pub(super) fn spares(
        &self,
        failure: Failure,
        (tries, age): (Tries, Millis),
        crowd: Crowd,
    ) -> Option<Next> {
        let early = matches!(failure, Failure::Exited(_)) && age < EARLY;
        let free = early && tries == Tries::Endless && self.early < crowd.free_ends();
        free.then_some(Next::In(Millis(0)))
    }

    /// The one way from one hold to another.
    pub(super) fn apply(&mut self, change: SlotChange, now: Time) -> Result<(), SlotRejected> {
        let (hold, input) = (self.hold.tag(), change.input());
        let rejected = SlotRejected { hold, input: input.word() };
        let (next, effects) = match transition(hold, input) {
            Outcome::Move(next, effects) => (next, effects),
            Outcome::Stay => return Ok(()),
            Outcome::Reject => return Err(rejected),
        };
        self.hold = match next {
            HoldTag::Ready => Hold::Ready,
            HoldTag::Waiting => Hold::Until(now + change.delay().ok_or(rejected)?),
            HoldTag::GaveUp => Hold::GaveUp,
        };
        effects.iter().for_each(|effect| self.follow(*effect));
        match change {
            SlotChange::Fail(failure, _) => self.past.last_failure = Some(failure),
            SlotChange::Short(failure, _) => {
                self.past.last_failure = Some(failure);
                // Nothing came to run that the next one would replace.
                self.past.starts = self.past.starts.saturating_sub(1);
            }
            SlotChange::Crash(_) | SlotChange::Forgive | SlotChange::Release => {}
        }
        Ok(())
    }

    fn follow(&mut self, effect: SlotEffect) {
        match effect {
            SlotEffect::Count => (self.failures, self.lacks) = (self.failures.saturating_add(1), 0),
            SlotEffect::Early => (self.early, self.lacks) = (self.early.saturating_add(1), 0),
            SlotEffect::Lack => self.lacks = self.lacks.saturating_add(1),
            SlotEffect::Recover => (self.failures, self.lacks) = (0, 0),
            SlotEffect::Clear => (self.failures, self.early, self.lacks) = (0, 0, 0),
        }
    }

    /// It is to be filled again, whatever failed in it; whether its worker serves counts from now on.
    pub(super) fn return_to(&mut self, serves: bool, now: Time) -> Result<(), SlotRejected> {
        self.served = serves;
        self.apply(SlotChange::Forgive, now)
    }

    /// Takes in the worker that was started for it.
    pub(super) fn fill(&mut self, worker: WorkerId) {
        self.worker = Some(worker);
        self.past.starts = self.past.starts.saturating_add(1);
    }

    /// Its worker is healthy.
    pub(super) fn serve(&mut self) {
        self.served = true;
    }

    /// Its worker is none of its any more.
    pub(super) fn leave(&mut self) {
        self.worker = None;
    }

    /// Notes how a worker of its ended.
    pub(super) fn note_exit(&mut self, status: ExitStatus) {
        self.past.last_exit = Some(status);
    }
}
