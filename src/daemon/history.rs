//! What came of the generations so far, for `history`. Kept for people; nothing is decided by it. The
//! words are [`protocol::history`](crate::protocol::history)'s.

use super::kept::{HeldEntry, Kept};
use crate::{
    fsm::{id::Generation, notice::Notice, time::Millis},
    protocol::history::{Asker, Entry, Outcome, Shortfall},
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
        // Whoever takes over may have to begin once more what was begun.
        self.entries.retain(|known| known.generation != entry.generation);
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// All that is kept here.
    pub(crate) fn keep(&self, put: &mut dyn FnMut(&Kept)) {
        self.entries.iter().for_each(|entry| put(&kept(entry)));
    }

    /// Takes over what was kept.
    pub(crate) fn adopt<'h>(&mut self, held: impl Iterator<Item = (&'h Generation, &'h HeldEntry)>) {
        held.for_each(|(generation, entry)| self.begin(adopted(*generation, entry)));
    }

    /// Takes in what the core has to tell. Returns the generations of which there is news.
    pub(crate) fn note(&mut self, notice: &Notice) -> Vec<Entry> {
        let before = if is_about_generations(notice) { self.entries.clone() } else { return Vec::new() };
        self.take_in(notice);
        let pairs = self.entries.iter().zip(&before);
        pairs.filter(|(now, before)| now != before).map(|(now, _)| now.clone()).collect()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what there is to tell is not about generations"
    )]
    fn take_in(&mut self, notice: &Notice) {
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

/// Whether there may be news of a generation.
fn is_about_generations(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::Up { .. }
            | Notice::Upgrading { .. }
            | Notice::Upgraded { .. }
            | Notice::RollingBack { .. }
            | Notice::RolledBack { .. }
            | Notice::PinFailed { .. }
            | Notice::Superseded { .. }
    )
}

/// What is kept of a generation.
pub(crate) fn kept(entry: &Entry) -> Kept {
    let (user, pid) = match entry.by {
        Asker::Client { user, pid } => (Some(user), Some(pid)),
        Asker::Start | Asker::Hangup => (None, None),
    };
    let Entry { generation, asked_at, program, strategy, outcome, .. } = entry.clone();
    Kept::History { generation, entry: HeldEntry { asked_at, user, pid, program, strategy, outcome } }
}

fn adopted(generation: Generation, held: &HeldEntry) -> Entry {
    let by = match (held.user, held.pid) {
        (Some(user), Some(pid)) => Asker::Client { user, pid },
        _ if generation == Generation(1) => Asker::Start,
        _ => Asker::Hangup,
    };
    let HeldEntry { asked_at, program, strategy, outcome, .. } = held.clone();
    Entry { generation, asked_at, by, program, strategy, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        event::{ExitStatus, Prospect, SpawnError, SpawnStage, Strategy},
        id::{Errno, Pid, SlotId},
        reason::{Cause, Failure},
        text::Record as _,
    };

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

    #[test]
    fn what_is_kept_is_taken_over_as_it_was() {
        let error = SpawnError { stage: SpawnStage::Exec, errno: Errno(2), prospect: Prospect::NotFound };
        let (generation, failure) = (Generation(1), Some(Failure::Exited(ExitStatus::Unknown)));
        let short = Some(Shortfall { generation, healthy: 1, target: 2 });
        let slot = Some(SlotId(3));
        let outcomes = [
            Outcome::Begun,
            Outcome::Serves { took: Some(Millis(5)) },
            Outcome::Replaced { by: generation },
            Outcome::RolledBack { cause: Cause::GaveUp, slot, failure, short },
            Outcome::RolledBack { cause: Cause::Aborted, slot: None, failure: None, short: None },
            Outcome::Refused { error },
            Outcome::Superseded { by: generation },
        ];
        let askers = [Asker::Start, Asker::Client { user: 7, pid: Pid(30) }, Asker::Hangup];
        for (number, outcome) in (1..).zip(outcomes) {
            let by = askers.get(number as usize - 1).copied().unwrap_or(Asker::Hangup);
            let (program, strategy) = ("/a b".to_owned(), Some(Strategy::Fleet).filter(|_| number > 1));
            let entry = Entry { generation: Generation(number), asked_at: 9, by, program, strategy, outcome };
            let Kept::History { generation, entry: held } = Kept::from_line(&kept(&entry).to_line()).unwrap()
            else {
                panic!("{entry:?}");
            };
            assert_eq!(adopted(generation, &held), entry);
        }
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
