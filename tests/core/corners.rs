//! Corners that arbitrary runs come to seldom or never, one by one.

use crate::{
    script::after,
    world::{Depth, Op, World},
};
use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    config::{AckMode, Config},
    event::{Event, EventKind, ExitStatus},
    id::{Generation, Pid, SlotId, WorkerId},
    index::TimerKind,
    notice::Notice,
    reason::Next,
    signal::Signal,
    supervisor::BURST,
    time::{Millis, Time},
    trace,
    worker::PhaseTag,
};
use std::collections::BTreeSet;

fn has(orders: &[String], start: &str) -> bool {
    orders.iter().any(|order| order.starts_with(start))
}

const ONE: &str = "
config target=1 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@10 acked pid=101 sender=101
";

#[test]
fn a_hang_up_captures_nothing_before_the_start_is_over_or_once_the_end_has_begun() {
    let hang_up = "signalled signal=HUP\n";
    let (_, orders) = after(&format!("{ONE}@20 {hang_up}"));
    assert_eq!(orders, ["pin generation=2"]);
    let (machine, orders) = after(&format!("{ONE}@20 signalled signal=TERM\n@30 {hang_up}"));
    assert!(
        orders.is_empty() && machine.stage() == einhyrningsins::fsm::upgrade::Stage::Settled,
        "{orders:?}"
    );
    let unborn = ONE.lines().take(3).collect::<Vec<_>>().join("\n");
    let (_, orders) = after(&format!("{unborn}\n@0 {hang_up}"));
    assert!(orders.is_empty(), "{orders:?}");
}

#[test]
fn a_helper_that_has_ended_speaks_for_a_worker_and_no_other_worker_does() {
    let two = ONE.lines().take(5).collect::<Vec<_>>().join("\n").replace("target=1", "target=2");
    let two = format!("{two}\n@0 spawned worker=2 pid=102\n");
    for (sender, refused) in [("sender=9", false), ("sender=9 group=9", true), ("sender=102", true)] {
        for (what, done) in [("acked", "notice healthy worker=1"), ("pinged", "reply request=1 pinged")] {
            let (_, orders) = after(&format!("{two}@10 {what} pid=101 {sender} request=1"));
            assert_eq!(has(&orders, done), !refused, "{sender}: {orders:?}");
            assert_eq!(has(&orders, "reply request=1 not-yours"), refused, "{sender}: {orders:?}");
        }
    }
}

#[test]
fn a_socket_that_cannot_be_bound_is_the_end() {
    let (_, orders) = after(
        "
config target=1 listeners=2 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 bound listener=0
@0 bind-failed listener=1 errno=98
",
    );
    assert_eq!(orders, ["notice bind-failed listener=1 errno=98", "exit code=1"]);
}

#[test]
fn a_program_that_was_not_asked_for_is_neither_captured_nor_failed() {
    for generation in [0, 1, 3] {
        for answer in ["pinned", "pin-failed error=pin:2:not-found"] {
            let (name, rest) = answer.split_once(' ').unwrap_or((answer, ""));
            let text = format!("{ONE}@20 signalled signal=HUP\n@30 {name} generation={generation} {rest}\n");
            let told = trace::retell(&text).expect("a trace");
            let last: Vec<&str> = told.lines().rev().take(2).collect();
            assert!(last[1].starts_with("> notice impossible what=generation%20"), "{told}");
        }
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "impossible: the supervisor is up, and now start")]
fn what_cannot_happen_is_a_panic_where_bugs_are_to_be_found() {
    after(&format!("{ONE}@20 start\n"));
}

/// Two slots; a new version is on trial in both when the service is told to make do with one. The second
/// stays as long as the first does not serve, but its end says nothing about the new version any more.
#[test]
fn the_end_of_a_worker_beyond_the_target_takes_no_release_back() {
    let begun = "
config target=2 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=2 surge=2
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 acked pid=101 sender=101
@10 acked pid=102 sender=102
@20 requested client=1 request=1 upgrade strategy=fleet soak=5000
@20 pinned generation=2
@20 woke
@20 spawned worker=3 pid=103
@20 spawned worker=4 pid=104
@30 exited pid=101 status=0
@30 exited pid=102 status=0
@40 acked pid=104 sender=104
";
    let shrunk = format!("{begun}@50 requested client=1 request=2 dec\n");
    let (machine, _) = after(&shrunk);
    let beyond = machine.fleet().slots().get(&SlotId(1)).and_then(|slot| slot.current());
    assert_eq!(beyond.map(|worker| machine.fleet().is_healthy(worker)), Some(true), "it fills in");
    let (machine, orders) = after(&format!("{shrunk}@60 exited pid=104 status=1\n"));
    assert!(has(&orders, "notice crashed worker=4") && !has(&orders, "notice rolling-back"), "{orders:?}");
    assert!(orders[0].ends_with("next=not-replaced"), "{orders:?}");
    assert!(machine.stage().is_forward());
    // The same within the target is the end of the trial.
    let (_, orders) = after(&format!("{begun}@60 exited pid=104 status=1\n"));
    assert!(has(&orders, "notice rolling-back generation=2 to=1 cause=died slot=1"), "{orders:?}");
}

/// Where health takes no time, an exec failure of the first second is one of the start; after it is not.
#[test]
fn the_first_moment_ends_with_the_first_second() {
    let begun = "
config target=1 listeners=0 ack=after:0 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
";
    let failure = "exited pid=101 status=127 error=exec:2:not-found\n";
    let (_, orders) = after(&format!("{begun}@999 {failure}"));
    assert!(has(&orders, "exit code=127"), "{orders:?}");
    let (_, orders) = after(&format!("{begun}@1000 {failure}"));
    assert!(has(&orders, "notice start-failed") && !has(&orders, "exit "), "{orders:?}");
}

/// Slots that were left without a worker of their own, and get another chance, start as many workers next
/// to those they have as both limits allow.
#[test]
fn second_chances_respect_both_limits() {
    let path = "fsm-spec/traces/regressions/retry-beyond-the-surge.trace";
    let path: std::path::PathBuf = [env!("CARGO_MANIFEST_DIR"), path].iter().collect();
    let told = std::fs::read_to_string(path).expect("the trace can be read");
    for (limits, most) in [
        ("unacked=1 surge=1", 1),
        ("unacked=2 surge=1", 1),
        ("unacked=1 surge=2", 1),
        ("unacked=2 surge=2", 2),
    ] {
        let begun = told.replace("unacked=1 surge=1", limits);
        let (before, _) = begun.split_once("@2000 ").expect("the second upgrade");
        let events = format!("{before}@2000 requested client=1 request=3 retry\n");
        let (machine, orders) = after(&events);
        assert_eq!(machine.fleet().index().doubled.len(), most, "{limits}");
        // Whom one that is healthy replaces goes, though another slot's worker has ended: the next may start.
        let started = orders.iter().find_map(|order| order.strip_prefix("spawn worker="));
        let number = started.and_then(|order| order.split(' ').next()).expect("one is started");
        let (machine, _) = after(&format!(
            "{events}@2000 spawned worker={number} pid=200\n@2000 exited pid=103 status=signal:9\n\
             @2010 acked pid=200 sender=200\n"
        ));
        assert_eq!(machine.fleet().index().replaced.total(), 0, "{limits}");
        assert_eq!(machine.fleet().index().doubled.len(), 1, "{limits}");
    }
}

/// A fleet upgrade may have as many workers more as there are, a rolling one that supersedes it fewer. Where
/// a superseded worker ends, its slot is given back at once, whether there is room beyond the target or not.
#[test]
fn a_superseded_slot_goes_back_even_without_room() {
    let (machine, _) = after(
        "
config target=2 listeners=0 ack=after:0 retries=2 backoff=0 grace=0 stop=USR2 unacked=2 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@0 requested client=1 request=1 upgrade strategy=fleet soak=20
@0 pinned generation=2
@0 woke
@0 spawned worker=3 pid=103
@0 spawned worker=4 pid=104
@0 requested client=1 request=2 upgrade strategy=rolling
@0 pinned generation=3
@0 exited pid=103 status=0
",
    );
    let first = machine.fleet().slots().get(&SlotId(0)).expect("a slot");
    assert_eq!(
        (first.current(), first.outgoing(), first.generation()),
        (Some(WorkerId(1)), None, Generation(1))
    );
    let second = machine.fleet().slots().get(&SlotId(1)).expect("a slot");
    assert_eq!(
        (second.current(), second.outgoing()),
        (Some(WorkerId(2)), Some(WorkerId(4))),
        "what is proven stays"
    );
}

fn large(target: u32) -> World {
    let config = Config { target, ack: AckMode::Manual(Millis(1_000)), ..Config::default() };
    let mut world = World::new(config, Depth::Step).expect("a start");
    world.tracing = false;
    world
}

fn spawned(actions: &[Action]) -> u32 {
    let spawns = actions.iter().filter(|action| matches!(action, Action::Spawn { .. }));
    u32::try_from(spawns.count()).expect("a number")
}

/// A step does a bounded part of what there is to do, and asks to be woken at once for the rest.
#[test]
fn a_thousand_workers_are_started_a_burst_at_a_time() {
    let mut world = large(1_000);
    let kind = world.event(Op::Answer).expect("a program to capture");
    let mut started = vec![spawned(&world.step(kind).expect("nothing wrong"))];
    while world.supervisor.next_deadline() == Some((world.now, TimerKind::Unfinished)) {
        started.push(spawned(&world.step(EventKind::Woke).expect("nothing wrong")));
    }
    let whole = usize::try_from(1_000 / BURST).expect("a few");
    assert_eq!(started[..whole], vec![BURST; whole]);
    assert_eq!(started[whole..], [1_000 % BURST]);
}

/// A shutdown reaches a burst of workers at a time. One that it has not reached yet and that fails to
/// start is not tried again.
#[test]
fn a_start_that_fails_amid_a_shutdown_is_not_tried_again() {
    let mut world = large(2 * BURST);
    world.answer_all().expect("nothing wrong");
    world.step(EventKind::Woke).expect("nothing wrong");
    world.answer_all().expect("nothing wrong");
    world.step(EventKind::Signalled { signal: Signal::Term }).expect("nothing wrong");
    let pending = |(_, worker): &(_, &einhyrningsins::fsm::worker::Worker)| {
        worker.phase().tag() == PhaseTag::PendingAck
    };
    let workers = world.supervisor.fleet().workers();
    let pid = workers.iter().find(pending).and_then(|(_, worker)| worker.phase().pid()).expect("one is left");
    let exit = EventKind::Exited { pid, status: ExitStatus::Code(1), error: None, orphans: false };
    let actions = world.step(exit).expect("nothing wrong");
    let failed = actions.iter().find_map(|action| match action {
        Action::Notice { notice: Notice::StartFailed { failures, next, .. } } => Some((*failures, *next)),
        _ => None,
    });
    assert_eq!(failed, Some((None, Next::NotReplaced)));
}

/// How many workers are started in the first second when each of so many slots gets one that is healthy at once
/// and dies after that time, again and again.
fn starts_in_the_first_second(slots: u32, lived: u64) -> u32 {
    let config = Config { target: slots, listeners: 0, backoff: Millis(1_000), ..Config::default() };
    let mut machine = Supervisor::new(config);
    machine.step(Event { at: Time(0), kind: EventKind::Start });
    let mut actions =
        machine.step(Event { at: Time(0), kind: EventKind::Pinned { generation: Generation(1) } });
    let (mut starts, mut next_pid) = (0, 1_000);
    let mut ends: BTreeSet<(Time, Pid)> = BTreeSet::new();
    let mut now = Time(0);
    loop {
        let spawned: Vec<WorkerId> = actions
            .drain(..)
            .filter_map(|action| if let Action::Spawn { worker, .. } = action { Some(worker) } else { None })
            .collect();
        for worker in spawned {
            let pid = Pid(next_pid);
            (starts, next_pid) = (starts + 1, next_pid + 1);
            for kind in [
                EventKind::Spawned { worker, pid },
                EventKind::Acked { pid, sender: pid, group: None, request: None },
            ] {
                actions.extend(machine.step(Event { at: now, kind }));
            }
            ends.insert((now + Millis(lived), pid));
        }
        let woken = machine.next_deadline().map(|(time, _)| time);
        let ended = ends.first().copied();
        now = [woken, ended.map(|(time, _)| time)].into_iter().flatten().min().expect("it goes on").max(now);
        if now > Time(1_000) {
            return starts;
        }
        let kind = match ended.filter(|(time, _)| *time <= now) {
            Some(end) => {
                ends.remove(&end);
                let (status, error, orphans) = (ExitStatus::Code(1), None, false);
                EventKind::Exited { pid: end.1, status, error, orphans }
            }
            None => EventKind::Woke,
        };
        actions.extend(machine.step(Event { at: now, kind }));
    }
}

#[test]
fn a_crowd_that_dies_young_is_spaced_sooner_than_a_few_that_do() {
    // Each is replaced at once four times, and then five times a second; but the last one is so always.
    let starts = starts_in_the_first_second(30, 50);
    assert!((30 * 9..30 * 9 + 12).contains(&starts), "{starts} starts");
    // Of many, each is so once; more are until it shows that there are many.
    let starts = starts_in_the_first_second(1_000, 50);
    assert!((2_000..2_400).contains(&starts), "{starts} starts");
}

#[test]
fn only_the_last_one_of_several_never_waits() {
    // One alone does.
    assert_eq!(starts_in_the_first_second(1, 50), 9);
    assert_eq!(starts_in_the_first_second(1, 0), 10);
    // Of two, each has its own row; and one more is there all the time.
    let starts = starts_in_the_first_second(2, 50);
    assert!((18..18 + 12).contains(&starts), "{starts} starts");
    // Whatever dies in the same moment has a hundred turns, and then a hundred a second.
    let starts = starts_in_the_first_second(4, 0);
    assert!((4 * 9 + 190..=4 * 9 + 200).contains(&starts), "{starts} starts");
}

/// A service of one, of which the first worker was healthy for long and has ended.
const SERVED: &str = "
config target=1 listeners=0 ack=manual:3000 retries=2 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@10 acked pid=101 sender=101
@2000 exited pid=101 status=1
";

#[test]
fn who_ends_early_and_before_it_was_healthy_counts_as_none_that_failed_four_times_in_a_row() {
    let mut run = SERVED.to_owned();
    let failed = |run: &str, worker: u32, at: u32, end: &str| {
        let pid = 100 + worker;
        let run = format!(
            "{run}@{at} spawned worker={worker} pid={pid}\n{}\n",
            end.replace("PID", &pid.to_string())
        );
        let told = after(&run).1.iter().find_map(|order| Some(order.split_once(" retries=2 ")?.1.to_owned()));
        (run, told.unwrap_or_default())
    };
    // Later than that, for want of a word, or since it could not be executed: that is a failed start.
    for (end, next) in [
        ("@3000 exited pid=PID status=1", "next=in:100"),
        ("@2999 exited pid=PID status=1", "next=in:0"),
        ("@5000 woke", "next=in:100"),
        ("@2001 exited pid=PID status=127 error=exec:2:passing", "next=in:100"),
    ] {
        assert_eq!(failed(&run, 2, 2_000, end).1, next, "{end}");
    }
    for worker in 2..6 {
        let (next, told) = failed(&run, worker, 2_000, "@2000 exited pid=PID status=1");
        assert_eq!(told, "next=in:0");
        run = next;
    }
    let (mut run, told) = failed(&run, 6, 2_000, "@2000 exited pid=PID status=1");
    assert_eq!(told, "next=in:100");
    run += "@2101 woke\n";
    let (run, told) = failed(&run, 7, 2_101, "@2102 exited pid=PID status=1");
    assert_eq!(told, "next=in:150");
    assert!(has(&after(&run).1, "notice failing slot=0 generation=1 failures=2"));
}
