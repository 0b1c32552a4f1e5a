//! The command line of einhorn, for when the supervisor is started by that name: its table of options, and what they
//! mean in terms of [our own](super::daemon).
//!
//! Nothing behind this room knows of einhorn: an einhorn's command line comes to the same
//! [`Options`](super::daemon::Options) as one of ours, with the defaults that einhorn has. What einhorn does without
//! any limit (a worker may take as long as it likes to report, and to finish) has none here either.

pub use translate::{Parsed, parse};

use super::{
    table::{CommandLine, Opt, OptionsEnd, Section, Text},
    value::DEFAULT_FOLDER,
};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// The name by which the supervisor is called as einhorn is.
pub const NAME: &str = "einhorn";

/// The options, one by one. What each does is told in [`COMMAND_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    Bind,
    CommandName,
    SocketPath,
    Pidfile,
    Lockfile,
    CommandSocketAsFd,
    KillChildrenOnExit,
    Backlog,
    AckMode,
    Number,
    Preload,
    Quiet,
    Seconds,
    Verbose,
    DropEnvVar,
    ReexecAs,
    Nice,
    UpgradeCheck,
    SignalTimeout,
    MaxUnacked,
    MaxUpgradeAdditional,
    GcBeforeFork,
    Help,
    Version,
}

/// All about the command line of `einhorn`.
pub static COMMAND_LINE: CommandLine<Key> = CommandLine {
    program: NAME,
    usage: &["[OPTIONS] [--] PROGRAM [ARGS...]"],
    summary: "This is einhyrningsins, which takes einhorn's command line when it is called by that name. It opens \
              listening sockets once, keeps several copies of PROGRAM running on them, and replaces them when told \
              to, by HUP or with einhornsh. Options end at the first word that is none.",
    sections: &[Section { title: "Options", options: OPTIONS }],
    topics: &[],
    options_end: OptionsEnd::FirstWord,
    abbreviates: true,
    foreign: instead,
};

const OPTIONS: &[Opt<Key>] = &[
    Opt::valued(
        Key::Bind,
        "bind",
        "ADDR:PORT[,OPT...]",
        "Listen here, and share the socket with every worker. ADDR is an IPv4 address or a host name that has one; \
         OPT is r (or so_reuseaddr) to set SO_REUSEADDR, n (or o_nonblock) to set O_NONBLOCK.",
    )
    .short('b')
    .repeats(),
    Opt::valued(
        Key::CommandName,
        "command-name",
        "NAME",
        "What the service is called: in lists of processes, and in the paths that follow from it.",
    )
    .short('c'),
    Opt::valued(
        Key::SocketPath,
        "socket-path",
        "PATH",
        "Where to create the control socket. [default: einhorn.sock, or einhorn-NAME.sock, in $TMPDIR or else /tmp]",
    )
    .short('d'),
    Opt::valued(
        Key::Pidfile,
        "pidfile",
        "PATH",
        "Where to write the process id. [default: einhorn.pid, or einhorn-NAME.pid, there]",
    )
    .short('e'),
    Opt::valued(
        Key::Lockfile,
        "lockfile",
        "PATH",
        "Hold a lock on PATH as long as the supervisor runs; start nothing if another has it.",
    )
    .short('f'),
    Opt::flag(
        Key::CommandSocketAsFd,
        "command-socket-as-fd",
        "Let each worker inherit a connection to the control socket, in EINHORN_SOCK_FD.",
    )
    .short('g'),
    Opt::flag(
        Key::KillChildrenOnExit,
        "kill-children-on-exit",
        "If the supervisor ends without having seen to its workers, the kernel sends them USR2.",
    )
    .short('k'),
    Opt::valued(Key::Backlog, "backlog", "N", "Connections that may wait to be accepted, on each socket.")
        .short('l')
        .defaults_to("100"),
    Opt::valued(
        Key::AckMode,
        "ack-mode",
        "MODE",
        "When a worker is up. SECS: once it has stayed alive for so long. manual: once it reports so on the control \
         socket. A report counts in either.",
    )
    .short('m')
    .defaults_to("1"),
    Opt::valued(Key::Number, "number", "N", "Workers to keep running.").short('n').defaults_to("1"),
    Opt::valued(Key::Preload, "preload", "PATH", "Nothing here: each worker executes PROGRAM.").short('p'),
    Opt::flag(Key::Quiet, "quiet", "Log errors only.").short('q'),
    Opt::valued(
        Key::Seconds,
        "seconds",
        "SECS",
        "Wait this long after a first failed start; each further one in a row makes it half as long again, up to 30 \
         seconds.",
    )
    .short('s')
    .defaults_to("1"),
    Opt::flag(Key::Verbose, "verbose", "Log details; after --quiet, what is usual.").short('v'),
    Opt::valued(
        Key::DropEnvVar,
        "drop-env-var",
        "VAR",
        "Remove VAR from the environment of workers that are started after an upgrade.",
    )
    .repeats(),
    Opt::valued(
        Key::ReexecAs,
        "reexec-as",
        "CMDLINE",
        "Nothing yet: an upgrade replaces the workers and not the supervisor.",
    ),
    Opt::valued(
        Key::Nice,
        "nice",
        "SUPERVISOR[:WORKER[:RENICE]]",
        "Niceness of the supervisor and of workers, from -20 to 19. Without WORKER, workers are as nice as the \
         supervisor. RENICE, a program, is not needed here.",
    ),
    Opt::flag(Key::UpgradeCheck, "upgrade-check", "Check the options, and exit with status 0."),
    Opt::valued(
        Key::SignalTimeout,
        "signal-timeout",
        "SECS",
        "End a worker that is still there so long after it was told to go. [default: never]",
    )
    .short('t'),
    Opt::valued(
        Key::MaxUnacked,
        "max-unacked",
        "N",
        "Workers that an upgrade may have starting at the same time. [default: the number of CPUs]",
    ),
    Opt::valued(
        Key::MaxUpgradeAdditional,
        "max-upgrade-additional",
        "N",
        "Workers beyond --number that an upgrade may have at a time. [default: as --max-unacked]",
    ),
    Opt::flag(Key::GcBeforeFork, "gc-before-fork", "Nothing here: there is no Ruby to collect garbage of."),
    Opt::flag(Key::Help, "help", "Print this text and exit, with status 1.").short('h').prints(Text::Help),
    Opt::flag(Key::Version, "version", "Print name and version, and exit.").prints(Text::Version),
];

/// Whether a program was called by `name`, from wherever.
#[must_use]
pub fn is_called(called: &OsStr, name: &str) -> bool {
    Path::new(called).file_name().is_some_and(|file| file == name)
}

/// Where einhorn keeps its files, by the environment that it looks into, and what folders there are.
#[must_use]
pub fn folder(variable: impl Fn(&str) -> Option<OsString>, is_folder: impl Fn(&Path) -> bool) -> PathBuf {
    let named = ["TMPDIR", "TMP", "TEMP"].into_iter().filter_map(variable).map(PathBuf::from);
    named.into_iter().find(|path| is_folder(path)).unwrap_or_else(|| DEFAULT_FOLDER.into())
}

/// What `--help` prints, and what an einhorn without arguments does.
#[must_use]
pub fn usage() -> String {
    format!("## {}", COMMAND_LINE.help())
}

/// What to do instead of an option that there is not.
fn instead(name: &str) -> Option<String> {
    match name {
        "with-state-fd" => Some("einhorn gives it to itself only".to_owned()),
        _ => super::daemon::COMMAND_LINE
            .find(name)
            .map(|option| format!("einhyrningsins has --{}, called by its own name", option.long)),
    }
}

mod translate;

#[cfg(test)]
mod tests;
