//! What happens, told as it does: which of it is asked for, and how an event is written down.

use super::{
    history::utc,
    json::{integer, members, number, or_null, text},
    reply::Envelope,
    words::{count, exit_value, failure_value, spawn_error},
};
use crate::fsm::{
    event::ExitStatus,
    notice::Notice,
    reason::{Failure, Next},
    text::Record as _,
    time::Millis,
};
use miniserde::json::{Object, Value};

/// Which events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to begin.
    pub since: Since,
    /// Whether to end with those that have happened.
    pub until_now: bool,
}

/// Where a row of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what happens from now on.
    Now,
    /// Behind the event of that number; with all that are remembered if that is 0.
    Event(u64),
}

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct Happening<'a> {
    /// Its number: they count from 1, and none is left out.
    pub number: u64,
    /// When it happened: milliseconds since 1970, UTC.
    pub at: u64,
    /// How much it matters, as in the log.
    pub level: &'a str,
    /// What happened, for people.
    pub words: &'a str,
    /// What happened.
    pub what: What<'a>,
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// The supervisor began, or goes on where another was.
    Began {
        /// The version of the one before.
        before: Option<&'a str>,
    },
    /// The machine has something to tell.
    Notice(&'a Notice),
}

/// Fields that are times, in ms.
const TIMES: [&str; 5] = ["took", "lasted", "lost", "soak", "timeout"];

impl Happening<'_> {
    /// The line that tells of it. More lines follow.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let Self { number: seq, at, level, words, what } = self;
        let mut event = match what {
            What::Began { before } => members([
                ("kind", text(if before.is_some() { "took-over" } else { "began" })),
                ("before", or_null(*before, text)),
            ]),
            What::Notice(notice) => fields(notice),
        };
        event.extend(members([("seq", number(*seq)), ("at_ms", number(*at)), ("level", text(level))]));
        let fields = members([("event", Value::Object(event))]);
        let message = format!("{} {words}", utc(at / 1_000));
        Envelope { message, ok: true, wait: true, fields, ..Envelope::default() }
    }
}

/// The line that tells a reader, who was too slow for what is remembered, how many events are left out.
#[must_use]
pub fn missed(missed: u64) -> Envelope {
    let events = if missed == 1 { "1 event is" } else { &format!("{missed} events are") };
    let message = format!("{events} missing here: no more of them are remembered");
    Envelope {
        message,
        ok: true,
        wait: true,
        fields: members([("lost", number(missed))]),
        ..Envelope::default()
    }
}

/// The first line: that nothing need have happened for a while.
#[must_use]
pub fn opening(version: &str, pid: u32, wanted: Wanted) -> Envelope {
    let from = match wanted.since {
        Since::Now => "from now on",
        Since::Event(0) => "all that are remembered",
        Since::Event(_) => "as asked",
    };
    let message = format!("events of einhyrningsins {version}, pid {pid}, {from}:");
    Envelope { message, ok: true, wait: true, ..Envelope::default() }
}

/// The last line.
#[must_use]
pub fn closing(told: u64) -> Envelope {
    let told = u32::try_from(told).unwrap_or(u32::MAX);
    Envelope::done(format!("{} so far", count(told, "event")))
}

/// What is told of it, by the names that it has in a trace; times with their unit, and ends and failures as `status`
/// has them.
fn fields(notice: &Notice) -> Object {
    let line = notice.to_line();
    let mut words = line.split(' ');
    let mut fields = members([("kind", text(words.next().unwrap_or_default()))]);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let value = match (value, value.parse::<u64>()) {
            ("yes", _) => Value::Bool(true),
            ("no", _) => Value::Bool(false),
            (_, Ok(value)) => number(value),
            (value, Err(_)) => text(value),
        };
        let name = if TIMES.contains(&name) { format!("{name}_ms") } else { name.to_owned() };
        fields.insert(name, value);
    }
    let Told { status, failure, next, what } = told(notice);
    if status.is_some() {
        fields.insert("status".into(), exit_value(status));
    }
    if let Some(failure) = failure {
        fields.insert("failure".into(), failure_value(failure));
    }
    if let Some(next) = next {
        fields.remove("next");
        let delay = if let Next::In(delay) = next { Some(delay) } else { None };
        fields.insert("next_start_in_ms".into(), or_null(delay, |Millis(ms)| number(ms)));
    }
    if let Some((name, words)) = what {
        fields.insert(name.into(), words);
    }
    fields
}

/// What has a form of its own.
#[derive(Default)]
struct Told<'a> {
    status: Option<ExitStatus>,
    failure: Option<&'a Failure>,
    next: Option<Next>,
    what: Option<(&'static str, Value)>,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most have none")]
fn told(notice: &Notice) -> Told<'_> {
    let nothing = Told::default();
    match notice {
        Notice::Crashed { status, next, .. } => Told { status: Some(*status), next: Some(*next), ..nothing },
        Notice::Gone { status, unasked, .. } => {
            Told { status: Some(*status), what: Some(("unasked", Value::Bool(*unasked))), ..nothing }
        }
        Notice::StartFailed { failure, next, .. } => {
            Told { failure: Some(failure), next: Some(*next), ..nothing }
        }
        Notice::GaveUp { failure, .. } | Notice::Failing { failure, .. } | Notice::Lost { failure } => {
            Told { failure: Some(failure), ..nothing }
        }
        Notice::Down { failure, .. } | Notice::RollingBack { failure, .. } => {
            Told { failure: failure.as_ref(), ..nothing }
        }
        Notice::BindFailed { errno, .. } => Told { what: Some(("errno", integer(errno.0))), ..nothing },
        Notice::PinFailed { error, .. } => {
            Told { what: Some(("error", text(&spawn_error(error)))), ..nothing }
        }
        Notice::Impossible { what } => Told { what: Some(("what", text(what))), ..nothing },
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        event::Proof,
        id::{Generation, Pid, SlotId, WorkerId},
    };
    use miniserde::json;

    fn written(notice: &Notice) -> String {
        let what = What::Notice(notice);
        let happening = Happening { number: 9, at: 86_400_250, level: "info", words: "it did", what };
        let envelope = happening.envelope();
        assert_eq!(envelope.message, "1970-01-02T00:00:00Z it did");
        assert!(envelope.ok && envelope.wait);
        json::to_string(envelope.fields.get("event").unwrap())
    }

    #[test]
    fn an_event_is_told_by_the_names_of_the_trace_with_units_and_as_status_tells() {
        let (worker, slot, generation, pid) = (WorkerId(3), SlotId(0), Generation(2), Pid(30));
        let (took, proof) = (Millis(12), Proof::Seen);
        let healthy = Notice::Healthy { worker, slot, generation, pid, took, proof };
        assert_eq!(
            written(&healthy),
            "{\"at_ms\":86400250,\"generation\":2,\"kind\":\"healthy\",\"level\":\"info\",\"pid\":30,\
             \"proof\":\"seen\",\"seq\":9,\"slot\":0,\"took_ms\":12,\"worker\":3}"
        );
        let (status, next) = (ExitStatus::Signal(9), Next::In(Millis(0)));
        let crashed = written(&Notice::Crashed { worker, slot, generation, pid, status, next });
        for part in [
            "\"next_start_in_ms\":0,",
            "\"status\":{\"kind\":\"killed\",\"message\":\"killed by SIGKILL (signal 9)\",",
        ] {
            assert!(crashed.contains(part), "{part} is not in {crashed}");
        }
        assert!(!crashed.contains("\"next\""), "{crashed}");
        let next = Next::NotReplaced;
        let crashed = written(&Notice::Crashed { worker, slot, generation, pid, status, next });
        assert!(crashed.contains("\"next_start_in_ms\":null"), "a number that means none: {crashed}");
        let failure = Failure::Exited(ExitStatus::Code(1));
        let failed = written(&Notice::StartFailed {
            worker,
            slot,
            generation,
            failure,
            failures: Some(2),
            retries: 5,
            next,
        });
        assert!(failed.contains("\"failure\":{\"kind\":\"exited\","), "{failed}");
        let impossible = written(&Notice::Impossible { what: "a \"b\" c".into() });
        assert!(impossible.contains("\"what\":\"a \\\"b\\\" c\""), "{impossible}");
    }

    #[test]
    fn every_time_has_its_unit() {
        let (worker, generation) = (Millis(7), Generation(2));
        let strategy = crate::fsm::event::Strategy::Rolling;
        for (notice, names) in [
            (Notice::Down { lasted: worker, failure: None }, &["lasted_ms"][..]),
            (Notice::NoLongerDown { lasted: worker }, &["lasted_ms"]),
            (Notice::Up { workers: 1, took: worker }, &["took_ms"]),
            (Notice::OnTrial { generation, workers: 1, soak: worker }, &["soak_ms"]),
            (Notice::Upgraded { generation, took: worker }, &["took_ms"]),
            (Notice::Gap { lost: worker }, &["lost_ms"]),
            (
                Notice::Upgrading {
                    generation,
                    strategy,
                    canary: None,
                    soak: Some(worker),
                    timeout: Some(worker),
                },
                &["soak_ms", "timeout_ms"],
            ),
        ] {
            let said = fields(&notice);
            for name in names {
                assert_eq!(said.get(*name).map(json::to_string), Some("7".into()), "{name}: {notice:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(missed(1).message, "1 event is missing here: no more of them are remembered");
        let line = missed(2).encode();
        assert_eq!(
            line,
            "{\"message\":\"2 events are missing here: no more of them are remembered\",\"ok\":true,\"wait\":true,\"lost\":2}\n"
        );
    }
}
