//! Starts that fail because the machine lacks something. Each slot tries twice a second, so that a thousand slots
//! would be two thousand lines a second, all the same; of each kind one a second is told, with how many there were.

use crate::{
    fsm::{
        event::SpawnError,
        notice::Notice,
        reason::Failure,
        time::{Millis, Time},
    },
    protocol::words::{count, spawn_error},
};
use core::mem;

/// How long nothing more of a kind is told after a line of it.
const PAUSE: Millis = Millis(1_000);

/// What was told of each kind, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Shortages {
    // Few: what can be lacking, where.
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    error: SpawnError,
    /// When a line of it was last told.
    told: Time,
    /// How many have been held back since.
    held: u32,
}

impl Shortages {
    /// Whether a notice is told now: then with what there is to add to it, a clause with `; ` in front, or
    /// nothing. Whatever is no shortage is.
    pub(crate) fn take(&mut self, notice: &Notice, now: Time) -> Option<String> {
        let Some(error) = lacking(notice) else { return Some(String::new()) };
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.error == error) else {
            self.kinds.push(Kind { error, told: now, held: 0 });
            return Some(String::new());
        };
        if now < kind.told + PAUSE {
            kind.held = kind.held.saturating_add(1);
            return None;
        }
        kind.told = now;
        let held = mem::take(&mut kind.held);
        Some(if held == 0 { String::new() } else { format!("; and {held} more like it since the last line") })
    }

    /// What was held back for long enough. To be asked when something else is told, so that the end of a shortage
    /// is not waited for.
    pub(crate) fn due(&mut self, now: Time) -> Vec<String> {
        let is_due = |kind: &Kind| now >= kind.told + PAUSE;
        // What was told long ago is news when it comes again.
        self.kinds.retain(|kind| kind.held > 0 || !is_due(kind));
        let due = self.kinds.iter_mut().filter(|kind| is_due(kind));
        let told = due.map(|kind| {
            kind.told = now;
            let starts = count(mem::take(&mut kind.held), "more start");
            format!("{starts} failed: {}", spawn_error(&kind.error))
        });
        told.collect()
    }
}

/// What a start failed for that the machine lacked.
fn lacking(notice: &Notice) -> Option<SpawnError> {
    let Notice::StartFailed { failure: Failure::Spawn(error), .. } = notice else { return None };
    Some(*error).filter(SpawnError::is_shortage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        event::{Prospect, SpawnStage},
        id::{Errno, Generation, SlotId, WorkerId},
        reason::Next,
    };

    fn failed(stage: SpawnStage, prospect: Prospect) -> Notice {
        Notice::StartFailed {
            worker: WorkerId(1),
            slot: SlotId(0),
            generation: Generation(1),
            failure: Failure::Spawn(SpawnError { stage, errno: Errno(11), prospect }),
            failures: None,
            retries: 5,
            next: Next::In(Millis(500)),
        }
    }

    fn told(tail: &str) -> Option<String> {
        Some(tail.into())
    }

    #[test]
    fn the_first_of_each_kind_is_told_at_once_and_one_a_second_from_then_on() {
        let mut shortages = Shortages::default();
        let fork = failed(SpawnStage::Fork, Prospect::Shortage);
        assert_eq!(shortages.take(&fork, Time(7)), told(""));
        let exec = failed(SpawnStage::Exec, Prospect::Shortage);
        assert_eq!(shortages.take(&exec, Time(8)), told(""), "another kind");
        for _ in 0..3 {
            assert_eq!(shortages.take(&fork, Time(1_006)), None);
        }
        assert_eq!(shortages.take(&fork, Time(1_007)), told("; and 3 more like it since the last line"));
        assert_eq!(shortages.take(&fork, Time(3_000)), told(""), "nothing was held back");
        for _ in 0..3 {
            let other = failed(SpawnStage::Fork, Prospect::Passing);
            assert_eq!(shortages.take(&other, Time(3_001)), told(""), "that is about the program");
        }
    }

    #[test]
    fn what_was_held_back_is_told_with_the_next_line_of_another_kind() {
        let mut shortages = Shortages::default();
        let fork = failed(SpawnStage::Fork, Prospect::Shortage);
        for _ in 0..3 {
            shortages.take(&fork, Time(0));
        }
        assert_eq!(shortages.due(Time(999)), [""; 0]);
        let due = shortages.due(Time(1_000));
        let [line] = due.as_slice() else { panic!("{due:?}") };
        assert!(line.starts_with("2 more starts failed: ") && line.contains("(errno 11)"), "{line}");
        assert_eq!(shortages.due(Time(5_000)), [""; 0]);
        assert!(shortages.kinds.is_empty());
        assert_eq!(shortages.take(&fork, Time(5_001)), told(""), "it is news again");
    }
}
