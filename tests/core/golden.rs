//! The scenarios under `fsm-spec/traces/`, told again by the machine as it is today.
//!
//! `UPDATE_TRACES=1 cargo test --test core` rewrites them; commit the difference only when you
//! understand it.

use einhyrningsins::fsm::{Supervisor, invariants::Monitor, text::Record as _, trace};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Every trace below `fsm-spec/traces/`, in order.
fn traces() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("fsm-spec/traces")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_golden_trace_is_told_the_same_way_today() {
    let traces = traces();
    assert!(traces.len() >= 9, "only {} traces found", traces.len());
    for path in traces {
        let told = fs::read_to_string(&path).expect("the trace can be read");
        let today = trace::retell(&told).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        if env::var_os("UPDATE_TRACES").is_some() {
            fs::write(&path, &today).expect("the trace can be written");
            continue;
        }
        for (number, (then, now)) in (1..).zip(told.lines().zip(today.lines())) {
            assert_eq!(then.trim(), now, "{}:{number}: recorded, and today", path.display());
        }
        assert_eq!(told.lines().count(), today.lines().count(), "{}: number of lines", path.display());
    }
}

#[test]
fn no_golden_trace_breaks_an_invariant_or_tells_of_the_impossible() {
    for path in traces() {
        let told = fs::read_to_string(&path).expect("the trace can be read");
        let mut run = None;
        for step in trace::recorded(&told).expect("a trace") {
            if let Some(config) = step.config {
                run = Some((Supervisor::new(config).lenient(), Monitor::new()));
            }
            let (supervisor, monitor) = run.as_mut().expect("a run has begun");
            let actions = supervisor.step(step.event.clone());
            let checked =
                monitor.step(&step.event, &actions, supervisor).and_then(|()| monitor.state(supervisor));
            checked.unwrap_or_else(|violation| panic!("{}:{}: {violation}", path.display(), step.line));
            let impossible = actions.iter().any(|action| action.to_line().contains("notice impossible"));
            assert!(!impossible, "{}:{}: impossible", path.display(), step.line);
        }
    }
}

#[test]
fn every_line_of_the_golden_traces_survives_parsing_and_writing() {
    for path in traces() {
        let told = fs::read_to_string(&path).expect("the trace can be read");
        for line in told.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let parsed = trace::parse(line).unwrap_or_else(|why| panic!("{}: {line}: {why}", path.display()));
            assert_eq!(parsed.to_string(), line, "{}", path.display());
        }
    }
}
