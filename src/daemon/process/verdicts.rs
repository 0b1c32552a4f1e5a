//! What children say when they do not become the program: a word each, in memory shared with the parent.

use super::super::program::spawn_error;
use crate::fsm::event::{SpawnError, SpawnStage};
use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
};
use std::{
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// Stands for one word.
#[derive(Debug)]
pub(crate) struct Ticket(usize);

#[cfg(test)]
impl Ticket {
    /// For no word at all.
    pub(crate) const VOID: Self = Self(usize::MAX);
}

/// How many words a page holds.
const WORDS: usize = 512;

type Page = [AtomicU64; WORDS];

/// Memory that children share with the parent until they become the program: one word for each, zero
/// unless something went wrong. It grows by whole pages and never shrinks: one page serves 512
/// unreaped children.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pages: Vec<NonNull<Page>>,
    /// Words that were given back. They are taken again before any other, so that few are ever touched.
    free: Vec<usize>,
    /// How many words were ever taken: the lowest ones.
    taken: usize,
}

impl Verdicts {
    /// Reserves a word for a child that is to be made.
    pub(super) fn take(&mut self) -> Result<Ticket, Errno> {
        if let Some(word) = self.free.pop() {
            return Ok(Ticket(word));
        }
        let word = self.taken;
        if word == self.pages.len().saturating_mul(WORDS) {
            self.grow()?;
        }
        self.taken = word.saturating_add(1);
        Ok(Ticket(word))
    }

    /// Whether no word is reserved.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.taken
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let size = NonZeroUsize::new(size_of::<Page>()).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory, wherever the kernel likes; nothing else is affected.
        let page = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_SHARED) }?;
        self.pages.push(page.cast());
        Ok(())
    }

    /// The word, for the child to leave its reason in.
    pub(super) fn word(&self, ticket: &Ticket) -> Option<&AtomicU64> {
        let page = self.pages.get(ticket.0 / WORDS)?;
        // SAFETY: mapped until `self` is dropped, aligned to a page, zero at first, which is a valid
        // value; other processes change it through atomic operations only.
        let page = unsafe { page.as_ref() };
        page.get(ticket.0 % WORDS)
    }

    /// Reads and frees a word, when its child is gone.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<SpawnError> {
        let verdict = self.word(&ticket)?.swap(0, Ordering::Acquire);
        self.free.push(ticket.0);
        decode(verdict)
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        for page in self.pages.drain(..) {
            // SAFETY: mapped by `grow` with this size; no reference to it outlives `self`.
            let _ = unsafe { munmap(page.cast(), size_of::<Page>()) };
        }
    }
}

/// Leaves a reason. All of this is fit for a forked child.
pub(super) fn leave(word: &AtomicU64, stage: SpawnStage, errno: Errno) {
    word.store(encode(stage, errno), Ordering::Release);
}

/// Never zero.
fn encode(stage: SpawnStage, errno: Errno) -> u64 {
    ((stage as u64 + 1) << 32) | u64::from((errno as i32).unsigned_abs())
}

fn decode(verdict: u64) -> Option<SpawnError> {
    let stage = usize::try_from((verdict >> 32).checked_sub(1)?).ok()?;
    let errno = i32::try_from(verdict & u64::from(u32::MAX)).ok()?;
    Some(spawn_error(*SpawnStage::ALL.get(stage)?, Errno::from_raw(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_starts_can_be_under_way() {
        let mut verdicts = Verdicts::default();
        let tickets: Vec<_> = (0..WORDS + 3).map(|_| verdicts.take().unwrap()).collect();
        assert_eq!(verdicts.pages.len(), 2);
        for (i, ticket) in tickets.iter().enumerate() {
            let errno = if i % 2 == 0 { Errno::ENOENT } else { Errno::EAGAIN };
            verdicts.word(ticket).unwrap().store(encode(SpawnStage::Files, errno), Ordering::Release);
        }
        for (i, ticket) in tickets.into_iter().enumerate() {
            let errno = if i % 2 == 0 { Errno::ENOENT } else { Errno::EAGAIN };
            assert_eq!(verdicts.give_back(ticket), Some(spawn_error(SpawnStage::Files, errno)));
        }
        let ticket = verdicts.take().unwrap();
        assert_eq!(verdicts.give_back(ticket), None, "what is taken again is clean");
    }

    #[test]
    fn every_stage_and_error_survives_the_way_through_the_page() {
        for stage in SpawnStage::ALL {
            for errno in [Errno::EPERM, Errno::ETXTBSY, Errno::EHWPOISON] {
                assert_eq!(decode(encode(*stage, errno)), Some(spawn_error(*stage, errno)));
            }
        }
        assert_eq!(decode(0), None);
    }
}
