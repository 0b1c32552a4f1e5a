//! What is said about the commands: to who asks for help, and to who types one that there is not.

use super::{
    super::{nearest::nearest, typed::quoted},
    Audience, COMMANDS, CommandOption, Entry, find,
};
use core::fmt::Write as _;

/// What is no command, and what to do instead.
const INSTEAD: &[(&[&str], &str)] = &[
    (&["start", "run"], "`einhyrningsins` starts a supervisor"),
    (&["check", "probe"], "`einhyrningsinsctl check` stands alone"),
    (&["wait"], "`einhyrningsinsctl wait` stands alone"),
    (&["serve", "metrics"], "`einhyrningsinsctl serve` stands alone"),
    (&["top", "watch"], "`einhyrningsinsctl top` stands alone"),
    (&["replay"], "`einhyrningsinsctl replay FILE` stands alone"),
    (&["exit", "quit"], "it leaves the client's shell, and `die` ends the supervisor"),
];

/// What a synopsis has in place of options that several commands share.
const OPTS: &str = "[OPTS]";

impl Entry {
    /// The command as it is typed: `signal SIG [PID...]`.
    #[must_use]
    pub fn synopsis(&self) -> String {
        with_arguments(self.name, self.takes)
    }

    /// What it does, and what the options do that its synopsis names; those behind `OPTS` are told elsewhere,
    /// once for all.
    #[must_use]
    pub fn explanation(&self) -> String {
        let named = self.options.iter().filter(|_| self.takes != OPTS);
        let options = named.map(|option| format!("; {}: {}", option.synopsis(), option.about));
        self.clause() + &options.collect::<String>()
    }

    /// What it does, for whom if not for people, and whether that takes its time.
    #[must_use]
    pub fn clause(&self) -> String {
        let whom = match self.audience {
            Audience::People => "",
            Audience::Workers { .. } => "for workers: ",
        };
        let waits = match self {
            Self { waits: true, .. } => "; waits for the end",
            Self { streams: true, .. } => "; goes on until it is interrupted",
            _ => "",
        };
        format!("{whom}{}{waits}", self.about)
    }

    /// All that there is to say about it, in lines.
    #[must_use]
    pub fn help(&self) -> String {
        let mut text = format!("{}\n  {}", self.synopsis(), self.clause());
        let heading = if self.takes == OPTS { "OPTS" } else { "Options" };
        list_options(&mut text, heading, self.options);
        if let Audience::Workers { fields } = self.audience {
            text += "\nFields of the request: ";
            text += fields;
        }
        text
    }

    /// The command as those send it that it is for.
    fn as_sent(&self) -> String {
        match self.audience {
            Audience::People => self.synopsis(),
            Audience::Workers { fields } => with_arguments(self.name, fields),
        }
    }
}

impl CommandOption {
    /// The option as it is typed: `--canary N`.
    #[must_use]
    pub fn synopsis(&self) -> String {
        with_arguments(self.name, self.value.unwrap_or_default())
    }
}

fn with_arguments(name: &str, arguments: &str) -> String {
    format!("{name} {arguments}").trim_end().to_owned()
}

fn list_options(text: &mut String, heading: &str, options: &[CommandOption]) {
    if options.is_empty() {
        return;
    }
    let width = options.iter().map(|option| option.synopsis().len()).max().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{heading}:");
    for option in options {
        let _ = write!(text, "\n  {:width$}  {}", option.synopsis(), option.about);
    }
}

/// What stands for `OPTS` in a synopsis, as a list in a line.
#[must_use]
pub fn options_in_a_line() -> String {
    let term = |option: &CommandOption| format!("{} ({})", option.synopsis(), option.about);
    opts().iter().map(term).collect::<Vec<_>>().join(", ")
}

fn opts() -> &'static [CommandOption] {
    COMMANDS.iter().find(|entry| entry.takes == OPTS).map_or(&[], |entry| entry.options)
}

/// The table for people.
#[must_use]
pub fn help() -> String {
    let width = COMMANDS.iter().map(|entry| entry.as_sent().len()).max().unwrap_or_default();
    let mut text = String::from("Commands:");
    for entry in COMMANDS {
        let _ = write!(text, "\n  {:width$}  {}", entry.as_sent(), entry.explanation());
    }
    list_options(&mut text, "OPTS", opts());
    text
}

/// The names, for a message that says what is accepted.
#[must_use]
pub(in crate::protocol) fn names() -> String {
    COMMANDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// What is said about a command that there is not: the one that does what was asked for, by its name or
/// by what it is called elsewhere, or else all that there are.
#[must_use]
pub fn unknown(name: &str) -> String {
    let quoted = quoted(name);
    let folded = name.to_ascii_lowercase().replace('-', "_");
    if let Some((_, instead)) = INSTEAD.iter().find(|(names, _)| names.contains(&folded.as_str())) {
        return format!("there is no command {quoted}; {instead}");
    }
    let elsewhere = COMMANDS.iter().find(|entry| entry.elsewhere.contains(&folded.as_str()));
    let names: Vec<&'static str> = COMMANDS.iter().map(|entry| entry.name).collect();
    match elsewhere.or_else(|| find(nearest(&folded, &names)?)) {
        Some(entry) => format!("unknown command {quoted}; did you mean `{}`?", entry.synopsis()),
        None => format!("unknown command {quoted}; accepted: {}", self::names()),
    }
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
            "  status                               show the supervisor, its workers and any upgrade under way",
            "  upgrade [OPTS]                       replace the workers a few at a time; waits for the end",
            "  worker:ping pid [request_id]         for workers: this worker is alive",
            "OPTS:",
            "  --canary N          so many go ahead",
        ] {
            assert!(help.lines().any(|said| said == line), "{line} is not in:\n{help}");
        }
    }

    #[test]
    fn whoever_reads_a_synopsis_is_told_what_its_options_do() {
        let all = help();
        for entry in COMMANDS.iter().filter(|entry| entry.takes != OPTS) {
            for option in entry.options {
                let told = format!("; {}: {}", option.synopsis(), option.about);
                let is_row = |line: &&str| line.trim_start().starts_with(entry.name);
                assert!(all.lines().find(is_row).is_some_and(|row| row.contains(&told)), "{told} in:\n{all}");
                assert!(!entry.help().contains(&told), "it has a row of its own there");
            }
        }
    }

    #[test]
    fn help_for_one_tells_its_options() {
        let help = |name| find(name).unwrap().help();
        assert_eq!(help("version"), "version\n  say which version this is");
        assert!(
            help("upgrade").contains("\nOPTS:\n  --canary N          so many go ahead\n"),
            "{}",
            help("upgrade")
        );
        assert!(help("die").ends_with("\nOptions:\n  --wait  return when the supervisor has ended"));
        assert!(help("worker:ping").ends_with("\nFields of the request: pid [request_id]"));
    }

    #[test]
    fn who_types_what_there_is_not_is_told_what_does_it() {
        for (name, meant) in [
            ("staus", "status"),
            ("Status", "status"),
            ("stop", "die [--wait] [SIG]"),
            ("restart", "upgrade [OPTS]"),
            ("reload", "upgrade [OPTS]"),
            ("rolling-restart", "upgrade [OPTS]"),
            ("list", "status"),
            ("scale", "set_workers N"),
            ("kill", "signal SIG [PID...]"),
            ("rollback", "abort [--wait]"),
            ("upgrades", "upgrade [OPTS]"),
        ] {
            assert_eq!(unknown(name), format!("unknown command `{name}`; did you mean `{meant}`?"));
        }
        assert_eq!(unknown("start"), "there is no command `start`; `einhyrningsins` starts a supervisor");
        for leave in ["exit", "quit"] {
            let told = "it leaves the client's shell, and `die` ends the supervisor";
            assert_eq!(unknown(leave), format!("there is no command `{leave}`; {told}"));
        }
        assert!(unknown("frob").starts_with("unknown command `frob`; accepted: status, upgrade, "));
    }
}
