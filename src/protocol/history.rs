//! What came of the generations so far, as lines for people and as data for programs.

use super::{
    json::{list, members, number, or_null, text},
    reply::Envelope,
    visible::visible,
    words::{setback, span, spawn_error},
};
use crate::fsm::{
    event::{SpawnError, Strategy},
    id::{Generation, Pid, SlotId},
    reason::{Cause, Failure},
    text::{record, records},
    time::Millis,
};
use core::fmt;
use miniserde::json::Value;

/// What is known of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub generation: Generation,
    /// When it was asked for: seconds since 1970, UTC.
    pub asked_at: u64,
    /// Who asked for it.
    pub by: Asker,
    /// What it runs.
    pub program: String,
    /// How it replaces the one before, once that has begun; the first replaces none.
    pub strategy: Option<Strategy>,
    /// What came of it.
    pub outcome: Outcome,
}

/// Who asks for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Whoever started the supervisor.
    Start,
    /// Whoever sent SIGHUP.
    Hangup,
    /// A client of the control socket.
    Client {
        /// Its user.
        user: u32,
        /// Its process.
        pid: Pid,
    },
}

records! {
    /// What came of a generation.
    #[derive(Copy)]
    pub enum Outcome {
        /// Nothing yet.
        "begun" => Begun,
        /// It serves.
        "serves" => Serves {
            /// How long it took to take over from another, if it did.
            took: Option<Millis>,
        },
        /// It served, and another took over.
        "replaced" => Replaced {
            /// Which.
            by: Generation,
        },
        /// It was taken back.
        "rolled-back" => RolledBack {
            /// Why.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How that failed the last time.
            failure: Option<Failure>;
            /// What going back ended with, if not with all workers.
            short: Option<Shortfall>,
        },
        /// It has no program.
        "refused" => Refused {
            /// Why.
            error: SpawnError,
        },
        /// Another was asked for before it was done.
        "superseded" => Superseded {
            /// Which.
            by: Generation,
        },
    }
}

record! {
    /// Fewer workers than there should be.
    #[derive(Copy)]
    pub struct Shortfall {
        /// Of which generation.
        pub generation: Generation,
        /// How many are healthy.
        pub healthy: u32,
        /// How many should be.
        pub target: u32,
    }
}

/// The answer to `history`, but for the request's id; the oldest entry first.
#[must_use]
pub fn envelope<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Envelope {
    let lines: Vec<String> = entries.clone().map(line).collect();
    let fields = members([("history", list(entries.map(value)))]);
    Envelope { fields, ..Envelope::done(lines.join("\n")) }
}

/// For people.
fn line(entry: &Entry) -> String {
    let Entry { generation, asked_at, by, program, strategy, outcome } = entry;
    let strategy = strategy.map(|strategy| format!(", {strategy}")).unwrap_or_default();
    let reason = reason(entry).map(|reason| format!(": {reason}")).unwrap_or_default();
    let (at, result) = (utc(*asked_at), result(outcome));
    // One generation, one line, whatever the name of its program holds.
    visible(&format!("generation {generation} at {at} by {by}{strategy}, {program}: {result}{reason}"))
}

/// For programs.
fn value(entry: &Entry) -> Value {
    Value::Object(members([
        ("generation", number(entry.generation.0)),
        ("asked_at", number(entry.asked_at)),
        ("by", text(&entry.by.to_string())),
        ("program", text(&entry.program)),
        ("strategy", or_null(entry.strategy, |strategy| text(strategy.word()))),
        ("result", text(result(&entry.outcome))),
        ("reason", text(&reason(entry).unwrap_or_default())),
    ]))
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the start"),
            Self::Hangup => f.write_str("SIGHUP"),
            Self::Client { user, pid } => write!(f, "uid {user}, pid {pid}"),
        }
    }
}

/// In a word or two.
fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Begun => "begun",
        Outcome::Serves { .. } => "serves",
        Outcome::Replaced { .. } => "replaced",
        Outcome::RolledBack { .. } => "rolled back",
        Outcome::Refused { .. } => "refused",
        Outcome::Superseded { .. } => "superseded",
    }
}

/// What else there is to say of it.
fn reason(entry: &Entry) -> Option<String> {
    match &entry.outcome {
        Outcome::Begun | Outcome::Serves { took: None } => None,
        Outcome::Serves { took: Some(took) } => Some(format!("took over after {}", span(*took))),
        Outcome::RolledBack { cause, slot, failure, short } => {
            let why = setback(entry.generation, *cause, *slot, None, failure.as_ref());
            Some(why + &short.map(shortfall).unwrap_or_default())
        }
        Outcome::Refused { error } => Some(spawn_error(error)),
        Outcome::Replaced { by } | Outcome::Superseded { by } => Some(format!("by generation {by}")),
    }
}

fn shortfall(Shortfall { generation, healthy, target }: Shortfall) -> String {
    format!("; generation {generation} has {healthy} of {target} workers")
}

/// A time as people write it, in UTC: `2026-01-02T03:04:05Z`. The calendar part is the usual count of
/// days in eras of 400 years that begin in March.
pub(super) fn utc(seconds: u64) -> String {
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
    use crate::fsm::{
        event::{ExitStatus, Prospect, SpawnStage},
        id::Errno,
    };

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    fn entry(number: u32, by: Asker, strategy: Option<Strategy>, outcome: Outcome) -> Entry {
        Entry { generation: Generation(number), asked_at: 0, by, program: "/bin/a".into(), strategy, outcome }
    }

    #[test]
    fn each_outcome_has_its_words() {
        let error = SpawnError { stage: SpawnStage::Exec, errno: Errno(2), prospect: Prospect::NotFound };
        let (slot, failure) = (Some(SlotId(3)), Some(Failure::Exited(ExitStatus::Code(1))));
        let short = Some(Shortfall { generation: Generation(1), healthy: 2, target: 4 });
        let gave_up = |short| Outcome::RolledBack { cause: Cause::GaveUp, slot, failure, short };
        let failed = "generation 2 failed in slot 3, at last: exited with status 1";
        let cases = [
            (Outcome::Begun, "begun".into()),
            (Outcome::Serves { took: None }, "serves".into()),
            (Outcome::Serves { took: Some(Millis(5)) }, "serves: took over after 5 ms".into()),
            (Outcome::Replaced { by: Generation(3) }, "replaced: by generation 3".into()),
            (gave_up(None), format!("rolled back: {failed}")),
            (gave_up(short), format!("rolled back: {failed}; generation 1 has 2 of 4 workers")),
            (Outcome::Refused { error }, "refused: exec failed: No such file or directory (errno 2)".into()),
            (Outcome::Superseded { by: Generation(3) }, "superseded: by generation 3".into()),
        ];
        for (outcome, words) in cases {
            let told = line(&entry(2, Asker::Start, None, outcome));
            assert_eq!(told, format!("generation 2 at 1970-01-01T00:00:00Z by the start, /bin/a: {words}"));
        }
    }

    #[test]
    fn people_and_programs_are_told_the_same_oldest_first() {
        let by = Asker::Client { user: 7, pid: Pid(30) };
        let entries = [
            entry(1, Asker::Start, None, Outcome::Serves { took: None }),
            entry(2, by, Some(Strategy::Rolling), Outcome::Superseded { by: Generation(3) }),
            entry(3, Asker::Hangup, Some(Strategy::Fleet), Outcome::Begun),
        ];
        assert_eq!(
            envelope(entries.iter()).encode(),
            "{\"message\":\"generation 1 at 1970-01-01T00:00:00Z by the start, /bin/a: serves\\n\
             generation 2 at 1970-01-01T00:00:00Z by uid 7, pid 30, rolling, /bin/a: superseded: by \
             generation 3\\n\
             generation 3 at 1970-01-01T00:00:00Z by SIGHUP, fleet, /bin/a: begun\",\"ok\":true,\
             \"history\":[\
             {\"asked_at\":0,\"by\":\"the start\",\"generation\":1,\"program\":\"/bin/a\",\"reason\":\"\",\
             \"result\":\"serves\",\"strategy\":null},\
             {\"asked_at\":0,\"by\":\"uid 7, pid 30\",\"generation\":2,\"program\":\"/bin/a\",\
             \"reason\":\"by generation 3\",\"result\":\"superseded\",\"strategy\":\"rolling\"},\
             {\"asked_at\":0,\"by\":\"SIGHUP\",\"generation\":3,\"program\":\"/bin/a\",\"reason\":\"\",\
             \"result\":\"begun\",\"strategy\":\"fleet\"}]}\n"
        );
    }
}
