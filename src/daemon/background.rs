//! Workers that go into the background: a program that expects to be a daemon makes a copy of itself and ends at
//! once, with status 0. Nobody can supervise the copy, and "exited with status 0" tells nobody what to do.
//!
//! All that is done here is to find out whether a start that failed was like that, for the words. Looking for
//! the copy takes a look at every process, and is done once for each generation.

use super::{facts, given, leftovers, process::Children};
use crate::fsm::{
    event::ExitStatus,
    id::{Generation, Pid, SlotId, WorkerId},
    notice::Notice,
    reason::Failure,
};

/// What is known of workers that ended early, and well.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// The last worker that left others behind in its group.
    orphaned: Option<WorkerId>,
    /// The last generation that had a start end with status 0, and whether it went into the background.
    last: Option<(Generation, Found)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// No trace of that.
    Nothing,
    /// It left processes behind in its group, where they are killed.
    Orphans,
    /// It left this behind, elsewhere.
    Process { pid: Pid, name: String },
}

impl Background {
    /// Takes in what the core has to tell. `workers` are those that run.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most of what there is to tell is not about that")]
    pub(crate) fn note(&mut self, notice: &Notice, workers: &Children) {
        match notice {
            Notice::Orphans { worker, .. } => self.orphaned = Some(*worker),
            Notice::StartFailed { worker, slot, generation, failure, .. }
                if ended_well(failure) && !self.is_known(*generation) =>
            {
                let found =
                    if self.orphaned == Some(*worker) { Found::Orphans } else { look(*slot, workers) };
                self.last = Some((*generation, found));
            }
            _ => {}
        }
    }

    fn is_known(&self, generation: Generation) -> bool {
        self.last.as_ref().is_some_and(|(last, _)| *last == generation)
    }

    /// What there is to add to words on a start of that generation that failed so: a clause with `; ` in
    /// front, or nothing.
    pub(crate) fn clause(&self, generation: Generation, failure: &Failure) -> String {
        let last = self.last.as_ref().filter(|(last, _)| *last == generation && ended_well(failure));
        let left = match last.map(|(_, found)| found) {
            None | Some(Found::Nothing) => return String::new(),
            Some(Found::Orphans) => "it left processes behind in its group".to_owned(),
            Some(Found::Process { pid, name }) => format!("it left pid {pid} ({name}) behind"),
        };
        format!(
            "; it looks as if it went into the background, since {left}: a worker must stay in the foreground \
             (programs have an option for that, such as --no-daemon or --foreground)"
        )
    }
}

fn ended_well(failure: &Failure) -> bool {
    *failure == Failure::Exited(ExitStatus::Code(0))
}

/// Looks for a process that was started in that slot and has left the family of its worker. It has the
/// worker's environment, whatever group or session it is in.
fn look(slot: SlotId, workers: &Children) -> Found {
    let told = [(given::MASTER_PID, std::process::id().to_string()), (given::CHILD_INDEX, slot.to_string())];
    let is_one = |pid: &Pid| {
        let has = |(name, value): &(&str, String)| {
            facts::variable(*pid, name).is_some_and(|found| found == value.as_bytes())
        };
        !workers.contains_key(pid) && told.iter().all(has) && leftovers::is_left(*pid, workers)
    };
    let found = facts::processes().find(is_one);
    found.map_or(Found::Nothing, |pid| Found::Process { pid, name: facts::name(pid) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::reason::Next;

    const WELL: Failure = Failure::Exited(ExitStatus::Code(0));

    fn failed(worker: u64, generation: u32, failure: Failure) -> Notice {
        let (worker, slot, generation) = (WorkerId(worker), SlotId(0), Generation(generation));
        let next = Next::NotReplaced;
        Notice::StartFailed { worker, slot, generation, failure, failures: None, retries: 1, next }
    }

    #[test]
    fn who_ends_well_at_once_and_leaves_somebody_behind_went_into_the_background() {
        let (mut background, workers) = (Background::default(), Children::new());
        background.note(&Notice::Orphans { worker: WorkerId(7), pid: Pid(30) }, &workers);
        background.note(&failed(7, 2, WELL), &workers);
        let said = background.clause(Generation(2), &WELL);
        assert!(said.starts_with("; it looks as if it went into the background"), "{said}");
        assert!(said.contains("--no-daemon"), "{said}");
        for (generation, failure) in [
            (Generation(1), WELL),
            (Generation(2), Failure::Exited(ExitStatus::Code(1))),
            (Generation(2), Failure::Unacknowledged { pid: Pid(31), age: crate::fsm::time::Millis(1_000) }),
        ] {
            assert_eq!(background.clause(generation, &failure), "", "{failure:?}");
        }
        background.note(&failed(8, 3, WELL), &workers);
        assert_eq!(background.clause(Generation(3), &WELL), "", "somebody else's");
    }
}
