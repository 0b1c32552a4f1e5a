//! `--pidfile`: the supervisor's process id in a file, for whoever signals it.
//!
//! Others may read the file at any time, so it appears in one step: it is written under another name beside its
//! place, and then renamed. The first of the two is what can fail, and is done before anything is bound.

use super::{
    kept::{Bytes, File, Kept},
    place::{Identity, may_make},
};
use crate::{fsm::id::Pid, protocol::words::file_kind};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::{Mode, fstat, lstat},
    unistd::{unlink, write},
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf, absolute},
    process,
};

/// A file with our process id, which goes away with this if it is still ours.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    /// Where it is now.
    place: PathBuf,
    identity: Identity,
    /// Open, so that no other file can have its number.
    file: OwnedFd,
}

impl Pidfile {
    /// Writes the file beside its place.
    ///
    /// # Errors
    /// If it cannot be written, or could not take its place: a line that names the option, the path and the
    /// reason.
    pub(crate) fn write(path: &Path) -> Result<Self, String> {
        let path = absolute(path).map_err(|error| refuse(path, &error.to_string()))?;
        check(&path)?;
        let beside = beside(&path).ok_or_else(|| refuse(&path, "it names no file"))?;
        let fail = |errno: Errno| refuse(&path, errno.desc());
        let file = create(&beside).map_err(fail)?;
        let written = write(&file, format!("{}\n", process::id()).as_bytes()).and_then(|_| fstat(&file));
        match written {
            Ok(stat) => Ok(Self { path, place: beside, identity: stat.into(), file }),
            Err(errno) => {
                let _ = unlink(&beside);
                Err(fail(errno))
            }
        }
    }

    /// The one that whoever was here before has written: the number is the same.
    pub(crate) fn adopt(path: PathBuf, identity: Identity, file: OwnedFd) -> Self {
        Self { place: path.clone(), path, identity, file }
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        Kept::Pidfile { path: Bytes::of(&self.path), file: File::new(self.file.as_raw_fd(), self.identity) }
    }

    /// The same, put in its place.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn published(mut self) -> Result<Self, String> {
        self.publish()?;
        Ok(self)
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn publish(&mut self) -> Result<(), String> {
        // Again: the rename would put it in the place of anything but a folder.
        check(&self.path)?;
        fs::rename(&self.place, &self.path).map_err(|error| refuse(&self.path, &reason(&error)))?;
        self.place.clone_from(&self.path);
        Ok(())
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if lstat(&self.place).is_ok_and(|stat| Identity::from(stat) == self.identity) {
            let _ = unlink(&self.place);
        }
    }
}

/// The file there, if it is one like ours: the number in it, and what tells it from another.
pub(crate) fn there(path: &OsStr) -> Option<(Pid, Identity, OwnedFd)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fs::File::from(open(path, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    (&file).take(32).read_to_string(&mut text).ok()?;
    let pid = text.strip_suffix('\n')?.parse().ok().map(Pid)?;
    Some((pid, fstat(&file).ok()?.into(), file.into()))
}

/// Whether the file could be written, as far as can be seen without that.
///
/// # Errors
/// As [`Pidfile::write`].
pub(crate) fn look(path: &Path) -> Result<(), String> {
    let path = absolute(path).map_err(|error| refuse(path, &error.to_string()))?;
    check(&path)?;
    beside(&path).ok_or_else(|| refuse(&path, "it names no file"))?;
    may_make(&path).map_err(|errno| refuse(&path, errno.desc()))
}

/// Sees that there is a file that may be replaced, or nothing: a device, say, would be lost.
fn check(path: &Path) -> Result<(), String> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) => {
            let kind = file_kind(metadata.file_type());
            Err(format!(
                "--pidfile: `{}` is {kind}; accepted: the path of a file that is to be made or replaced",
                path.display()
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refuse(path, &reason(&error))),
    }
}

/// `.NAME.PID` in the same directory.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}", process::id()));
    Some(path.with_file_name(name))
}

fn create(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP | Mode::S_IROTH;
    match open(path, flags, mode) {
        // Of one that had this number and was killed at that moment.
        Err(Errno::EEXIST) => unlink(path).and_then(|()| open(path, flags, mode)),
        opened => opened,
    }
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

fn refuse(path: &Path, why: &str) -> String {
    format!(
        "--pidfile: `{}` cannot be written: {why}; accepted: a path in a folder where the supervisor may make files",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::{super::scratch::Scratch, *};
    use std::os::unix::fs::symlink;

    fn files(scratch: &Scratch) -> usize {
        fs::read_dir(scratch.path()).unwrap().count()
    }

    #[test]
    fn it_appears_whole_and_goes_away_again() {
        let scratch = Scratch::new();
        let path = scratch.file("pid", "1\n", 0o600);
        let mut pidfile = Pidfile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n", "before it is time");
        pidfile.publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        assert_eq!(files(&scratch), 1);
        drop(pidfile);
        assert_eq!(files(&scratch), 0);
    }

    #[test]
    fn what_was_never_put_in_its_place_leaves_nothing() {
        let scratch = Scratch::new();
        drop(Pidfile::write(&scratch.join("pid")).unwrap());
        assert_eq!(files(&scratch), 0);
    }

    #[test]
    fn what_another_has_put_there_since_stays() {
        let scratch = Scratch::new();
        let path = scratch.join("pid");
        let mut pidfile = Pidfile::write(&path).unwrap();
        pidfile.publish().unwrap();
        let other = scratch.file("other", "2\n", 0o600);
        fs::rename(other, &path).unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn one_that_was_left_half_done_under_our_number_is_in_nobodys_way() {
        let scratch = Scratch::new();
        let path = scratch.join("pid");
        scratch.file(&format!(".pid.{}", process::id()), "", 0o600);
        Pidfile::write(&path).unwrap().publish().unwrap();
        assert_eq!(files(&scratch), 0);
    }

    #[test]
    fn what_cannot_be_written_is_told_with_the_reason() {
        let scratch = Scratch::new();
        symlink("nowhere", scratch.join("link")).unwrap();
        for (path, why) in [
            (scratch.join("no/pid"), "cannot be written: No such file or directory; accepted"),
            (scratch.file("file", "", 0o600).join("pid"), "cannot be written: Not a directory; accepted"),
            (scratch.path().to_owned(), "is a directory; accepted"),
            (scratch.join("link"), "is a symbolic link; accepted"),
            ("/dev/null".into(), "is a device; accepted"),
            ("/..".into(), "is a directory; accepted"),
        ] {
            let error = Pidfile::write(&path).unwrap_err();
            assert!(error.starts_with(&format!("--pidfile: `{}` {why}", path.display())), "{error}");
        }
        assert_eq!(files(&scratch), 2);
        assert_eq!(fs::symlink_metadata("/dev/null").map(|metadata| metadata.is_file()).ok(), Some(false));
    }
}
