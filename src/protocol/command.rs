//! The commands by name: one row each, and all that there is to know of them.
//!
//! How a request is read, what `help` and `--help` say, what is completed, what is suggested to who types
//! something else, and which commands the client waits for comes from this table; nothing beside it knows
//! their names. A command is a row here, its [`Operation`], and a reader if it takes what none other does.

mod told;

pub(super) use told::names;
pub use told::{help, options_in_a_line, unknown};

use super::{asked::Asked, json, operation::Change, operation::Operation};
use crate::fsm::event::{Command, Strategy};
use miniserde::json::Object;

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What the same is called elsewhere. Not accepted here, but answered with the name.
    pub elsewhere: &'static [&'static str],
    /// Its arguments, as in a synopsis; empty if it takes none.
    pub takes: &'static str,
    /// Its options; all that can stand for `OPTS` in the synopsis, if that is there.
    pub options: &'static [CommandOption],
    /// What it does, as a clause without an end.
    pub about: &'static str,
    /// Whether progress comes before the last line of its answer: it is about something that takes its
    /// time, and that goes on if nobody waits for it.
    pub waits: bool,
    /// Whether its answer goes on, line by line, until the client has had enough. Nothing comes of it but that.
    pub streams: bool,
    /// Whom it is for.
    pub audience: Audience,
    read: Read,
}

/// Makes an operation of what came along.
type Read = fn(&Asked<'_>) -> Result<Operation, String>;

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// People, who type its arguments.
    People,
    /// Workers. Programs send what it takes as fields of the request; shell scripts type it as well.
    Workers {
        /// The fields, as in a synopsis.
        fields: &'static str,
    },
}

/// An option of a command.
#[derive(Clone, Copy, Debug)]
pub struct CommandOption {
    /// As it is typed, with its dashes.
    pub name: &'static str,
    /// What its value is called, if it takes one.
    pub value: Option<&'static str>,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Who does it.
    pub served: Served,
}

/// Who does what an option asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The supervisor, which gets it as an argument.
    BySupervisor,
    /// The client, which waits on after the answer. The supervisor does not know the option.
    ByClient(Awaited),
}

/// What a client can wait for after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The end of the supervisor.
    End,
    /// The end of going back to the generation before.
    TakenBack,
}

/// The command that a client answers itself, since it may be needed where no supervisor is.
pub const HELP: &str = "help";

/// What can stand for `OPTS` in the synopsis of an upgrade.
const UPGRADE: &[CommandOption] = &[
    option("--canary", "so many go ahead").takes("N"),
    option("--soak", "must stay healthy for so long").takes("SECS"),
    option("--timeout", "go back unless all that is done within so long").takes("SECS"),
    option("--env", "set in its environment; repeats").takes("VAR=VALUE"),
    option("--", "run this from now on").takes("PROGRAM ARGS..."),
];

const WAIT_FOR_THE_END: &[CommandOption] =
    &[option("--wait", "return when the supervisor has ended").by_client(Awaited::End)];

const WAIT_FOR_THE_WAY_BACK: &[CommandOption] =
    &[option("--wait", "return when the upgrade has been taken back").by_client(Awaited::TakenBack)];

const EVENTS: &[CommandOption] = &[
    option("--since", "begin with all that are remembered (start), or behind the one of that number")
        .takes("WHEN"),
    option("--until", "end with those that have happened").takes("now"),
];

/// Everything that can be asked for, in the order in which it is told.
pub const COMMANDS: &[Entry] = &[
    entry("status", "show the supervisor, its workers and any upgrade under way", |asked| {
        asked.machine(Command::Status)
    })
    .elsewhere(&["list", "ls", "ps", "show", "info", "stats"]),
    entry("upgrade", "replace the workers a few at a time", |asked| asked.upgrade(Strategy::Rolling))
        .takes("[OPTS]")
        .options(UPGRADE)
        .waits()
        .elsewhere(&[
            "restart",
            "reload",
            "deploy",
            "update",
            "replace",
            "phased_restart",
            "rolling_restart",
            "hup",
        ]),
    entry("upgrade_fleet", "start all new workers first, then retire all old ones", |asked| {
        asked.upgrade(Strategy::Fleet)
    })
    .takes("[OPTS]")
    .options(UPGRADE)
    .waits()
    .elsewhere(&["fleet", "blue_green"]),
    entry("abort", "give up the upgrade under way and go back", |asked| asked.machine(Command::Abort))
        .takes("[--wait]")
        .options(WAIT_FOR_THE_WAY_BACK)
        .elsewhere(&["rollback", "cancel", "revert", "undo", "back"]),
    entry("history", "what came of the last twenty generations", |asked| asked.plain(Operation::History))
        .elsewhere(&["log", "generations", "releases"]),
    entry("events", "tell what happens, as it does", |asked| asked.events())
        .takes("[--since WHEN] [--until now]")
        .options(EVENTS)
        .streams()
        .elsewhere(&["follow", "tail", "watch", "stream"]),
    entry("inc", "run one worker more, or N more", |asked| asked.scale(Command::Inc, Change::More))
        .takes("[N]")
        .elsewhere(&["more", "add", "increase", "increment", "ttin"]),
    entry("dec", "run one worker fewer, or N fewer", |asked| asked.scale(Command::Dec, Change::Fewer))
        .takes("[N]")
        .elsewhere(&["fewer", "less", "remove", "decrease", "decrement", "ttou"]),
    entry("set_workers", "run N workers", |asked| asked.set_workers())
        .takes("N")
        .elsewhere(&["scale", "workers", "number", "resize"]),
    entry("signal", "send a signal to all workers or to those named", |asked| asked.signal())
        .takes("SIG [PID...]")
        .elsewhere(&["kill", "send"]),
    entry("retry", "try at once to fill slots that have failed", |asked| asked.machine(Command::Retry))
        .elsewhere(&["again", "reset", "reset_failed"]),
    entry(
        "die",
        "shut down: INT or USR2 gracefully (default), TERM fast, QUIT quick, KILL at once",
        |asked| asked.die(),
    )
    .takes("[--wait] [SIG]")
    .options(WAIT_FOR_THE_END)
    .elsewhere(&["stop", "shutdown", "halt", "terminate", "end"]),
    entry(
        "reexec",
        "replace the supervisor by the program that is where it was started, or at PATH",
        |asked| asked.reexec(),
    )
    .takes("[PATH]")
    .waits()
    .elsewhere(&["exec", "self_upgrade", "upgrade_self", "respawn"]),
    entry("louder", "log more", |asked| asked.plain(Operation::Louder)).elsewhere(&["verbose", "debug"]),
    entry("quieter", "log less", |asked| asked.plain(Operation::Quieter)).elsewhere(&["quiet", "silent"]),
    entry("state", "tell in YAML how things stand, by einhorn's names", |asked| {
        asked.plain(Operation::State)
    })
    .elsewhere(&["dump"]),
    entry("config", "list the options in effect", |asked| asked.plain(Operation::Config))
        .elsewhere(&["options", "settings"]),
    entry("ehlo", "say hello", |asked| asked.ehlo()).takes("[USER]").elsewhere(&["hello", "helo", "hi"]),
    entry(HELP, "list the commands, or tell more of one", |asked| asked.help())
        .takes("[COMMAND]")
        .elsewhere(&["usage", "commands", "man", "?"]),
    entry("version", "say which version this is", |asked| asked.plain(Operation::Version)),
    entry("worker:ack", "this worker is ready", |asked| asked.ack())
        .takes("PID")
        .for_workers("pid")
        .elsewhere(&["ack", "ready"]),
    entry("worker:ping", "this worker is alive", |asked| asked.ping())
        .takes("PID")
        .for_workers("pid [request_id]")
        .elsewhere(&["ping"]),
];

/// A command for people that takes no arguments and is answered at once.
const fn entry(name: &'static str, about: &'static str, read: Read) -> Entry {
    let audience = Audience::People;
    Entry {
        name,
        elsewhere: &[],
        takes: "",
        options: &[],
        about,
        waits: false,
        streams: false,
        audience,
        read,
    }
}

/// An option without a value, of the supervisor's.
const fn option(name: &'static str, about: &'static str) -> CommandOption {
    CommandOption { name, value: None, about, served: Served::BySupervisor }
}

impl CommandOption {
    const fn takes(self, value: &'static str) -> Self {
        Self { value: Some(value), ..self }
    }

    const fn by_client(self, awaited: Awaited) -> Self {
        Self { served: Served::ByClient(awaited), ..self }
    }
}

impl Entry {
    const fn elsewhere(self, elsewhere: &'static [&'static str]) -> Self {
        Self { elsewhere, ..self }
    }

    const fn takes(self, takes: &'static str) -> Self {
        Self { takes, ..self }
    }

    const fn options(self, options: &'static [CommandOption]) -> Self {
        Self { options, ..self }
    }

    const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    const fn streams(self) -> Self {
        Self { streams: true, ..self }
    }

    const fn for_workers(self, fields: &'static str) -> Self {
        Self { audience: Audience::Workers { fields }, ..self }
    }

    /// Its option of this name, as typed.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&'static CommandOption> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Whether a supervisor would understand the command with these arguments. It may refuse it all the
    /// same.
    ///
    /// # Errors
    /// If not, with a message that names the command, what was found, and what is accepted.
    pub fn understands(&self, args: &[String]) -> Result<(), String> {
        let args = json::list(args.iter().map(|arg| json::text(arg)));
        self.read(&json::members([("args", args)])).map(|_| ())
    }

    /// What a request for this command comes to.
    pub(super) fn read(&self, request: &Object) -> Result<Operation, String> {
        let operation = Asked::new(request).and_then(|asked| (self.read)(&asked));
        operation.map_err(|message| format!("{}: {message}", self.name))
    }
}

/// The command of this name, in which `-` and `_` are the same.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    let name = name.replace('-', "_");
    COMMANDS.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_with_dashes_too_and_nothing_else_is() {
        for entry in COMMANDS {
            for name in [entry.name.to_owned(), entry.name.replace('_', "-")] {
                assert_eq!(find(&name).map(|found| found.name), Some(entry.name));
            }
        }
        for name in ["", "up", "upgrades", "Status", "worker"] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn no_name_from_elsewhere_means_two_commands_or_is_one() {
        let elsewhere = || COMMANDS.iter().flat_map(|entry| entry.elsewhere);
        for name in elsewhere() {
            assert!(find(name).is_none(), "{name}");
            assert_eq!(elsewhere().filter(|other| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_option_is_in_a_synopsis() {
        for entry in COMMANDS {
            let named = |option: &CommandOption| entry.takes == "[OPTS]" || entry.takes.contains(option.name);
            assert!(entry.options.iter().all(named), "{}", entry.name);
        }
    }
}
