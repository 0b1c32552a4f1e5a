//! What becomes of a start: two words in memory that the child shares with the parent until it is the program, and
//! that whoever takes over from the parent finds.
//!
//! The first says which worker is to be started, before there is a process. The second has the process, which that
//! writes itself, first of all; and the reason, if it cannot become the program. Whoever reads a worker without a
//! process knows that there is none: it would have been written before anything else, and a child whose parent has
//! ended leaves.

use super::super::{
    memory::{FIRST, Memory, START, STARTS},
    pidfd::PidFd,
    program::spawn_error,
};
use crate::fsm::{
    event::{SpawnError, SpawnStage},
    id::{Pid, WorkerId},
};
use nix::errno::Errno;
use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

/// Stands for one start.
#[derive(Debug)]
pub(crate) struct Ticket {
    start: usize,
    /// The process, if it is no child of ours.
    held: Option<PidFd>,
}

impl Ticket {
    /// For no start at all.
    #[cfg(test)]
    pub(crate) const VOID: Self = Self::of(usize::MAX);

    const fn of(start: usize) -> Self {
        Self { start, held: None }
    }

    /// The process is held, since it is no child.
    pub(crate) fn hold(&mut self, process: PidFd) {
        self.held = Some(process);
    }

    /// The process, if it is no child.
    pub(crate) fn held(&self) -> Option<&PidFd> {
        self.held.as_ref()
    }
}

/// The words of all starts. Those that were given back are taken again before any other, so that few are ever touched.
#[derive(Debug)]
pub(super) struct Verdicts {
    memory: Rc<Memory>,
    /// Where the words begin.
    begin: usize,
    free: Vec<usize>,
    /// How many were ever taken: the lowest ones.
    taken: usize,
    /// For how many there is memory.
    reserved: usize,
}

/// How many starts memory is reserved for at a time: a page.
const PAGE: usize = 4096 / START;

/// A start that whoever was there before has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) worker: WorkerId,
    pub(crate) pid: Pid,
    pub(crate) ticket: Ticket,
}

/// All processes whose starts were begun and are not done with.
pub(crate) fn begun(memory: &Rc<Memory>, begin: usize) -> Vec<Pid> {
    let all = Verdicts::new(memory.clone(), begin).take_over(|_, _| true);
    all.into_iter().map(|begun| begun.pid).collect()
}

impl Verdicts {
    pub(super) fn new(memory: Rc<Memory>, begin: usize) -> Self {
        Self { memory, begin, free: Vec::new(), taken: 0, reserved: FIRST.saturating_sub(begin) / START }
    }

    /// The starts that somebody else has begun, of which those are taken over that are `wanted`; all other words are
    /// free.
    pub(super) fn take_over(&mut self, mut wanted: impl FnMut(WorkerId, Pid) -> bool) -> Vec<Begun> {
        let mut all = Vec::new();
        let load = |index, which| self.word(index, which).map(|word| word.load(Ordering::Acquire));
        let words = (0..STARTS).map_while(|index| Some((index, load(index, 0)?, load(index, 1)?)));
        let mut taken = 0;
        for (index, worker, state) in words {
            let worker = WorkerId(worker);
            // They are numbered from one, and taken from the lowest on.
            if worker == WorkerId(0) {
                break;
            }
            taken = index.saturating_add(1);
            let pid = process(state);
            if let Some(pid) = pid.filter(|pid| wanted(worker, *pid)) {
                all.push(Begun { worker, pid, ticket: Ticket::of(index) });
            }
        }
        (self.taken, self.reserved) = (taken, taken.max(self.reserved));
        let kept: BTreeSet<usize> = all.iter().map(|begun| begun.ticket.start).collect();
        self.free = (0..self.taken).rev().filter(|index| !kept.contains(index)).collect();
        all
    }

    /// Takes the words for the start of a worker.
    pub(super) fn take(&mut self, worker: WorkerId) -> Result<Ticket, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.taken < STARTS => {
                if self.taken >= self.reserved {
                    let at = self.begin.saturating_add(self.taken.saturating_mul(START));
                    // Whatever the system has for it, memory is what it lacks.
                    self.memory.reserve(at, PAGE.saturating_mul(START)).map_err(|_| Errno::ENOMEM)?;
                    self.reserved = self.taken.saturating_add(PAGE);
                }
                self.taken = self.taken.saturating_add(1);
                self.taken.saturating_sub(1)
            }
            None => return Err(Errno::EAGAIN),
        };
        let (Some(first), Some(second)) = (self.word(index, 0), self.word(index, 1)) else {
            return Err(Errno::EAGAIN);
        };
        second.store(0, Ordering::Release);
        first.store(worker.0, Ordering::Release);
        Ok(Ticket::of(index))
    }

    /// Whether none is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.taken
    }

    fn word(&self, index: usize, which: usize) -> Option<&AtomicU64> {
        let inside = which.checked_mul(size_of::<u64>())?;
        let at = self.begin.checked_add(index.checked_mul(START)?)?.checked_add(inside)?;
        self.memory.word(at).filter(|_| index < STARTS)
    }

    /// The word for the child to write into.
    pub(super) fn state(&self, ticket: &Ticket) -> Option<&AtomicU64> {
        self.word(ticket.start, 1)
    }

    /// Reads and frees the words, when the child is gone.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<SpawnError> {
        let verdict = self.state(&ticket)?.swap(0, Ordering::Acquire);
        self.free.push(ticket.start);
        decode(verdict)
    }
}

/// Says which process it is, if that is not said yet. All of this is fit for a forked child.
pub(super) fn tell(state: &AtomicU64, pid: Pid) {
    // Who else may say so is the parent, or the child; and the child may have said more already.
    let _ = state.compare_exchange(0, u64::from(pid.0), Ordering::AcqRel, Ordering::Acquire);
}

/// Leaves a reason.
pub(super) fn leave(state: &AtomicU64, stage: SpawnStage, errno: Errno) {
    state.fetch_or(encode(stage, errno), Ordering::AcqRel);
}

/// Never zero. Behind the process, which takes 32 bits.
fn encode(stage: SpawnStage, errno: Errno) -> u64 {
    ((stage as u64 + 1) << 32) | (u64::from((errno as i32).unsigned_abs()) << 40)
}

fn decode(verdict: u64) -> Option<SpawnError> {
    let stage = usize::try_from(((verdict >> 32) & 0xff).checked_sub(1)?).ok()?;
    let errno = i32::try_from(verdict >> 40).ok()?;
    Some(spawn_error(*SpawnStage::ALL.get(stage)?, Errno::from_raw(errno)))
}

fn process(state: u64) -> Option<Pid> {
    u32::try_from(state & u64::from(u32::MAX)).ok().filter(|pid| *pid > 0).map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    const BEGIN: usize = 4096;

    fn verdicts() -> Verdicts {
        let size = NonZeroUsize::new(BEGIN + STARTS * START).unwrap();
        Verdicts::new(Rc::new(Memory::new(size).unwrap().0), BEGIN)
    }

    #[test]
    fn any_number_of_starts_can_be_under_way() {
        let mut verdicts = verdicts();
        let tickets: Vec<_> = (1..=STARTS as u64).map(|id| verdicts.take(WorkerId(id)).unwrap()).collect();
        assert_eq!(verdicts.take(WorkerId(1)).unwrap_err(), Errno::EAGAIN);
        for (i, ticket) in tickets.iter().enumerate() {
            let errno = if i % 2 == 0 { Errno::ENOENT } else { Errno::EAGAIN };
            leave(verdicts.state(ticket).unwrap(), SpawnStage::Files, errno);
        }
        for (i, ticket) in tickets.into_iter().enumerate() {
            let errno = if i % 2 == 0 { Errno::ENOENT } else { Errno::EAGAIN };
            assert_eq!(verdicts.give_back(ticket), Some(spawn_error(SpawnStage::Files, errno)));
        }
        let ticket = verdicts.take(WorkerId(1)).unwrap();
        assert_eq!(verdicts.give_back(ticket), None, "what is taken again is clean");
    }

    #[test]
    fn every_stage_and_error_survives_the_way_through_the_word_beside_the_process() {
        for stage in SpawnStage::ALL {
            for errno in [Errno::EPERM, Errno::ETXTBSY, Errno::EHWPOISON] {
                let state = AtomicU64::new(0);
                tell(&state, Pid(4_194_303));
                leave(&state, *stage, errno);
                tell(&state, Pid(7));
                let state = state.into_inner();
                assert_eq!(decode(state), Some(spawn_error(*stage, errno)));
                assert_eq!(process(state), Some(Pid(4_194_303)));
            }
        }
        assert_eq!((decode(0), process(0)), (None, None));
    }

    #[test]
    fn whoever_takes_over_knows_what_was_begun() {
        let mut before = verdicts();
        let tickets: Vec<_> = (1..=4).map(|id| before.take(WorkerId(id)).unwrap()).collect();
        // The second has no process, the third is nobody's any more.
        for (ticket, pid) in tickets.iter().zip([101, 0, 103, 104]).filter(|(_, pid)| *pid > 0) {
            tell(before.state(ticket).unwrap(), Pid(pid));
        }
        let mut after = Verdicts::new(before.memory.clone(), BEGIN);
        let begun = after.take_over(|worker, _| worker != WorkerId(3));
        let found: Vec<_> = begun.iter().map(|begun| (begun.worker, begun.pid, begun.ticket.start)).collect();
        assert_eq!(found, [(WorkerId(1), Pid(101), 0), (WorkerId(4), Pid(104), 3)]);
        let next: Vec<_> = (5..8).map(|id| after.take(WorkerId(id)).unwrap().start).collect();
        assert_eq!(next, [1, 2, 4], "what is free is taken again");
        assert_eq!(after.word(1, 1).unwrap().load(Ordering::Acquire), 0);
    }
}
