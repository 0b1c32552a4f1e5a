//! Giving back memory that was needed for a moment.

/// How much may have been freed before it is given back, in bytes: with every answer would be too often. And how
/// much when nobody is there who might need it: nothing may happen for long.
const BUSY: usize = 64 * 1024;
const CALM: usize = 8 * 1024;

/// Memory that is free and still the supervisor's. An allocator that keeps what was freed, for next time, keeps
/// for ever what a crowd of clients, one long answer or an upgrade of a thousand workers took.
#[derive(Debug, Default)]
pub(crate) struct Slack {
    /// What was freed since some was given back, in bytes.
    freed: usize,
    /// The same since it was given back with nobody there: those who are hold some of it.
    since_calm: usize,
}

impl Slack {
    /// So many bytes have been freed, about.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.freed = self.freed.saturating_add(bytes);
        self.since_calm = self.since_calm.saturating_add(bytes);
    }

    /// Gives it back if that is worth its while: it takes some 0.1 ms for each MiB.
    pub(crate) fn settle(&mut self, calm: bool) {
        let due = if calm { self.since_calm >= CALM } else { self.freed >= BUSY };
        if due {
            self.freed = 0;
            self.since_calm = if calm { 0 } else { self.since_calm };
            give_back();
        }
    }
}

/// Other allocators have no such call, and keep less.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing but what the allocator has free, in any state that it may be in.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
