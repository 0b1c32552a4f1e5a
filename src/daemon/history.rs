//! What came of the generations so far, for `history`. Kept for people; nothing is decided by it.

use crate::{
    fsm::{event::Strategy, id::Generation, notice::Notice},
    protocol::{
        Envelope,
        words::{setback, span, spawn_error},
    },
};
use miniserde::json::{Array, Number, Object, Value};
use std::collections::VecDeque;

/// How many generations are remembered.
const KEPT: usize = 20;

/// What is known of one.
#[derive(Debug)]
struct Entry {
    generation: Generation,
    /// Seconds since 1970, UTC.
    asked_at: u64,
    by: String,
    program: String,
    strategy: Option<Strategy>,
    result: &'static str,
    reason: String,
}

/// The last generations, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
}

impl History {
    /// A generation was asked for.
    pub(crate) fn asked(&mut self, generation: Generation, by: String, program: String, asked_at: u64) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        let reason = String::new();
        let entry = Entry { generation, asked_at, by, program, strategy: None, result: "begun", reason };
        self.entries.push_back(entry);
    }

    /// Takes in what the core has to tell.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what there is to tell is not about generations"
    )]
    pub(crate) fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Up { .. } => self.settle(Generation(1), "serves", String::new()),
            Notice::Upgrading { generation, strategy, .. } => {
                if let Some(entry) = self.find(*generation) {
                    entry.strategy = Some(*strategy);
                }
            }
            Notice::Upgraded { generation, took } => {
                self.settle(*generation, "upgraded", format!("after {}", span(*took)));
            }
            Notice::RollingBack { generation, cause, slot, failure, .. } => {
                let why = setback(*generation, *cause, *slot, 0, failure.as_ref());
                self.settle(*generation, "rolled back", why);
            }
            Notice::RolledBack { to, healthy, target } if healthy < target => {
                let short = format!("; generation {to} has {healthy} of {target} workers");
                if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.result == "rolled back")
                {
                    entry.reason.push_str(&short);
                }
            }
            Notice::PinFailed { generation, error } => {
                self.settle(*generation, "refused", spawn_error(error));
            }
            Notice::Superseded { generation, by } => {
                self.settle(*generation, "superseded", format!("by generation {by}"));
            }
            _ => {}
        }
    }

    fn find(&mut self, generation: Generation) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| entry.generation == generation)
    }

    fn settle(&mut self, generation: Generation, result: &'static str, reason: String) {
        if let Some(entry) = self.find(generation).filter(|entry| entry.result == "begun") {
            entry.result = result;
            entry.reason = reason;
        }
    }

    /// The answer to `history`.
    pub(crate) fn envelope(&self) -> Envelope {
        let lines: Vec<String> = self.entries.iter().map(Entry::line).collect();
        let values: Array = self.entries.iter().map(Entry::value).collect();
        let fields: Object = [("history".to_owned(), Value::Array(values))].into_iter().collect();
        Envelope { fields, ..Envelope::done(lines.join("\n")) }
    }
}

impl Entry {
    fn line(&self) -> String {
        let strategy = self.strategy.map(|strategy| format!(", {strategy}")).unwrap_or_default();
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!(
            "generation {} at {} by {}{strategy}, {}: {}{reason}",
            self.generation,
            utc(self.asked_at),
            self.by,
            self.program,
            self.result
        )
    }

    fn value(&self) -> Value {
        let text = |text: &str| Value::String(text.to_owned());
        let members = [
            ("generation", Value::Number(Number::U64(u64::from(self.generation.0)))),
            ("asked_at", Value::Number(Number::U64(self.asked_at))),
            ("by", text(&self.by)),
            ("program", text(&self.program)),
            ("strategy", self.strategy.map_or(Value::Null, |strategy| text(strategy.word()))),
            ("result", text(self.result)),
            ("reason", text(&self.reason)),
        ];
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// A time as people write it, in UTC: `2026-01-02T03:04:05Z`. The calendar part is the usual count of
/// days in eras of 400 years that begin in March.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::time::Millis;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn only_the_last_twenty_are_remembered_and_each_ends_once() {
        let mut history = History::default();
        for number in 1..=25 {
            history.asked(Generation(number), "uid 0".into(), "/bin/true".into(), 0);
        }
        history.note(&Notice::Upgraded { generation: Generation(25), took: Millis(5) });
        history.note(&Notice::Superseded { generation: Generation(25), by: Generation(26) });
        assert_eq!(history.entries.len(), KEPT);
        let last = history.entries.back().map(Entry::line).unwrap_or_default();
        assert_eq!(last, "generation 25 at 1970-01-01T00:00:00Z by uid 0, /bin/true: upgraded: after 5 ms");
    }
}
