//! The numbers the core needs. All of them are fixed at the start, but for the target.

use super::{
    signal::Signal,
    text::{BadText, Field, put_display, record},
    time::Millis,
};
use alloc::string::String;
use core::{fmt::Display, ops::RangeInclusive};

/// How long a worker has after TERM, and how long the kernel has after KILL, before the next rung.
pub const KILL_AFTER: Millis = Millis(5_000);

/// What ended after it was healthy for this long is not in a row with what failed before, in a generation that
/// is not proven yet.
pub const SETTLED: Millis = Millis(10_000);

/// How often it is told that nobody serves any more.
pub const DOWN_AGAIN: Millis = Millis(60_000);

/// How long a slot waits for what the machine lacks before it tries again, less up to an eighth from slot to
/// slot. It goes on for ever, so it neither grows nor is it counted.
pub const SHORTAGE_RETRY: Millis = Millis(500);

/// A healthy worker that ended sooner after its start than this ended early.
pub const EARLY: Millis = Millis(1_000);

/// The longest distance that early ends in a row put between the starts of a slot: they cost five starts a second
/// then. Whoever lives longer than that is replaced at once however often it ends.
pub const SPACING: Millis = Millis(200);

/// The same where a [`CROWD`] ends early.
pub const SPACING_IN_A_CROWD: Millis = Millis(1_000);

/// So many early ends in a row are replaced at once.
pub const FREE_ENDS: u32 = 4;

/// And so many once [`CROWD`] slots have gone beyond that number: what each costs little costs much together.
pub const FREE_ENDS_IN_A_CROWD: u32 = 1;

/// How many slots with more than [`FREE_ENDS_IN_A_CROWD`] early ends in a row are a crowd.
pub const CROWD: usize = 32;

/// How often whoever leaves a service of several without any is replaced all the same, where its slot would have to
/// wait: so often at once, and so many more in each second that follows, of all slots together.
pub const TURNS: u32 = 100;

/// To how many times what it had a worker may put a deadline off.
pub const EXTENSION: u64 = 10;

/// The shortest delay, whatever was asked for: what fails at once must not be started again at once, for ever.
pub const DELAY_MIN: Millis = Millis(10);

/// The longest back-off delay.
pub const BACKOFF_MAX: Millis = Millis(30_000);

/// The most workers that can be asked for.
pub const TARGET_MAX: u32 = 10_000;

/// How many workers can be asked for; no upgrade can have more starting, or beyond that number.
pub const TARGET: RangeInclusive<u32> = 1..=TARGET_MAX;

/// How many failed starts in a row a slot may be given.
pub const RETRIES: RangeInclusive<u32> = 1..=u32::MAX;

/// How long the first back-off delay may be.
pub const BACKOFF: RangeInclusive<Millis> = Millis(0)..=BACKOFF_MAX;

/// How long anything else that can be set may take: about eleven days at most. Longer times are slips of
/// the keyboard.
pub const SPAN: RangeInclusive<Millis> = Millis(0)..=Millis(1_000_000_000);

/// When a worker counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// Once it has stayed alive this long.
    After(Millis),
    /// Once it says so; it fails if it has not within this time.
    Manual(Millis),
    /// Once it says so, or is seen waiting for connections.
    Accepting(Patience),
    /// The same, if one like it has done so; else also once it has stayed alive for a while.
    Auto(Patience),
}

/// How long a worker that can be seen may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long it counts as healthy after what is no proof: its start, or that a socket is registered for
    /// edge-triggered events, which some runtimes do long before they serve it.
    pub after: Millis,
    /// How long it may take to say that it is ready, or to be seen.
    pub timeout: Millis,
}

impl AckMode {
    /// How long a worker takes at most.
    #[must_use]
    pub fn span(self) -> Millis {
        match self {
            Self::After(span) | Self::Manual(span) => span,
            Self::Accepting(patience) | Self::Auto(patience) => patience.after.max(patience.timeout),
        }
    }

    /// Whether workers are looked at from outside.
    #[must_use]
    pub fn looks(self) -> bool {
        match self {
            Self::After(_) | Self::Manual(_) => false,
            Self::Accepting(_) | Self::Auto(_) => true,
        }
    }
}

record! {
    /// What the command line says that the machine must know. The first line of every trace: without it a
    /// replay would be of another machine.
    "config" => pub struct Config {
        /// Workers to keep running at the start, within [`TARGET`].
        pub target: u32,
        /// Sockets to bind before the first worker starts.
        pub listeners: u32,
        /// When a worker counts as healthy.
        pub ack: AckMode,
        /// Consecutive failed starts of one slot before it counts as failed, within [`RETRIES`].
        pub retries: u32,
        /// First back-off delay, within [`BACKOFF`].
        pub backoff: Millis,
        /// How long a draining worker may take after the stop signal, within [`SPAN`].
        pub grace: Millis,
        /// The signal that asks a worker to drain; without one, that which its program is known to want.
        pub stop_signal: Option<Signal> = "stop",
        /// How many workers an upgrade may have starting at once, within [`TARGET`].
        pub max_unacked: u32 = "unacked",
        /// How many workers beyond the target a rolling upgrade may have alive and not draining, within
        /// [`TARGET`].
        pub max_surge: u32 = "surge",
        /// Whether a service that has served ends, too, once every slot of it has failed.
        pub exit_on_failure: bool = "exit_on_failure",
    }
}

impl Config {
    /// Refuses what no command line leads to. One check for whatever a configuration comes from.
    ///
    /// # Errors
    /// The first value that is out of bounds, with its name in the text form and the bounds.
    pub fn check(&self) -> Result<(), BadText> {
        within("target", self.target, &TARGET)?;
        within("ack", self.ack.span().0, &millis(&SPAN))?;
        within("retries", self.retries, &RETRIES)?;
        within("backoff", self.backoff.0, &millis(&BACKOFF))?;
        within("grace", self.grace.0, &millis(&SPAN))?;
        within("unacked", self.max_unacked, &TARGET)?;
        within("surge", self.max_surge, &TARGET)
    }
}

fn millis(bounds: &RangeInclusive<Millis>) -> RangeInclusive<u64> {
    bounds.start().0..=bounds.end().0
}

fn within<T: PartialOrd + Display>(name: &str, value: T, bounds: &RangeInclusive<T>) -> Result<(), BadText> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (least, most) = (bounds.start(), bounds.end());
    Err(BadText::new(format_args!("{name}: {value} is not from {least} to {most}")))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: 1,
            listeners: 0,
            ack: AckMode::After(Millis(1_000)),
            retries: 5,
            backoff: Millis(100),
            grace: Millis(30_000),
            stop_signal: Some(Signal::Usr2),
            max_unacked: 1,
            max_surge: 1,
            exit_on_failure: false,
        }
    }
}

impl Field for Patience {
    fn put(&self, out: &mut String) {
        let Self { after: Millis(after), timeout: Millis(timeout) } = self;
        put_display(out, format_args!("{after}:{timeout}"));
    }

    fn get(word: &str) -> Result<Self, BadText> {
        let (after, timeout) = word.split_once(':').unwrap_or((word, ""));
        Ok(Self { after: Millis::get(after)?, timeout: Millis::get(timeout)? })
    }
}

impl Field for AckMode {
    fn put(&self, out: &mut String) {
        out.push_str(match self {
            Self::After(_) => "after:",
            Self::Manual(_) => "manual:",
            Self::Accepting(_) => "accepting:",
            Self::Auto(_) => "auto:",
        });
        match self {
            Self::After(time) | Self::Manual(time) => time.put(out),
            Self::Accepting(patience) | Self::Auto(patience) => patience.put(out),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("after", millis)) => Millis::get(millis).map(Self::After),
            Some(("manual", millis)) => Millis::get(millis).map(Self::Manual),
            Some(("accepting", both)) => Patience::get(both).map(Self::Accepting),
            Some(("auto", both)) => Patience::get(both).map(Self::Auto),
            _ => {
                let accepted = "after:MS, manual:MS, accepting:MS:MS, auto:MS:MS";
                Err(BadText::new(format_args!("`{word}` is none of: {accepted}")))
            }
        }
    }
}
