//! The whole state as text, and back: what a supervisor hands to the one that takes its place.
//!
//! ```text
//! einhyrningsins-snapshot 1
//! config target=2 …
//! machine now=1500 skipped=0 life=running …
//! pinned generation=1
//! slot slot=0 current=1 generation=1 …
//! worker worker=1 slot=0 generation=1 phase=healthy pid=101 …
//! end lines=5 sum=0f3a…
//! ```
//!
//! The version in the first line changes whenever the meaning of anything below it does; a version
//! that is not known is refused rather than guessed at. The sum in the last line refuses what was cut
//! short or damaged, and the state is checked against the invariants, so that a snapshot that is
//! whole but makes no sense is refused too.

use crate::fsm::fleet::{
    slot::{Hold, Slot},
    worker::{PhaseTag, Worker},
};
use crate::fsm::words::{
    config::Config,
    event::{ExitStatus, Strategy},
    id::{ClientId, Generation, Pid, RequestId, SlotId, WorkerId},
    reason::{Cause, Failure, Why},
    signal::Shutdown,
    text::{BadText, Field, Record as _, get_number, put_display, records},
    time::{Millis, Time},
};
use crate::fsm::{
    machine::{
        rollout::Setback,
        supervisor::{Life, Supervisor},
    },
    words::upgrade::Stage,
};
use alloc::{
    format,
    string::{String, ToString as _},
};
use core::fmt;
use draft::Draft;

mod draft;

/// The version of the format.
pub const VERSION: u32 = 1;

const NAME: &str = "einhyrningsins-snapshot";

/// Why a snapshot is refused. Nothing of it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSnapshot {
    /// The line, counted from 1; 0 if it is about the whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl core::error::Error for BadSnapshot {}

fn whole(message: impl fmt::Display) -> BadSnapshot {
    BadSnapshot { line: 0, message: message.to_string() }
}

records! {
    /// A line of a snapshot, after the first two and before the last.
    pub enum Entry {
        /// The supervisor itself.
        "machine" => Machine {
            /// The machine's own time.
            now: Time,
            /// The time it has left out.
            skipped: Millis,
            /// Where it is.
            life: Life,
            /// How many workers there are to be.
            target: u32,
            /// The generation that is proven.
            stable: Generation,
            /// The generation that was named last.
            newest: Generation,
            /// The name of the next worker.
            next_worker: WorkerId,
            /// The exit status to end with.
            code: u8,
            /// Whether every slot had a healthy worker at some time.
            was_up: bool,
            /// Whether any worker was ever healthy.
            ever_healthy: bool,
            /// Whether the last step left something undone.
            unfinished: bool,
        },
        /// A program that is captured.
        "pinned" => Pinned {
            /// Of which generation.
            generation: Generation,
        },
        /// An upgrade whose program is being captured.
        "pinning" => Pinning {
            /// The generation it will be.
            generation: Generation,
            /// In which order.
            strategy: Strategy,
            /// How many new workers go ahead.
            canary: u32,
            /// How long they must stay healthy.
            soak: Millis,
            /// Who waits for it.
            request: Option<RequestId>,
        },
        /// An upgrade under way.
        "rollout" => Rollout {
            /// The new generation.
            generation: Generation,
            /// In which order.
            strategy: Strategy,
            /// How many new workers go ahead.
            canary: u32,
            /// How long they must stay healthy.
            soak: Millis,
            /// How far it is.
            stage: Stage,
            /// When that stage began.
            stage_since: Time,
            /// Whether it has only just been asked for.
            fresh: bool,
            /// When it began.
            since: Time,
            /// Who waits for it.
            request: Option<RequestId>,
            /// Workers that were asked to go for it.
            retired: u32,
            /// Healthy workers last told of.
            told_healthy: u32,
            /// Retired workers last told of.
            told_retired: u32,
        },
        /// Why that upgrade goes back.
        "setback" => Setback {
            /// What kind of reason.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How often it was tried.
            failures: u32,
            /// How it failed the last time.
            failure: Option<Failure>,
        },
        /// A slot.
        "slot" => Slot {
            /// Its number.
            slot: SlotId,
            /// The worker that is to stay.
            current: Option<WorkerId>,
            /// The worker it takes over from.
            outgoing: Option<WorkerId>,
            /// What it runs.
            generation: Generation,
            /// Whether a worker of that generation has been healthy in it.
            served: bool,
            /// Consecutive failed starts.
            failures: u32,
            /// The same, and early ends.
            strikes: u32,
            /// Whether it may start a worker.
            hold: Hold,
            /// How many workers were started for it.
            starts: u32,
            /// How the last failed start failed.
            last_failure: Option<Failure>,
            /// How its last worker ended.
            last_exit: Option<ExitStatus>,
        },
        /// A worker.
        "worker" => Worker {
            /// Its name.
            worker: WorkerId,
            /// The slot it was started for.
            slot: SlotId,
            /// What it runs.
            generation: Generation,
            /// Where it is.
            phase: PhaseTag,
            /// Its process.
            pid: Option<Pid>,
            /// Why it was asked to go.
            why: Option<Why>,
            /// When it was started.
            born: Time,
            /// When its phase began.
            since: Time,
            /// When it last pinged.
            pinged: Option<Time>,
        },
        /// A request that waits for an answer.
        "waiting" => Waiting {
            /// Which.
            request: RequestId,
            /// Who sent it.
            client: ClientId,
        },
    }
}

impl Field for Life {
    fn put(&self, out: &mut String) {
        match self {
            Self::New => out.push_str("new"),
            Self::Pinning => out.push_str("pinning"),
            Self::Binding(done) => put_display(out, format_args!("binding:{done}")),
            Self::Running => out.push_str("running"),
            Self::Stopping(shutdown) => put_display(out, format_args!("stopping:{shutdown}")),
            Self::Done => out.push_str("done"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match (word, word.split_once(':')) {
            ("new", _) => Ok(Self::New),
            ("pinning", _) => Ok(Self::Pinning),
            ("running", _) => Ok(Self::Running),
            ("done", _) => Ok(Self::Done),
            (_, Some(("binding", done))) => get_number(done).map(Self::Binding),
            (_, Some(("stopping", shutdown))) => Shutdown::get(shutdown).map(Self::Stopping),
            _ => Err(BadText::new(format_args!("`{word}` is no part of a supervisor's life"))),
        }
    }
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
        match (word, word.split_once(':')) {
            ("ready", _) => Ok(Self::Ready),
            ("gave-up", _) => Ok(Self::GaveUp),
            (_, Some(("until", time))) => Time::get(time).map(Self::Until),
            _ => Err(BadText::new(format_args!("`{word}` is none of: ready, until:MS, gave-up"))),
        }
    }
}

impl Supervisor {
    /// The whole state as text. Walks over all slots and workers.
    #[must_use]
    pub fn snapshot(&self) -> String {
        let mut out = format!("{NAME} {VERSION}\n{}\n", self.fleet.config().to_line());
        for entry in self.entries() {
            entry.write(&mut out);
            out.push('\n');
        }
        sealed(&out)
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let machine = Entry::Machine {
            now: self.clock.now(),
            skipped: self.clock.skipped(),
            life: self.life,
            target: self.fleet.target(),
            stable: self.stable,
            newest: self.newest,
            next_worker: self.fleet.next_worker(),
            code: self.code,
            was_up: self.was_up,
            ever_healthy: self.ever_healthy,
            unfinished: self.unfinished,
        };
        let pinned = self.pinned.iter().map(|generation| Entry::Pinned { generation: *generation });
        let pinning = self.pinning.iter().map(|pinning| Entry::Pinning {
            generation: pinning.generation,
            strategy: pinning.terms.strategy,
            canary: pinning.terms.canary,
            soak: pinning.terms.soak,
            request: pinning.request,
        });
        let rollout = self.rollout.iter().map(|rollout| Entry::Rollout {
            generation: rollout.generation,
            strategy: rollout.terms.strategy,
            canary: rollout.terms.canary,
            soak: rollout.terms.soak,
            stage: rollout.stage,
            stage_since: rollout.stage_since,
            fresh: rollout.fresh,
            since: rollout.since,
            request: rollout.request,
            retired: rollout.retired,
            told_healthy: rollout.told.0,
            told_retired: rollout.told.1,
        });
        let setback = self.rollout.iter().filter_map(|rollout| rollout.setback);
        let setback = setback.map(|Setback { cause, slot, failures, failure }| Entry::Setback {
            cause,
            slot,
            failures,
            failure,
        });
        let slots = self.fleet.slots().iter().map(|(id, slot)| slot_entry(*id, slot));
        let workers = self.fleet.workers().values().map(worker_entry);
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(request, client)| Entry::Waiting { request: *request, client: *client });
        let head = core::iter::once(machine).chain(pinned).chain(pinning).chain(rollout).chain(setback);
        head.chain(slots).chain(workers).chain(waiting)
    }

    /// Brings a state back.
    ///
    /// # Errors
    /// If the text is of another version, cut short, damaged, or tells of a state that cannot be.
    pub fn restore(text: &str) -> Result<Self, BadSnapshot> {
        let body = verified(text)?;
        let mut lines = (1..).zip(body.lines());
        let wrong = |line: usize| move |why: BadText| BadSnapshot { line, message: why.message };
        lines.next();
        let (number, line) = lines.next().ok_or_else(|| whole("there is no configuration"))?;
        let config = Config::from_line(line).map_err(wrong(number))?;
        let mut draft = Draft::new(config);
        for (number, line) in lines {
            let entry = Entry::from_line(line).map_err(wrong(number))?;
            draft.take(entry).map_err(|message| BadSnapshot { line: number, message })?;
        }
        draft.finish()
    }
}

/// The lines before the last with the last line that fits them: the number of lines and their sum.
#[must_use]
pub fn sealed(body: &str) -> String {
    format!("{body}end lines={} sum={:016x}\n", body.lines().count(), checksum(body))
}

/// Checks the first and the last line, and returns everything before the last.
fn verified(text: &str) -> Result<&str, BadSnapshot> {
    let first = text.lines().next().unwrap_or_default();
    let version = first.strip_prefix(NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(VERSION) => {}
        Some(other) => {
            let message = format!("version {other} is not known, only {VERSION}");
            return Err(BadSnapshot { line: 1, message });
        }
        None => return Err(BadSnapshot { line: 1, message: format!("`{NAME} VERSION` expected") }),
    }
    let without_end = text.strip_suffix('\n').ok_or_else(|| whole("cut short: the last line has no end"))?;
    let begin = without_end.rfind('\n').map_or(0, |at| at + 1);
    let (body, last) = text.split_at_checked(begin).unwrap_or_default();
    let expected = format!("end lines={} sum={:016x}", body.lines().count(), checksum(body));
    if last.trim_end() == expected {
        Ok(body)
    } else if last.starts_with("end ") {
        Err(whole("damaged: the lines do not add up to what the last one says"))
    } else {
        Err(whole("cut short: the last line is not `end …`"))
    }
}

/// Fowler, Noll and Vo's hash, 64 bits, variant 1a: finds damage, not malice.
fn checksum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn slot_entry(id: SlotId, slot: &Slot) -> Entry {
    Entry::Slot {
        slot: id,
        current: slot.current,
        outgoing: slot.outgoing,
        generation: slot.generation,
        served: slot.served,
        failures: slot.failures,
        strikes: slot.strikes,
        hold: slot.hold,
        starts: slot.starts,
        last_failure: slot.last_failure,
        last_exit: slot.last_exit,
    }
}

fn worker_entry(worker: &Worker) -> Entry {
    Entry::Worker {
        worker: worker.id,
        slot: worker.slot,
        generation: worker.generation,
        phase: worker.phase.tag(),
        pid: worker.phase.pid(),
        why: worker.phase.why(),
        born: worker.born,
        since: worker.since,
        pinged: worker.pinged,
    }
}
