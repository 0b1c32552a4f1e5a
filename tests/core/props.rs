//! Properties over arbitrary sequences of instructions and arbitrary configurations.
//!
//! A failure shrinks to a trace and prints it: put it under `fsm-spec/traces/regressions/`.

use crate::world::{Ask, Depth, Op, World};
use einhyrningsins::fsm::{
    Supervisor,
    config::{AckMode, Config},
    signal::Signal,
    time::Millis,
    trace,
};
use proptest::prelude::*;

fn configs() -> impl Strategy<Value = Config> {
    let ack = prop_oneof![
        Just(AckMode::After(Millis(0))),
        (1_u64..2_000).prop_map(|ms| AckMode::After(Millis(ms))),
        (100_u64..5_000).prop_map(|ms| AckMode::Manual(Millis(ms))),
    ];
    let limits = (1_u32..4, 1_u32..4);
    (1_u32..6, 0_u32..3, ack, 1_u32..4, 0_u64..500, 0_u64..5_000, limits).prop_map(
        |(target, listeners, ack, retries, backoff, grace, (max_unacked, max_surge))| Config {
            target,
            listeners,
            ack,
            retries,
            backoff: Millis(backoff),
            grace: Millis(grace),
            stop_signal: Signal::Usr2,
            max_unacked,
            max_surge,
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
        16 => any::<u8>().prop_map(Op::Ack),
        2 => any::<(u8, u8)>().prop_map(|(who, by)| Op::Forge(who, by)),
        1 => any::<u8>().prop_map(Op::Ping),
        16 => Just(Op::Wake),
        6 => (0_u16..2_000).prop_map(Op::Pass),
        3 => (0_u16..9_000).prop_map(Op::Drift),
        1 => any::<u16>().prop_map(Op::Gap),
        8 => (any::<u8>(), asks()).prop_map(|(who, ask)| Op::Request(who, ask)),
        1 => any::<u8>().prop_map(Op::Leave),
        1 => any::<u8>().prop_map(Op::Signal),
        2 => any::<u8>().prop_map(Op::Impossible),
        1 => any::<u8>().prop_map(|how| Op::Request(how, Ask::Die(how))),
    ]
}

fn run(config: Config, ops: &[Op]) -> Result<World, TestCaseError> {
    let mut world = World::new(config, Depth::State).map_err(|why| TestCaseError::fail(why.to_string()))?;
    for op in ops {
        follow(&mut world, *op)?;
    }
    Ok(world)
}

fn follow(world: &mut World, op: Op) -> Result<(), TestCaseError> {
    world.follow(op).map_err(|violation| TestCaseError::fail(format!("{violation}\n{}", world.trace)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

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
