//! One at a time at a path: a lock in a file beside it.
//!
//! The file is there while the lock is held, and only whoever holds it removes it, so whoever has waited
//! looks whether what he has locked is still what is there. In a directory that is open to all, such as
//! `/tmp`, anybody can put something of that name there, or lock what he can open. So only a file of our own
//! that nobody else can open is a lock; whatever else is there holds up nobody, at the price that two who
//! start at that very moment are not kept apart.

use super::{Identity, Why};
use log::debug;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag, open},
    libc::S_IFREG,
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::{geteuid, unlink},
};
use std::{
    ffi::OsString,
    os::fd::OwnedFd,
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
    _file: Flock<OwnedFd>,
}

/// Takes the lock for the socket at `path`; `None` if what is there in its place is not ours.
pub(super) fn lock(path: &Path, busy: Busy) -> Result<Option<Lock>, Why> {
    let path = beside(path);
    let mut tries = match busy {
        Busy::Wait => PATIENCE_MS / PAUSE_MS,
        Busy::Fail => 1,
    };
    loop {
        let fd = match open(&path, flags(), Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => fd,
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => return Err(Why::Directory(errno)),
            // Also if nothing can be made here at all: then the socket cannot either, and that is told.
            Err(errno) => return Ok(foreign(&path, errno.desc())),
        };
        let stat = fstat(&fd).map_err(Why::Directory)?;
        if stat.st_nlink == 0 {
            continue;
        }
        if !is_private(&stat) {
            return Ok(foreign(&path, "somebody else has put it there, or can open it"));
        }
        match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(file) if super::identify(&path) == Ok(Identity::from(stat)) => {
                return Ok(Some(Lock { path, _file: file }));
            }
            // Its holder has removed it meanwhile.
            Ok(_) => continue,
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Ok(foreign(&path, errno.desc())),
        }
        tries -= 1;
        if tries == 0 {
            return Err(Why::Locked(path));
        }
        thread::sleep(Duration::from_millis(PAUSE_MS));
    }
}

/// `.NAME.lock` in the socket's directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    path.with_file_name(name)
}

fn flags() -> OFlag {
    OFlag::O_RDWR
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC
}

/// A plain file of ours with this one name, that nobody else can open and nobody keeps anything in.
fn is_private(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == S_IFREG
        && stat.st_uid == geteuid().as_raw()
        && stat.st_nlink == 1
        && stat.st_mode & 0o077 == 0
        && stat.st_size == 0
}

fn foreign(path: &Path, why: &str) -> Option<Lock> {
    debug!("{} is no lock of ours, so none is taken: {why}", path.display());
    None
}

impl Drop for Lock {
    /// While it is still held.
    fn drop(&mut self) {
        let _ = unlink(&self.path);
    }
}
