//! One at a time at a path: a lock in a file beside it.
//!
//! The file is there while the lock is held, and only whoever holds it removes it, so whoever has waited
//! looks whether what he has locked is still what is there. In a directory that is open to all, such as
//! `/tmp`, anybody can put something of that name there, or lock what he can open. So only a file of our own
//! that nobody else can open is a lock; whatever else is there holds up nobody, at the price that two who
//! start at that very moment are not kept apart.

use super::Why;
use log::debug;
use nix::{
    errno::Errno,
    fcntl::{FlockArg, OFlag, open},
    libc::S_IFREG,
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::{geteuid, unlink},
};
use std::{
    ffi::OsString,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How long, and how often, to try for the lock.
pub(super) const PATIENCE_MS: u64 = 2_000;
const PAUSE_MS: u64 = 5;

/// What to do while another process of ours holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// Wait, for two seconds at most.
    Wait,
    /// Give up.
    Fail,
}

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// Never read: the lock lives as long as it.
    _file: OwnedFd,
}

/// Takes the lock for the socket at `path`; `None` if what is there in its place is not ours, or cannot be
/// locked.
pub(super) fn lock(path: &Path, busy: Busy) -> Result<Option<Lock>, Why> {
    let path = beside(path);
    let tries = match busy {
        Busy::Wait => PATIENCE_MS / PAUSE_MS,
        Busy::Fail => 1,
    };
    for number in 1..=tries {
        match attempt(&path) {
            Ok(Some(file)) => return Ok(Some(Lock { path, _file: file })),
            Ok(None) if number < tries => thread::sleep(Duration::from_millis(PAUSE_MS)),
            Ok(None) => {}
            Err(Obstacle::Directory(errno)) => return Err(Why::Directory(errno)),
            Err(Obstacle::File(why)) => {
                debug!("{} is no lock of ours, so none is taken: {why}", path.display());
                return Ok(None);
            }
        }
    }
    Err(Why::Locked(path))
}

/// Why no further try would help.
enum Obstacle {
    /// There is no directory for it.
    Directory(Errno),
    /// What is there is not ours, or the system does not lock it.
    File(&'static str),
}

impl From<Errno> for Obstacle {
    fn from(errno: Errno) -> Self {
        Self::File(errno.desc())
    }
}

/// Tries once; `None` if another process of ours holds the lock, or has just removed it.
fn attempt(path: &Path) -> Result<Option<OwnedFd>, Obstacle> {
    let Some(Opened { fd, origin }) = open_or_make(path)? else {
        return Ok(None);
    };
    let tried = try_lock(&fd);
    if tried.is_err() && origin == Origin::Made {
        // It is no use to anybody, and nobody else would remove it.
        let _ = unlink(path);
    }
    Ok((tried? == Held::ByUs).then_some(fd))
}

/// A file, and where it comes from.
struct Opened {
    fd: OwnedFd,
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Found,
    Made,
}

/// `None` if it was there and is gone.
fn open_or_make(path: &Path) -> Result<Option<Opened>, Obstacle> {
    match open(path, flags() | OFlag::O_CREAT | OFlag::O_EXCL, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(fd) => return Ok(Some(Opened { fd, origin: Origin::Made })),
        Err(Errno::EEXIST) => {}
        Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => return Err(Obstacle::Directory(errno)),
        // Nothing can be made here at all: then the socket cannot either, and that is told.
        Err(errno) => return Err(errno.into()),
    }
    match open(path, flags(), Mode::empty()) {
        Ok(fd) => Ok(Some(Opened { fd, origin: Origin::Found })),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Who has a lock, or had it a moment ago.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    ByUs,
    ByAnother,
}

fn try_lock(fd: &OwnedFd) -> Result<Held, Obstacle> {
    let stat = fstat(fd)?;
    if stat.st_nlink == 0 {
        return Ok(Held::ByAnother);
    }
    if !is_private(&stat) {
        return Err(Obstacle::File("somebody else has put it there, or can open it"));
    }
    match flock(fd) {
        // Its holder may have removed it meanwhile; what is there now is another file, or none.
        Ok(()) if fstat(fd)?.st_nlink == 0 => Ok(Held::ByAnother),
        Ok(()) => Ok(Held::ByUs),
        Err(Errno::EWOULDBLOCK) => Ok(Held::ByAnother),
        Err(errno) => Err(errno.into()),
    }
}

/// Locks a file until it is closed.
#[expect(deprecated, reason = "what is to be used instead asks for the release, and panics if that fails")]
pub(crate) fn flock(fd: &OwnedFd) -> Result<(), Errno> {
    nix::fcntl::flock(fd.as_raw_fd(), FlockArg::LockExclusiveNonblock)
}

/// `.NAME.lock` in the socket's directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    path.with_file_name(name)
}

fn flags() -> OFlag {
    OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

/// A plain file of ours with this one name, that nobody else can open and nobody keeps anything in.
fn is_private(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == S_IFREG
        && stat.st_uid == geteuid().as_raw()
        && stat.st_nlink == 1
        && stat.st_mode & 0o077 == 0
        && stat.st_size == 0
}

impl Drop for Lock {
    /// While it is still held: the file is closed after that.
    fn drop(&mut self) {
        let _ = unlink(&self.path);
    }
}
