//! `fsm-spec/rollout.table` against `rollout::plan`, over every combination of small counts.

use einhyrningsins::fsm::{
    event::Strategy,
    rollout::{Counts, Decision, Limits, Stage, plan},
    text::Field as _,
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
    let fleet = strategy == Strategy::Fleet && !matches!(stage, Stage::Settled | Stage::Back);
    let on_the_way = counts.unready.saturating_sub(counts.gave_up + counts.reserved);
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
        other => panic!("`{other}` is no condition"),
    }
}

/// Every combination of counts that are small, and of limits.
fn everything() -> impl Iterator<Item = (Counts, Limits)> {
    let bits = 0_usize..1 << 14;
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

#[test]
fn no_decision_asks_a_healthy_worker_to_go_that_cannot_be_spared() {
    for stage in Stage::ALL {
        for strategy in [Strategy::Rolling, Strategy::Fleet] {
            for (counts, limits) in everything() {
                let decided = plan(*stage, strategy, &counts, &limits);
                if matches!(decided, Decision::Retire | Decision::RetireBefore) {
                    assert!(counts.healthy > counts.target, "{stage} {strategy} {counts:?}");
                }
                if decided == Decision::Begin {
                    let most = limits.surge(*stage, strategy, counts.target);
                    assert!(counts.replacing < most, "{stage} {strategy} {counts:?}");
                }
            }
        }
    }
}
