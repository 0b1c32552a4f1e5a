//! How an upgrade proceeds: from counts alone to the next thing to do. Knows no worker and no pid.
//!
//! An upgrade brings in the *wanted* generation and goes through [`Stage`]s. Going forward that is the
//! new one; when it is taken back, the same machinery runs with the proven generation as the wanted
//! one. [`plan`] is `fsm-spec/rollout.table` in code: it is asked again after everything that was
//! decided, so nothing it relies on can be out of date.

use crate::fsm::words::{
    event::Strategy,
    id::{Generation, RequestId, SlotId},
    reason::{Cause, Failure},
    time::Time,
    upgrade::{Stage, Terms},
};

/// An upgrade under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The new generation.
    pub generation: Generation,
    /// What it was asked to be like.
    pub terms: Terms,
    /// When it began.
    pub since: Time,
    /// Who waits for its end.
    pub request: Option<RequestId>,
    /// Healthy workers that were asked to go for it.
    pub retired: u32,
    /// What the last progress line told: healthy, retired.
    pub told: (u32, u32),
    /// How far it is.
    pub stage: Stage,
    /// When that stage began.
    pub stage_since: Time,
    /// Whether it has only just been asked for: it touches nothing before the shell has told all it
    /// knows, so that of many requests that come together only the last starts anything.
    pub fresh: bool,
    /// Why it goes back, if it does.
    pub setback: Option<Setback>,
}

/// Why an upgrade goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setback {
    /// What kind of reason.
    pub cause: Cause,
    /// The slot that failed, if one did.
    pub slot: Option<SlotId>,
    /// How often it was tried.
    pub failures: u32,
    /// How it failed the last time.
    pub failure: Option<Failure>,
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers there are to be.
    pub target: usize,
    /// Workers that serve, of any generation.
    pub healthy: usize,
    /// Slots of the wanted generation.
    pub begun: usize,
    /// How many of them may be before they were on trial; all of them without a canary.
    pub canary: usize,
    /// Slots that still run another generation.
    pub untouched: usize,
    /// Those of them that can be taken over now.
    pub open: usize,
    /// Those of the latter without a worker: taking one over adds none beyond the target.
    pub idle: usize,
    /// Slots of the wanted generation without a healthy worker.
    pub unready: usize,
    /// Those of them that were given up.
    pub gave_up: usize,
    /// Those of them that may start a worker beyond the target as soon as there is room for one.
    pub reserved: usize,
    /// Those of them that are neither and have had a healthy worker of that generation.
    pub lapsed: usize,
    /// Slots with a worker being replaced, less those that were given up: each has, or will have, a
    /// worker beyond the target.
    pub replacing: usize,
    /// Slots whose healthy worker replaces a healthy one.
    pub replaced: usize,
    /// The same in slots of other generations, left from an upgrade that was superseded.
    pub replaced_before: usize,
    /// Slots whose healthy worker replaces one that does not serve.
    pub replaced_idle: usize,
}

/// How much may happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots of the wanted generation that may be without a healthy worker.
    pub unacked: usize,
    /// Workers beyond the target.
    pub surge: usize,
}

impl Limits {
    /// How many workers beyond the target there may be.
    #[must_use]
    pub fn surge(&self, stage: Stage, strategy: Strategy, target: usize) -> usize {
        if stage.is_forward() && strategy == Strategy::Fleet { target } else { self.surge }
    }
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A slot was given up: go back.
    Collapse,
    /// Ask one worker to go that does not serve and whose replacement is healthy.
    RetireIdle,
    /// Ask one worker to go whose replacement is healthy.
    Retire,
    /// The same, in a slot that an earlier upgrade left.
    RetireBefore,
    /// Take over one slot that has no worker.
    BeginIdle,
    /// Take over one slot next to its worker.
    Begin,
    /// Go on to the next stage.
    Advance,
    /// All is done that can be.
    Finish,
    /// Nothing can be done until something happens.
    Wait,
}

/// Decides: the first row of `fsm-spec/rollout.table` that applies.
#[must_use]
pub fn plan(stage: Stage, strategy: Strategy, counts: &Counts, limits: &Limits) -> Decision {
    let all_at_once = stage.is_forward() && strategy == Strategy::Fleet;
    // A stop must leave as many healthy workers as there are to be, wherever they are.
    let spare = counts.healthy > counts.target;
    let may_retire = spare && (!all_at_once || stage == Stage::Proven);
    // A slot that was given up waits for nobody, one that waits for room only for others to finish.
    // Of a proven generation, one that has served has shown all it can: it is filled again like any other.
    let lapsed = if stage.is_forward() { 0 } else { counts.lapsed };
    let in_flight = counts.unready.saturating_sub(counts.gave_up + counts.reserved + lapsed);
    let may_begin = in_flight < limits.unacked
        && match stage {
            Stage::Canary => counts.begun < counts.canary,
            Stage::CanarySoak => false,
            Stage::Settled | Stage::Spread | Stage::Probation | Stage::Proven | Stage::Back => true,
        };
    let room = counts.replacing < limits.surge(stage, strategy, counts.target);
    if stage.is_forward() && counts.gave_up > 0 {
        Decision::Collapse
    } else if counts.replaced_idle > 0 {
        Decision::RetireIdle
    } else if may_retire && counts.replaced > 0 {
        Decision::Retire
    } else if spare && counts.replaced_before > 0 {
        Decision::RetireBefore
    } else if may_begin && counts.idle > 0 {
        Decision::BeginIdle
    } else if may_begin && room && counts.open > 0 {
        Decision::Begin
    } else if is_done(stage, all_at_once, in_flight, counts) {
        match stage {
            Stage::Canary | Stage::Spread => Decision::Advance,
            Stage::Proven | Stage::Back => Decision::Finish,
            Stage::Settled | Stage::CanarySoak | Stage::Probation => Decision::Wait,
        }
    } else {
        Decision::Wait
    }
}

/// Whether nothing is left to do in a stage.
fn is_done(stage: Stage, all_at_once: bool, in_flight: usize, counts: &Counts) -> bool {
    let complete = counts.untouched == 0 && counts.unready == 0;
    let nobody_leaves = counts.replacing == 0;
    match stage {
        Stage::Canary => {
            let ahead = counts.begun >= counts.canary || counts.untouched == 0;
            ahead && counts.unready == 0
        }
        Stage::Spread => complete && (all_at_once || nobody_leaves),
        Stage::Proven => complete && nobody_leaves,
        // Going back ends when nothing more can be done: what could not be restored is told, not
        // waited for. Workers that cannot be spared yet, because others have ended, go later.
        Stage::Back => in_flight == 0 && (counts.gave_up > 0 || counts.untouched == 0),
        Stage::Settled | Stage::CanarySoak | Stage::Probation => false,
    }
}
