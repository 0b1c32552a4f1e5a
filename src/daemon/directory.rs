//! Where workers run: the directory that a name leads to, looked up for each generation, or the one the
//! supervisor was started in.
//!
//! A service that is deployed by a switch of `current` and started with `cd current` is to get the new
//! release with the next upgrade; the kernel knows the old one only, and its own word for it is of no use
//! once the old folder is gone. So the name counts, as a shell keeps it in `PWD`. Nothing here changes the
//! directory of anybody: the supervisor stays where it is, and workers are the business of
//! [`process`](super::process).

use super::{
    kept::{Bytes, Kept},
    place::Identity,
};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, open},
    sys::stat::{Mode, fstat, fstatat, stat},
    unistd::{AccessFlags, eaccess},
};
use std::{
    env,
    ffi::{CStr, CString, OsString},
    fs,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

/// The variable in which shells and their like keep the name of the directory they are in.
pub(crate) const VARIABLE: &str = "PWD";

/// Where the workers of generations to come are to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// In what this name leads to when a generation is captured.
    Named(PathBuf),
    /// Where the supervisor is: its directory has no name that we know of.
    Here,
}

impl Whereabouts {
    /// `chosen` is a directory that was asked for. `named` is what the environment has for
    /// [`VARIABLE`], which counts if it leads to the directory we are in: whoever starts a program in
    /// another directory may have left it as it was.
    pub(crate) fn at_start(chosen: Option<&Path>, named: Option<OsString>) -> Self {
        let here = here();
        let leads_here = |name: &PathBuf| here.is_ok_and(|here| leads_to(name, here));
        let start = named.map(PathBuf::from).filter(|name| name.is_absolute() && leads_here(name));
        match (chosen, start) {
            (None, None) => Self::Here,
            (None, Some(start)) => Self::Named(start),
            (Some(chosen), Some(start)) => Self::Named(start.join(chosen)),
            // Without any name for the start, what is relative is so to the directory itself.
            (Some(chosen), None) => {
                let start = env::current_dir().ok().filter(leads_here).unwrap_or_default();
                Self::Named(start.join(chosen))
            }
        }
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Option<Kept> {
        match self {
            Self::Named(name) => Some(Kept::Whereabouts { name: Bytes::of(name) }),
            Self::Here => None,
        }
    }

    /// The one that was kept.
    pub(crate) fn adopt(name: Option<Bytes>) -> Self {
        name.map_or(Self::Here, |name| Self::Named(name.text().into()))
    }

    /// How people know it.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::Named(name) => name,
            Self::Here => Path::new("."),
        }
    }

    /// The directory as it is now.
    ///
    /// # Errors
    /// If there is none by that name, or it may not be entered. The directory that the supervisor is in
    /// always may: its children are there from the beginning.
    pub(crate) fn open(&self) -> Result<Directory, Errno> {
        match self {
            Self::Named(name) => Directory::named(name),
            Self::Here => Directory::here(),
        }
    }
}

/// A directory that stays what it is when its name comes to lead elsewhere, or nowhere.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The directory itself; none if that is where the supervisor is, which its children are as well.
    file: Option<OwnedFd>,
    identity: Identity,
    /// Absolute names that led to it, the best first.
    names: Vec<Name>,
    base: PathBuf,
}

/// A name of a directory.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// What an environment has for it: `PWD=` and the path.
    variable: CString,
}

impl Directory {
    fn named(path: &Path) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        let identity = Identity::from(fstat(&file)?);
        if here().is_ok_and(|here| here == identity) {
            return Ok(Self::new(None, identity, [Some(path.to_path_buf()), env::current_dir().ok()], path));
        }
        eaccess(path, AccessFlags::X_OK)?;
        let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        Ok(Self::new(Some(file), identity, [Some(path.to_path_buf()), real], path))
    }

    fn here() -> Result<Self, Errno> {
        Ok(Self::new(None, here()?, [None, env::current_dir().ok()], Path::new("")))
    }

    /// `names` are the one that was given and the one without symbolic links, `otherwise` is what leads
    /// there if neither does.
    fn new(file: Option<OwnedFd>, identity: Identity, names: [Option<PathBuf>; 2], otherwise: &Path) -> Self {
        let [given, real] = names.map(|name| name.filter(|path| leads_to(path, identity)));
        // A name without links can be switched by nobody between the look at it and the next.
        let base = real.as_deref().unwrap_or(otherwise).to_path_buf();
        let names = given.into_iter().chain(real).filter_map(Name::new).collect();
        Self { file, identity, names, base }
    }

    /// The one that whoever was here before has opened, and what it is called.
    ///
    /// # Errors
    /// If nobody knows what it is.
    pub(crate) fn adopt(file: Option<OwnedFd>, names: Vec<Bytes>, base: Bytes) -> Result<Self, Errno> {
        let identity = file.as_ref().map_or_else(here, |file| fstat(file).map(Identity::from))?;
        let names = names.into_iter().filter_map(|name| Name::new(name.text().into())).collect();
        Ok(Self { file, identity, names, base: base.text().into() })
    }

    /// What it is called.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Path> {
        self.names.iter().map(|name| name.path.as_path())
    }

    /// The same for processes that are not to be told its name.
    pub(crate) fn unnamed(self) -> Self {
        Self { names: Vec::new(), ..self }
    }

    /// What paths that are relative to it are to be joined to.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// What a process that is to run there must change to; nothing if it is there already.
    pub(crate) fn to_enter(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// `PWD` for a process that starts there now: the name that was given as long as that leads there,
    /// then the one without links.
    pub(crate) fn variable(&self) -> Option<&CStr> {
        let name = self.names.iter().find(|name| leads_to(&name.path, self.identity));
        name.map(|name| name.variable.as_c_str())
    }
}

impl Name {
    /// None if it is not absolute, as `PWD` has to be.
    fn new(path: PathBuf) -> Option<Self> {
        if !path.is_absolute() {
            return None;
        }
        let mut variable = OsString::from(VARIABLE);
        variable.push("=");
        variable.push(&path);
        Some(Self { path, variable: CString::new(variable.into_vec()).ok()? })
    }
}

fn leads_to(path: &Path, identity: Identity) -> bool {
    stat(path).is_ok_and(|found| Identity::from(found) == identity)
}

/// The directory that the supervisor is in, without looking anything up in it: that would take the right
/// to enter it.
fn here() -> Result<Identity, Errno> {
    fstatat(AT_FDCWD, "", AtFlags::AT_EMPTY_PATH).map(Identity::from)
}

#[cfg(test)]
mod tests {
    use super::{super::scratch::Scratch, *};
    use std::os::unix::fs::symlink;

    fn named(path: PathBuf) -> Whereabouts {
        Whereabouts::Named(path)
    }

    /// `PWD` as a process that starts there would find it.
    fn variable(directory: &Directory) -> Option<String> {
        directory.variable().map(|variable| variable.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_name_counts_if_it_leads_to_the_directory_we_are_in() {
        let scratch = Scratch::new();
        let here = env::current_dir().unwrap();
        symlink(&here, scratch.join("here")).unwrap();
        let at_start = |chosen: Option<&str>, pwd: &Path| {
            Whereabouts::at_start(chosen.map(Path::new), Some(pwd.as_os_str().to_owned()))
        };
        let link = scratch.join("here");
        assert_eq!(at_start(None, &link), named(link.clone()));
        assert_eq!(at_start(Some("src"), &link), named(link.join("src")));
        assert_eq!(at_start(Some("/tmp"), &link), named("/tmp".into()));
        for other in [scratch.path(), &scratch.join("nowhere"), Path::new("."), Path::new("")] {
            assert_eq!(at_start(None, other), Whereabouts::Here, "{}", other.display());
            assert_eq!(at_start(Some("src"), other), named(here.join("src")), "{}", other.display());
        }
        assert_eq!(Whereabouts::at_start(None, None), Whereabouts::Here);
    }

    #[test]
    fn the_directory_we_are_in_need_not_be_entered() {
        let here = env::current_dir().unwrap();
        for whereabouts in [Whereabouts::Here, named(here.clone())] {
            let directory = whereabouts.open().unwrap();
            assert!(directory.to_enter().is_none());
            assert_eq!(directory.base(), here);
            assert_eq!(variable(&directory), Some(format!("PWD={}", here.display())));
        }
    }

    #[test]
    fn a_directory_stays_what_it_is_and_is_known_by_a_name_that_leads_there() {
        let scratch = Scratch::new();
        scratch.directory("v1");
        scratch.directory("v2");
        let current = scratch.join("current");
        symlink("v1", &current).unwrap();
        let whereabouts = named(current.clone());
        let first = whereabouts.open().unwrap();
        assert_eq!(variable(&first), Some(format!("PWD={}", current.display())));
        fs::remove_file(&current).unwrap();
        symlink("v2", &current).unwrap();
        let second = whereabouts.open().unwrap();
        assert_eq!([first.base(), second.base()], [scratch.join("v1"), scratch.join("v2")]);
        assert_eq!(variable(&second), Some(format!("PWD={}", current.display())));
        assert_eq!(variable(&first), Some(format!("PWD={}", scratch.join("v1").display())));
        fs::remove_dir(scratch.join("v1")).unwrap();
        assert_eq!(variable(&first), None, "nothing leads there any more");
        assert_eq!(Identity::from(fstat(first.to_enter().unwrap()).unwrap()), first.identity);
    }

    #[test]
    fn what_is_no_directory_or_gone_is_refused() {
        let scratch = Scratch::new();
        let file = scratch.file("file", "", 0o755);
        for (path, errno) in [(file, Errno::ENOTDIR), (scratch.join("gone"), Errno::ENOENT)] {
            assert_eq!(named(path).open().unwrap_err(), errno);
        }
    }
}
