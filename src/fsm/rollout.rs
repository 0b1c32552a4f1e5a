//! How an upgrade proceeds: from counts alone to the next thing to do. Knows no worker and no pid.
//!
//! An upgrade brings in the *wanted* generation. Going forward that is the new one; when a slot of
//! it fails, the same machinery runs with the proven generation as the wanted one, and that is the
//! rollback. `plan` is asked again after everything that was decided, so nothing it relies on can be
//! out of date.

use super::{
    action::Failure,
    event::Strategy,
    id::{Generation, RequestId, SlotId},
    time::Time,
};

/// An upgrade under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The new generation.
    pub generation: Generation,
    /// In which order workers are replaced.
    pub strategy: Strategy,
    /// When it began.
    pub since: Time,
    /// Who waits for its end.
    pub request: Option<RequestId>,
    /// Healthy workers that were asked to go for it.
    pub retired: u32,
    /// What the last progress line told: healthy, retired.
    pub told: (u32, u32),
    /// Set once it goes back: what made it.
    pub collapse: Option<Collapse>,
}

/// Why an upgrade goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collapse {
    /// The slot that failed.
    pub slot: SlotId,
    /// How often it was tried.
    pub failures: u32,
    /// How it failed the last time.
    pub failure: Failure,
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers there are to be.
    pub target: usize,
    /// Workers that serve, of any generation.
    pub healthy: usize,
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

/// Which way the upgrade goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the new generation.
    Forward,
    /// Back to the proven one. Also when no upgrade is under way: what an earlier one could not restore
    /// is brought back as soon as that is possible.
    Back,
}

impl Limits {
    /// How many workers beyond the target there may be.
    #[must_use]
    pub fn surge(&self, direction: Direction, strategy: Strategy, target: usize) -> usize {
        match (direction, strategy) {
            (Direction::Forward, Strategy::Fleet) => target,
            (Direction::Forward, Strategy::Rolling) | (Direction::Back, _) => self.surge,
        }
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
    /// All is done that can be.
    Finish,
    /// Nothing can be done until something happens.
    Wait,
}

/// Decides.
#[must_use]
pub fn plan(direction: Direction, strategy: Strategy, counts: &Counts, limits: &Limits) -> Decision {
    let complete = counts.untouched == 0 && counts.unready == 0;
    let all_at_once = direction == Direction::Forward && strategy == Strategy::Fleet;
    let surge = limits.surge(direction, strategy, counts.target);
    // A slot that was given up waits for nobody, one that waits for room only for others to finish.
    let in_flight = counts.unready.saturating_sub(counts.gave_up + counts.reserved);
    // A stop must leave as many healthy workers as there are to be, wherever they are.
    let spare = counts.healthy > counts.target;
    let done = match direction {
        Direction::Forward => complete && counts.replacing == 0,
        // Going back ends when nothing more can be done: what could not be restored is told, not
        // waited for.
        Direction::Back => in_flight == 0 && (counts.gave_up > 0 || (complete && counts.replacing == 0)),
    };
    if direction == Direction::Forward && counts.gave_up > 0 {
        Decision::Collapse
    } else if counts.replaced_idle > 0 {
        Decision::RetireIdle
    } else if spare && counts.replaced > 0 && (complete || !all_at_once) {
        Decision::Retire
    } else if spare && counts.replaced_before > 0 {
        Decision::RetireBefore
    } else if in_flight < limits.unacked && counts.idle > 0 {
        Decision::BeginIdle
    } else if in_flight < limits.unacked && counts.open > 0 && counts.replacing < surge {
        Decision::Begin
    } else if done {
        Decision::Finish
    } else {
        Decision::Wait
    }
}
