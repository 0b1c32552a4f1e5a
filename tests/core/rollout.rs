//! `fsm-spec/rollout.table` against the rows in the code, and what follows from them over every combination
//! of small counts.

use einhyrningsins::fsm::{
    event::Strategy,
    rollout::{Condition, Counts, Decision, Limits, Row, Situation, plan, rows},
    text::Field as _,
    time::Millis,
    upgrade::Stage,
};
use std::{collections::BTreeSet, fs};

/// The rows of the table, with their stages.
fn table() -> Vec<(Stage, Vec<Condition>, Decision)> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fsm-spec/rollout.table")).expect("a table");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let read = |words: Vec<&str>| {
        let (stage, rest) = words.split_first().expect("a stage");
        let (decision, conditions) = rest.split_last().expect("a decision");
        let conditions = conditions.iter().filter(|word| **word != "-");
        let conditions = conditions.map(|word| Condition::get(word).expect("a condition")).collect();
        (Stage::get(stage).expect("a stage"), conditions, Decision::get(decision).expect("a decision"))
    };
    lines.map(Iterator::collect::<Vec<_>>).filter(|words| !words.is_empty()).map(read).collect()
}

/// What the legend of the table says that a condition means.
fn means(condition: Condition, situation: &Situation<'_>) -> bool {
    let Situation { stage, strategy, counts, limits } = *situation;
    let proven = matches!(stage, Stage::Settled | Stage::Back);
    let fleet = strategy == Strategy::Fleet && !proven;
    let lapsed = counts.lapsed;
    let short = if stage == Stage::Back { counts.short } else { 0 };
    let on_the_way = counts.unready.saturating_sub(counts.gave_up + counts.reserved + lapsed + short);
    match condition {
        Condition::Rolling => strategy == Strategy::Rolling,
        Condition::GaveUp => counts.gave_up > 0,
        Condition::ReplacedIdle => counts.replaced_idle > 0,
        Condition::Replaced => counts.replaced > 0,
        Condition::ReplacedBefore => counts.replaced_before > 0,
        Condition::Slack => on_the_way < limits.unacked,
        Condition::Few => counts.begun < counts.canary,
        Condition::Idle => counts.idle > 0,
        Condition::Open => counts.open > 0,
        Condition::Room => counts.replacing < if fleet { counts.target } else { limits.surge },
        Condition::Enough => counts.begun >= counts.canary || counts.untouched == 0,
        Condition::Ready => counts.unready.saturating_sub(counts.lapsed) == 0,
        Condition::NoOthers => counts.untouched == 0,
        Condition::NobodyLeaves => fleet || counts.replacing == 0,
        Condition::AllLeft => counts.replacing == 0,
        Condition::Short => counts.short > 0,
        Condition::SettledDown => counts.unready.saturating_sub(counts.gave_up + lapsed + counts.short) == 0,
    }
}

/// Every combination of counts that are small, and of limits.
fn everything() -> impl Iterator<Item = (Counts, Limits)> {
    let bits = 0_usize..1 << 15;
    bits.map(|bits| {
        let bit = |position: usize| (bits >> position) & 1;
        let (unready, gave_up) = (bit(0) + bit(1), bit(2));
        let counts = Counts {
            target: 2,
            begun: 1,
            canary: 1 + bit(4),
            untouched: bit(5),
            open: bit(6),
            idle: bit(7),
            unready,
            gave_up,
            reserved: bit(8),
            lapsed: bit(3),
            short: bit(14),
            replacing: 2 * bit(9),
            replaced: bit(10),
            replaced_before: bit(11),
            replaced_idle: bit(12),
        };
        (counts, Limits { unacked: 1, surge: 1 + 2 * bit(13) })
    })
}

#[test]
fn the_rows_of_the_table_are_those_of_the_code() {
    let in_code = Stage::ALL.iter().flat_map(|stage| rows(*stage).iter().map(|row| (*stage, row)));
    let in_code: Vec<_> = in_code.map(|(stage, Row(when, then))| (stage, when.to_vec(), *then)).collect();
    assert_eq!(in_code, table());
    for stage in Stage::ALL {
        let last = rows(*stage).last().expect("a row");
        assert_eq!(last.0, [], "{stage}: the last row always applies");
    }
}

#[test]
fn the_first_row_that_holds_is_the_decision_and_each_is_once() {
    let table = table();
    let mut used = BTreeSet::new();
    for stage in Stage::ALL {
        for strategy in Strategy::ALL {
            for (counts, limits) in everything() {
                let situation =
                    Situation { stage: *stage, strategy: *strategy, counts: &counts, limits: &limits };
                let applies = |(of, when, _): &(Stage, Vec<Condition>, Decision)| {
                    of == stage && when.iter().all(|condition| means(*condition, &situation))
                };
                let number = table.iter().position(applies).expect("the last row always applies");
                used.insert(number);
                assert_eq!(plan(situation), table[number].2, "{situation:?}: code, and table");
            }
        }
    }
    let unused: Vec<usize> = (0..table.len()).filter(|number| !used.contains(number)).collect();
    assert!(unused.is_empty(), "rows that never apply: {unused:?}");
}

#[test]
fn the_legend_of_the_table_has_every_condition_once() {
    let text = include_str!("../../fsm-spec/rollout.table");
    for condition in Condition::ALL {
        let explains = |line: &&str| {
            line.strip_prefix("# ").and_then(|rest| rest.split("  ").next()) == Some(condition.word())
        };
        assert_eq!(text.lines().filter(explains).count(), 1, "{condition}");
    }
}

/// Decides as of these.
fn decide(stage: Stage, strategy: Strategy, counts: &Counts, limits: &Limits) -> Decision {
    plan(Situation { stage, strategy, counts, limits })
}

/// Asks `check` about every small case and the decision in it.
fn in_every_case(check: impl Fn(Decision, (Stage, Strategy), &Counts, &Limits)) {
    for stage in Stage::ALL {
        for strategy in Strategy::ALL {
            for (counts, limits) in everything() {
                let decided = decide(*stage, *strategy, &counts, &limits);
                check(decided, (*stage, *strategy), &counts, &limits);
            }
        }
    }
}

#[test]
fn a_worker_whose_replacement_serves_goes_whatever_other_slots_do() {
    in_every_case(|decided, (stage, strategy), counts, _| {
        let kept = strategy == Strategy::Fleet && stage.is_forward() && stage != Stage::Proven;
        let failed = stage.is_forward() && stage != Stage::Proven && counts.gave_up > 0;
        let goes = counts.replaced_before + if kept { 0 } else { counts.replaced } > 0;
        let idle = counts.replaced_idle > 0;
        let retires = matches!(decided, Decision::Retire | Decision::RetireBefore);
        assert_eq!(retires, goes && !idle && !failed, "{stage} {strategy} {counts:?}");
    });
}

#[test]
fn no_slot_is_taken_over_beyond_the_room_there_is() {
    in_every_case(|decided, (stage, strategy), counts, limits| {
        let most = limits.surge(stage, strategy, counts.target);
        assert!(decided != Decision::Begin || counts.replacing < most, "{stage} {strategy} {counts:?}");
    });
}

#[test]
fn a_generation_that_failed_is_left_before_anything_else() {
    in_every_case(|decided, (stage, strategy), counts, _| {
        let failed = stage.is_forward() && stage != Stage::Proven && counts.gave_up > 0;
        assert_eq!(decided == Decision::Collapse, failed, "{stage} {strategy} {counts:?}");
    });
}

#[test]
fn without_an_upgrade_and_going_back_the_strategy_does_not_matter() {
    in_every_case(|decided, (stage, _), counts, limits| {
        let rolling = decide(stage, Strategy::Rolling, counts, limits);
        assert!(stage.is_forward() || decided == rolling, "{stage}: {counts:?} {limits:?}");
    });
}

#[test]
fn more_room_never_turns_work_into_waiting() {
    in_every_case(|decided, (stage, strategy), counts, limits| {
        let more = Limits { unacked: limits.unacked + 1, surge: limits.surge + 1 };
        let gained = decide(stage, strategy, counts, &more) != Decision::Wait || decided == Decision::Wait;
        assert!(gained, "{decided:?} with {limits:?}, waiting with {more:?}: {stage} {strategy} {counts:?}");
    });
}

#[test]
fn workers_that_keep_ending_hold_nothing_up() {
    in_every_case(|decided, (stage, strategy), counts, limits| {
        let ended = Counts { unready: counts.unready + 1, lapsed: counts.lapsed + 1, ..*counts };
        let with_one_more = decide(stage, strategy, &ended, limits);
        // More unready slots than there are is no case.
        let possible = counts.unready >= counts.gave_up + counts.reserved + counts.lapsed + counts.short;
        let alike = with_one_more == decided || !possible;
        assert!(alike, "{decided:?}, and with one more {with_one_more:?}: {stage} {strategy} {counts:?}");
    });
}

#[test]
fn stages_come_in_their_order_and_trials_only_with_a_soak() {
    let from = |first: Stage, soak: Millis| -> Vec<Stage> {
        let next = |stage: &Stage| (*stage != Stage::Proven).then(|| stage.next(soak));
        std::iter::successors(Some(first), next).collect()
    };
    let [soak, none] = [Millis(1), Millis(0)];
    let all = [Stage::Canary, Stage::CanarySoak, Stage::Spread, Stage::Probation, Stage::Proven];
    assert_eq!(from(Stage::Canary, soak), all);
    assert_eq!(from(Stage::Canary, none), [Stage::Canary, Stage::Spread, Stage::Proven]);
    assert_eq!(from(Stage::Spread, soak), all[2..]);
    assert_eq!(
        [Stage::Back, Stage::Settled, Stage::Proven].map(|stage| stage.next(soak)),
        [Stage::Settled, Stage::Settled, Stage::Proven]
    );
    assert_eq!(Stage::ALL.iter().filter(|stage| stage.is_trial()).count(), 2);
}
