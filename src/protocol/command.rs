//! The commands by name: what they take, and what they do in a line.

use core::fmt::Write as _;

/// A command as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, as in a synopsis; for those that programs send, the fields.
    pub takes: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn entry(name: &'static str, takes: &'static str, about: &'static str) -> Entry {
    Entry { name, takes, about }
}

/// Everything that can be asked for.
pub const COMMANDS: &[Entry] = &[
    entry("status", "", "show the supervisor, its workers and any upgrade under way"),
    entry("upgrade", "[OPTS]", "replace the workers a few at a time; waits for the end"),
    entry(
        "upgrade_fleet",
        "[OPTS]",
        "start all new workers first, then retire all old ones; waits for the end",
    ),
    entry("abort", "", "give up the upgrade under way and go back"),
    entry("history", "", "what came of the last twenty generations"),
    entry("inc", "", "run one worker more"),
    entry("dec", "", "run one worker fewer"),
    entry("set_workers", "N", "run N workers"),
    entry("signal", "SIG [PID...]", "send a signal to all workers or to those named"),
    entry("retry", "", "try again to fill slots that were given up"),
    entry("die", "[SIG]", "shut down: INT or USR2 gracefully (default), TERM fast, QUIT quick, KILL at once"),
    entry("louder", "", "log more"),
    entry("quieter", "", "log less"),
    entry("ehlo", "[USER]", "say hello"),
    entry("help", "", "list the commands"),
    entry("version", "", "say which version this is"),
    entry("worker:ack", "pid", "for workers: this worker is ready"),
    entry("worker:ping", "pid [request_id]", "for workers: this worker is alive"),
];

/// The table for people.
#[must_use]
pub fn help() -> String {
    let synopsis = |entry: &Entry| format!("{} {}", entry.name, entry.takes);
    let width = COMMANDS.iter().map(|entry| synopsis(entry).len()).max().unwrap_or_default();
    let mut text = String::from("Commands:");
    for entry in COMMANDS {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:width$}  {}", synopsis(entry), entry.about);
    }
    text.push_str(
        "\nOPTS: --canary N (so many go ahead), --soak SECS (must stay healthy for so long),\n      \
         --env VAR=VALUE (repeats), -- PROGRAM ARGS...",
    );
    text
}

/// The names, for a message that says what is accepted.
#[must_use]
pub(crate) fn names() -> String {
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
}
