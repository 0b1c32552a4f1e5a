//! The program that is to take over on command: which it is, whether it can, and executing it.

use super::{journal::HANDOVER, pidfd::PidFd};
use crate::{
    cli::daemon::COMMAND_LINE,
    fsm::id::Pid,
    protocol::{visible::visible, words},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, open},
    sys::{
        signal::{Signal, killpg},
        stat::Mode,
    },
    unistd::{self, AccessFlags, eaccess},
};
use std::{
    env,
    fs::File,
    io::{self, ErrorKind, Read as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The option with which it is tried; the journal is its standard input.
pub const CHECK: &str = "--check-handover";

/// What it says if it can take over, behind its name and version.
const ABLE: &str = "can take over";

/// How much is kept of what it says, in bytes.
const KEPT: usize = 4096;

/// How much of that is told, in characters.
const TOLD: usize = 300;

/// The program at `named`, or where this one was called: at its path, or by its name in `PATH`, which may lead to another
/// file by now.
///
/// # Errors
/// What was looked at, and why it is of no use.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, (PathBuf, String)> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let called = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let given = named.or_else(|| (called.components().count() > 1).then_some(called.as_path()));
    if let Some(given) = given {
        let given = absolute(given);
        return check(&given).map(|()| given.clone()).map_err(|why| (given, why));
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut searched = env::split_paths(&folders).map(|folder| absolute(&folder.join(&called)));
    if let Some(found) = searched.find(|path| check(path).is_ok()) {
        return Ok(found);
    }
    // By a name that no folder has, as some shells let one choose it.
    let own = own_path();
    check(&own).map(|()| own.clone()).map_err(|why| (own, why))
}

/// Where the file of the program that runs is, or was.
fn own_path() -> PathBuf {
    let link = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let text = link.as_os_str().as_encoded_bytes();
    match text.strip_suffix(b" (deleted)") {
        Some(before) => PathBuf::from(String::from_utf8_lossy(before).into_owned()),
        None => link,
    }
}

fn check(path: &Path) -> Result<(), String> {
    let metadata = path.metadata().map_err(|error| words::io_error(&error))?;
    if !metadata.is_file() {
        return Err(format!("it is {}", words::file_kind(metadata.file_type())));
    }
    eaccess(path, AccessFlags::X_OK).map_err(|errno| errno.desc().to_owned())
}

/// The program that runs, open.
///
/// # Errors
/// Why not.
pub(crate) fn own_program() -> Result<OwnedFd, String> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open("/proc/self/exe", flags, Mode::empty()).map_err(|errno: Errno| errno.desc().to_owned())
}

/// A try.
#[derive(Debug)]
pub(crate) struct Attempt {
    process: PidFd,
    group: unistd::Pid,
    output: File,
    said: Vec<u8>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Pending,
    /// It can; this is its version.
    Able(String),
    /// It cannot, or is something else.
    Refused(String),
}

impl Attempt {
    /// Runs the program, with a copy of the journal to look at.
    ///
    /// # Errors
    /// If it cannot be run.
    pub(crate) fn begin(path: &Path, journal: &OwnedFd) -> Result<Self, String> {
        let told = |error: io::Error| words::io_error(&error);
        let (reader, writer) = io::pipe().map_err(told)?;
        let mut args = env::args_os();
        let mut command = Command::new(path);
        if let Some(called) = args.next() {
            command.arg0(called);
        }
        command.arg(CHECK).args(args).env_remove(HANDOVER);
        command.stdin(Stdio::from(journal.try_clone().map_err(told)?));
        command.stdout(Stdio::from(writer.try_clone().map_err(told)?)).stderr(Stdio::from(writer));
        command.process_group(0);
        // Whoever reaps all children reaps it, too.
        let child = command.spawn().map_err(told)?;
        drop(command);
        let output = File::from(OwnedFd::from(reader));
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| errno.desc().to_owned())?;
        let process = PidFd::open(Pid(child.id())).map_err(|errno| errno.desc().to_owned())?;
        let group = unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Ok(Self { process, group, output, said: Vec::new() })
    }

    /// Whether it has said what there is to say: all, since it has ended.
    pub(crate) fn look(&mut self) -> Verdict {
        let mut chunk = [0; 1024];
        loop {
            match self.output.read(&mut chunk) {
                Ok(0) => return verdict(&String::from_utf8_lossy(&self.said)),
                Ok(count) => {
                    let room = KEPT.saturating_sub(self.said.len()).min(count);
                    self.said.extend_from_slice(chunk.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Verdict::Pending,
                Err(error) => return Verdict::Refused(error.to_string()),
            }
        }
    }

    /// Ends it.
    pub(crate) fn give_up(&self) {
        // It may have ended a moment ago; else the number of its group is its own.
        if self.process.signal(nix::libc::SIGKILL).is_ok() {
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

fn verdict(said: &str) -> Verdict {
    let name = COMMAND_LINE.program;
    let able = |line: &str| {
        let version = line.strip_prefix(name)?.strip_suffix(ABLE)?.trim();
        (!version.is_empty() && !version.contains(' ')).then(|| version.to_owned())
    };
    if let Some(version) = said.lines().find_map(able) {
        return Verdict::Able(version);
    }
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let words: String = line.chars().take(TOLD).collect();
    let words = words.strip_prefix(&format!("{name}: ")).unwrap_or(&words);
    Verdict::Refused(if words.is_empty() {
        format!("it ended without a word to `{CHECK}`, as a version of {name} would not")
    } else {
        format!("it says: {}", visible(words))
    })
}

/// What the program that is tried says if it can take over.
pub(crate) fn able() -> String {
    format!("{} {} {ABLE}\n", COMMAND_LINE.program, env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_can_take_over() {
        assert_eq!(verdict(&able()), Verdict::Able(env!("CARGO_PKG_VERSION").into()));
        assert_eq!(verdict("a remark\neinhyrningsins 9.9 can take over\n"), Verdict::Able("9.9".into()));
        for (said, why) in [
            ("", "it ended without a word"),
            ("\n\n", "it ended without a word"),
            ("einhyrningsins: unknown option `--check-handover`\nTry\n", "it says: unknown option"),
            ("einhyrningsins can take over\n", "it says: einhyrningsins can take over"),
            ("\u{1b}[2J", "it says: \\u{1b}[2J"),
        ] {
            let Verdict::Refused(found) = verdict(said) else { panic!("{said}") };
            assert!(found.starts_with(why), "{found}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_told_with_the_reason() {
        for (path, why) in
            [("/nowhere/x", "No such file"), ("/", "it is a directory"), ("/etc/passwd", "Permission")]
        {
            let (found, told) = find(Some(Path::new(path))).unwrap_err();
            assert!(found == Path::new(path) && told.contains(why), "{path}: {told}");
        }
        assert_eq!(find(Some(Path::new("/bin/sh"))).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(None).unwrap(), env::current_exe().unwrap());
    }

    #[test]
    fn a_program_that_is_something_else_is_refused_by_what_it_says() {
        let journal: OwnedFd = File::open("/dev/null").unwrap().into();
        let mut attempt = Attempt::begin(Path::new("/bin/true"), &journal).unwrap();
        let said = super::super::scratch::eventually("its end", || match attempt.look() {
            Verdict::Pending => None,
            verdict @ (Verdict::Able(_) | Verdict::Refused(_)) => Some(verdict),
        });
        assert!(matches!(said, Verdict::Refused(_)), "{said:?}");
    }
}
