//! Memory that outlives the program in it: a file without a name, memfd_create(2), mapped shared. Whoever has the
//! descriptor finds there what was written last, however the writer ended; children share it until they become another
//! program. It is far larger than what is ever used of it: only what was touched takes room.
//!
//! Where the system gives no such file, it is memory that is shared with children and no more.
#![expect(unsafe_code, reason = "a mapping is nothing but an address to Rust")]

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    libc::{self, c_void},
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
        stat::fstat,
    },
    unistd::ftruncate,
};
use std::{
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
};

/// How lists of a process's mappings call it.
const NAME: &str = "einhyrningsins-journal";

/// For how many starts there is room in it: children that are not reaped.
pub(crate) const STARTS: usize = 65_536;

/// How many bytes one takes.
pub(crate) const START: usize = 2 * size_of::<u64>();

/// How much is there from the beginning, in bytes: no write there can fail.
pub(crate) const FIRST: usize = 8192;

/// A piece of it. Offsets are in bytes from its beginning; what is beyond the end is not there.
#[derive(Debug)]
pub(crate) struct Memory {
    begin: NonNull<c_void>,
    size: usize,
    file: Option<OwnedFd>,
}

impl Memory {
    /// New memory, all zero; if it does not outlive the program, with the reason.
    ///
    /// # Errors
    /// If there is none of any kind.
    pub(crate) fn new(size: NonZeroUsize) -> Result<(Self, Option<Errno>), Errno> {
        let reserved = |memory: Self| memory.reserve(0, FIRST.min(size.get())).map(|()| memory);
        match file(size).and_then(|file| Self::map(file, size)).and_then(reserved) {
            Ok(memory) => Ok((memory, None)),
            Err(why) => Ok((Self::shared(size)?, Some(why))),
        }
    }

    /// Memory that does not outlive the program.
    fn shared(size: NonZeroUsize) -> Result<Self, Errno> {
        // SAFETY: new memory, wherever the kernel likes; nothing else is affected.
        let begin =
            unsafe { mmap_anonymous(None, size, access(), MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE) }?;
        Ok(Self { begin, size: size.get(), file: None })
    }

    /// Memory that somebody has left behind.
    ///
    /// # Errors
    /// If it is of another size, or no such memory at all.
    pub(crate) fn left(file: OwnedFd, size: NonZeroUsize) -> Result<Self, Errno> {
        if fstat(&file)?.st_size != libc::off_t::try_from(size.get()).map_err(|_| Errno::EFBIG)? {
            return Err(Errno::EINVAL);
        }
        Self::map(file, size)
    }

    fn map(file: OwnedFd, size: NonZeroUsize) -> Result<Self, Errno> {
        // SAFETY: as in `shared`. That the file shrinks is not to be feared: nobody has it but those who write here.
        let begin = unsafe { mmap(None, size, access(), MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(Self { begin, size: size.get(), file: Some(file) })
    }

    /// The descriptor, if it outlives the program.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// The word at a multiple of eight.
    pub(crate) fn word(&self, at: usize) -> Option<&AtomicU64> {
        let fits = at.is_multiple_of(size_of::<u64>()) && at.checked_add(size_of::<u64>())? <= self.size;
        // SAFETY: within the mapping, which lives as long as `self`; aligned, since that begins at a page; any value is
        // valid; others change it through atomic operations only.
        fits.then(|| unsafe { self.begin.cast::<AtomicU64>().byte_add(at).as_ref() })
    }

    /// Writes bytes. Answers whether they fit. Not for where words are.
    pub(crate) fn put(&self, at: usize, bytes: &[u8]) -> bool {
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= self.size);
        if fits {
            // SAFETY: within the mapping, and no reference leads there: bytes are only ever copied.
            unsafe {
                ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    self.begin.cast::<u8>().byte_add(at).as_ptr(),
                    bytes.len(),
                )
            };
        }
        fits
    }

    /// Reads bytes, if they are all there.
    pub(crate) fn get(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        at.checked_add(length).filter(|end| *end <= self.size)?;
        let mut bytes = vec![0; length];
        // SAFETY: as in `put`.
        unsafe {
            ptr::copy_nonoverlapping(
                self.begin.cast::<u8>().byte_add(at).as_ptr(),
                bytes.as_mut_ptr(),
                length,
            )
        };
        Some(bytes)
    }

    /// Sees to it that there is memory behind so many bytes: without, writing there would be a fault.
    ///
    /// # Errors
    /// If the system has none.
    pub(crate) fn reserve(&self, at: usize, length: usize) -> Result<(), Errno> {
        self.change(FallocateFlags::FALLOC_FL_KEEP_SIZE, at, length)
    }

    /// Gives memory back. What is read there is zero from now on.
    pub(crate) fn release(&self, at: usize, length: usize) {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // What is not given back is written over some day.
        let _ = self.change(hole, at, length);
    }

    fn change(&self, how: FallocateFlags, at: usize, length: usize) -> Result<(), Errno> {
        let (Some(file), true) = (&self.file, length > 0) else { return Ok(()) };
        let number = |number: usize| libc::off_t::try_from(number).map_err(|_| Errno::EFBIG);
        loop {
            match fallocate(file, how, number(at)?, number(length)?) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped with this size; no reference to it outlives `self`.
        let _ = unsafe { munmap(self.begin, self.size) };
    }
}

fn access() -> ProtFlags {
    ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
}

fn file(size: NonZeroUsize) -> Result<OwnedFd, Errno> {
    let file = memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?;
    // Fails where files may not be that large (`ulimit -f`), though this one takes no room by it.
    ftruncate(&file, libc::off_t::try_from(size.get()).map_err(|_| Errno::EFBIG)?)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    const SIZE: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();

    #[test]
    fn what_is_written_is_found_by_whoever_has_the_descriptor() {
        let (memory, why) = Memory::new(SIZE).unwrap();
        assert_eq!(why, None);
        assert!(memory.put(5_000, b"hello"));
        memory.word(8).unwrap().store(7, Ordering::Release);
        let file = memory.file().unwrap().try_clone_to_owned().unwrap();
        drop(memory);
        let other = NonZeroUsize::new(4096).unwrap();
        assert_eq!(Memory::left(file.try_clone().unwrap(), other).unwrap_err(), Errno::EINVAL);
        let left = Memory::left(file, SIZE).unwrap();
        assert_eq!(left.get(5_000, 5).unwrap(), b"hello");
        assert_eq!(left.word(8).unwrap().load(Ordering::Acquire), 7);
    }

    #[test]
    fn what_is_beyond_the_end_or_between_words_is_not_there() {
        let memory = Memory::shared(SIZE).unwrap();
        assert!(memory.file().is_none());
        let end = SIZE.get();
        assert!(memory.word(end - 8).is_some());
        assert!(
            memory.word(end).is_none() && memory.word(4).is_none() && memory.word(usize::MAX - 7).is_none()
        );
        assert!(!memory.put(end - 2, b"abc") && !memory.put(usize::MAX, b"abc"));
        assert!(memory.get(end, 1).is_none() && memory.get(usize::MAX, 2).is_none());
        assert_eq!(memory.get(end, 0), Some(Vec::new()));
    }

    #[test]
    fn memory_is_reserved_and_given_back() {
        let (memory, _) = Memory::new(SIZE).unwrap();
        memory.reserve(8192, 8192).unwrap();
        let blocks = || fstat(memory.file().unwrap()).unwrap().st_blocks * 512;
        assert_eq!(blocks(), 8192 + i64::try_from(FIRST).unwrap());
        assert!(memory.put(8192, b"x"));
        memory.release(8192, 8192);
        assert_eq!((blocks(), memory.get(8192, 1).unwrap()), (8192, vec![0]));
    }
}
