//! `--lockfile`: a lock that the supervisor holds for its whole life, so that of several that are given the same
//! file one runs.
//!
//! The lock is the kernel's, flock(2), and ends with the process, however that ends. The file itself stays: if
//! one removed it, another that has just opened it would lock what nobody else can find.

use super::{
    kept::Kept,
    place::{flock, may_make},
};
use crate::protocol::words::file_kind;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
    unistd::{AccessFlags, eaccess},
};
use std::{
    fs::{File, Metadata},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

/// A lock, held until this is dropped. No worker has it.
#[derive(Debug)]
pub(crate) struct Lockfile {
    /// Never read: the lock lives as long as it.
    file: OwnedFd,
}

impl Lockfile {
    /// The one that whoever was here before has locked, and so it is.
    pub(crate) fn adopt(file: OwnedFd) -> Self {
        Self { file }
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        Kept::Lockfile { fd: self.file.as_raw_fd() }
    }

    /// Locks the file, which is made if there is none. Does not wait.
    ///
    /// # Errors
    /// If another process has it, or it cannot be locked: a line that names the option, the path, the reason
    /// and what to do.
    pub(crate) fn lock(path: &Path) -> Result<Self, String> {
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let opened = open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = File::from(opened.map_err(|errno| refuse(path, errno))?);
        if let Ok(metadata) = file.metadata() {
            check(path, &metadata)?;
        }
        let shown = path.display();
        let file = OwnedFd::from(file);
        match flock(&file) {
            Ok(()) => Ok(Self { file }),
            Err(Errno::EWOULDBLOCK) => Err(format!(
                "--lockfile: another process holds the lock on `{shown}`; stop that, find it with `fuser -v {shown}`, \
                 or choose another file"
            )),
            Err(errno) => {
                Err(format!("--lockfile: `{shown}` cannot be locked: {}; {ACCEPTED}", errno.desc()))
            }
        }
    }
}

/// What can be locked.
const ACCEPTED: &str = "accepted: a file, or a path in a folder where the supervisor may make one";

fn refuse(path: &Path, errno: Errno) -> String {
    let why = if errno == Errno::ELOOP { "it is a symbolic link" } else { errno.desc() };
    format!("--lockfile: `{}` cannot be opened: {why}; {ACCEPTED}", path.display())
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(format!("--lockfile: `{}` is {}; {ACCEPTED}", path.display(), file_kind(kind)))
}

/// Whether the file could be opened, as far as can be seen without that.
///
/// # Errors
/// As [`Lockfile::lock`], but for a lock that another has.
pub(crate) fn look(path: &Path) -> Result<(), String> {
    match path.symlink_metadata() {
        Ok(metadata) => {
            check(path, &metadata)?;
            eaccess(path, AccessFlags::R_OK | AccessFlags::W_OK)
        }
        Err(_) => may_make(path),
    }
    .map_err(|errno| refuse(path, errno))
}

#[cfg(test)]
mod tests {
    use super::{super::scratch::Scratch, *};
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn one_at_a_time_has_the_lock_and_the_file_stays() {
        let scratch = Scratch::new();
        let path = scratch.join("lock");
        let held = Lockfile::lock(&path).unwrap();
        let error = Lockfile::lock(&path).unwrap_err();
        let start = format!("--lockfile: another process holds the lock on `{}`; stop", path.display());
        assert!(error.starts_with(&start), "{error}");
        drop(held);
        drop(Lockfile::lock(&path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn what_is_in_the_file_is_of_no_interest_and_stays() {
        let scratch = Scratch::new();
        let path = scratch.file("lock", "precious", 0o600);
        let _held = Lockfile::lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_cannot_be_a_lock_is_told_with_the_reason() {
        let scratch = Scratch::new();
        symlink("nowhere", scratch.join("link")).unwrap();
        for (path, why) in [
            (scratch.join("no/lock"), "cannot be opened: No such file or directory; accepted: a file"),
            (scratch.path().to_owned(), "cannot be opened: Is a directory; accepted"),
            (scratch.join("link"), "cannot be opened: it is a symbolic link; accepted"),
            ("/dev/null".into(), "is a device; accepted"),
        ] {
            let error = Lockfile::lock(&path).unwrap_err();
            assert!(error.starts_with(&format!("--lockfile: `{}` {why}", path.display())), "{error}");
        }
        assert!(!scratch.join("nowhere").exists());
    }
}
