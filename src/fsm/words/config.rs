//! The numbers the core needs. All of them are fixed at the start, but for the target.

use super::{
    signal::Signal,
    text::{BadText, Field, Record, Words, put_field},
    time::Millis,
};
use alloc::string::String;

/// How long a worker has after TERM, and how long the kernel has after KILL, before the next rung.
pub const KILL_AFTER: Millis = Millis(5_000);

/// A worker that was healthy for this long clears its slot's count of failures.
pub const SETTLED: Millis = Millis(10_000);

/// The longest back-off delay.
pub const BACKOFF_MAX: Millis = Millis(30_000);

/// The most workers that can be asked for.
pub const TARGET_MAX: u32 = 10_000;

/// When a worker counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// Once it has stayed alive this long.
    After(Millis),
    /// Once it says so; it fails if it has not within this time.
    Manual(Millis),
}

/// What the command line says that the machine must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Workers to keep running at the start, 1 …= [`TARGET_MAX`].
    pub target: u32,
    /// Sockets to bind before the first worker starts.
    pub listeners: u32,
    /// When a worker counts as healthy.
    pub ack: AckMode,
    /// Consecutive failed starts of one slot before it is given up, at least 1.
    pub retries: u32,
    /// First back-off delay.
    pub backoff: Millis,
    /// How long a draining worker may take after the stop signal.
    pub grace: Millis,
    /// The signal that asks a worker to drain.
    pub stop_signal: Signal,
    /// How many workers an upgrade may have starting at once, at least 1.
    pub max_unacked: u32,
    /// How many workers beyond the target a rolling upgrade may have alive and not draining, at
    /// least 1.
    pub max_surge: u32,
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
            stop_signal: Signal::Usr2,
            max_unacked: 1,
            max_surge: 1,
        }
    }
}

impl Field for AckMode {
    fn put(&self, out: &mut String) {
        let (word, Millis(millis)) = match self {
            Self::After(time) => ("after", time),
            Self::Manual(time) => ("manual", time),
        };
        super::text::put_display(out, format_args!("{word}:{millis}"));
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("after", millis)) => Millis::get(millis).map(Self::After),
            Some(("manual", millis)) => Millis::get(millis).map(Self::Manual),
            _ => Err(BadText::new(format_args!("`{word}` is neither after:MS nor manual:MS"))),
        }
    }
}

/// The first line of every trace: without it a replay would be of another machine.
impl Record for Config {
    fn write(&self, out: &mut String) {
        out.push_str("config");
        put_field(out, "target", &self.target);
        put_field(out, "listeners", &self.listeners);
        put_field(out, "ack", &self.ack);
        put_field(out, "retries", &self.retries);
        put_field(out, "backoff", &self.backoff);
        put_field(out, "grace", &self.grace);
        put_field(out, "stop", &self.stop_signal);
        put_field(out, "unacked", &self.max_unacked);
        put_field(out, "surge", &self.max_surge);
    }

    fn read(words: &mut Words<'_>) -> Result<Self, BadText> {
        match words.next() {
            Some("config") => Ok(Self {
                target: words.field("target")?,
                listeners: words.field("listeners")?,
                ack: words.field("ack")?,
                retries: words.field("retries")?,
                backoff: words.field("backoff")?,
                grace: words.field("grace")?,
                stop_signal: words.field("stop")?,
                max_unacked: words.field("unacked")?,
                max_surge: words.field("surge")?,
            }),
            found => Err(super::text::unknown(found, &["config"])),
        }
    }
}
