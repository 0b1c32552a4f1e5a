//! Snapshots that are cut short, damaged, of another version, or whole and strange: refused with a
//! reason, or taken for what they say; never the end of the supervisor.

use crate::{
    broken::sealed,
    props::{cases, configs, ops, run},
    script::after,
    world::{Depth, Op, World},
};
use einhyrningsins::fsm::{
    Supervisor,
    config::Config,
    event::EventKind,
    snapshot::{OLDEST, VERSION},
};
use proptest::prelude::*;

/// The refusal of a text that must be refused.
fn refused(text: &str) -> Result<String, TestCaseError> {
    match Supervisor::restore(text) {
        Ok(_) => Err(TestCaseError::fail(format!("accepted:\n{text}"))),
        Err(why) if why.message.is_empty() => Err(TestCaseError::fail(format!("no reason for:\n{text}"))),
        Err(why) => Ok(why.to_string()),
    }
}

/// `text` with the `which`th of its numbers replaced.
fn with_number(text: &str, which: usize, number: u64) -> String {
    let is_start = |(at, _): &(usize, &str)| !text[..*at].ends_with(|char: char| char.is_ascii_digit());
    let starts: Vec<usize> =
        text.match_indices(|char: char| char.is_ascii_digit()).filter(is_start).map(|(at, _)| at).collect();
    let at = starts[which % starts.len()];
    let rest = text[at..].trim_start_matches(|char: char| char.is_ascii_digit());
    format!("{}{number}{rest}", &text[..at])
}

fn numbers() -> impl Strategy<Value = u64> {
    let most = [u64::from(u8::MAX), u64::from(u32::MAX - 1), u64::from(u32::MAX), u64::MAX / 2 - 1, u64::MAX];
    prop_oneof![4 => 0_u64..12, 1 => 90_u64..140, 1 => 0_u64..9_999, 2 => prop::sample::select(most.to_vec())]
}

/// `text` with a line left out, told twice, or moved to the end.
fn with_line(text: &str, which: usize, how: u8) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let end = lines.pop().unwrap_or_default();
    let line = lines.remove(which % lines.len());
    let again = match how % 3 {
        0 => vec![],
        1 => vec![line],
        _ => vec![line, line],
    };
    lines.into_iter().chain(again).chain([end]).map(|line| format!("{line}\n")).collect()
}

/// A machine that came from a strange snapshot goes on: whatever happens, it does not panic, and what
/// it says of itself is accepted again.
fn goes_on(text: &str, world: &World, ops: &[Op]) -> Result<(), TestCaseError> {
    let Ok(strange) = Supervisor::restore(text) else {
        return Ok(());
    };
    prop_assert!(Supervisor::restore(&strange.snapshot()).is_ok(), "not accepted again:\n{}", text);
    let mut world = world.clone();
    world.supervisor = strange.lenient();
    for op in ops {
        // What the monitor saw before was another state, so it is not asked.
        if let Some(kind) = world.event(*op) {
            let _ = world.step(kind);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_cut_short_is_refused(config in configs(), ops in prop::collection::vec(ops(), 0..60)) {
        let text = run(config, &ops)?.supervisor.snapshot();
        for end in 0..text.len() {
            refused(&text[..end])?;
        }
    }

    #[test]
    fn one_changed_byte_is_enough_to_refuse(
        config in configs(),
        ops in prop::collection::vec(ops(), 0..60),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..128), 100),
    ) {
        let text = run(config, &ops)?.supervisor.snapshot();
        for (at, byte) in changes {
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = if bytes[at] == byte { byte ^ 1 } else { byte };
            refused(&String::from_utf8(bytes).expect("ASCII is what it was and is"))?;
        }
    }

    #[test]
    fn another_version_is_refused(config in configs(), version in numbers()) {
        prop_assume!(!(OLDEST..=VERSION).any(|known| version == u64::from(known)));
        let text = Supervisor::new(config).snapshot();
        let first = format!("einhyrningsins-snapshot {VERSION}\n");
        prop_assert!(text.starts_with(&first));
        let other = format!("einhyrningsins-snapshot {version}\n");
        let why = refused(&sealed(&text.replacen(&first, &other, 1)))?;
        prop_assert!(why.starts_with("line 1: "), "{}", why);
    }

    #[test]
    fn what_is_strange_is_refused_or_lived_with(
        config in configs(),
        before in prop::collection::vec(ops(), 0..60),
        changes in prop::collection::vec((any::<prop::sample::Index>(), numbers()), 1..30),
        lines in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        after in prop::collection::vec(ops(), 1..20),
    ) {
        let world = run(config, &before)?;
        let text = world.supervisor.snapshot();
        for (which, number) in changes {
            goes_on(&sealed(&with_number(&text, which.index(10_000), number)), &world, &after)?;
        }
        for (which, how) in lines {
            goes_on(&sealed(&with_line(&text, which.index(10_000), how)), &world, &after)?;
        }
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let config = Config { listeners: 1, ..Config::default() };
    let mut world = World::new(config, Depth::State).expect("a start");
    world.follow(Op::Answer).expect("nothing wrong");
    let binding = world.supervisor.snapshot();
    world.follow(Op::Answer).expect("nothing wrong");
    let running = world.supervisor.snapshot();
    for (text, from, to) in [
        (&binding, "life binding done=0", "life binding done=2"),
        (&binding, "life binding done=0", "life binding done=4294967295"),
        (&running, "fleet target=1", "fleet target=0"),
        (&running, "fleet target=1", "fleet target=10001"),
        (&running, "retries=5", "retries=0"),
        (&running, "target=1 listeners", "target=0 listeners"),
        (&running, "grace=30000", "grace=1000000001"),
        (&running, "surge=1", "surge=0"),
        (&running, "unacked=1", "unacked=0"),
        (&running, "next_worker=2", "next_worker=1"),
        (&running, "newest=1", "newest=0"),
        (&running, "spawning wanted=yes", "healthy"),
        (&running, "spawning wanted=yes", "spawning wanted=yes pid=7"),
        (&running, "next_worker=2", &format!("next_worker={}", u64::MAX / 2)),
    ] {
        assert!(text.contains(from), "there is no {from} in {text}");
        let refusal = Supervisor::restore(&sealed(&text.replacen(from, to, 1)));
        assert!(refusal.is_err_and(|why| !why.message.starts_with("cannot be")), "{to}");
    }
}

/// A machine with everything that a snapshot can tell of.
fn going_back() -> String {
    let events = "
config target=2 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 acked pid=101 sender=101
@10 acked pid=102 sender=102
@20 requested client=1 request=1 upgrade strategy=rolling
@20 pinned generation=2
@20 woke
@20 spawned worker=3 pid=103
@30 acked pid=103 sender=103
@40 requested client=1 request=2 abort
@50 requested client=1 request=3 upgrade strategy=rolling
";
    after(events).0.snapshot()
}

#[test]
fn what_is_told_twice_is_refused() {
    let text = going_back();
    let count = text.lines().count();
    let mut told = 0;
    for which in 2..count - 1 {
        let line = text.lines().nth(which).expect("a line");
        let doubled = text.replacen(line, &format!("{line}\n{line}"), 1);
        let refusal = Supervisor::restore(&sealed(&doubled)).expect_err(line);
        assert!(refusal.message.ends_with(" for the second time"), "{line}: {refusal}");
        told += 1;
    }
    assert!(told >= 10, "only {told} lines in\n{text}");
}

#[test]
fn an_upgrade_at_no_stage_is_refused() {
    let text = going_back();
    let setback = " cause=aborted";
    assert!(text.contains(" stage=back ") && text.contains(setback), "{text}");
    for (from, to) in [(" stage=back ", " stage=settled "), (" stage=back ", " stage=spread "), (setback, "")]
    {
        let refusal = Supervisor::restore(&sealed(&text.replacen(from, to, 1))).expect_err(to);
        assert!(refusal.message.contains("goes back without a reason, or forward with one"), "{refusal}");
    }
    let settled = text.replacen(" stage=back ", " stage=settled ", 1).replacen(setback, "", 1);
    assert!(Supervisor::restore(&sealed(&settled)).is_err(), "settled, and an upgrade under way");
}

#[test]
fn every_moment_of_a_life_can_be_saved() {
    let config = Config { listeners: 1, ..Config::default() };
    let unborn = Supervisor::new(config.clone());
    assert_eq!(Supervisor::restore(&unborn.snapshot()).map(|again| again.snapshot()), Ok(unborn.snapshot()));
    let mut world = World::new(config, Depth::State).expect("a start");
    for op in [Op::Answer, Op::Answer, Op::Answer, Op::Wake, Op::Impossible(5), Op::Signal(1), Op::Exit(0, 0)]
    {
        world.follow(op).expect("nothing wrong");
        let saved = world.supervisor.snapshot();
        assert_eq!(Supervisor::restore(&saved).map(|again| again.snapshot()), Ok(saved));
    }
    assert_eq!(world.exited, Some(0));
    let mut ended = Supervisor::restore(&world.supervisor.snapshot()).expect("an end");
    let late = einhyrningsins::fsm::event::Event { at: world.now, kind: EventKind::Woke };
    assert_eq!(ended.step(late), []);
}
