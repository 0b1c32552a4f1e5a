//! What a worker tells its manager, as sd_notify(3) has it: one datagram of assignments, a line each.
//!
//! Reads any bytes whatsoever. What is not known is passed over, as sd_notify(3) asks; what is known and makes no
//! sense is told.

use super::{typed::number, visible::visible};
use crate::fsm::time::Millis;
use std::fmt;

/// How long a datagram may be, in bytes: as much as systemd takes.
pub const LONGEST: usize = 4_096;

/// How much of a status is kept, in characters.
const STATUS: usize = 200;

/// What one datagram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `READY=1`: the worker is ready.
    pub ready: bool,
    /// `STOPPING=1`: it finishes what it has begun and goes.
    pub stopping: bool,
    /// `WATCHDOG=1`: it is alive.
    pub alive: bool,
    /// `EXTEND_TIMEOUT_USEC=`: for how long from now it asks, rounded up.
    pub extend: Option<Millis>,
    /// `STATUS=`: what it does, fit to be shown; cut after 200 characters.
    pub status: Option<String>,
}

/// A line that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonsense(String);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` makes no sense; accepted: EXTEND_TIMEOUT_USEC= with microseconds, in digits", self.0)
    }
}

impl Told {
    /// Reads a datagram. The rest of one with lines that make no sense is read all the same; the first of them is
    /// returned, too.
    #[must_use]
    pub fn read(datagram: &[u8]) -> (Self, Option<Nonsense>) {
        let (mut told, mut nonsense) = (Self::default(), None);
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => told.ready = true,
                b"STOPPING=1" => told.stopping = true,
                b"WATCHDOG=1" => told.alive = true,
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        told.status = Some(shown(text, STATUS));
                    } else if let Some(micros) = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
                        match micros_of(micros) {
                            Some(micros) => told.extend = Some(Millis(micros.div_ceil(1_000))),
                            None => nonsense = nonsense.or_else(|| Some(Nonsense(shown(line, 80)))),
                        }
                    }
                }
            }
        }
        (told, nonsense)
    }
}

fn shown(text: &[u8], most: usize) -> String {
    visible(&String::from_utf8_lossy(text).chars().take(most).collect::<String>())
}

fn micros_of(text: &[u8]) -> Option<u64> {
    number(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Told {
        let (told, nonsense) = Told::read(text.as_bytes());
        assert_eq!(nonsense, None);
        told
    }

    #[test]
    fn what_is_known_is_taken_and_all_else_passed_over() {
        let told =
            read("MAINPID=7\nREADY=1\nSTATUS=all is \u{1b}well\nX_OURS=2\nEXTEND_TIMEOUT_USEC=1500001\n");
        let status = Some("all is \\u{1b}well".to_owned());
        assert_eq!(told, Told { ready: true, status, extend: Some(Millis(1_501)), ..Told::default() });
        assert_eq!(read("STOPPING=1\nWATCHDOG=1"), Told { stopping: true, alive: true, ..Told::default() });
        for nothing in
            ["", "\n\n", "READY=0", "READY", " READY=1", "READY=1 ", "ready=1", "BARRIER=1", "STATUS"]
        {
            assert_eq!(read(nothing), Told::default(), "{nothing}");
        }
        assert_eq!(read(&format!("STATUS={}", "ä".repeat(900))).status, Some("ä".repeat(STATUS)));
    }

    #[test]
    fn a_time_that_is_none_is_told_and_the_rest_is_taken() {
        for bad in ["", "-1", "1s", "+5", "99999999999999999999", "1 "] {
            let (told, nonsense) = Told::read(format!("EXTEND_TIMEOUT_USEC={bad}\nREADY=1").as_bytes());
            assert!(told.ready && told.extend.is_none(), "{bad}");
            let words = nonsense.expect(bad).to_string();
            assert!(words.starts_with(&format!("`EXTEND_TIMEOUT_USEC={bad}` makes no sense")), "{words}");
        }
        assert_eq!(read("EXTEND_TIMEOUT_USEC=0").extend, Some(Millis(0)));
        assert_eq!(
            read("EXTEND_TIMEOUT_USEC=18446744073709551615").extend,
            Some(Millis(u64::MAX / 1_000 + 1))
        );
    }
}
