//! Every check can fail. For each invariant that is checked on steps or on states there is something
//! here that breaks it and nothing else, and the check must say so, with its number.

use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    event::Event,
    invariants::{ALL, Kind, Monitor, Violation},
    snapshot,
    trace::{Line, parse, recorded},
};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// How runs begin.
const BEGINNINGS: &str = include_str!("broken/beginnings.txt");

/// Runs that break an invariant with their last step: which, after what beginning, and in what way.
/// Where orders stand below an event, they are what the machine is made to have said; elsewhere it has
/// said what it does say.
const LIES: &str = include_str!("broken/lies.txt");

/// What is replaced in a snapshot, and by what.
type Edit = (&'static str, &'static str);

/// States that break an invariant: which, in what way, and the end of which run with what changed.
const BAD_STATES: [(u8, &str, &str, Edit); 15] = [
    (
        2,
        "one worker twice in its slot",
        "serving",
        (" starts=1", " starts=1 worker=1 generation=1 failures=0 early=0 lacks=0 hold=ready starts=1"),
    ),
    (6, "one process for two workers", "two", ("pid=102", "pid=101")),
    (30, "up and in no slot", "serving", ("slot=0 worker=1 ", "slot=0 ")),
    (30, "in a slot and draining", "serving", ("healthy pid=101", "draining pid=101 why=surplus rung=stop")),
    (
        30,
        "in a slot and unheard of",
        "serving",
        (" starts=1", " starts=1 worker=7 generation=1 failures=0 early=0 lacks=0 hold=ready starts=1"),
    ),
    (30, "in another's slot", "two", ("worker worker=2 slot=1", "worker worker=2 slot=0")),
    (30, "too few slots", "serving", ("fleet target=1", "fleet target=2")),
    (30, "a slot beyond the target, and empty", "serving", ("slot slot=0", EMPTY_SLOT)),
    (32, "more slots ahead than canaries", "canary", ("canary=1", "canary=0")),
    (36, "captured for nothing", "refused", (" pinned=1", " pinned=1,2")),
    (34, "a slot that serves and never has", "serving", (" served=yes failures", " failures")),
    (40, "a gap where somebody serves", "serving", (" starts=1", GAP)),
    (37, "serving, and said never to have", "serving", (" served=yes shows=yes", " shows=yes")),
    (37, "down, and nobody knows", "serving", (" healthy pid=101", " pending-ack pid=101")),
    (
        37,
        "known to be down, and serving",
        "serving",
        ("fleet target", "outage since=0 next=60000\nfleet target"),
    ),
];

const GAP: &str = " starts=1 generation=1 failures=0 early=0 lacks=0 hold=ready starts=1";

const EMPTY_SLOT: &str =
    "slot slot=1 generation=1 failures=0 early=0 lacks=0 hold=ready starts=0\nslot slot=0";

/// What takes a test of its own below.
const APART: [u8; 1] = [10];

/// What can be broken only from inside is broken by the unit tests in that file.
const INSIDE: (&str, [u8; 5]) = ("src/fsm/view/invariants/tests.rs", [17, 21, 28, 43, 44]);

/// The text of a run's beginning.
fn beginning(name: &str) -> String {
    let blocks = BEGINNINGS.trim().split("\n\n");
    let mut named = blocks.filter_map(|block| block.strip_prefix(name)?.strip_prefix(':'));
    let (before, rest) = named.next().and_then(|block| block.split_once('\n')).expect("a beginning");
    let before = if before.is_empty() { String::new() } else { beginning(before.trim()) };
    before + rest + "\n"
}

/// Number, title and whole text of each run of [`LIES`].
fn lies() -> Vec<(u8, &'static str, String)> {
    let lie = |block: &'static str| {
        let (title, rest) = block.split_once('\n')?;
        let (number, name) = title.split_once(':')?.0.strip_prefix('I')?.split_once(' ')?;
        Some((number.parse().ok()?, title, beginning(name) + rest))
    };
    LIES.trim().split("\n\n").map(|block| lie(block).unwrap_or_else(|| panic!("{block}"))).collect()
}

/// Tells a run to a machine and a monitor, up to the first violation; with that comes how many steps
/// were left.
fn run(text: &str) -> (Supervisor, Monitor, Result<(), (Violation, usize)>) {
    let steps = recorded(text).unwrap_or_else(|why| panic!("{why} in {text}"));
    let config = steps.first().and_then(|step| step.config.clone()).expect("a configuration");
    let (mut supervisor, mut monitor) = (Supervisor::new(config).lenient(), Monitor::new());
    for (left, step) in (0..steps.len()).rev().zip(steps) {
        let mut actions = supervisor.step(step.event.clone());
        if !step.followed.is_empty() {
            actions = step.followed.iter().map(|line| order(line)).collect();
        }
        if let Err(violation) = monitor.step(&step.event, &actions, &supervisor) {
            return (supervisor, monitor, Err((violation, left)));
        }
    }
    (supervisor, monitor, Ok(()))
}

/// A run that nothing is wrong with.
fn good(text: &str) -> (Supervisor, Monitor) {
    let (supervisor, mut monitor, result) = run(text);
    assert_eq!(result, Ok(()), "{text}");
    assert_eq!(monitor.state(&supervisor), Ok(()), "{text}");
    (supervisor, monitor)
}

fn order(line: &str) -> Action {
    match parse(line) {
        Ok(Line::Action(action)) => action,
        other => panic!("{line}: {other:?}"),
    }
}

fn event(line: &str) -> Event {
    match parse(line) {
        Ok(Line::Event(event)) => event,
        other => panic!("{line}: {other:?}"),
    }
}

fn number(result: Result<(), Violation>) -> Option<u8> {
    result.err().map(|violation| violation.number)
}

/// The snapshot with that changed in it, and a last line that fits.
fn edited(snapshot: &str, (from, to): Edit) -> String {
    assert!(snapshot.contains(from), "there is no `{from}` in {snapshot}");
    sealed(&snapshot.replacen(from, to, 1))
}

/// The snapshot with its last line made to fit the others.
pub fn sealed(snapshot: &str) -> String {
    let end = snapshot.trim_end().rfind('\n').map_or(0, |at| at + 1);
    snapshot::sealed(&snapshot[..end])
}

#[test]
fn every_lie_about_a_step_is_found_out() {
    for (number, title, text) in lies() {
        let (violation, left) = run(&text).2.expect_err(title);
        assert_eq!((violation.number, left), (number, 0), "{title}: {violation}, and steps left");
    }
}

#[test]
fn every_state_that_cannot_be_is_refused() {
    for (number, title, name, edit) in BAD_STATES {
        let snapshot = good(&beginning(name)).0.snapshot();
        assert_eq!(sealed(&snapshot), snapshot);
        let refusal = Supervisor::restore(&edited(&snapshot, edit)).expect_err(title);
        assert!(refusal.message.starts_with(&format!("cannot be: I{number}: ")), "{title}: {refusal}");
    }
}

#[test]
fn i2_more_workers_than_a_rolling_upgrade_may_have_are_found_out() {
    let (supervisor, mut monitor) = good(&beginning("upgrading"));
    let text = edited(&supervisor.snapshot(), ("surge=2", "surge=1"));
    let bad = Supervisor::restore(&text).expect("by itself it can be");
    assert_eq!(number(monitor.state(&bad)), Some(2));
}

#[test]
fn i10_a_phase_that_goes_backwards_is_found_out() {
    let (supervisor, mut monitor) = good(&beginning("serving"));
    let text = edited(&supervisor.snapshot(), (" healthy pid=101", " pending-ack pid=101"));
    let text = edited(&text, ("fleet target", "outage since=0 next=60000\nfleet target"));
    let back = Supervisor::restore(&text).expect("by itself it can be");
    assert_eq!(Monitor::new().state(&back), Ok(()));
    assert_eq!(number(monitor.state(&back)), Some(10));
}

#[test]
fn i29_a_start_from_a_program_that_was_not_captured_is_found_out() {
    let (running, _) = good(&beginning("starting"));
    // This monitor did not see the program being captured.
    let mut monitor = good(&beginning("born")).1;
    let started = [order("> spawn worker=1 slot=0 generation=1")];
    assert_eq!(number(monitor.step(&event("@1 woke"), &started, &running)), Some(29));
}

fn file(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), name].iter().collect();
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{name}: {why}"))
}

#[test]
fn every_check_is_broken_by_something() {
    let inside = file(INSIDE.0);
    for number in INSIDE.1 {
        assert!(inside.contains(&format!("fn i{number}_")), "I{number} is not broken in {}", INSIDE.0);
    }
    let lies = lies().into_iter().map(|(number, ..)| number);
    let states = BAD_STATES.iter().map(|(number, ..)| *number);
    let broken: BTreeSet<u8> = lies.chain(states).chain(APART).chain(INSIDE.1).collect();
    let checked = ALL.into_iter().filter(|(_, kind)| *kind != Kind::Run).map(|(number, _)| number);
    assert_eq!(broken, checked.collect());
}

#[test]
fn every_run_invariant_names_tests_that_exist() {
    let list = file("fsm-spec/invariants.md");
    let shown = list.lines().filter_map(|line| line.strip_prefix("- I")?.split_once(": "));
    let mut numbers = BTreeSet::new();
    for (number, tests) in shown {
        numbers.insert(number.parse().expect("a number"));
        for test in tests.split('`').skip(1).step_by(2) {
            let (module, name) = test.split_once("::").expect("module::test");
            let source = file(&format!("tests/core/{module}.rs"));
            assert!(source.contains(&format!("fn {name}(")), "I{number}: there is no {test}");
        }
        assert!(tests.contains('`'), "I{number} is shown by no test");
    }
    let run = ALL.into_iter().filter(|(_, kind)| *kind == Kind::Run).map(|(number, _)| number);
    assert_eq!(numbers, run.collect::<BTreeSet<u8>>());
}
