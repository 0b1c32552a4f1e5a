//! Whether those that die young have been where it matters.

use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    notice::Notice,
    reason::{Failure, Next},
    time::{Millis, Time},
};
use std::ops::AddAssign;

/// How often what is rare in other runs has come to pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Young {
    /// The last one of several was replaced out of turn.
    pub turns: u64,
    /// A worker that ended before it was healthy counted as none that had failed.
    pub spared: u64,
    /// Until when the turns last.
    until: Option<Time>,
}

impl Young {
    pub fn note(&mut self, actions: &[Action], after: &Supervisor) {
        let until = after.fleet().extent().turns;
        self.turns += u64::from(until != self.until);
        self.until = until;
        let spared = |action: &&Action| {
            let Action::Notice { notice: Notice::StartFailed { failure, failures: None, next, .. } } = action
            else {
                return false;
            };
            matches!(failure, Failure::Exited(_)) && *next == Next::In(Millis(0))
        };
        self.spared += u64::try_from(actions.iter().filter(spared).count()).expect("small");
    }
}

impl AddAssign for Young {
    fn add_assign(&mut self, other: Self) {
        (self.turns, self.spared) = (self.turns + other.turns, self.spared + other.spared);
    }
}
