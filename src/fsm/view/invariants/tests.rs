//! Checks that nothing but a bug in the fleet could make fail: they are shown a derived entry that does
//! not follow from the state.

use super::{
    Monitor,
    state::{deadlines, derived, status},
};
use crate::fsm::Supervisor;
use crate::fsm::fleet::{
    index::{Index, Tally, TimerKind},
    slot::Side,
    worker::Change,
};
use crate::fsm::words::{
    config::Config,
    event::{Command, Event, EventKind, ExitStatus, Strategy},
    id::{ClientId, Generation, Pid, RequestId, SlotId, WorkerId},
    reason::Why,
    time::{Millis, Time},
};

/// A machine with one worker that serves, and a derived entry changed.
fn tampered(tamper: impl FnOnce(&mut Index)) -> Supervisor {
    let mut supervisor = Supervisor::new(Config::default());
    let (worker, pid) = (WorkerId(1), Pid(101));
    for kind in [
        EventKind::Start,
        EventKind::Pinned { generation: Generation(1) },
        EventKind::Spawned { worker, pid },
        EventKind::Acked { pid, sender: pid, group: None, request: None },
    ] {
        supervisor.step(Event { at: Time(0), kind });
    }
    assert_eq!([derived(&supervisor), deadlines(&supervisor), status(&supervisor)], [Ok(()), Ok(()), Ok(())]);
    tamper(supervisor.fleet_mut().index_mut());
    supervisor
}

#[test]
fn i14_a_target_of_none_is_found_out() {
    let mut state = tampered(|_| {});
    let event = Event { at: Time(0), kind: EventKind::Woke };
    assert_eq!(Monitor::new().step(&event, &[], &state), Ok(()));
    state.fleet_mut().set_target(0, Generation(1));
    assert_eq!(Monitor::new().step(&event, &[], &state).map_err(|violation| violation.number), Err(14));
}

#[test]
fn i17_a_deadline_of_nobody_is_found_out() {
    for kind in [
        TimerKind::Unfinished,
        TimerKind::AckAfter(WorkerId(2)),
        TimerKind::AckTimeout(WorkerId(2)),
        TimerKind::Rung(WorkerId(2)),
        TimerKind::Backoff(SlotId(1), Side::Current),
        TimerKind::Backoff(SlotId(0), Side::Outgoing),
    ] {
        let state = tampered(|index| {
            index.deadlines.insert((Time(7), kind));
        });
        assert_eq!(deadlines(&state).map_err(|violation| violation.number), Err(17), "{kind:?}");
    }
}

#[test]
fn i21_a_status_that_tells_another_count_is_found_out() {
    let state = tampered(|index| index.census = Tally::default());
    assert_eq!(status(&state).map_err(|violation| violation.number), Err(21));
}

#[test]
fn i43_replacing_all_that_end_early_at_once_is_found_out() {
    let (mut state, mut monitor) = (tampered(|_| {}), Monitor::new());
    let replaced = |monitor: &mut Monitor, born: Time, slot: u32, state: &Supervisor| {
        monitor.ended_last = Some((WorkerId(9), born));
        monitor.followed((WorkerId(9), SlotId(slot)), state).map_err(|violation| violation.number)
    };
    for _ in 0..30 {
        assert_eq!(replaced(&mut monitor, Time(0), 0, &state), Ok(()));
    }
    assert_eq!(replaced(&mut monitor.clone(), Time(0), 0, &state), Err(43));
    assert_eq!(replaced(&mut monitor.clone(), Time(0), 1, &state), Ok(()), "another slot");
    state.step(Event { at: Time(1_000), kind: EventKind::Woke });
    assert_eq!(replaced(&mut monitor, Time(0), 0, &state), Ok(()), "that one was not early");
    assert_eq!(replaced(&mut monitor.clone(), Time(1), 0, &state), Err(43), "not quite a second later");
    state.step(Event { at: Time(1_001), kind: EventKind::Woke });
    assert_eq!(replaced(&mut monitor, Time(1), 0, &state), Ok(()), "a second later");
    // Nobody else is within the target: the worker that there is was started in this very step.
    state.fleet_mut().set_target(2, Generation(1));
    let mut alone = Monitor::new();
    for _ in 0..260 {
        assert_eq!(replaced(&mut alone, Time(2), 0, &state), Ok(()));
    }
    assert_eq!(replaced(&mut alone, Time(2), 1, &state), Err(43));
}

#[test]
fn i44_a_service_that_is_left_without_any_is_found_out() {
    let mut state = tampered(|_| {});
    let waits = |monitor: &mut Monitor, delay: u64, state: &Supervisor| {
        monitor.ended_last = Some((WorkerId(9), Time(0)));
        let waits = monitor.last_one(WorkerId(9), Generation(1), Millis(delay), state);
        waits.map_err(|violation| violation.number)
    };
    let fresh = Monitor { stable: Generation(1), ..Monitor::new() };
    assert_eq!(waits(&mut fresh.clone(), 7, &state), Ok(()), "of one worker");
    state.fleet_mut().set_target(2, Generation(1));
    let other = Monitor { last_worker: WorkerId(1), ..fresh.clone() };
    assert_eq!(waits(&mut other.clone(), 7, &state), Ok(()), "another is there");
    assert_eq!(waits(&mut Monitor::new(), 7, &state), Ok(()), "not of what is proven");
    let mut monitor = fresh;
    for _ in 0..99 {
        assert_eq!(waits(&mut monitor, 0, &state), Ok(()));
    }
    assert_eq!(waits(&mut monitor.clone(), 7, &state), Err(44));
    assert_eq!(waits(&mut monitor, 0, &state), Ok(()));
    assert_eq!(waits(&mut monitor.clone(), 7, &state), Ok(()), "a hundred have ended so");
    state.step(Event { at: Time(1_000), kind: EventKind::Woke });
    assert_eq!(waits(&mut monitor, 7, &state), Ok(()), "that one was not early");
}

#[test]
fn i28_a_derived_entry_that_does_not_follow_is_found_out() {
    let state = tampered(|index| {
        index.vacant.insert(SlotId(0));
    });
    assert_eq!(derived(&state).map_err(|violation| violation.number), Err(28));
}

#[test]
fn i40_a_gap_that_nobody_is_to_fill_is_found_out() {
    let upgrade = Command::Upgrade { strategy: Strategy::Rolling, canary: None, soak: None, timeout: None };
    let before = [
        EventKind::Start,
        EventKind::Pinned { generation: Generation(1) },
        EventKind::Spawned { worker: WorkerId(1), pid: Pid(101) },
        EventKind::Acked { pid: Pid(101), sender: Pid(101), group: None, request: None },
        EventKind::Requested { client: ClientId(1), request: RequestId(1), command: upgrade },
        EventKind::Pinned { generation: Generation(2) },
        EventKind::Woke,
        EventKind::Spawned { worker: WorkerId(2), pid: Pid(102) },
    ];
    let (mut machine, mut monitor) = (Supervisor::new(Config::default()), Monitor::new());
    for kind in before {
        let event = Event { at: Time(0), kind };
        let actions = machine.step(event.clone());
        assert_eq!(monitor.step(&event, &actions, &machine), Ok(()), "{event:?}");
    }
    let kind = EventKind::Exited { pid: Pid(101), status: ExitStatus::Code(1), error: None, orphans: false };
    let end = Event { at: Time(0), kind };
    let actions = machine.step(end.clone());
    assert_eq!(monitor.clone().step(&end, &actions, &machine), Ok(()));
    machine.fleet_mut().apply(WorkerId(3), Change::Drain(Why::Surplus), Time(0));
    assert_eq!(monitor.step(&end, &actions, &machine).map_err(|violation| violation.number), Err(40));
}
