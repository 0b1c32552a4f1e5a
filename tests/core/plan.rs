//! `rollout::plan` over every small set of counts, in every stage, with both strategies: what a
//! decision requires stands here once more, in the plainest words, and is asked of each.

use einhyrningsins::fsm::{
    event::Strategy,
    rollout::{Counts, Decision, Limits, Stage, plan},
};

/// Every combination of numbers below the given bounds.
fn combinations<const N: usize>(bounds: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..bounds.iter().product()).map(move |mut number: usize| {
        bounds.map(|bound| {
            let digit = number % bound;
            number /= bound;
            digit
        })
    })
}

/// Every small set of counts, those that no fleet has included.
fn every_counts() -> impl Iterator<Item = Counts> {
    combinations([2, 3, 2, 2, 2, 2, 2, 3, 2, 2, 3, 2, 2, 2]).map(|numbers| {
        let [target, healthy, begun, canary, untouched, open, idle, ..] = numbers;
        let [.., unready, gave_up, reserved, replacing, replaced, replaced_before, replaced_idle] = numbers;
        Counts {
            target,
            healthy,
            begun,
            canary,
            untouched,
            open,
            idle,
            unready,
            gave_up,
            reserved,
            replacing,
            replaced,
            replaced_before,
            replaced_idle,
        }
    })
}

fn every_limits() -> impl Iterator<Item = Limits> {
    combinations([2, 2]).map(|[unacked, surge]| Limits { unacked: unacked + 1, surge: surge + 1 })
}

/// Whether a decision is one that these counts allow.
fn allowed(
    decision: Decision,
    (stage, strategy): (Stage, Strategy),
    counts: &Counts,
    limits: &Limits,
) -> bool {
    let forward = !matches!(stage, Stage::Settled | Stage::Back);
    let fleet = forward && strategy == Strategy::Fleet;
    let complete = counts.untouched == 0 && counts.unready == 0;
    let nobody_leaves = counts.replacing == 0;
    let spare = counts.healthy > counts.target;
    let starting = counts.unready.saturating_sub(counts.gave_up + counts.reserved);
    let canaries_out = counts.begun >= counts.canary;
    let held_back = stage == Stage::CanarySoak || (stage == Stage::Canary && canaries_out);
    let may_start = starting < limits.unacked && !held_back;
    let beyond = if fleet { counts.target } else { limits.surge };
    match decision {
        Decision::Collapse => forward && counts.gave_up > 0,
        // A worker that serves goes only if the target is served without it; of a fleet all go at the end.
        Decision::Retire => spare && counts.replaced > 0 && (!fleet || stage == Stage::Proven),
        Decision::RetireBefore => spare && counts.replaced_before > 0,
        Decision::RetireIdle => counts.replaced_idle > 0,
        Decision::BeginIdle => may_start && counts.idle > 0,
        Decision::Begin => may_start && counts.open > 0 && counts.replacing < beyond,
        Decision::Advance => match stage {
            Stage::Canary => (canaries_out || counts.untouched == 0) && counts.unready == 0,
            Stage::Spread => complete && (fleet || nobody_leaves),
            _ => false,
        },
        Decision::Finish => match stage {
            Stage::Proven => complete && nobody_leaves,
            // What could not be restored is told, not waited for.
            Stage::Back => starting == 0 && (counts.gave_up > 0 || (complete && nobody_leaves)),
            _ => false,
        },
        Decision::Wait => true,
    }
}

const DECISIONS: [Decision; 9] = [
    Decision::Collapse,
    Decision::RetireIdle,
    Decision::Retire,
    Decision::RetireBefore,
    Decision::BeginIdle,
    Decision::Begin,
    Decision::Advance,
    Decision::Finish,
    Decision::Wait,
];

/// Asks `check` about every small case and the decision in it.
fn in_every_case(check: impl Fn(Decision, (Stage, Strategy), &Counts, &Limits)) {
    for counts in every_counts() {
        for limits in every_limits() {
            for stage in Stage::ALL {
                for strategy in Strategy::ALL {
                    let decision = plan(*stage, *strategy, &counts, &limits);
                    check(decision, (*stage, *strategy), &counts, &limits);
                }
            }
        }
    }
}

#[test]
fn every_decision_is_one_that_the_counts_allow() {
    in_every_case(|decision, way, counts, limits| {
        assert!(allowed(decision, way, counts, limits), "{decision:?} {way:?} {counts:?} {limits:?}");
    });
}

#[test]
fn waiting_is_decided_only_when_nothing_else_can_be() {
    in_every_case(|decision, way, counts, limits| {
        let possible = |other: &Decision| *other != Decision::Wait && allowed(*other, way, counts, limits);
        let better = DECISIONS.into_iter().find(possible);
        assert!(decision != Decision::Wait || better.is_none(), "{better:?} {way:?} {counts:?} {limits:?}");
    });
}

#[test]
fn a_generation_that_failed_is_left_before_anything_else() {
    in_every_case(|decision, way, counts, limits| {
        let failed = !matches!(way.0, Stage::Settled | Stage::Back) && counts.gave_up > 0;
        assert_eq!(decision == Decision::Collapse, failed, "{way:?} {counts:?} {limits:?}");
    });
}

#[test]
fn without_an_upgrade_and_going_back_the_strategy_does_not_matter() {
    in_every_case(|decision, (stage, _), counts, limits| {
        let rolling = plan(stage, Strategy::Rolling, counts, limits);
        let alike = !matches!(stage, Stage::Settled | Stage::Back) || decision == rolling;
        assert!(alike, "{stage}: {counts:?} {limits:?}");
    });
}

#[test]
fn only_an_upgrade_advances_and_ends() {
    in_every_case(|decision, (stage, _), counts, limits| {
        let moves = matches!(decision, Decision::Advance | Decision::Finish | Decision::Collapse);
        assert!(stage != Stage::Settled || !moves, "{decision:?}: {counts:?} {limits:?}");
        let early = decision == Decision::Finish && !matches!(stage, Stage::Proven | Stage::Back);
        assert!(!early, "{stage}: {counts:?} {limits:?}");
    });
}

#[test]
fn more_room_never_turns_work_into_waiting() {
    in_every_case(|decision, way, counts, limits| {
        let more = Limits { unacked: limits.unacked + 1, surge: limits.surge + 1 };
        let with_more = plan(way.0, way.1, counts, &more);
        let gained = with_more != Decision::Wait || decision == Decision::Wait;
        assert!(gained, "{decision:?} with {limits:?}, waiting with {more:?}: {way:?} {counts:?}");
    });
}
