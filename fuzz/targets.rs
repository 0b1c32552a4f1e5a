//! The bodies of the fuzz targets: each takes any bytes whatsoever and panics if a promise is broken.
//!
//! The fuzzers call them, and so do the ordinary tests, with every seed and every input that ever broke
//! something. Nothing here knows libfuzzer. A target is a function here, its name in [`TARGETS`], its
//! two lines in `fuzz_targets/` with their entry in `Cargo.toml`, and a seed.

#[cfg(any(feature = "daemon", feature = "ctl"))]
#[path = "edge.rs"]
mod edge;
#[path = "ops.rs"]
mod ops;

#[cfg(any(feature = "daemon", feature = "ctl"))]
pub use edge::{bind_spec, command_line, control_stream, einhorn_dialect};
#[cfg(feature = "daemon")]
pub use edge::{journal_parser, notification, proc_text};

use crate::world::{Depth, World};
use einhyrningsins::fsm::{
    Supervisor,
    config::TARGET_MAX,
    event::{Command, Event, EventKind},
    invariants::{Monitor, Violation},
    snapshot,
    time::Time,
    trace::{self, Line},
};

/// A body.
pub type Target = fn(&[u8]);

/// Every target that this build has, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("core_events", core_events),
    ("snapshot_parser", snapshot_parser),
    ("trace_parser", trace_parser),
    #[cfg(any(feature = "daemon", feature = "ctl"))]
    ("bind_spec", bind_spec),
    #[cfg(any(feature = "daemon", feature = "ctl"))]
    ("command_line", command_line),
    #[cfg(any(feature = "daemon", feature = "ctl"))]
    ("control_stream", control_stream),
    #[cfg(any(feature = "daemon", feature = "ctl"))]
    ("einhorn_dialect", einhorn_dialect),
    #[cfg(feature = "daemon")]
    ("journal_parser", journal_parser),
    #[cfg(feature = "daemon")]
    ("proc_text", proc_text),
    #[cfg(feature = "daemon")]
    ("notification", notification),
];

/// No run of the machine is longer.
const STEPS: usize = 2_000;

/// No trace is longer, in bytes; nor has it more workers, or more events, when it is told anew.
const TRACE: usize = 16 * 1024;
const TRACE_WORKERS: u32 = 64;
const TRACE_EVENTS: usize = 300;

/// Whatever happens to the machine, every invariant holds. The bytes are a [script](ops).
pub fn core_events(data: &[u8]) {
    run(data);
}

/// Follows a script to its end.
pub fn run(data: &[u8]) -> World {
    let mut script = ops::Script::new(data);
    let config = script.config();
    let broken = |violation: Violation, trace: &str| -> ! { panic!("{violation}\n{trace}") };
    let mut world =
        World::new(config, Depth::State).unwrap_or_else(|violation| broken(violation, "at the start"));
    for op in script.take(STEPS) {
        if let Err(violation) = world.follow(op) {
            broken(violation, &world.trace);
        }
    }
    world
}

/// Reading a snapshot never panics, and what could be read is saved as the same text and goes on
/// without breaking an invariant. The sum in the last line is put right, or no input would get anywhere.
pub fn snapshot_parser(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(TRACE)]);
    let body = text.rfind("end ").map_or(&*text, |end| &text[..end]);
    let Ok(mut supervisor) = Supervisor::restore(&snapshot::sealed(body)).map(Supervisor::lenient) else {
        return;
    };
    let saved = supervisor.snapshot();
    let again = Supervisor::restore(&saved).expect("what was saved can be restored");
    assert_eq!(again.snapshot(), saved);
    if supervisor.fleet().target() > TRACE_WORKERS {
        return;
    }
    for at in 0..20 {
        let at = supervisor.next_deadline().map_or(Time(at), |(time, _)| time);
        supervisor.step(Event { at, kind: EventKind::Woke });
        let state = Monitor::new().state(&supervisor);
        state.unwrap_or_else(|violation| panic!("{violation}\n{saved}"));
    }
}

/// Reading a trace never panics, and what could be read is written so that it reads the same.
pub fn trace_parser(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(TRACE)]);
    for line in text.lines() {
        if let Ok(parsed) = trace::parse(line) {
            if let Line::Config(config) = &parsed {
                assert!((1..=TARGET_MAX).contains(&config.target), "{line:?} can be replayed");
            }
            let written = parsed.to_string();
            let back = trace::parse(&written);
            assert_eq!(back.as_ref(), Ok(&parsed), "{line:?} was written as {written:?}");
        }
    }
    let Ok(steps) = trace::recorded(&text) else {
        assert!(trace::retell(&text).is_err(), "told anew, but not read");
        return;
    };
    assert!(steps.is_sorted_by(|one, other| one.line < other.line), "{steps:?}");
    let small = steps.iter().all(|step| {
        let count = match &step.event.kind {
            EventKind::Requested { command: Command::SetWorkers { count }, .. } => *count,
            _ => 0,
        };
        count.max(step.config.as_ref().map_or(0, |config| config.target)) <= TRACE_WORKERS
    });
    if small && steps.len() <= TRACE_EVENTS {
        let told = trace::retell(&text).unwrap_or_else(|why| panic!("read, but not told anew: {why}"));
        assert_eq!(trace::retell(&told).as_ref(), Ok(&told), "told twice");
        for line in told.lines().filter(|line| line.starts_with(['>', '='])) {
            trace::parse(line).unwrap_or_else(|why| panic!("the machine's own words: {line:?}: {why}"));
        }
    }
}
