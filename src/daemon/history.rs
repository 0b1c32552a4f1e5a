//! What came of the generations so far, for `history`. Kept for people; nothing is decided by it. The
//! words are [`protocol::history`](crate::protocol::history)'s.

use crate::{
    fsm::{id::Generation, notice::Notice, time::Millis},
    protocol::history::{Entry, Outcome, Shortfall},
};
use std::collections::VecDeque;

/// How many generations are remembered.
const KEPT: usize = 20;

/// The last generations, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
}

impl History {
    /// A generation was asked for.
    pub(crate) fn begin(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Takes in what the core has to tell.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what there is to tell is not about generations"
    )]
    pub(crate) fn note(&mut self, notice: &Notice) {
        match *notice {
            Notice::Up { .. } => self.settle(Generation(1), Outcome::Serves { took: None }),
            Notice::Upgrading { generation, strategy, .. } => {
                if let Some(entry) = self.find(generation) {
                    entry.strategy = Some(strategy);
                }
            }
            Notice::Upgraded { generation, took } => self.take_over(generation, took),
            Notice::RollingBack { generation, cause, slot, failure, .. } => {
                self.settle(generation, Outcome::RolledBack { cause, slot, failure, short: None });
            }
            Notice::RolledBack { to, healthy, target } => {
                // The first may be gone back to before it was ever complete.
                self.settle(to, Outcome::Serves { took: None });
                if healthy < target {
                    self.fell_short(Shortfall { generation: to, healthy, target });
                }
            }
            Notice::PinFailed { generation, error } => self.settle(generation, Outcome::Refused { error }),
            Notice::Superseded { generation, by } => self.settle(generation, Outcome::Superseded { by }),
            _ => {}
        }
    }

    fn find(&mut self, generation: Generation) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| entry.generation == generation)
    }

    /// Each ends once.
    fn settle(&mut self, generation: Generation, outcome: Outcome) {
        if let Some(entry) = self.find(generation).filter(|entry| entry.outcome == Outcome::Begun) {
            entry.outcome = outcome;
        }
    }

    /// One serves from now on, and whatever served before it does not.
    fn take_over(&mut self, generation: Generation, took: Millis) {
        self.settle(generation, Outcome::Serves { took: Some(took) });
        for entry in self.entries.iter_mut().filter(|entry| entry.generation != generation) {
            if matches!(entry.outcome, Outcome::Serves { .. } | Outcome::Begun)
                && entry.generation < generation
            {
                entry.outcome = Outcome::Replaced { by: generation };
            }
        }
    }

    /// What the last way back ended with.
    fn fell_short(&mut self, shortfall: Shortfall) {
        let outcomes = self.entries.iter_mut().rev().map(|entry| &mut entry.outcome);
        let mut taken_back = outcomes.filter(|outcome| matches!(outcome, Outcome::RolledBack { .. }));
        if let Some(Outcome::RolledBack { short, .. }) = taken_back.next() {
            *short = Some(shortfall);
        }
    }

    /// The generations, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fsm::reason::Cause, protocol::history::Asker};

    fn with(count: u32) -> History {
        let mut history = History::default();
        for number in 1..=count {
            history.begin(Entry {
                generation: Generation(number),
                asked_at: 0,
                by: Asker::Start,
                program: "/bin/true".into(),
                strategy: None,
                outcome: Outcome::Begun,
            });
        }
        history
    }

    fn outcomes(history: &History) -> Vec<Outcome> {
        history.entries().map(|entry| entry.outcome).collect()
    }

    #[test]
    fn only_the_last_twenty_are_remembered_and_each_ends_once() {
        let mut history = with(25);
        let upgraded = Outcome::Serves { took: Some(Millis(5)) };
        history.note(&Notice::Upgraded { generation: Generation(25), took: Millis(5) });
        history.note(&Notice::Superseded { generation: Generation(25), by: Generation(26) });
        assert_eq!(history.entries().next().unwrap().generation, Generation(6));
        assert_eq!(history.entries().count(), KEPT);
        assert_eq!(outcomes(&history).last(), Some(&upgraded));
    }

    #[test]
    fn exactly_one_serves_at_a_time() {
        let mut history = with(4);
        let (serves, replaced) =
            (|took| Outcome::Serves { took }, |by| Outcome::Replaced { by: Generation(by) });
        history.note(&Notice::Up { workers: 2, took: Millis(1) });
        history.note(&Notice::Upgraded { generation: Generation(2), took: Millis(5) });
        assert_eq!(
            outcomes(&history),
            [replaced(2), serves(Some(Millis(5))), Outcome::Begun, Outcome::Begun]
        );
        let (cause, slot, failure, to) = (Cause::Aborted, None, None, Generation(2));
        history.note(&Notice::RollingBack { generation: Generation(3), to, cause, slot, failure });
        history.note(&Notice::RolledBack { to, healthy: 2, target: 2 });
        let back = Outcome::RolledBack { cause, slot, failure, short: None };
        assert_eq!(outcomes(&history), [replaced(2), serves(Some(Millis(5))), back, Outcome::Begun]);
        history.note(&Notice::Upgraded { generation: Generation(4), took: Millis(7) });
        assert_eq!(outcomes(&history), [replaced(2), replaced(4), back, serves(Some(Millis(7)))]);
    }

    #[test]
    fn the_first_that_was_never_complete_serves_once_it_is_gone_back_to_or_is_replaced() {
        let mut history = with(3);
        let (cause, slot, failure, to) = (Cause::Aborted, None, None, Generation(1));
        history.note(&Notice::RollingBack { generation: Generation(2), to, cause, slot, failure });
        history.note(&Notice::RolledBack { to, healthy: 1, target: 1 });
        assert_eq!(outcomes(&history)[0], Outcome::Serves { took: None });
        let mut history = with(2);
        history.note(&Notice::Upgraded { generation: Generation(2), took: Millis(7) });
        assert_eq!(outcomes(&history)[0], Outcome::Replaced { by: Generation(2) });
    }

    #[test]
    fn workers_that_are_missing_after_a_roll_back_are_told_of_with_it() {
        let mut history = with(3);
        let (cause, slot, failure) = (Cause::Aborted, None, None);
        let (generation, to) = (Generation(2), Generation(1));
        history.note(&Notice::RollingBack { generation, to, cause, slot, failure });
        history.note(&Notice::RolledBack { to, healthy: 4, target: 4 });
        let rolled_back = |short| Outcome::RolledBack { cause, slot, failure, short };
        let serves = Outcome::Serves { took: None };
        assert_eq!(outcomes(&history), [serves, rolled_back(None), Outcome::Begun]);
        history.note(&Notice::RolledBack { to, healthy: 3, target: 4 });
        let short = Some(Shortfall { generation: to, healthy: 3, target: 4 });
        assert_eq!(outcomes(&history), [serves, rolled_back(short), Outcome::Begun]);
    }
}
