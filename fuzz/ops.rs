//! Runs of the machine as bytes that people can write: the seeds of `core_events` are text.
//!
//! Ten numbers make the configuration; instructions follow, each a letter with its numbers. A number is
//! one byte, counted from `0`: `3` is 3, `:` is 10, `A` is 17. A time is two of them, hundreds and ones.
//! White space between instructions means nothing, nor does a `#` and what follows it on its line.
//!
//! | Written | Instruction | | Written | Instruction |
//! |---|---|---|---|---|
//! | `a` | answer the oldest order | | `t` time | so long passes, and the shell wakes |
//! | `A` | answer the newest | | `d` time | so long passes unnoticed |
//! | `f` how | answer badly | | `G` n | n seconds are lost |
//! | `k` who | a worker acknowledges | | `x` who how | a process ends |
//! | `g` who by | somebody else does | | `p` who | a worker pings |
//! | `w` | the next deadline has come | | `s` which | the supervisor gets a signal |
//! | `r` who ask | a client asks | | `l` who | a client leaves |
//! | | | | `i` which | something impossible |
//!
//! A client asks for `s`tatus, `u`pgrade, `f`leet upgrade, `c`anaries and how long, to a`b`ort, `+`, `-`,
//! `n` count, `k` signal, `r`etry or `d` how to die. Every other byte means one of these too, so that no input is wasted on nonsense.

use crate::world::{Ask, Op};
use einhyrningsins::fsm::{
    config::{AckMode, Config, Patience},
    signal::Signal,
    time::Millis,
};

const OPS: [u8; 16] = *b"aAfkgwrtdGxpvsli";
const ASKS: [u8; 11] = *b"suf+-nkrdcb";

/// The most workers that a run asks for. The machine is looked at as a whole after every step.
const WORKERS: u8 = 24;

/// What is left of an input. Beyond its end all numbers are 0.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> u8 {
        self.byte().unwrap_or(b'0').wrapping_sub(b'0')
    }

    fn time(&mut self) -> u16 {
        u16::from(self.number()) * 100 + u16::from(self.number())
    }

    /// The next byte that is neither white space nor in a remark.
    fn letter(&mut self) -> Option<u8> {
        let mut remark = false;
        loop {
            let byte = self.byte()?;
            remark = (remark || byte == b'#') && byte != b'\n';
            if !remark && !byte.is_ascii_whitespace() {
                return Some(byte);
            }
        }
    }

    /// The configuration: target, listeners, how to acknowledge (even: by staying alive) and the time
    /// for it, retries, back-off, grace, stop signal, most unacknowledged, most beyond the target (above 4: and
    /// end once all has failed).
    /// Back-off is counted in 50 ms, acknowledgement and grace in 100.
    pub fn config(&mut self) -> Config {
        let first = self.letter().unwrap_or(b'0').wrapping_sub(b'0');
        let target = 1 + u32::from(first.wrapping_sub(1) % 6);
        let listeners = u32::from(self.number() % 3);
        let mode = self.number();
        let ack_time = Millis(u64::from(self.number()) * 100);
        let patience = Patience { after: Millis(ack_time.0 / 4), timeout: ack_time };
        let mut config = Config {
            target,
            listeners,
            ack: match mode % 6 {
                1 | 3 | 5 => AckMode::Manual(ack_time),
                2 => AckMode::Accepting(patience),
                4 => AckMode::Auto(patience),
                _ => AckMode::After(ack_time),
            },
            retries: 1 + u32::from(self.number().wrapping_sub(1) % 4),
            backoff: Millis(u64::from(self.number()) * 50),
            grace: Millis(u64::from(self.number()) * 100),
            // The command line takes none that cannot be caught.
            stop_signal: match pick(Signal::ALL, self.number()) {
                Signal::Kill | Signal::Stop => None,
                signal => Some(signal),
            },
            max_unacked: 1 + u32::from(self.number().wrapping_sub(1) % 4),
            ..Config::default()
        };
        let surge = self.number();
        config.max_surge = 1 + u32::from(surge.wrapping_sub(1) % 4);
        config.exit_on_failure = surge > 4;
        config
    }

    fn ask(&mut self) -> Ask {
        match mean(&ASKS, self.byte().unwrap_or(b's')) {
            b'u' => Ask::Upgrade,
            b'f' => Ask::UpgradeFleet,
            b'+' => Ask::Inc,
            b'-' => Ask::Dec,
            b'n' => Ask::SetWorkers(self.number() % WORKERS),
            b'k' => Ask::Signal(self.number()),
            b'c' => Ask::Canary(self.number(), self.number()),
            b'b' => Ask::Abort,
            b'r' => Ask::Retry,
            b'd' => Ask::Die(self.number()),
            _ => Ask::Status,
        }
    }
}

impl Iterator for Script<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let letter = self.letter()?;
        Some(match mean(&OPS, letter) {
            b'A' => Op::AnswerLast,
            b'f' => Op::Fail(self.number()),
            b'k' => Op::Ack(self.number()),
            b'g' => Op::Forge(self.number(), self.number()),
            b'w' => Op::Wake,
            b'r' => Op::Request(self.number(), self.ask()),
            b't' => Op::Pass(self.time()),
            b'd' => Op::Drift(self.time()),
            b'G' => Op::Gap(u16::from(self.number())),
            b'x' => Op::Exit(self.number(), self.number()),
            b'p' => Op::Ping(self.number()),
            b'v' => Op::See(self.number(), self.number()),
            b's' => Op::Signal(self.number()),
            b'l' => Op::Leave(self.number()),
            b'i' => Op::Impossible(self.number()),
            _ => Op::Answer,
        })
    }
}

/// The letter that a byte stands for: itself if it is one of `letters`.
fn mean(letters: &[u8], byte: u8) -> u8 {
    if letters.contains(&byte) { byte } else { pick(letters, byte) }
}

fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}
