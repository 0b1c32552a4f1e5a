//! The command line of `einhyrningsins`: its table of options.

mod effective;
mod foreign;
mod manual;
mod options;
#[cfg(test)]
mod tests;

pub use super::bind::Family;
pub use options::{Options, Parsed, Verbosity, Workload, parse};
pub(super) use options::{ready_modes, stop_signals};

use super::{
    completions::{self, Program, Shell},
    drain::DRAINS,
    man,
    table::{CommandLine, Opt, OptionsEnd, Rows, Section, Text, Topic},
    value::DEFAULT_SOCKET_PATH,
};
use crate::fsm::signal::Signal;

/// The options, one by one. What each does is told in [`COMMAND_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    Number,
    Bind,
    Ipv4Only,
    Ipv6Only,
    Backlog,
    Ready,
    Manual,
    AckAfter,
    AckTimeout,
    Retries,
    ExitOnFailure,
    Seconds,
    GracePeriod,
    StopSignal,
    MaxUnacked,
    MaxUpgradeAdditional,
    DropEnvVar,
    Chdir,
    KillChildrenOnExit,
    NoKeeper,
    Fdstore,
    Adopt,
    Nice,
    CommandName,
    SocketPath,
    CommandSocketAsFd,
    Pidfile,
    ReexecAs,
    Lockfile,
    Verbose,
    Quiet,
    Syslog,
    Trace,
    Demo,
    DemoWorker,
    UpgradeCheck,
    CheckConfig,
    Help,
    Version,
    Man,
    Completions,
}

/// All about the command line of `einhyrningsins`.
pub static COMMAND_LINE: CommandLine<Key> = CommandLine {
    program: "einhyrningsins",
    usage: &["[OPTIONS] [--] PROGRAM [ARGS...]", "[OPTIONS] --demo"],
    summary: "Opens listening sockets once, keeps several copies of PROGRAM running on them, and, when \
              told to, replaces them a few at a time without dropping a connection. Options end at the \
              first word that is none. @FILE among them stands for those in FILE, one in a line. Times are in \
              seconds; decimals are allowed.",
    sections: &[
        Section { title: "Workers", options: WORKERS },
        Section { title: "Sockets", options: SOCKETS },
        Section { title: "Health", options: HEALTH },
        Section { title: "Stopping and upgrading", options: STOPPING },
        Section { title: "Control and messages", options: MESSAGES },
        Section { title: "Other", options: OTHER },
    ],
    topics: &[SIGNALS, DRAIN_SIGNALS, STATUSES, VARIABLES],
    options_end: OptionsEnd::FirstWord,
    abbreviates: false,
    foreign: foreign::instead,
};

/// What `--man` prints.
pub(super) fn manual() -> String {
    man::page(&COMMAND_LINE, &manual::MANUAL)
}

/// What `--completions SHELL` prints.
pub(super) fn completions(shell: Shell) -> String {
    shell.script(&Program::new(&COMMAND_LINE, Vec::new()))
}

const WORKERS: &[Opt<Key>] = &[
    Opt::valued(Key::Number, "number", "COUNT", "Workers to keep running; 4 with --demo.")
        .short('n')
        .defaults_to("1"),
    Opt::valued(
        Key::DropEnvVar,
        "drop-env-var",
        "VAR",
        "Hide VAR from workers: a variable of einhyrningsins' own, or one of those below.",
    )
    .repeats(),
    Opt::valued(
        Key::Chdir,
        "chdir",
        "DIR",
        "Run workers in DIR, looked up anew for each generation, and PROGRAM in it. [default: what the name \
         of the current directory, $PWD, leads to by then]",
    ),
    Opt::flag(
        Key::KillChildrenOnExit,
        "kill-children-on-exit",
        "If the supervisor is killed, or ends in any other way without having seen to its workers, the kernel sends \
         each of them the stop signal. With --stop-signal auto that is what PROGRAM, by its file's name, is known to \
         want, or else USR2.",
    )
    .short('k'),
    Opt::flag(
        Key::NoKeeper,
        "no-keeper",
        "Run no keeper: the small process that lets a new start take everything over if the supervisor is killed.",
    ),
    Opt::flag(
        Key::Fdstore,
        "fdstore",
        "Have the service manager keep what the keeper would, with the unit's FileDescriptorStoreMax=. From systemd 254 \
         on, which says that it does, this is so without the option.",
    ),
    Opt::valued(
        Key::Nice,
        "nice",
        "SUPERVISOR[:WORKER]",
        "Niceness of the supervisor and of workers, from -20, who go first, to 19, who give way. Without WORKER, \
         workers are as nice as the supervisor. [default: as it is started]",
    ),
    Opt::flag(
        Key::Demo,
        "demo",
        "Run a small HTTP server that is built in, in place of PROGRAM: on 127.0.0.1:8080 unless --bind \
         says otherwise, and with --manual.",
    ),
    Opt::flag(Key::DemoWorker, "demo-worker", "Be a worker of --demo.").hidden(),
];

const SOCKETS: &[Opt<Key>] = &[
    Opt::valued(
        Key::Bind,
        "bind",
        "ADDR:PORT[,OPT...]",
        "Listen here, and share the socket with every worker. ADDR is an IPv4 address, an IPv6 address in \
         brackets (a link-local one with its link, as in [fe80::1%eth0]), or a host name; port 0 lets the \
         kernel choose. udp:ADDR:PORT takes messages. unix:PATH is a UNIX socket, and unix:@NAME an abstract one; a \
         stale file at PATH is replaced, and the file is removed at the end. Sockets that a \
         service manager hands over (LISTEN_FDS) come before all of these. OPT is r (or so_reuseaddr) to set SO_REUSEADDR (TCP only), n (or o_nonblock) to set O_NONBLOCK, \
         which each new worker finds set or not as asked for here; name=NAME is what it is called; mode=MODE, user=USER and group=GROUP say whose the file of a UNIX \
         socket is, and who may connect. In the arguments \
         of PROGRAM, {fd:NAME} stands for the file descriptor of the socket of that name, {fd:0} for that of the \
         first one, and {{fd:0}} for {fd:0}.",
    )
    .short('b')
    .repeats(),
    Opt::flag(Key::Ipv4Only, "ipv4-only", "Listen on IPv4 addresses only.").short('4'),
    Opt::flag(Key::Ipv6Only, "ipv6-only", "Listen on IPv6 addresses only.").short('6'),
    Opt::flag(
        Key::Adopt,
        "adopt",
        "Where an address is taken by workers whose supervisor is gone, and nobody has kept the socket, take it from \
         them. Linux wants root for that, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope.",
    ),
    Opt::valued(
        Key::Backlog,
        "backlog",
        "N",
        "Connections that may wait to be accepted, on each socket. [default: as many as the kernel lets]",
    )
    .short('l'),
];

const HEALTH: &[Opt<Key>] = &[
    Opt::valued(
        Key::Ready,
        "ready",
        "MODE",
        "When a worker is healthy. auto: once it reports so, or is seen waiting for connections on a socket; one that \
         does neither, once it has stayed alive for --ack-after, unless workers that serve have done either: then it \
         must do so within --ack-timeout. accepting: once it reports or is seen. manual: once it reports. timer: once \
         it has stayed alive. -m chooses manual, and --ack-after alone chooses timer.",
    )
    .defaults_to("auto"),
    Opt::flag(
        Key::Manual,
        "manual",
        "A worker is healthy once it reports so on the control socket, not merely by staying alive. As with \
         einhorn, -m manual is the same, and -m SECS is --ack-after SECS; but a word that names a program is \
         PROGRAM.",
    )
    .short('m')
    .understands(options::is_ack_mode),
    Opt::valued(
        Key::AckTimeout,
        "ack-timeout",
        "SECS",
        "Replace a worker that has to report, or to be seen, and has not by then. Not with --ready timer.",
    )
    .defaults_to("30"),
    Opt::valued(
        Key::AckAfter,
        "ack-after",
        "SECS",
        "A worker is healthy once it has stayed alive this long; 0 is at once. A report that comes before counts as \
         well: it does in every mode. With --ready auto or accepting, how long a worker is given after a socket of it \
         was registered for edge-triggered events, as Go and tokio do before they serve it.",
    )
    .defaults_to("1"),
    Opt::valued(
        Key::Retries,
        "retries",
        "COUNT",
        "A slot, the place of one worker, has failed after this many failed starts in a row. An upgrade then \
         goes back, and a service that was never healthy ends; one that was goes on being tried.",
    )
    .short('r')
    .defaults_to("5"),
    Opt::flag(
        Key::ExitOnFailure,
        "exit-on-failure",
        "End with status 1 once every slot has failed, even if the service was healthy before.",
    ),
    Opt::valued(
        Key::Seconds,
        "seconds",
        "SECS",
        "Wait this long after a first failed start. Each further one in a row makes it half as long again, \
         up to 30 seconds.",
    )
    .short('s')
    .defaults_to("0.1"),
];

const STOPPING: &[Opt<Key>] = &[
    Opt::valued(
        Key::GracePeriod,
        "grace-period",
        "SECS",
        "Time for a worker to finish its connections once it is told to stop. TERM follows, and KILL to its \
         process group 5 seconds later.",
    )
    .short('t')
    .aliases(&["signal-timeout"])
    .defaults_to("30"),
    Opt::valued(
        Key::StopSignal,
        "stop-signal",
        "SIG",
        "The signal that tells a worker to finish and exit. auto: what its program is known to want (below); else USR2 \
         if it has a handler for that; else TERM.",
    )
    .defaults_to("auto"),
    Opt::valued(
        Key::MaxUnacked,
        "max-unacked",
        "N",
        "Workers that an upgrade may have starting at the same time. It does not hold back those of the first \
         start, nor those that replace a crashed one. [default: the number of CPUs]",
    ),
    Opt::valued(
        Key::MaxUpgradeAdditional,
        "max-upgrade-additional",
        "N",
        "Workers beyond --number that a rolling upgrade may have at a time, starting ones included, draining \
         ones not. A fleet upgrade doubles --number. [default: as --max-unacked]",
    ),
];

const MESSAGES: &[Opt<Key>] = &[
    Opt::valued(
        Key::SocketPath,
        "socket-path",
        "PATH",
        "Where to create the control socket, on which workers report and einhyrningsinsctl asks. With \
         --command-name NAME alone, it is /tmp/einhorn-NAME.sock.",
    )
    .short('d')
    .defaults_to(DEFAULT_SOCKET_PATH),
    Opt::valued(
        Key::CommandName,
        "command-name",
        "NAME",
        "What the service is called: in the status, in lists of processes, and in the control socket's path unless \
         --socket-path says that.",
    )
    .short('c'),
    Opt::valued(
        Key::Pidfile,
        "pidfile",
        "PATH",
        "Write the supervisor's process id to PATH, in one step, once it has its control socket and takes signals, \
         and remove the file at the end.",
    )
    .short('e'),
    Opt::valued(
        Key::ReexecAs,
        "reexec-as",
        "PATH",
        "The program that takes the supervisor's place, with all that it has, when `einhyrningsinsctl reexec` asks for \
         it. [default: what is there by then where the supervisor was started from]",
    ),
    Opt::valued(
        Key::Lockfile,
        "lockfile",
        "PATH",
        "Hold a lock, flock(2), on PATH as long as the supervisor runs. If another process has it, nothing is \
         started. The file stays.",
    )
    .short('f'),
    Opt::flag(
        Key::CommandSocketAsFd,
        "command-socket-as-fd",
        "Let each worker inherit a connection of its own over which it can report, whichever user it runs as, \
         and ask for nothing else.",
    )
    .short('g'),
    Opt::flag(Key::Verbose, "verbose", "Log details.").short('v'),
    Opt::flag(Key::Quiet, "quiet", "Log errors only.").short('q'),
    Opt::flag(Key::Syslog, "syslog", "Send warnings and errors to syslog, too."),
    Opt::valued(
        Key::Trace,
        "trace",
        "FILE",
        "Append all that happens, and all that is done about it, to FILE, for a replay.",
    ),
];

const OTHER: &[Opt<Key>] = &[
    Opt::flag(
        Key::UpgradeCheck,
        "upgrade-check",
        "Check the command line, and exit: with status 0 if nothing is wrong with it. PROGRAM may be left out.",
    ),
    Opt::flag(
        Key::CheckConfig,
        "check-config",
        "Say what would be run, and with which options, and exit without having touched anything: with status 0 if \
         nothing was found that would be in the way of a start, else with that of such a start.",
    ),
    Opt::flag(Key::Help, "help", "Print this text and exit.").short('h').prints(Text::Help),
    Opt::flag(Key::Version, "version", "Print name and version, and exit.").prints(Text::Version),
    Opt::flag(Key::Man, "man", "Print the manual page, in man(7), and exit."),
    Opt::valued(Key::Completions, "completions", "SHELL", completions::HELP),
];

pub(super) const SIGNALS: Topic = Topic {
    title: "Signals",
    rows: Rows::Here(&[
        (
            "HUP",
            "Upgrade: replace every worker, none before its replacement is healthy. Nothing if it was \
             ignored at the start, as by nohup.",
        ),
        ("INT, USR2", "Stop gracefully: the stop signal, the grace period, TERM, KILL."),
        ("TERM", "Stop fast: TERM, the grace period, KILL."),
        ("QUIT", "Stop faster: TERM, 5 seconds, KILL."),
        ("TTIN, TTOU", "One worker more, one fewer."),
        ("USR1", "Passed on to the workers that handle it."),
        ("CONT", "Passed on to every worker."),
        ("PIPE, ALRM, WINCH", "Ignored."),
        ("a second one to stop", "Goes on to the next, harsher step at once."),
    ]),
};

pub(super) const DRAIN_SIGNALS: Topic =
    Topic { title: "Drain signals, with --stop-signal auto", rows: Rows::Elsewhere(drain_rows) };

/// The programs of which a signal is known to make them drain, a row for each signal.
fn drain_rows() -> Vec<(String, String)> {
    let signals = Signal::ALL.iter().copied();
    let programs = |signal: Signal| {
        let known = DRAINS.iter().filter(move |drain| drain.signal == signal).map(|drain| drain.program);
        known.collect::<Vec<_>>().join(", ")
    };
    let rows = signals.map(|signal| (signal.word().to_owned(), programs(signal)));
    let other =
        ("USR2, TERM".to_owned(), "Any other: USR2 if it has a handler for it, else TERM.".to_owned());
    rows.filter(|(_, programs)| !programs.is_empty()).chain([other]).collect()
}

const STATUSES: Topic = Topic {
    title: "Exit status",
    rows: Rows::Here(&[
        ("0", "Stopped as asked."),
        ("1", "The service could not be brought up or kept up, or a worker outlived KILL."),
        ("2", "The command line is wrong; nothing was done."),
        ("126, 127", "PROGRAM cannot be executed; PROGRAM does not exist."),
    ]),
};

pub(super) const VARIABLES: Topic = Topic {
    title: "Environment of a worker",
    rows: Rows::Here(&[
        ("EINHORN_FD_COUNT", "How many sockets it inherits."),
        (
            "EINHORN_FD_0, ...",
            "The file descriptor of each: those of a service manager, then in the order of --bind.",
        ),
        ("EINHORN_FD_FAMILY_0, ...", "The family of each: AF_INET, AF_INET6 or AF_UNIX."),
        ("EINHORN_FDS", "All their file descriptors, separated by spaces."),
        ("LISTEN_FDS", "How many there are, from file descriptor 3 on, if any, as systemd says it."),
        ("LISTEN_FDNAMES", "What each is called, or unknown, separated by colons."),
        ("LISTEN_PID", "The worker's own process id."),
        (
            "SERVER_STARTER_PORT",
            "HOST:PORT=FD or /PATH=FD, separated by semicolons, as Server::Starter says it.",
        ),
        ("SERVER_STARTER_GENERATION", "Its generation."),
        (
            "NOTIFY_SOCKET",
            "Where it can notify: READY=1, STOPPING=1, STATUS=, WATCHDOG=1, EXTEND_TIMEOUT_USEC=.",
        ),
        ("EINHORN_SOCK_PATH", "Absolute path of the control socket."),
        (
            "EINHORN_SOCK_FD",
            "With --command-socket-as-fd: the file descriptor of its own connection to the supervisor.",
        ),
        ("EINHORN_MASTER_PID", "Process id of the supervisor."),
        ("EINHORN_CHILD_INDEX", "Which of the workers it is, from 0; its replacement is the same."),
        ("PWD", "The directory it runs in, if einhyrningsins has such a variable or --chdir."),
    ]),
};
