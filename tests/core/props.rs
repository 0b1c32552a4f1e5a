//! Properties over arbitrary sequences of instructions and arbitrary configurations.
//!
//! A failure shrinks to a trace and prints it: put it under `fsm-spec/traces/regressions/`.

use crate::world::{Ask, Depth, Op, World, spawn_error};
use einhyrningsins::fsm::{
    Supervisor,
    config::{AckMode, Config, Patience},
    event::{Command, EventKind, ExitStatus, Strategy as Order},
    id::{ClientId, Errno, Generation, ListenerId, Pid, RequestId, SlotId, WorkerId},
    signal::Signal,
    slot::Slot,
    text::Record as _,
    time::{Millis, Time},
    trace,
    worker::PhaseTag,
};
use proptest::prelude::*;

/// So many cases, or as many as `PROPTEST_CASES` says; failures are kept as traces, not as seeds.
pub fn cases(few: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|many| many.parse().ok()).unwrap_or(few);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Below that, and often nothing.
fn millis(bound: u64) -> impl Strategy<Value = Millis> {
    prop_oneof![1 => Just(Millis(0)), 5 => (1..bound).prop_map(Millis)]
}

fn patience() -> impl Strategy<Value = Patience> {
    let millis = |least: u64, most: u64| (least..most).prop_map(Millis);
    (millis(0, 2_000), millis(100, 5_000)).prop_map(|(after, timeout)| Patience { after, timeout })
}

/// Configurations with small numbers.
pub fn configs() -> impl Strategy<Value = Config> {
    let ack = prop_oneof![
        Just(AckMode::After(Millis(0))),
        (1_u64..2_000).prop_map(|ms| AckMode::After(Millis(ms))),
        (100_u64..5_000).prop_map(|ms| AckMode::Manual(Millis(ms))),
        patience().prop_map(AckMode::Accepting),
        patience().prop_map(AckMode::Auto),
        patience().prop_map(AckMode::Auto),
    ];
    let stop = prop::bool::weighted(0.3).prop_map(|known| (!known).then_some(Signal::Usr2));
    let limits = (1_u32..4, 1_u32..4, prop::bool::weighted(0.2), stop);
    (1_u32..6, 0_u32..3, ack, 1_u32..4, millis(500), millis(5_000), limits).prop_map(
        |(target, listeners, ack, retries, backoff, grace, limits)| {
            let (max_unacked, max_surge, exit_on_failure, stop_signal) = limits;
            Config {
                target,
                listeners,
                ack,
                retries,
                backoff,
                grace,
                stop_signal,
                max_unacked,
                max_surge,
                exit_on_failure,
            }
        },
    )
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        1 => Just(Ask::Status),
        4 => Just(Ask::Upgrade),
        3 => Just(Ask::UpgradeFleet),
        4 => any::<(u8, u8)>().prop_map(|(count, soak)| Ask::Canary(count, soak)),
        2 => Just(Ask::Abort),
        2 => Just(Ask::Inc),
        2 => Just(Ask::Dec),
        2 => (0_u8..8).prop_map(Ask::SetWorkers),
        1 => any::<u8>().prop_map(Ask::Signal),
        1 => Just(Ask::Retry),
    ]
}

/// Instructions that keep the machine going for a while.
pub fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => Just(Op::Answer),
        3 => Just(Op::AnswerLast),
        4 => any::<u8>().prop_map(Op::Fail),
        8 => any::<(u8, u8)>().prop_map(|(who, how)| Op::Exit(who, how)),
        5 => any::<(u8, u8)>().prop_map(|(who, what)| Op::See(who, what)),
        16 => any::<u8>().prop_map(Op::Ack),
        2 => any::<(u8, u8)>().prop_map(|(who, by)| Op::Forge(who, by)),
        1 => any::<u8>().prop_map(Op::Ping),
        3 => any::<(u8, u8)>().prop_map(|(who, what)| Op::Notify(who, what)),
        16 => Just(Op::Wake),
        6 => (0_u16..2_000).prop_map(Op::Pass),
        3 => (0_u16..15_000).prop_map(Op::Drift),
        1 => any::<u16>().prop_map(Op::Gap),
        8 => (any::<u8>(), asks()).prop_map(|(who, ask)| Op::Request(who, ask)),
        1 => any::<u8>().prop_map(Op::Leave),
        1 => any::<u8>().prop_map(Op::Signal),
        2 => any::<u8>().prop_map(Op::Impossible),
        1 => any::<u8>().prop_map(|how| Op::Request(how, Ask::Die(how))),
    ]
}

/// A world that has followed the instructions, every invariant holding all the way.
pub fn run(config: Config, ops: &[Op]) -> Result<World, TestCaseError> {
    let mut world = World::new(config, Depth::State).map_err(|why| TestCaseError::fail(why.to_string()))?;
    for op in ops {
        follow(&mut world, *op)?;
    }
    Ok(world)
}

/// What a shell in its right mind would never say: any event, about anything, at any time.
fn nonsense() -> impl Strategy<Value = (u64, EventKind)> {
    let pid = || (99_u32..110).prop_map(Pid);
    let worker = || (0_u64..9).prop_map(WorkerId);
    let generation = || (0_u32..6).prop_map(Generation);
    // That a request has a number of its own is asked of the shell, so that each can have its one answer.
    let request = |first: u64| (first..first + 9).prop_map(RequestId);
    let client = || (0_u64..4).prop_map(ClientId);
    let error = || any::<u8>().prop_map(spawn_error);
    let listener = || (0_u32..4).prop_map(ListenerId);
    let message = || (pid(), pid(), prop::option::of(pid()), prop::option::of(request(2_000_000)));
    let ended = (pid(), any::<i32>(), prop::option::of(error()), any::<bool>());
    let count = prop_oneof![4 => 0_u32..9, 1 => Just(10_001), 1 => Just(u32::MAX)];
    let command = prop_oneof![
        Just(Command::Inc),
        Just(Command::Dec),
        Just(Command::Retry),
        Just(Command::Abort),
        any::<(u8, u32, u32, u32)>().prop_map(|(order, canary, soak, timeout)| Command::Upgrade {
            strategy: Order::ALL[usize::from(order) % Order::ALL.len()],
            canary: Some(canary).filter(|canary| *canary > 0),
            soak: Some(Millis(u64::from(soak))).filter(|soak| *soak > Millis(0)),
            timeout: Some(Millis(u64::from(timeout))).filter(|_| timeout % 2 > 0),
        }),
        count.prop_map(|count| Command::SetWorkers { count }),
    ];
    let kind = prop_oneof![
        Just(EventKind::Start),
        Just(EventKind::Woke),
        generation().prop_map(|generation| EventKind::Pinned { generation }),
        (generation(), error()).prop_map(|(generation, error)| EventKind::PinFailed { generation, error }),
        listener().prop_map(|listener| EventKind::Bound { listener }),
        listener().prop_map(|listener| EventKind::BindFailed { listener, errno: Errno(98) }),
        (worker(), pid()).prop_map(|(worker, pid)| EventKind::Spawned { worker, pid }),
        (worker(), error()).prop_map(|(worker, error)| EventKind::SpawnFailed { worker, error }),
        ended.prop_map(|(pid, code, error, orphans)| EventKind::Exited {
            pid,
            status: ExitStatus::Code(code),
            error,
            orphans,
        }),
        message().prop_map(|(pid, sender, group, request)| EventKind::Acked { pid, sender, group, request }),
        message().prop_map(|(pid, sender, group, request)| EventKind::Pinged { pid, sender, group, request }),
        (client(), request(1_000_000), command).prop_map(|(client, request, command)| EventKind::Requested {
            client,
            request,
            command
        }),
        client().prop_map(|client| EventKind::ClientGone { client }),
    ];
    // Short of the end of time, where every deadline is the same.
    (prop_oneof![4 => 0_u64..20_000, 1 => 0..u64::MAX / 4], kind)
}

/// Two processes of workers in different slots, if there are, and nothing goes on that would make one
/// slot wait for another, nor a shutdown that does not wait for all.
fn unrelated(machine: &Supervisor, first: u8, second: u8) -> Option<(Pid, Pid)> {
    let fleet = machine.fleet();
    let calm = |slot: &Slot| slot.aside().is_none() && slot.generation() == machine.stable();
    let all: Vec<(Pid, SlotId)> =
        fleet.workers().values().filter_map(|worker| Some((worker.phase().pid()?, worker.slot()))).collect();
    let (pid, slot) = *all.get(usize::from(first).checked_rem(all.len())?)?;
    let others: Vec<Pid> = all.iter().filter(|(_, other)| *other != slot).map(|(pid, _)| *pid).collect();
    let other = *others.get(usize::from(second).checked_rem(others.len())?)?;
    // The end does not wait for those that nothing removes.
    let waits_for_all = fleet.index().census.count(PhaseTag::DrainingStuck) == 0;
    // Nor does one that comes once all have failed.
    let waits_for_all = waits_for_all && !fleet.config().exit_on_failure;
    let calm = machine.rollout().is_none() && waits_for_all && fleet.slots().values().all(calm);
    calm.then_some((pid, other))
}

/// What came of it when these processes ended in this order: orders and state, with the names of
/// workers started meanwhile left out.
fn after_exits(world: &World, pids: [Pid; 2], how: [u8; 2]) -> Result<[Vec<String>; 2], TestCaseError> {
    let mut world = world.clone();
    let known = world.supervisor.fleet().extent().next_worker.0;
    let nameless = |line: &str| {
        let is_new = |word: &str| {
            let name = word.strip_prefix("worker=");
            name.and_then(|name| name.parse().ok()).is_some_and(|name: u64| name >= known)
        };
        // Nor does it matter which of two slots is the last to be given up, or which of two ends that come late
        // removes the deadline that they are late for.
        let is_sequel = |word: &str| word.starts_with("then=") || word.starts_with("excused=");
        line.split(' ').filter(|word| !is_new(word) && !is_sequel(word)).collect::<Vec<_>>().join(" ")
    };
    let mut orders = Vec::new();
    for (pid, how) in pids.into_iter().zip(how) {
        // A start that can never succeed ends everything, and has to do with everybody.
        let status = if how % 2 == 0 { ExitStatus::Code(0) } else { ExitStatus::Signal(9) };
        let kind = EventKind::Exited { pid, status, error: None, orphans: how % 8 == 3 };
        let actions =
            world.step(kind).map_err(|why| TestCaseError::fail(format!("{why}\n{}", world.trace)))?;
        orders.extend(actions.iter().map(|action| nameless(&action.to_line())));
    }
    let state = world.supervisor.snapshot();
    let mut state: Vec<String> =
        state.lines().filter(|line| !line.starts_with("end ")).map(nameless).collect();
    orders.sort();
    state.sort();
    Ok([orders, state])
}

fn follow(world: &mut World, op: Op) -> Result<(), TestCaseError> {
    world.follow(op).map_err(|violation| TestCaseError::fail(format!("{violation}\n{}", world.trace)))
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn every_invariant_holds_whatever_happens(config in configs(), ops in prop::collection::vec(ops(), 1..120)) {
        run(config, &ops)?;
    }

    #[test]
    fn a_run_told_from_its_events_alone_is_the_same_run(config in configs(), ops in prop::collection::vec(ops(), 1..60)) {
        let world = run(config, &ops)?;
        let events: String = world.trace.lines().filter(|line| !line.starts_with(['>', '='])).map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(trace::retell(&events).expect("a trace"), world.trace);
    }

    #[test]
    fn what_is_restored_steps_like_what_was_saved(
        config in configs(),
        before in prop::collection::vec(ops(), 0..60),
        after in prop::collection::vec(ops(), 0..30),
    ) {
        let mut world = run(config, &before)?;
        let saved = world.supervisor.snapshot();
        let mut restored = world.clone();
        restored.supervisor = Supervisor::restore(&saved).expect("a state that can be").lenient();
        prop_assert_eq!(restored.supervisor.snapshot(), saved);
        for op in after {
            follow(&mut world, op)?;
            follow(&mut restored, op)?;
        }
        prop_assert_eq!(restored.trace, world.trace);
        prop_assert_eq!(restored.supervisor.snapshot(), world.supervisor.snapshot());
    }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn the_same_event_in_the_same_state_does_the_same(config in configs(), ops in prop::collection::vec(ops(), 1..50)) {
        let mut world = run(config, &[])?;
        for op in ops {
            let Some(kind) = world.event(op).filter(|_| world.exited.is_none()) else {
                continue;
            };
            let mut twin = world.clone();
            let (actions, again) = (world.step(kind.clone()), twin.step(kind));
            prop_assert_eq!(actions, again, "{}", world.trace);
            prop_assert_eq!(world.supervisor.snapshot(), twin.supervisor.snapshot(), "{}", world.trace);
        }
    }

    #[test]
    fn no_event_stops_the_machine(
        config in configs(),
        told in prop::collection::vec(prop_oneof![ops().prop_map(Ok), nonsense().prop_map(Err)], 1..80),
    ) {
        let mut world = run(config, &[])?;
        for told in told {
            let kind = match told {
                Ok(op) => world.event(op),
                Err((at, kind)) => {
                    world.now = Time(at);
                    Some(kind)
                }
            };
            if let Some(kind) = kind.filter(|_| world.exited.is_none()) {
                world.step(kind).map_err(|why| TestCaseError::fail(format!("{why}\n{}", world.trace)))?;
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn exits_of_workers_that_have_nothing_to_do_with_each_other_commute(
        config in configs(),
        ops in prop::collection::vec(ops(), 8..60),
        (first, second) in any::<(u8, u8)>(),
        (how, and_how) in any::<(u8, u8)>(),
    ) {
        let world = run(config, &ops)?;
        if let Some((pid, other)) = unrelated(&world.supervisor, first, second) {
            let one_way = after_exits(&world, [pid, other], [how, and_how])?;
            let other_way = after_exits(&world, [other, pid], [and_how, how])?;
            prop_assert_eq!(one_way, other_way, "{} and {} after\n{}", pid, other, world.trace);
        }
    }
}
