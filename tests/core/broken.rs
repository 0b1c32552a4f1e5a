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
const BEGINNINGS: &str = "
born:
config target=1 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start

listening:
config target=1 listeners=2 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1

starting: born
@0 pinned generation=1

pending: starting
@0 spawned worker=1 pid=101

serving: pending
@10 acked pid=101 sender=101

two: serving
@20 requested client=1 request=1 inc
@20 spawned worker=2 pid=102

upgrading:
config target=2 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=2 surge=2
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 acked pid=101 sender=101
@10 acked pid=102 sender=102
@20 signalled signal=HUP
@30 pinned generation=2
@30 woke

refused: serving
@20 signalled signal=HUP
@30 pin-failed generation=2 error=pin:2:not-found

coming: serving
@20 requested client=1 request=1 upgrade strategy=rolling
@30 pinned generation=2

replaced: coming
@30 woke
@30 spawned worker=2 pid=102
@40 acked pid=102 sender=102

superseded: serving
@20 requested client=1 request=1 upgrade strategy=fleet soak=5000
@30 pinned generation=2
@30 woke
@30 spawned worker=2 pid=102
@40 acked pid=102 sender=102
@50 requested client=1 request=2 upgrade strategy=rolling
@50 pinned generation=3

canary: serving
@20 requested client=1 request=1 upgrade strategy=rolling canary=1 soak=1000
@30 pinned generation=2
@30 woke
";

/// Runs that break an invariant with their last step: which, after what beginning, and in what way.
/// Where orders stand below an event, they are what the machine is made to have said; elsewhere it has
/// said what it does say.
const LIES: &str = "
I3 starting: in a generation that nobody wants
@1 woke
> spawn worker=2 slot=0 generation=7

I3 upgrading: in a generation that neither serves nor comes
@31 woke
> spawn worker=5 slot=0 generation=7

I4 starting: a name for the second time
@1 woke
> spawn worker=1 slot=0 generation=1

I4 starting: a name that was left out before
@1 woke
> spawn worker=3 slot=0 generation=1
> spawn worker=2 slot=0 generation=1

I5 starting: before there is a process
@1 woke
> signal worker=1 pid=101 signal=TERM scope=process

I5 pending: to another process
@1 woke
> signal worker=1 pid=102 signal=TERM scope=process

I5 serving: to a process that is gone
@20 exited pid=101 status=0
> signal worker=1 pid=101 signal=TERM scope=process

I5 starting: to a worker that never had one
@20 spawn-failed worker=1 error=fork:11:passing
> signal worker=1 pid=101 signal=TERM scope=process

I7 serving: the only worker is one too many
@20 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=surplus

I7 two: one of two ended, so the other cannot go
@30 acked pid=102 sender=102
@40 exited pid=102 status=0
@40 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=surplus

I8 serving: replaced by nobody
@20 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=replaced

I8 serving: withdrawn in favour of nobody
@20 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=withdrawn

I8 two: replaced by one of another slot
@30 acked pid=102 sender=102
@40 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=replaced

I9 serving: healthy for the second time
@20 woke
> notice healthy worker=1 slot=0 generation=1 pid=101 took=20

I9 pending: on the word of a stranger
@20 acked pid=101 sender=2 group=3
> notice healthy worker=1 slot=0 generation=1 pid=101 took=20

I9 two: on the word of another worker, whose group nobody knows
@20 acked pid=102 sender=101
> notice healthy worker=2 slot=1 generation=1 pid=102 took=0

I9 two: on the word of another worker
@20 acked pid=102 sender=101 group=102
> notice healthy worker=2 slot=1 generation=1 pid=102 took=0

I9 pending: another was meant
@20 acked pid=7 sender=7
> notice healthy worker=1 slot=0 generation=1 pid=101 took=20

I11 serving: without a warning
@20 woke
> signal worker=1 pid=101 signal=KILL scope=group

I11 serving: too soon after the warning
@20 signalled signal=QUIT
@1019 woke
> signal worker=1 pid=101 signal=KILL scope=group

I11 serving: alone, without its group
@20 signalled signal=QUIT
@5020 woke
> signal worker=1 pid=101 signal=KILL scope=process

I12 serving: after the shutdown began
@20 signalled signal=INT
@21 woke
> spawn worker=2 slot=0 generation=1

I13 serving: the same generation again
@20 signalled signal=HUP
> pin generation=1

I14 serving: another number is told
@20 requested client=1 request=1 inc
> notice target old=1 new=2
> reply request=1 target old=1 new=3

I14 serving: that it was another number is told
@20 requested client=1 request=1 inc
> notice target old=7 new=2

I14 serving: that it was another number is answered
@20 requested client=1 request=1 inc
> notice target old=1 new=2
> reply request=1 target old=7 new=2

I14 serving: no number is told
@20 requested client=1 request=1 inc
> reply request=1 not-running

I15 pending: longer than any delay
@20 woke
> notice start-failed worker=1 slot=0 generation=1 failure=exited:1 failures=1 retries=3 next=in:30001

I15 pending: shorter than the delay before
@20 woke
> notice start-failed worker=1 slot=0 generation=1 failure=exited:1 failures=1 retries=3 next=in:100
> notice start-failed worker=2 slot=0 generation=1 failure=exited:1 failures=2 retries=3 next=in:99

I16 serving: an answer to nobody
@20 woke
> reply request=1 status

I16 serving: two answers
@20 requested client=1 request=1 status
> reply request=1 status
> reply request=1 status

I16 serving: two answers to a worker
@20 pinged pid=101 sender=101 request=1
> reply request=1 pinged pid=101
> reply request=1 pinged pid=101

I16 pending: no answer to a worker
@20 acked pid=101 sender=101 request=1
> notice healthy worker=1 slot=0 generation=1 pid=101 took=20

I16 serving: an answer to a client that has left
@20 requested client=1 request=1 upgrade strategy=rolling
@21 client-gone client=1
@22 woke
> reply request=1 cancelled generation=2 cause=shutdown

I16 serving: progress of nothing
@20 woke
> progress request=1 generation=1 healthy=1 target=1 retired=0 stage=spread

I16 serving: somebody still waits at the end
@20 requested client=1 request=1 upgrade strategy=rolling
@21 woke
> exit code=0

I18 pending: a gap past a deadline
@1000 woke
> notice gap lost=1

I19 listening: out of order
@0 woke
> bind listener=2

I19 listening: for the second time
@0 bound listener=0
> bind listener=0

I19 listening: workers before the sockets
@0 bound listener=0
> spawn worker=1 slot=0 generation=1

I29 serving: released, and still run
@20 woke
> forget generation=1

I29 coming: released, and about to be run
@31 pinged pid=101 sender=101
> forget generation=2

I29 replaced: released, while somebody is still on the way out
@41 woke
> forget generation=1

I38 serving: given up, and it has served
@20 woke
> notice gave-up slot=0 generation=1 failures=3 failure=exited:1 then=until-asked

I39 superseded: for one that nobody wants any more
@60 woke
> notice draining worker=1 slot=0 generation=1 pid=101 why=replaced

I31 serving: something after the end
@20 woke
> exit code=0
> notice up workers=1 took=10

I31 serving: a step after the end
@20 woke
> exit code=0
@21 woke
> notice up workers=1 took=10

I33 canary: without a trial
@5000 woke
> notice upgraded generation=2 took=4970

I33 canary: too soon
@40 woke
> notice on-trial generation=2 workers=1 soak=1000
@1039 woke
> notice upgraded generation=2 took=1009
";

/// What is replaced in a snapshot, and by what.
type Edit = (&'static str, &'static str);

/// States that break an invariant: which, in what way, and the end of which run with what changed.
const BAD_STATES: [(u8, &str, &str, Edit); 15] = [
    (
        2,
        "one worker twice in its slot",
        "serving",
        (" starts=1", " starts=1 worker=1 generation=1 failures=0 early=0 hold=ready starts=1"),
    ),
    (6, "one process for two workers", "two", ("pid=102", "pid=101")),
    (30, "up and in no slot", "serving", ("slot=0 worker=1 ", "slot=0 ")),
    (30, "in a slot and draining", "serving", ("healthy pid=101", "draining pid=101 why=surplus rung=stop")),
    (
        30,
        "in a slot and unheard of",
        "serving",
        (" starts=1", " starts=1 worker=7 generation=1 failures=0 early=0 hold=ready starts=1"),
    ),
    (30, "in another's slot", "two", ("worker worker=2 slot=1", "worker worker=2 slot=0")),
    (30, "too few slots", "serving", ("fleet target=1", "fleet target=2")),
    (30, "a slot beyond the target, and empty", "serving", ("slot slot=0", EMPTY_SLOT)),
    (32, "more slots ahead than canaries", "canary", ("canary=1", "canary=0")),
    (36, "captured for nothing", "refused", (" pinned=1", " pinned=1,2")),
    (34, "a slot that serves and never has", "serving", (" served=yes failures", " failures")),
    (40, "a gap where somebody serves", "serving", (" starts=1", GAP)),
    (37, "serving, and said never to have", "serving", (" served=yes newest", " newest")),
    (37, "down, and nobody knows", "serving", (" healthy pid=101", " pending-ack pid=101")),
    (
        37,
        "known to be down, and serving",
        "serving",
        ("fleet target", "outage since=0 next=60000\nfleet target"),
    ),
];

const GAP: &str = " starts=1 generation=1 failures=0 early=0 hold=ready starts=1";

const EMPTY_SLOT: &str = "slot slot=1 generation=1 failures=0 early=0 hold=ready starts=0\nslot slot=0";

/// What takes a test of its own below.
const APART: [u8; 1] = [10];

/// What can be broken only from inside is broken by the unit tests in that file.
const INSIDE: (&str, [u8; 3]) = ("src/fsm/view/invariants/tests.rs", [17, 21, 28]);

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
