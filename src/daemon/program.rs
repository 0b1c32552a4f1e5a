//! What a generation of workers runs: executable, arguments, environment and directory, captured once.
//!
//! A worker that crashes long after the next release was put in its place must come back as what it
//! was. So the executable is resolved to a path without symbolic links, a switch of `current` does not
//! reach it, and the directory is held open. This room starts nothing; [`process`](super::process) does.

use super::{
    directory::Directory,
    explain,
    given::is_passed_on,
    kept::{Bytes, HeldRelease, Store},
    place::Identity,
};
use crate::fsm::{
    event::{Prospect, SpawnError, SpawnStage},
    id::Errno,
};
use nix::{
    errno::Errno as Sys,
    fcntl::{OFlag, open},
    sys::{
        stat::{Mode, fstat, stat},
        uio::pread,
    },
    unistd::{AccessFlags, eaccess},
};
use std::{
    ffi::{CStr, CString, OsStr, OsString, c_char},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

/// Where execvp(3) looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What execve(2) says when the program or its interpreter does not exist.
const NOT_FOUND: [Sys; 2] = [Sys::ENOENT, Sys::ENOTDIR];

/// What it says when that is nothing it can execute, now or later.
const NOT_EXECUTABLE: [Sys; 9] = [
    Sys::EACCES,
    Sys::ENOEXEC,
    Sys::EPERM,
    Sys::ELOOP,
    Sys::ENAMETOOLONG,
    Sys::E2BIG,
    Sys::EINVAL,
    Sys::EISDIR,
    Sys::ELIBBAD,
];

/// What the kernel says when it lacks processes, memory or descriptors, for us or for all.
const SHORTAGE: [Sys; 5] = [Sys::EAGAIN, Sys::ENOMEM, Sys::EMFILE, Sys::ENFILE, Sys::ENOBUFS];

/// A program that can be started any number of times, always the same one.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    executable: CString,
    arguments: Strings,
    environment: Strings,
    directory: Directory,
    /// The executable itself, open: it stays what it is when its name comes to mean another file.
    file: OwnedFd,
    identity: Identity,
    kind: Kind,
}

/// What executing the file itself, rather than its name, takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The kernel reads it.
    Binary,
    /// An interpreter reads it, so it must be open in the worker too.
    Script,
}

impl Program {
    /// Finds `command` as execvp(3) would in `directory`, with the `PATH` of `environment` (which is what
    /// `env -u PATH COMMAND` does too), and captures everything a worker will need.
    ///
    /// `arguments` are those after the program's name; the name itself is handed on as it was given,
    /// since many programs decide by it what they are.
    pub(crate) fn pin<A: AsRef<OsStr>>(
        command: &OsStr,
        arguments: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        directory: Directory,
    ) -> Result<Self, PinError> {
        let named = |errno| PinError::unexplained(errno, command);
        let mut search = None;
        let mut block = Strings::default();
        for (name, value) in environment {
            if name == "PATH" {
                search = Some(value.clone());
            }
            if is_passed_on(&name) {
                let variable = [name.as_bytes(), b"=", value.as_bytes()];
                block.push(&variable).map_err(named)?;
            }
        }
        let search = search.unwrap_or_else(|| DEFAULT_PATH.into());
        let path = find(command, &search, directory.base())?;
        let mut words = Strings::default();
        words.push(&[command.as_bytes()]).map_err(named)?;
        for word in arguments {
            words.push(&[word.as_ref().as_bytes()]).map_err(named)?;
        }
        let executable =
            CString::new(path.clone().into_os_string().into_vec()).map_err(|_| named(Sys::EINVAL))?;
        let (file, kind) = open_executable(&path).map_err(named)?;
        let identity = fstat(&file).map_err(named)?.into();
        Ok(Self { path, executable, arguments: words, environment: block, directory, file, identity, kind })
    }

    /// What is kept of it, beside what is known of its generation.
    pub(crate) fn keep(&self, release: &mut HeldRelease) {
        let bytes = |strings: &Strings| strings.iter().map(|text| Bytes(text.to_vec())).collect();
        release.fd = self.file.as_raw_fd();
        release.script = self.kind == Kind::Script;
        release.path = Bytes::of(&self.path);
        (release.arguments, release.environment) = (bytes(&self.arguments), bytes(&self.environment));
        release.directory = self.directory.to_enter().map(|directory| directory.as_raw_fd());
        release.names = self.directory.names().map(Bytes::of).collect();
        release.base = Bytes::of(self.directory.base());
    }

    /// The one that whoever was here before has captured.
    ///
    /// # Errors
    /// If something of it is missing.
    pub(crate) fn adopt(release: &HeldRelease, store: &mut Store) -> Result<Self, String> {
        let told = |errno: Sys| errno.desc().to_owned();
        let strings = |words: &[Bytes]| {
            let mut strings = Strings::default();
            words.iter().try_for_each(|word| strings.push(&[&word.0])).map_err(told)?;
            Ok::<_, String>(strings)
        };
        let file = store.take(release.fd)?;
        let directory = release.directory.map(|fd| store.take(fd)).transpose()?;
        let directory =
            Directory::adopt(directory, release.names.clone(), release.base.clone()).map_err(told)?;
        Ok(Self {
            path: release.path.clone().text().into(),
            executable: CString::new(release.path.0.clone()).map_err(|_| told(Sys::EINVAL))?,
            arguments: strings(&release.arguments)?,
            environment: strings(&release.environment)?,
            directory,
            identity: fstat(&file).map_err(told)?.into(),
            kind: if release.script { Kind::Script } else { Kind::Binary },
            file,
        })
    }

    /// The executable, absolute and without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it runs, without symbolic links.
    pub(crate) fn working_directory(&self) -> &Path {
        self.directory.base()
    }

    /// Why it could not be executed, as far as can be told without that.
    pub(crate) fn foreseen(&self) -> Option<(SpawnError, String)> {
        let (errno, why) = explain::foreseen(&self.path)?;
        Some((spawn_error(SpawnStage::Exec, errno), why))
    }

    /// The executable's descriptor, for when its name means something else by now: the release's
    /// directory was removed or replaced. While it does not, executing the name is kinder to programs
    /// that look at how they were called.
    pub(super) fn displaced(&self) -> Option<(BorrowedFd<'_>, Kind)> {
        let in_place = stat(&self.path).is_ok_and(|found| Identity::from(found) == self.identity);
        (!in_place).then(|| (self.file.as_fd(), self.kind))
    }

    /// The same for execve(2).
    pub(super) fn executable(&self) -> &CString {
        &self.executable
    }

    /// The program's name and its arguments.
    pub(super) fn arguments(&self) -> &Strings {
        &self.arguments
    }

    /// What every worker of this generation finds in its environment, as of now. Each pointer leads to a
    /// string with a NUL at its end, as long as this lives.
    pub(super) fn environment(&self) -> impl Iterator<Item = *const c_char> {
        let directory = self.directory.variable().map(CStr::as_ptr);
        self.environment.pointers().chain(directory)
    }

    /// What a process must change to in order to run where it should; nothing if it is there from the
    /// beginning.
    pub(super) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.to_enter()
    }

    /// What is behind it that a process did not become this, and what can be done about it, as far as can
    /// be seen now.
    pub(crate) fn why_not(&self, error: &SpawnError) -> Option<String> {
        let errno = Sys::from_raw(error.errno.0);
        match error.stage {
            SpawnStage::Exec => explain::execution(&self.path, errno),
            SpawnStage::Chdir => explain::entry(self.directory.base(), errno),
            SpawnStage::Pin
            | SpawnStage::Fork
            | SpawnStage::Setpgid
            | SpawnStage::Signals
            | SpawnStage::Files => None,
        }
    }
}

/// Opens an executable and finds out who reads it. One that may be executed but not read is taken for
/// a binary, since no interpreter could read it either.
fn open_executable(path: &Path) -> Result<(OwnedFd, Kind), Sys> {
    match open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => {
            let mut magic = [0; 2];
            let kind = match pread(&file, &mut magic, 0) {
                Ok(2) if magic == *b"#!" => Kind::Script,
                Ok(_) | Err(_) => Kind::Binary,
            };
            Ok((file, kind))
        }
        Err(Sys::EACCES) => Ok((open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?, Kind::Binary)),
        Err(errno) => Err(errno),
    }
}

/// Why a program could not be captured.
#[derive(Debug)]
pub(crate) struct PinError {
    /// What went wrong, for the core.
    pub(crate) error: SpawnError,
    /// With what, for people: the program, or the directory if that could not be opened.
    pub(crate) path: PathBuf,
    /// What is behind it, and what can be done about it.
    pub(crate) why: Option<String>,
}

impl PinError {
    fn new(errno: Sys, command: &OsStr, why: Option<String>) -> Self {
        Self { error: spawn_error(SpawnStage::Pin, errno), path: command.into(), why }
    }

    fn unexplained(errno: Sys, command: &OsStr) -> Self {
        Self::new(errno, command, None)
    }

    /// The directory could not be opened.
    pub(crate) fn directory(errno: Sys, path: &Path) -> Self {
        let error = spawn_error(SpawnStage::Chdir, errno);
        Self { error, path: path.to_path_buf(), why: explain::entry(path, errno) }
    }
}

/// Puts an error number in the terms of the core: errors in finding or becoming the program tell what
/// to expect of the next time, all others may pass.
///
/// A missing interpreter of a script is reported by the kernel in the same way as a missing script.
pub(super) fn spawn_error(stage: SpawnStage, errno: Sys) -> SpawnError {
    let lasting = match stage {
        SpawnStage::Pin | SpawnStage::Exec => true,
        // From the parent, by path: it is not there. From a child, through the open directory: only
        // for reasons that are not the program's.
        SpawnStage::Chdir => NOT_FOUND.contains(&errno),
        SpawnStage::Fork | SpawnStage::Setpgid | SpawnStage::Signals | SpawnStage::Files => false,
    };
    let prospect = if stage != SpawnStage::Pin && SHORTAGE.contains(&errno) {
        Prospect::Shortage
    } else if lasting && NOT_FOUND.contains(&errno) {
        Prospect::NotFound
    } else if lasting && NOT_EXECUTABLE.contains(&errno) {
        Prospect::NotExecutable
    } else {
        Prospect::Passing
    };
    SpawnError { stage, errno: Errno(errno as i32), prospect }
}

/// The file that execvp(3) would execute in directory `base`, without symbolic links.
fn find(command: &OsStr, search: &OsStr, base: &Path) -> Result<PathBuf, PinError> {
    if command.is_empty() {
        return Err(PinError::unexplained(Sys::ENOENT, command));
    }
    let refused = |errno, path: &Path| PinError::new(errno, command, explain::lookup(path, errno));
    if command.as_bytes().contains(&b'/') {
        let path = base.join(command);
        return check(&path).map_err(|errno| refused(errno, &path));
    }
    // A match that may not be executed does not end the search, but is a better explanation for its
    // failure than that there was none. An empty element stands for the working directory.
    let mut forbidden = None;
    for element in search.as_bytes().split(|byte| *byte == b':') {
        let path = base.join(OsStr::from_bytes(element)).join(command);
        match check(&path) {
            Ok(path) => return Ok(path),
            Err(errno @ (Sys::EACCES | Sys::EISDIR)) => forbidden = Some((errno, path)),
            Err(_) => {}
        }
    }
    Err(match forbidden {
        Some((errno, path)) => refused(errno, &path),
        None => PinError::new(Sys::ENOENT, command, Some(explain::search(command, base))),
    })
}

/// Resolves a path, if it is a file that we may execute. That is no promise: only execve(2) knows.
fn check(path: &Path) -> Result<PathBuf, Sys> {
    let metadata = path.metadata().map_err(|error| errno(&error))?;
    if metadata.is_dir() {
        return Err(Sys::EISDIR);
    }
    if !metadata.is_file() {
        return Err(Sys::EACCES);
    }
    eaccess(path, AccessFlags::X_OK)?;
    match path.canonicalize() {
        // Above the directory that we are in there may be one that we may not enter.
        Err(error) if errno(&error) == Sys::EACCES => Ok(path.to_path_buf()),
        resolved => resolved.map_err(|error| errno(&error)),
    }
}

fn errno(error: &io::Error) -> Sys {
    Sys::from_raw(error.raw_os_error().unwrap_or(Sys::EINVAL as i32))
}

/// C strings, one behind the other in a single allocation that can be used again.
#[derive(Debug, Default)]
pub(super) struct Strings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Strings {
    /// Forgets the strings and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Adds the string that `parts` make together. `EINVAL` if there is a NUL in it.
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> Result<(), Sys> {
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(Sys::EINVAL);
        }
        self.starts.push(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        Ok(())
    }

    /// The strings, without their NULs.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len()]);
        let string = |(start, end): (&usize, usize)| self.bytes.get(*start..end.saturating_sub(1));
        self.starts.iter().zip(ends).filter_map(string)
    }

    /// Where the strings begin, as execve(2) wants it. Each pointer leads to a string with a NUL at its
    /// end, until the next change of this or its end.
    pub(super) fn pointers(&self) -> impl Iterator<Item = *const c_char> {
        self.starts.iter().filter_map(|start| self.bytes.get(*start..)).map(|string| string.as_ptr().cast())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{directory::Whereabouts, scratch::Scratch},
        *,
    };
    use std::{fs, os::unix::fs::symlink};

    fn pin(command: &str, environment: &[(&str, &str)], cwd: &Path) -> Result<Program, PinError> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let directory = Whereabouts::Named(cwd.to_path_buf()).open().unwrap();
        Program::pin(OsStr::new(command), ["an argument"], environment, directory)
    }

    fn text(strings: &Strings) -> Vec<String> {
        let all = String::from_utf8(strings.bytes.clone()).unwrap();
        all.split_terminator('\0').map(String::from).collect()
    }

    #[test]
    fn a_name_is_looked_up_in_path_as_execvp_would() {
        let scratch = Scratch::new();
        scratch.directory("first");
        scratch.directory("second");
        scratch.directory("first/tool");
        scratch.file("first/other", "#!/bin/sh\n", 0o644);
        let other = scratch.file("second/other", "#!/bin/sh\n", 0o755);
        let tool = scratch.file("second/tool", "#!/bin/sh\n", 0o755);
        let here = scratch.file("here", "#!/bin/sh\n", 0o755);
        let path = format!("/nowhere:first:{}/second", scratch.path().display());
        let environment = [("PATH", path.as_str())];

        assert_eq!(pin("tool", &environment, scratch.path()).unwrap().path(), tool);
        assert_eq!(pin("other", &environment, scratch.path()).unwrap().path(), other);
        let error = pin("here", &environment, scratch.path()).unwrap_err();
        assert_eq!((error.error.errno.0, error.error.prospect), (Sys::ENOENT as i32, Prospect::NotFound));
        assert_eq!(pin("here", &[("PATH", "/nowhere:")], scratch.path()).unwrap().path(), here);
        assert_eq!(pin("./here", &environment, scratch.path()).unwrap().path(), here);
        assert!(pin("sh", &[], scratch.path()).is_ok(), "without PATH there is a default");
    }

    #[test]
    fn what_cannot_be_executed_is_refused_with_the_reason() {
        let scratch = Scratch::new();
        scratch.file("plain", "text", 0o644);
        for (command, errno, prospect) in [
            ("", Sys::ENOENT, Prospect::NotFound),
            ("./missing", Sys::ENOENT, Prospect::NotFound),
            ("./plain/program", Sys::ENOTDIR, Prospect::NotFound),
            ("./plain", Sys::EACCES, Prospect::NotExecutable),
            ("/", Sys::EISDIR, Prospect::NotExecutable),
            ("/dev/null", Sys::EACCES, Prospect::NotExecutable),
            ("/bin/sh\0", Sys::EINVAL, Prospect::NotExecutable),
        ] {
            let error = pin(command, &[], scratch.path()).unwrap_err().error;
            assert_eq!(
                error,
                SpawnError { stage: SpawnStage::Pin, errno: Errno(errno as i32), prospect },
                "{command}"
            );
        }
        let gone = scratch.join("gone");
        let error = PinError::directory(Sys::ENOENT, &gone);
        assert_eq!((error.error.stage, error.error.prospect), (SpawnStage::Chdir, Prospect::NotFound));
        assert_eq!(error.path, gone);
    }

    #[test]
    fn a_later_switch_of_a_symbolic_link_does_not_matter() {
        let scratch = Scratch::new();
        scratch.directory("v1");
        let release = scratch.file("v1/program", "#!/bin/sh\n", 0o755);
        symlink("v1", scratch.join("current")).unwrap();
        let program = pin("current/program", &[], scratch.path()).unwrap();
        fs::remove_file(scratch.join("current")).unwrap();
        assert_eq!(program.path(), release);
        assert_eq!(text(program.arguments()), ["current/program", "an argument"]);
    }

    #[test]
    fn what_was_meant_for_the_supervisor_is_not_passed_on() {
        let environment = [
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "1"),
            ("LISTEN_FDNAMES", "a"),
            ("LISTEN_PIDFDID", "1"),
            ("LISTEN_ADDR", "[::]:80"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("WATCHDOG_USEC", "1"),
            ("WATCHDOG_PID", "1"),
            ("FDSTORE", "1"),
            ("EINHORN_FD_7", "7"),
            ("HOME", "/"),
            ("EMPTY", ""),
        ];
        let program = pin("/bin/sh", &environment, Path::new("/")).unwrap();
        assert_eq!(text(&program.environment), ["LISTEN_ADDR=[::]:80", "HOME=/", "EMPTY="]);
    }
}
