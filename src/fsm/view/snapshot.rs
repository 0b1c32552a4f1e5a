//! The whole state as text, and back: what a supervisor hands to the one that takes its place.
//!
//! ```text
//! einhyrningsins-snapshot 6
//! config target=2 …
//! clock now=1500 skipped=0
//! life up
//! releases stable=1 served=yes newest=1 pinned=1
//! fleet target=2 next_worker=3
//! slot slot=0 worker=1 generation=1 …
//! worker worker=1 slot=0 generation=1 … healthy pid=101
//! end lines=9 sum=0f3a…
//! ```
//!
//! The version in the first line changes whenever the meaning of anything below it does; a version
//! that is not known is refused rather than guessed at. The sum in the last line refuses what was cut
//! short or damaged, and the state is checked against the invariants, so that a snapshot that is
//! whole but makes no sense is refused too.

use crate::fsm::{
    fleet::{Extent, slot::Slot, worker::Worker},
    machine::{
        life::Life,
        releases::{Named, Pinning, Rollout},
        supervisor::{Outage, Supervisor},
    },
    words::{
        config::Config,
        id::{ClientId, RequestId, SlotId},
        text::{BadText, Record as _, records},
        time::Clock,
    },
};
use alloc::{
    format,
    string::{String, ToString as _},
};
use core::fmt;
use draft::Draft;

mod draft;

/// The version of the format.
pub const VERSION: u32 = 7;

/// The oldest version that is read. What came since: 6, the status `unknown` of a process that ended; 7, the
/// turns of those that left nobody.
pub const OLDEST: u32 = 5;

const NAME: &str = "einhyrningsins-snapshot";

/// How the last line begins.
pub(super) const END: &str = "end ";

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
    /// A line of a snapshot, after the first two and before the last. What there is in each is declared
    /// where the state is.
    pub enum Entry {
        /// The machine's clock.
        "clock" => Clock {
            ;
            /// As it is.
            clock: Clock,
        },
        /// Where the supervisor itself is.
        "life" => Life {
            ;
            /// As it is.
            life: Life,
        },
        /// The last step left something undone.
        "unfinished" => Unfinished,
        /// The generations there are.
        "releases" => Named {
            ;
            /// As they are.
            named: Named,
        },
        /// An upgrade whose program is being captured.
        "pinning" => Pinning {
            ;
            /// As it is.
            pinning: Pinning,
        },
        /// An upgrade under way.
        "rollout" => Rollout {
            ;
            /// As it is.
            rollout: Rollout,
        },
        /// The numbers of the fleet.
        "fleet" => Extent {
            ;
            /// As they are.
            extent: Extent,
        },
        /// A slot.
        "slot" => Slot {
            /// Its number.
            slot: SlotId;
            /// As it is.
            state: Slot,
        },
        /// A worker.
        "worker" => Worker {
            ;
            /// As it is.
            worker: Worker,
        },
        /// Nobody serves any more.
        "outage" => Outage {
            ;
            /// As it is.
            outage: Outage,
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

impl Supervisor {
    /// The whole state as text. Walks over all slots and workers.
    #[must_use]
    pub fn snapshot(&self) -> String {
        let mut out = String::new();
        self.save(|line| out.push_str(line));
        out
    }

    /// The same, a line at a time.
    pub fn save(&self, mut write: impl FnMut(&str)) {
        let mut seal = Seal::default();
        let mut line = format!("{NAME} {VERSION}\n{}\n", self.fleet().config().to_line());
        seal.add(&line);
        write(&line);
        for entry in self.entries() {
            line.clear();
            entry.write(&mut line);
            line.push('\n');
            seal.add(&line);
            write(&line);
        }
        write(&format!("{seal}\n"));
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let (fleet, releases) = (self.fleet(), self.releases());
        let head = [
            Entry::Clock { clock: self.clock() },
            Entry::Life { life: self.life() },
            Entry::Named { named: releases.named().clone() },
            Entry::Extent { extent: fleet.extent() },
        ];
        let unfinished = self.is_unfinished().then_some(Entry::Unfinished);
        let pinning = releases.pinning().map(|pinning| Entry::Pinning { pinning: *pinning });
        let rollout = releases.rollout().map(|rollout| Entry::Rollout { rollout: *rollout });
        let outage = self.outage().map(|outage| Entry::Outage { outage });
        let slots = fleet.slots().iter().map(|(id, slot)| Entry::Slot { slot: *id, state: *slot });
        let workers = fleet.workers().values().map(|worker| Entry::Worker { worker: *worker });
        let waiting = self.waiting().iter();
        let waiting = waiting.map(|(request, client)| Entry::Waiting { request: *request, client: *client });
        head.into_iter()
            .chain(unfinished)
            .chain(pinning)
            .chain(rollout)
            .chain(outage)
            .chain(slots)
            .chain(workers)
            .chain(waiting)
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
        config.check().map_err(wrong(number))?;
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
    let mut seal = Seal::default();
    seal.add(body);
    format!("{body}{seal}\n")
}

/// What the last line says of those before it.
struct Seal {
    lines: usize,
    /// Fowler, Noll and Vo's hash, 64 bits, variant 1a: finds damage, not malice.
    sum: u64,
}

impl Default for Seal {
    fn default() -> Self {
        Self { lines: 0, sum: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Seal {
    /// Takes whole lines in.
    fn add(&mut self, lines: &str) {
        self.lines += lines.lines().count();
        let mixed = |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.sum = lines.bytes().fold(self.sum, mixed);
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{END}lines={} sum={:016x}", self.lines, self.sum)
    }
}

/// Checks the first and the last line, and returns everything before the last.
fn verified(text: &str) -> Result<&str, BadSnapshot> {
    let first = text.lines().next().unwrap_or_default();
    let version = first.strip_prefix(NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(OLDEST..=VERSION) => {}
        Some(other) => {
            let message = format!("version {other} is not known, only {OLDEST} to {VERSION}");
            return Err(BadSnapshot { line: 1, message });
        }
        None => return Err(BadSnapshot { line: 1, message: format!("`{NAME} VERSION` expected") }),
    }
    let without_end = text.strip_suffix('\n').ok_or_else(|| whole("cut short: the last line has no end"))?;
    let begin = without_end.rfind('\n').map_or(0, |at| at + 1);
    let (body, last) = text.split_at_checked(begin).unwrap_or_default();
    let mut expected = Seal::default();
    expected.add(body);
    if last.trim_end() == expected.to_string() {
        Ok(body)
    } else if last.starts_with(END) {
        Err(whole("damaged: the lines do not add up to what the last one says"))
    } else {
        Err(whole("cut short: the last line is not `end …`"))
    }
}
