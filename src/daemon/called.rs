//! The command line that a supervisor was called with: what it comes to, and in what another differs from it.

use crate::{
    cli::{
        daemon::{Options, Parsed, Verbosity, parse},
        einhorn,
    },
    fsm::config::Config,
};
use log::LevelFilter;
use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
    thread,
};

/// Whether a word names a program, as a shell would look for it.
#[must_use]
pub fn is_program(word: &OsStr) -> bool {
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
        match parse(words, is_program) {
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
    fn words_that_mean_nothing_are_no_options() {
        assert!(options(Vec::new()).is_none());
        assert!(options(vec!["einhyrningsins".into(), "--no-such-option".into()]).is_none());
        assert!(options(vec!["/x/einhorn".into(), "-n".into(), "2".into(), "prog".into()]).is_some());
    }
}
