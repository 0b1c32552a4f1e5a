//! Giving back memory that was needed for a moment.

use nix::libc::{self, c_int, c_void};
use std::{mem, ptr, slice};

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
    /// Whether the code that was run last was let go.
    has_rested: bool,
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
            if calm {
                self.since_calm = 0;
                self.has_rested = false;
            }
            give_back();
        }
    }

    /// Code was run that is seldom run.
    pub(crate) fn stir(&mut self) {
        self.has_rested = false;
    }

    /// There is nothing to do. The start has run through far more code than what comes after it, and so have requests:
    /// it is let go, unless it was already, and what is needed again comes back from where it still is, piece by piece.
    /// That takes some 0.02 ms, which is why it is not done whenever there is nothing to do.
    pub(crate) fn rest(&mut self) {
        if !cfg!(debug_assertions) && !mem::replace(&mut self.has_rested, true) {
            // SAFETY: `let_go` takes nothing along, and answers as it is to.
            unsafe { libc::dl_iterate_phdr(Some(let_go), ptr::null_mut()) };
        }
    }
}

/// Unmaps code and constants of the program: the kernel maps them anew where somebody looks. Those of libraries are left
/// alone, since they are everybody's.
unsafe extern "C" fn let_go(program: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: what the C library passes stays as it is for as long as we are here.
    let (base, parts) = unsafe {
        let program = &*program;
        (program.dlpi_addr, slice::from_raw_parts(program.dlpi_phdr, program.dlpi_phnum.into()))
    };
    // SAFETY: it looks up a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(usize::MAX).max(1);
    let down = |address| usize::try_from(address).unwrap_or_default() / page * page;
    for part in parts.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_flags & libc::PF_W == 0) {
        let begin = base.saturating_add(part.p_vaddr);
        // A page that is not all of this part is left alone.
        let (begin, end) = (down(begin), down(begin.saturating_add(part.p_memsz)));
        // SAFETY: nothing is lost, since nobody could write there: all of it is still in its file.
        unsafe {
            libc::madvise(ptr::without_provenance_mut(begin), end.saturating_sub(begin), libc::MADV_DONTNEED)
        };
    }
    // Of all objects the program is the first, and no other is to follow.
    1
}

/// Other allocators have no such call, and keep less.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing but what the allocator has free, in any state that it may be in.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
