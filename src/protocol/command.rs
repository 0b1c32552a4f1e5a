//! The commands by name: one row each, and all that there is to know of them.
//!
//! How a request is read, what `help` and `--help` say, what is completed, and which commands the client
//! waits for comes from this table; nothing beside it knows their names. A command is a row here, its
//! [`Operation`], and a reader if it takes what none other does.

use super::{asked::Asked, operation::Operation};
use crate::fsm::event::{Command, Strategy};
use core::fmt::Write as _;
use miniserde::json::Object;

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, as in a synopsis; empty if it takes none.
    pub takes: &'static str,
    /// What it does, as a clause without an end.
    pub about: &'static str,
    /// Whether progress comes before the last line of its answer: it is about something that takes its
    /// time, and that goes on if nobody waits for it.
    pub waits: bool,
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

/// The command that a client answers itself where no supervisor can.
pub const HELP: &str = "help";

/// Everything that can be asked for, in the order in which it is told.
pub const COMMANDS: &[Entry] = &[
    entry("status", "show the supervisor, its workers and any upgrade under way", |asked| {
        asked.machine(Command::Status)
    }),
    entry("upgrade", "replace the workers a few at a time", |asked| asked.upgrade(Strategy::Rolling))
        .takes("[OPTS]")
        .waits(),
    entry("upgrade_fleet", "start all new workers first, then retire all old ones", |asked| {
        asked.upgrade(Strategy::Fleet)
    })
    .takes("[OPTS]")
    .waits(),
    entry("abort", "give up the upgrade under way and go back", |asked| asked.machine(Command::Abort)),
    entry("history", "what came of the last twenty generations", |asked| asked.plain(Operation::History)),
    entry("inc", "run one worker more", |asked| asked.machine(Command::Inc)),
    entry("dec", "run one worker fewer", |asked| asked.machine(Command::Dec)),
    entry("set_workers", "run N workers", |asked| asked.set_workers()).takes("N"),
    entry("signal", "send a signal to all workers or to those named", |asked| asked.signal())
        .takes("SIG [PID...]"),
    entry("retry", "try again to fill slots that were given up", |asked| asked.machine(Command::Retry)),
    entry(
        "die",
        "shut down: INT or USR2 gracefully (default), TERM fast, QUIT quick, KILL at once",
        |asked| asked.die(),
    )
    .takes("[SIG]"),
    entry("louder", "log more", |asked| asked.plain(Operation::Louder)),
    entry("quieter", "log less", |asked| asked.plain(Operation::Quieter)),
    entry("ehlo", "say hello", |asked| asked.ehlo()).takes("[USER]"),
    entry(HELP, "list the commands", |asked| asked.plain(Operation::Help)),
    entry("version", "say which version this is", |asked| asked.plain(Operation::Version)),
    entry("worker:ack", "this worker is ready", |asked| asked.ack()).takes("PID").for_workers("pid"),
    entry("worker:ping", "this worker is alive", |asked| asked.ping())
        .takes("PID")
        .for_workers("pid [request_id]"),
];

/// What OPTS stands for in a synopsis, in lines as wide as `help` has them.
pub const OPTS: &str = "--canary N (so many go ahead), --soak SECS (must stay healthy for so long),
      --env VAR=VALUE (repeats), -- PROGRAM ARGS...";

/// A command for people that takes no arguments and is answered at once.
const fn entry(name: &'static str, about: &'static str, read: Read) -> Entry {
    Entry { name, takes: "", about, waits: false, audience: Audience::People, read }
}

impl Entry {
    const fn takes(self, takes: &'static str) -> Self {
        Self { takes, ..self }
    }

    const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    const fn for_workers(self, fields: &'static str) -> Self {
        Self { audience: Audience::Workers { fields }, ..self }
    }

    /// The command as it is typed: `signal SIG [PID...]`.
    #[must_use]
    pub fn synopsis(&self) -> String {
        with_arguments(self.name, self.takes)
    }

    /// What it does, for whom if not for people, and whether that takes its time.
    #[must_use]
    pub fn explanation(&self) -> String {
        let whom = match self.audience {
            Audience::People => "",
            Audience::Workers { .. } => "for workers: ",
        };
        let waits = if self.waits { "; waits for the end" } else { "" };
        format!("{whom}{}{waits}", self.about)
    }

    /// What a request for this command comes to.
    pub(super) fn read(&self, request: &Object) -> Result<Operation, String> {
        let operation = Asked::new(request).and_then(|asked| (self.read)(&asked));
        operation.map_err(|message| format!("{}: {message}", self.name))
    }

    /// The command as those send it that it is for.
    fn as_sent(&self) -> String {
        match self.audience {
            Audience::People => self.synopsis(),
            Audience::Workers { fields } => with_arguments(self.name, fields),
        }
    }
}

fn with_arguments(name: &str, arguments: &str) -> String {
    format!("{name} {arguments}").trim_end().to_owned()
}

/// The command of this name, in which `-` and `_` are the same.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    let name = name.replace('-', "_");
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// The table for people.
#[must_use]
pub fn help() -> String {
    let width = COMMANDS.iter().map(|entry| entry.as_sent().len()).max().unwrap_or_default();
    let mut text = String::from("Commands:");
    for entry in COMMANDS {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:width$}  {}", entry.as_sent(), entry.explanation());
    }
    text + "\nOPTS: " + OPTS
}

/// The names, for a message that says what is accepted.
#[must_use]
pub(super) fn names() -> String {
    COMMANDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command_once() {
        let help = help();
        for entry in COMMANDS {
            let lines = help.lines().filter(|line| line.split_whitespace().next() == Some(entry.name));
            assert_eq!(lines.count(), 1, "{}", entry.name);
        }
    }

    #[test]
    fn help_says_what_is_sent_to_whom_it_is_for_and_what_takes_its_time() {
        let help = help();
        for line in [
            "  status                        show the supervisor, its workers and any upgrade under way",
            "  upgrade [OPTS]                replace the workers a few at a time; waits for the end",
            "  worker:ping pid [request_id]  for workers: this worker is alive",
            "OPTS: --canary N (so many go ahead), --soak SECS (must stay healthy for so long),",
        ] {
            assert!(help.lines().any(|said| said == line), "{line} is not in:\n{help}");
        }
    }

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
}
