//! `fsm-spec/rollout.table` against `rollout::plan`, over every combination of small counts.

use einhyrningsins::fsm::{
    event::Strategy,
    rollout::{Counts, Decision, Limits, plan},
    text::Field as _,
    time::Millis,
    upgrade::Stage,
};
use std::{collections::BTreeSet, fs};

struct Row {
    stage: Stage,
    conditions: Vec<String>,
    decision: Decision,
}

fn decision(word: &str) -> Decision {
    match word {
        "collapse" => Decision::Collapse,
        "retire-idle" => Decision::RetireIdle,
        "retire" => Decision::Retire,
        "retire-before" => Decision::RetireBefore,
        "begin-idle" => Decision::BeginIdle,
        "begin" => Decision::Begin,
        "advance" => Decision::Advance,
        "finish" => Decision::Finish,
        "wait" => Decision::Wait,
        other => panic!("`{other}` is no decision"),
    }
}

fn table() -> Vec<Row> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fsm-spec/rollout.table")).expect("a table");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    lines
        .map(Iterator::collect::<Vec<_>>)
        .filter(|words| !words.is_empty())
        .map(|words| {
            let (stage, rest) = words.split_first().expect("a stage");
            let (last, conditions) = rest.split_last().expect("a decision");
            let conditions = conditions.iter().filter(|word| **word != "-").map(|word| (*word).to_owned());
            Row {
                stage: Stage::get(stage).expect("a stage"),
                conditions: conditions.collect(),
                decision: decision(last),
            }
        })
        .collect()
}

/// What the words of the table mean.
fn holds(condition: &str, strategy: Strategy, stage: Stage, counts: &Counts, limits: &Limits) -> bool {
    let proven = matches!(stage, Stage::Settled | Stage::Back);
    let fleet = strategy == Strategy::Fleet && !proven;
    let lapsed = if proven { counts.lapsed } else { 0 };
    let on_the_way = counts.unready.saturating_sub(counts.gave_up + counts.reserved + lapsed);
    match condition {
        "spare" => counts.healthy > counts.target,
        "rolling" => strategy == Strategy::Rolling,
        "gave-up" => counts.gave_up > 0,
        "replaced-idle" => counts.replaced_idle > 0,
        "replaced" => counts.replaced > 0,
        "replaced-before" => counts.replaced_before > 0,
        "slack" => on_the_way < limits.unacked,
        "few" => counts.begun < counts.canary,
        "idle" => counts.idle > 0,
        "open" => counts.open > 0,
        "room" => counts.replacing < if fleet { counts.target } else { limits.surge },
        "enough" => counts.begun >= counts.canary || counts.untouched == 0,
        "ready" => counts.unready == 0,
        "complete" => counts.untouched == 0 && counts.unready == 0,
        "nobody-leaves" => fleet || counts.replacing == 0,
        "all-left" => counts.replacing == 0,
        "settled-down" => on_the_way == 0,
        "all-back" => counts.untouched == 0,
        other => panic!("`{other}` is no condition"),
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
            healthy: 2 + bit(3),
            begun: 1,
            canary: 1 + bit(4),
            untouched: bit(5),
            open: bit(6),
            idle: bit(7),
            unready,
            gave_up,
            reserved: bit(8),
            lapsed: bit(14),
            replacing: 2 * bit(9),
            replaced: bit(10),
            replaced_before: bit(11),
            replaced_idle: bit(12),
        };
        (counts, Limits { unacked: 1, surge: 1 + 2 * bit(13) })
    })
}

#[test]
fn the_code_decides_what_the_table_says() {
    let table = table();
    let mut used = BTreeSet::new();
    for stage in Stage::ALL {
        let rows: Vec<(usize, &Row)> =
            table.iter().enumerate().filter(|(_, row)| row.stage == *stage).collect();
        for strategy in [Strategy::Rolling, Strategy::Fleet] {
            for (counts, limits) in everything() {
                let applies = |row: &Row| {
                    row.conditions
                        .iter()
                        .all(|condition| holds(condition, strategy, *stage, &counts, &limits))
                };
                let (number, row) =
                    rows.iter().find(|(_, row)| applies(row)).expect("the last row always applies");
                used.insert(*number);
                let decided = plan(*stage, strategy, &counts, &limits);
                assert_eq!(
                    decided, row.decision,
                    "{stage} {strategy} {counts:?} {limits:?}: code, and table"
                );
            }
        }
    }
    let unused: Vec<usize> = (0..table.len()).filter(|number| !used.contains(number)).collect();
    assert!(unused.is_empty(), "rows that never apply: {unused:?}");
}

/// Asks `check` about every small case and the decision in it.
fn in_every_case(check: impl Fn(Decision, (Stage, Strategy), &Counts, &Limits)) {
    for stage in Stage::ALL {
        for strategy in Strategy::ALL {
            for (counts, limits) in everything() {
                let decided = plan(*stage, *strategy, &counts, &limits);
                check(decided, (*stage, *strategy), &counts, &limits);
            }
        }
    }
}

#[test]
fn no_decision_asks_a_healthy_worker_to_go_that_cannot_be_spared() {
    in_every_case(|decided, way, counts, _| {
        let retires = matches!(decided, Decision::Retire | Decision::RetireBefore);
        assert!(!retires || counts.healthy > counts.target, "{way:?} {counts:?}");
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
        let failed = stage.is_forward() && counts.gave_up > 0;
        assert_eq!(decided == Decision::Collapse, failed, "{stage} {strategy} {counts:?}");
    });
}

#[test]
fn without_an_upgrade_and_going_back_the_strategy_does_not_matter() {
    in_every_case(|decided, (stage, _), counts, limits| {
        let rolling = plan(stage, Strategy::Rolling, counts, limits);
        assert!(stage.is_forward() || decided == rolling, "{stage}: {counts:?} {limits:?}");
    });
}

#[test]
fn more_room_never_turns_work_into_waiting() {
    in_every_case(|decided, (stage, strategy), counts, limits| {
        let more = Limits { unacked: limits.unacked + 1, surge: limits.surge + 1 };
        let gained = plan(stage, strategy, counts, &more) != Decision::Wait || decided == Decision::Wait;
        assert!(gained, "{decided:?} with {limits:?}, waiting with {more:?}: {stage} {strategy} {counts:?}");
    });
}

#[test]
fn workers_that_keep_ending_hold_nothing_up_that_goes_back() {
    in_every_case(|decided, (stage, strategy), counts, limits| {
        let ended = Counts { unready: counts.unready + 1, lapsed: counts.lapsed + 1, ..*counts };
        let with_one_more = plan(stage, strategy, &ended, limits);
        // More unready slots than there are is no case.
        let possible = counts.unready >= counts.gave_up + counts.reserved + counts.lapsed;
        let alike = with_one_more == decided || stage.is_forward() || !possible;
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
