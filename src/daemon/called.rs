//! The command line that a supervisor was called with: what it comes to, and in what another differs from it.

use super::{
    journal::{self, HANDOVER, head, word},
    kept::{Bytes, Kept},
    process,
};
use crate::{
    cli::{
        UsageError, argument_file,
        daemon::{Options, Parsed, Verbosity, parse},
        einhorn,
    },
    fsm::{config::Config, journal::KEPT, text::Record as _},
    protocol::words,
};
use log::LevelFilter;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    io::{self, Read as _},
    os::{
        fd::{IntoRawFd as _, RawFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
    thread,
};

/// Reads a command line, without the program's name at its start.
///
/// Files in it are read as they are now, at a start and at a take-over on command, which `is_trial` tries. Whoever goes on
/// after a fault, or because another could not, goes on with what was in force: nobody has asked for anything else, and
/// a file may be amid a change.
///
/// # Errors
/// If anything is wrong with it.
pub fn read(args: Vec<OsString>, is_trial: bool) -> Result<Parsed, UsageError> {
    let in_force = if is_trial { None } else { in_force() };
    let Some(words) = in_force else { return parse(args, is_program, &contents) };
    let parsed = without_files(words.clone())?;
    Ok(match parsed {
        Parsed::Run(options) => Parsed::Run(Box::new(Options { without_files: Some(words), ..*options })),
        other @ (Parsed::Checked | Parsed::CheckConfig(_) | Parsed::Print(_) | Parsed::Tell(_)) => other,
    })
}

/// What words mean that are those of no file.
fn without_files(words: Vec<OsString>) -> Result<Parsed, UsageError> {
    parse(words, is_program, &|_| Err("it is not to be read again".to_owned()))
}

/// What is in a file with options, or its beginning if it is longer than one may be.
fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| words::io_error(&error);
    // What is no file is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path).map_err(told)?;
    let kind = file.metadata().map_err(told)?.file_type();
    if !kind.is_file() {
        return Err(format!("it is {}", words::file_kind(kind)));
    }
    let most = u64::try_from(argument_file::MOST).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text).map_err(told)?;
    Ok(text)
}

/// The descriptor of the journal that somebody has left for this process, if so.
pub(crate) fn announced() -> Option<RawFd> {
    let value = env::var_os(HANDOVER)?;
    let (pid, fd) = value.to_str()?.split_once(':')?;
    // What is meant for another process is no business of ours.
    (pid.parse() == Ok(std::process::id())).then(|| fd.parse().ok())?
}

/// The words that are in force, without the program's name, where this process goes on without anybody having asked for
/// that, and files are among what was typed.
fn in_force() -> Option<Vec<OsString>> {
    let file = process::adopt_descriptor(announced()?).ok()?;
    let copy = file.try_clone();
    // Whoever goes on from it takes it once more.
    let _ = file.into_raw_fd();
    let found = journal::read(copy.ok()?).ok()?;
    let is_asked = word(&found.memory, head::BEFORE) != 0;
    let (typed, called) = noted(&found.text);
    let words = called.filter(|_| !is_asked && typed.is_some())?;
    Some(words.into_iter().skip(1).collect())
}

/// The words that whoever has written a journal is executed with, whatever else is in it.
pub(crate) fn before(text: &str) -> Vec<OsString> {
    let (typed, called) = noted(text);
    typed.or(called).unwrap_or_default()
}

/// The words in a journal as they were typed, if they are not the same, and as they were called without files.
fn noted(text: &str) -> (Option<Vec<OsString>>, Option<Vec<OsString>>) {
    let (mut typed, mut called) = (None, None);
    for line in text.lines().filter_map(|line| line.strip_prefix(KEPT)) {
        let text = |words: Vec<Bytes>| Some(words.into_iter().map(Bytes::text).collect());
        match Kept::from_line(line) {
            Ok(Kept::Typed { words }) => typed = text(words),
            Ok(Kept::Called { words }) => (typed, called) = (None, text(words)),
            _ => {}
        }
    }
    (typed, called)
}

/// What is kept of the words that this supervisor was called with.
pub(crate) fn kept(options: &Options) -> Vec<Kept> {
    let typed: Vec<Bytes> = env::args_os().map(Bytes::of).collect();
    let Some(words) = &options.without_files else { return vec![Kept::Called { words: typed }] };
    let called = typed.first().cloned().into_iter().chain(words.iter().map(Bytes::of)).collect();
    vec![Kept::Called { words: called }, Kept::Typed { words: typed }]
}

/// Whether files say anything else than whoever was `called` with them before has read in them.
pub(crate) fn has_other_files(options: &Options, called: &[Bytes]) -> bool {
    let words = options.without_files.as_ref();
    words.is_some_and(|words| !words.iter().map(Bytes::of).eq(called.iter().skip(1).cloned()))
}

/// Whether a word names a program, as a shell would look for it.
fn is_program(word: &OsStr) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let at = |folder: &Path| folder.join(word).is_file();
    if Path::new(word).components().count() > 1 {
        at(Path::new(""))
    } else {
        env::split_paths(&path).any(|folder| at(&folder))
    }
}

/// What the words mean that a supervisor was called with, its own name among them; `None` if they mean nothing here.
pub(crate) fn options(words: Vec<OsString>) -> Option<Box<Options>> {
    let mut words = words.into_iter();
    let called = words.next()?;
    if einhorn::is_called(&called, einhorn::NAME) {
        let folder = einhorn::folder(|name| env::var_os(name), Path::is_dir);
        match einhorn::parse(words, &folder) {
            Ok(einhorn::Parsed::Run(options)) => Some(options),
            _ => None,
        }
    } else {
        match without_files(words.collect()) {
            Ok(Parsed::Run(options)) => Some(options),
            _ => None,
        }
    }
}

/// How much is logged.
pub(crate) fn level(verbosity: Verbosity) -> LevelFilter {
    match verbosity {
        Verbosity::Normal => LevelFilter::Info,
        Verbosity::Verbose => LevelFilter::Debug,
        Verbosity::Quiet => LevelFilter::Error,
    }
}

/// What the machine is to know of the options, and of so many sockets.
pub(crate) fn config(options: &Options, sockets: usize) -> Config {
    // Asked only if needed: it takes a dozen system calls.
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let unacked = options.max_unacked.unwrap_or_else(|| u32::try_from(processors()).unwrap_or(u32::MAX));
    Config {
        target: options.number,
        listeners: u32::try_from(sockets).unwrap_or(u32::MAX),
        ack: options.ack,
        retries: options.retries,
        backoff: options.backoff,
        grace: options.grace,
        stop_signal: options.stop_signal,
        max_unacked: unacked,
        max_surge: options.max_surge.unwrap_or(unacked),
        exit_on_failure: options.exit_on_failure,
    }
}

/// What there is to do where a service was begun with one command line, and is taken over with another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// So many workers are wanted, other than before.
    pub(crate) number: Option<u32>,
    /// Workers are to run something else, or elsewhere, or with other sockets.
    pub(crate) release: bool,
    /// What is logged is another.
    pub(crate) verbosity: bool,
}

impl Differences {
    pub(crate) fn between(before: &Options, now: &Options) -> Self {
        let number = (before.number != now.number).then_some(now.number);
        let same = before.workload == now.workload
            && before.binds == now.binds
            && (before.family, before.backlog) == (now.family, now.backlog)
            && (&before.drop_env, &before.drop_env_later) == (&now.drop_env, &now.drop_env_later)
            && (&before.chdir, before.nice) == (&now.chdir, now.nice)
            && before.command_socket_as_fd == now.command_socket_as_fd
            && before.kill_children_on_exit == now.kill_children_on_exit;
        Self { number, release: !same, verbosity: before.verbosity != now.verbosity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Box<Options> {
        options(line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn what_differs_is_told_by_what_has_to_be_done() {
        let before = read("einhyrningsins -n 2 -b 127.0.0.1:80 -- prog one");
        for (line, number, release, verbosity) in [
            ("einhyrningsins -n 2 -b 127.0.0.1:80 -- prog one", None, false, false),
            ("einhyrningsins -n 3 -b 127.0.0.1:80 -- prog one", Some(3), false, false),
            ("einhyrningsins -n 2 -b 127.0.0.1:80 -- prog two", None, true, false),
            ("einhyrningsins -n 2 -b 127.0.0.1:81 -- prog one", None, true, false),
            ("/x/einhyrningsins -v -n 2 -b 127.0.0.1:80 --ack-timeout 3 -- prog one", None, false, true),
            ("einhyrningsins -n 2 -g -b 127.0.0.1:80 -- prog one", None, true, false),
        ] {
            let found = Differences::between(&before, &read(line));
            assert_eq!(found, Differences { number, release, verbosity }, "{line}");
        }
    }

    #[test]
    fn the_words_of_a_call_are_found_whatever_else_there_is() {
        let text = "nonsense\n+ called words=a,b%20c\n+ cut client=x\n@x\n";
        assert_eq!(before(text), ["a", "b c"]);
        assert!(before("+ called\nx").is_empty());
        let text = "+ called words=a,-n\n+ typed words=a,@x\n+ called words=a,-v\n+ typed words=a,@y\n";
        assert_eq!(before(text), ["a", "@y"]);
        assert_eq!(noted(text).1.unwrap(), ["a", "-v"]);
        assert_eq!(before(&format!("{text}+ called words=b\n")), ["b"]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        assert_eq!(contents(Path::new("/dev/zero")).unwrap_err(), "it is a device");
        assert_eq!(contents(Path::new("/")).unwrap_err(), "it is a directory");
        assert!(contents(Path::new("/nowhere")).unwrap_err().starts_with("No such file"));
        assert!(contents(Path::new("/proc/self/status")).unwrap().starts_with(b"Name:"));
    }

    #[test]
    fn words_that_mean_nothing_are_no_options() {
        assert!(options(Vec::new()).is_none());
        assert!(options(vec!["einhyrningsins".into(), "--no-such-option".into()]).is_none());
        assert!(options(vec!["/x/einhorn".into(), "-n".into(), "2".into(), "prog".into()]).is_some());
    }
}
