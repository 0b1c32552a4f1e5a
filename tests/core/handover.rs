//! What a supervisor leaves behind, and what another makes of it (`fsm-spec/handover.md`): in arbitrary runs, at any
//! moment, and damaged in any way.

use crate::{
    props::{cases, configs, ops},
    world::{Depth, Op, World},
};
use einhyrningsins::fsm::{
    action::Action,
    config::Config,
    event::EventKind,
    journal::{Until, resume},
    life::Life,
};
use proptest::prelude::*;

/// Orders that nobody has answered, but for captures that something newer has taken the place of.
fn unanswered(world: &World) -> Vec<Action> {
    let machine = &world.supervisor;
    let awaited = machine.releases().pinning().map(|pinning| pinning.generation);
    let is_awaited = |action: &&Action| match action {
        Action::Pin { generation, .. } => machine.life() == Life::Pinning || awaited == Some(*generation),
        Action::Bind { .. } => matches!(machine.life(), Life::Binding { .. }),
        _ => true,
    };
    let mut orders: Vec<Action> = world.unanswered.iter().filter(is_awaited).cloned().collect();
    orders.sort_by_key(|action| format!("{action:?}"));
    orders
}

proptest! {
    #![proptest_config(cases(250))]

    /// H1 and H2: replaced between any two instructions, by what is on paper, nobody notices.
    #[test]
    fn whoever_takes_over_is_who_was_lost(
        config in configs(),
        ops in prop::collection::vec(ops(), 1..200),
        from in 0_usize..100,
    ) {
        let fail = |why: String| TestCaseError::fail(why);
        let mut world = World::new(config, Depth::Step).map_err(|why| fail(why.to_string()))?;
        // What is impossible may answer an order that nobody here has noted as answered.
        for (number, op) in ops.iter().filter(|op| !matches!(op, Op::Impossible(_))).enumerate() {
            if number == from % ops.len() {
                world.keep_journal();
            }
            if let Err(why) = world.follow(*op) {
                return Err(fail(format!("{why}\n{}", world.trace)));
            }
            if world.journal.is_some() && number % 5 == 0 {
                world.replace().map_err(|why| fail(format!("{why}\n{}", world.trace)))?;
            }
            if world.exited.is_none() {
                let mut orders: Vec<Action> = world.supervisor.outstanding().collect();
                orders.sort_by_key(|action| format!("{action:?}"));
                prop_assert_eq!(orders, unanswered(&world), "{}", world.trace);
            }
        }
    }
}

/// A journal with a bit of everything in it.
fn journal() -> String {
    let mut world =
        World::new(Config { target: 2, listeners: 1, ..Config::default() }, Depth::State).expect("it starts");
    world.keep_journal();
    world.answer_all().expect("all holds");
    world.step(EventKind::Woke).expect("all holds");
    let mut text = world.journal.expect("it is kept").text;
    text.push_str("+ client client=3 fd=12\n");
    text
}

#[test]
fn cut_at_any_byte_it_is_refused_or_ends_with_a_line() {
    let text = journal();
    assert!(text.is_ascii());
    let snapshot = text.find("\nend ").unwrap();
    for at in 0..=text.len() {
        let whole = text[..at].ends_with('\n') && at > snapshot + 1;
        match resume(&text[..at], Until::Last) {
            Ok(resumed) => assert!(whole && resumed.ends_kept == (at == text.len()), "{at}"),
            Err(why) => assert!(!whole && !why.message.is_empty(), "{at}: {why}"),
        }
    }
}

#[test]
fn what_the_shell_keeps_is_handed_back_and_what_is_nothing_is_refused_with_its_line() {
    let text = journal();
    let resumed = resume(&text, Until::Last).unwrap();
    assert_eq!(resumed.kept, ["client client=3 fd=12"]);
    let lines = text.lines().count();
    for (line, why) in [
        ("> exit code=0", "neither an event nor something kept"),
        ("= healthy=0 starting=0 draining=0", "neither an event nor something kept"),
        ("", "neither an event nor something kept"),
        ("@7 slept", "`slept` is none of"),
        ("@x woke", "not a number"),
        ("hello", "expected"),
    ] {
        let error = resume(&format!("{text}{line}\n"), Until::Last).unwrap_err();
        assert_eq!(error.line, lines + 1, "{line}: {error}");
        assert!(error.message.contains(why) || why == "expected", "{line}: {error}");
    }
}

#[test]
fn the_last_event_can_be_left_out() {
    let text = journal();
    let whole = resume(&text, Until::Last).unwrap();
    let without = resume(&text, Until::BeforeLast).unwrap();
    let (event, actions) = without.last.unwrap();
    assert_eq!((event.kind, actions), (EventKind::Woke, Vec::new()));
    assert_eq!(whole.last.unwrap().0.kind, EventKind::Woke);
    let mut machine = without.supervisor;
    machine.step(einhyrningsins::fsm::event::Event { at: event.at, kind: EventKind::Woke });
    assert_eq!(machine.snapshot(), whole.supervisor.snapshot());
}

#[test]
fn an_older_snapshot_is_read_and_a_newer_one_refused_with_what_is_accepted() {
    let text = journal();
    let version = |number: u32| {
        let (_, rest) = text.split_once('\n').unwrap();
        let body = rest.split_once("\nend ").unwrap().0;
        einhyrningsins::fsm::snapshot::sealed(&format!("einhyrningsins-snapshot {number}\n{body}\n"))
    };
    assert!(resume(&version(5), Until::Last).is_ok());
    for number in [4, 8] {
        let error = resume(&version(number), Until::Last).unwrap_err();
        assert_eq!(error.message, format!("version {number} is not known, only 5 to 7"));
    }
}
