//! What a step costs, counted and not timed: it touches as many workers and slots in a fleet of thousands
//! as in one of ten.

use crate::world::{Depth, World, upgrade};
use einhyrningsins::fsm::{
    action::Action,
    config::{AckMode, Config, EARLY},
    event::{Command, EventKind, ExitStatus, Strategy},
    id::{ClientId, Pid, RequestId},
    signal::Signal,
    time::Millis,
};

const SIZES: [u32; 2] = [10, 5_000];

/// A fleet that serves.
fn serving(target: u32) -> World {
    let ack = AckMode::Manual(Millis(1_000));
    let config = Config { target, ack, max_unacked: 2, max_surge: 2, ..Config::default() };
    let mut world = World::new(config, Depth::Step).expect("a start");
    world.tracing = false;
    settle(&mut world);
    while world.supervisor.fleet().healthy() < target {
        world.step(EventKind::Woke).expect("nothing wrong");
        settle(&mut world);
    }
    world
}

/// Answers all orders, and lets all that start acknowledge.
fn settle(world: &mut World) {
    while let Some(order) = world.unanswered.pop_front() {
        let kind = match order {
            Action::Pin { generation, .. } => EventKind::Pinned { generation },
            Action::Spawn { worker, .. } => EventKind::Spawned { worker, pid: world.free_pid() },
            other => panic!("nobody answers {other:?}"),
        };
        let spawned = if let EventKind::Spawned { pid, .. } = kind { Some(pid) } else { None };
        world.step(kind).expect("nothing wrong");
        if let Some(pid) = spawned {
            ack(world, pid);
        }
    }
}

fn ack(world: &mut World, pid: Pid) {
    world.step(EventKind::Acked { pid, sender: pid, group: None, request: None }).expect("nothing wrong");
}

/// How many workers and slots a step touches.
fn touched(world: &mut World, kind: EventKind) -> u64 {
    let before = world.supervisor.fleet().touched();
    world.step(kind).expect("nothing wrong");
    world.supervisor.fleet().touched() - before
}

fn ask(world: &mut World, request: u64, command: Command) -> u64 {
    touched(world, EventKind::Requested { client: ClientId(1), request: RequestId(request), command })
}

/// How many are touched by each of the things that happen to a service, one after the other.
fn script(target: u32) -> Vec<(&'static str, u64)> {
    let mut world = serving(target);
    let mut told = Vec::new();
    let pid = *world.pids().get(3).expect("a process");
    let exit = |pid| EventKind::Exited { pid, status: ExitStatus::Code(0), error: None, orphans: false };
    told.push((
        "ping",
        touched(&mut world, EventKind::Pinged { pid, sender: pid, group: None, request: None }),
    ));
    told.push(("wake", touched(&mut world, EventKind::Woke)));
    told.push(("exit and start", touched(&mut world, exit(pid))));
    let Some(Action::Spawn { worker, .. }) = world.unanswered.pop_front() else {
        panic!("nobody takes its place");
    };
    let pid = world.free_pid();
    told.push(("spawned", touched(&mut world, EventKind::Spawned { worker, pid })));
    // Not so early that it counts as none.
    world.now = world.now + EARLY;
    told.push(("failed start", touched(&mut world, exit(pid))));
    let (deadline, _) = world.supervisor.next_deadline().expect("another try");
    world.now = deadline;
    told.push(("another try", touched(&mut world, EventKind::Woke)));
    settle(&mut world);
    told.push(("one less", ask(&mut world, 1, Command::Dec)));
    told.push(("one more", ask(&mut world, 2, Command::Inc)));
    settle(&mut world);
    told.push(("upgrade asked for", ask(&mut world, 3, upgrade(Strategy::Rolling))));
    world.unanswered.clear();
    let generation = einhyrningsins::fsm::id::Generation(2);
    told.push(("upgrade begun", touched(&mut world, EventKind::Pinned { generation })));
    told.push(("two slots taken over", touched(&mut world, EventKind::Woke)));
    let Some(Action::Spawn { worker, .. }) = world.unanswered.pop_front() else {
        panic!("nothing new is started");
    };
    let pid = world.free_pid();
    told.push(("new one spawned", touched(&mut world, EventKind::Spawned { worker, pid })));
    let acked = EventKind::Acked { pid, sender: pid, group: None, request: None };
    told.push(("new one healthy", touched(&mut world, acked)));
    told.push((
        "signal to one",
        ask(&mut world, 4, Command::Signal { signal: Signal::Ttin, pids: vec![pid] }),
    ));
    told.push(("abort", ask(&mut world, 5, Command::Abort)));
    told
}

#[test]
fn a_step_touches_no_more_in_a_large_fleet_than_in_a_small_one() {
    let [small, large] = SIZES.map(script);
    assert_eq!(small, large);
    let expected = [
        ("ping", 0),
        ("wake", 0),
        ("exit and start", 5),
        ("spawned", 2),
        ("failed start", 3),
        ("another try", 3),
        ("one less", 4),
        ("one more", 3),
        ("upgrade asked for", 0),
        ("upgrade begun", 0),
        ("two slots taken over", 6),
        ("new one spawned", 2),
        ("new one healthy", 7),
        ("signal to one", 0),
        ("abort", 9),
    ];
    assert_eq!(small, expected);
}
