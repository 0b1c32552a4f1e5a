//! What has happened since the supervisor began, as counts for programs that look now and then.

use super::json::{list, members, number};
use crate::fsm::time::Millis;
use miniserde::json::Value;

/// Upper bounds of how long an upgrade takes, in ms.
const UPGRADES: &[u64] = &[1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000];

/// Upper bounds of how long a worker takes to be healthy, in ms.
const STARTS: &[u64] = &[10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// Counts since a supervisor's start. One that has taken over begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Workers whose process was made.
    pub starts: u64,
    /// How workers have ended.
    pub exits: Exits,
    /// What came of upgrades.
    pub upgrades: Upgrades,
    /// How long those took that came to their end.
    pub upgraded_after: Histogram,
    /// How long workers took to be healthy.
    pub healthy_after: Histogram,
}

/// Ends of workers, by their cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// Healthy ones that nobody had asked to.
    pub crashed: u64,
    /// Those that were never healthy, and starts that did not come to a process.
    pub failed_start: u64,
    /// Those that were asked to.
    pub asked: u64,
    /// Those that had said so themselves.
    pub left: u64,
}

/// Upgrades, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upgrades {
    /// The new generation serves.
    pub upgraded: u64,
    /// It was taken back.
    pub rolled_back: u64,
    /// Another took its place.
    pub superseded: u64,
    /// It had no program.
    pub refused: u64,
}

/// How often something took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Vec<u64>,
    sum: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            starts: 0,
            exits: Exits::default(),
            upgrades: Upgrades::default(),
            upgraded_after: Histogram::new(UPGRADES),
            healthy_after: Histogram::new(STARTS),
        }
    }
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    /// Counts one that took so long.
    pub fn add(&mut self, took: Millis) {
        let at = self.bounds.partition_point(|bound| *bound < took.0);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took.0);
    }

    /// Each count is of those above the bound before; the last is of all above the last bound.
    fn value(&self) -> Value {
        Value::Object(members([
            ("bounds", list(self.bounds.iter().map(|bound| number(*bound)))),
            ("counts", list(self.counts.iter().map(|count| number(*count)))),
            ("sum", number(self.sum)),
        ]))
    }
}

impl Totals {
    /// As `status` has them.
    pub(super) fn value(&self) -> Value {
        let Self { starts, exits, upgrades, upgraded_after, healthy_after } = self;
        let exits = members([
            ("crashed", number(exits.crashed)),
            ("failed-start", number(exits.failed_start)),
            ("asked", number(exits.asked)),
            ("left", number(exits.left)),
        ]);
        let upgrades = members([
            ("upgraded", number(upgrades.upgraded)),
            ("rolled-back", number(upgrades.rolled_back)),
            ("superseded", number(upgrades.superseded)),
            ("refused", number(upgrades.refused)),
        ]);
        Value::Object(members([
            ("starts", number(*starts)),
            ("exits", Value::Object(exits)),
            ("upgrades", Value::Object(upgrades)),
            ("upgrade_ms", upgraded_after.value()),
            ("healthy_ms", healthy_after.value()),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniserde::json;

    #[test]
    fn what_took_exactly_as_long_as_a_bound_is_within_it() {
        let mut histogram = Histogram::new(&[10, 50]);
        for took in [0, 10, 11, 50, 51, 1_000] {
            histogram.add(Millis(took));
        }
        let written = json::to_string(&histogram.value());
        assert_eq!(written, "{\"bounds\":[10,50],\"counts\":[2,2,2],\"sum\":1122}");
    }

    #[test]
    fn all_bounds_rise() {
        for bounds in [UPGRADES, STARTS] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
        }
    }
}
