//! Scripts by which shells complete the command lines of both programs, from the tables that these are read by.
//!
//! A `Program` is what a table comes to for a shell: names, what may stand behind them, and a few words on each. What
//! only a running supervisor knows, process ids and generations, is [asked](Offer) when it is wanted: the script runs
//! the client, whose `--complete` has that printed.

mod bash;
mod fish;
mod zsh;

use super::{
    daemon::{ready_modes, stop_signals},
    error::UsageError,
    table::{CommandLine, Opt, OptionsEnd},
    tool::TOOLS,
    value::Value,
};
use crate::{
    fsm::signal::{Shutdown, Signal},
    protocol::command::{COMMANDS, CommandOption, Entry},
};

/// What the option does that prints them.
pub(super) const HELP: &str =
    "Print a script by which SHELL completes this command line, and exit. SHELL is bash, zsh or fish.";

/// A shell that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

impl Shell {
    /// Its name, or its path as in `$SHELL`.
    pub(super) fn read(value: Value<'_>) -> Result<Self, UsageError> {
        let text = value.text();
        let name = text.rsplit('/').next().unwrap_or_default();
        let found = SHELLS.iter().find(|(shell, _)| *shell == name);
        let names = SHELLS.map(|(name, _)| name).join(", ");
        found
            .map(|(_, shell)| *shell)
            .ok_or_else(|| value.refuse("is no shell that there is a script for", names))
    }

    /// The script for it.
    pub(super) fn script(self, program: &Program) -> String {
        match self {
            Self::Bash => bash::script(program),
            Self::Zsh => zsh::script(program),
            Self::Fish => fish::script(program),
        }
    }
}

/// What only a running supervisor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The process ids of its workers.
    Pids,
    /// The generations that it remembers.
    Generations,
}

impl Offer {
    pub(super) fn read(value: Value<'_>) -> Result<Self, UsageError> {
        let offers = [(PIDS, Self::Pids), (GENERATIONS, Self::Generations)];
        let found = offers.iter().find(|(word, _)| value.text == *word);
        found
            .map(|(_, offer)| *offer)
            .ok_or_else(|| value.refuse("is nothing that can be asked", "pids, generations"))
    }
}

const PIDS: &str = "pids";
const GENERATIONS: &str = "generations";

/// What a word or a value can be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// Nobody knows.
    Any,
    Files,
    Directories,
    /// One of these.
    Words(Vec<&'static str>),
    /// A variable of the environment.
    Variable,
    /// One that gets a value.
    Assignment,
    /// A command of the supervisor's.
    Command,
    /// A program, and all that is behind it is the program's.
    Program,
    Asked(Offer),
}

impl Values {
    /// What can stand where a table has that word, behind this option or command.
    fn of(owner: &str, word: &'static str) -> Self {
        let signals = |which: fn(Signal) -> bool| {
            let all = Signal::ALL.iter().copied().filter(|signal| which(*signal));
            Self::Words(all.map(Signal::word).collect())
        };
        match (owner, word) {
            ("ready", "MODE") => Self::Words(ready_modes()),
            ("stop-signal", "SIG") => Self::Words(stop_signals()),
            ("die", "SIG") => signals(|signal| Shutdown::from_signal(signal).is_some()),
            (_, "SIG") => signals(|_| true),
            (_, "SHELL") => Self::Words(SHELLS.iter().map(|(name, _)| *name).collect()),
            ("since", _) => Self::Words(vec!["start"]),
            ("generation", _) => Self::Asked(Offer::Generations),
            (_, "PID") => Self::Asked(Offer::Pids),
            (_, "PATH" | "FILE") => Self::Files,
            (_, "DIR") => Self::Directories,
            (_, "VAR") => Self::Variable,
            (_, "VAR=VALUE") => Self::Assignment,
            (_, "COMMAND" | "CMD") => Self::Command,
            (_, "PROGRAM") => Self::Program,
            // What is not in capitals stands for itself.
            (_, word) if word.starts_with(|char: char| char.is_ascii_lowercase()) => Self::Words(vec![word]),
            _ => Self::Any,
        }
    }
}

/// A command line, for a shell.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    flags: Vec<Flag>,
    commands: Vec<Command>,
    /// Whether the first word is a program, and files with options may come before.
    runs: bool,
}

/// An option, for a shell.
#[derive(Debug)]
struct Flag {
    /// With their dashes, letters first.
    names: Vec<String>,
    value: Option<Word>,
    /// A word that may follow it.
    word: Option<&'static str>,
    /// Whether einhorn's words may follow it.
    is_understanding: bool,
    repeats: bool,
    about: String,
}

/// What stands for something.
#[derive(Debug)]
struct Word {
    /// As the table has it.
    name: String,
    values: Values,
}

/// A command, for a shell.
#[derive(Debug)]
pub(super) struct Command {
    /// The first is the one that is offered.
    names: Vec<String>,
    /// Whether the supervisor is asked for it; otherwise the client does it by itself, and it stands alone.
    is_asked: bool,
    about: String,
    flags: Vec<Flag>,
    words: Vec<Word>,
    /// Whether the last word repeats.
    repeats: bool,
    /// Whether a program follows `--`.
    runs: bool,
}

impl Program {
    /// What that command line comes to.
    pub(super) fn new<K: Copy>(line: &CommandLine<K>, commands: Vec<Command>) -> Self {
        let runs = matches!(line.options_end, OptionsEnd::FirstWord);
        Self { name: line.program, flags: flags(line), commands, runs }
    }

    /// Its name as a part of that of a shell's function.
    fn prefix(&self) -> String {
        format!("_{}", self.name.replace('-', "_"))
    }

    /// The names of all commands, or of the supervisor's only.
    fn commands(&self, which: fn(&Command) -> bool) -> String {
        let names =
            self.commands.iter().filter(|it| which(it)).filter_map(|it| Some(it.names.first()?.as_str()));
        names.collect::<Vec<_>>().join(" ")
    }

    /// Every option, and which command it is behind.
    fn all_flags(&self) -> impl Iterator<Item = (Option<&Command>, &Flag)> {
        let own = self.flags.iter().map(|flag| (None, flag));
        own.chain(self.commands.iter().flat_map(|it| it.flags.iter().map(move |flag| (Some(it), flag))))
    }
}

fn flags<K: Copy>(line: &CommandLine<K>) -> Vec<Flag> {
    let visible = line.options().filter(|option| !option.hidden);
    visible.map(Flag::of).collect()
}

impl Flag {
    fn of<K>(option: &Opt<K>) -> Self {
        let short = option.short.map(|short| format!("-{short}"));
        let long = [&option.long].into_iter().chain(option.aliases).map(|name| format!("--{name}"));
        let value =
            |value: &'static str| Word { name: value.to_owned(), values: Values::of(option.long, value) };
        Self {
            names: short.into_iter().chain(long).collect(),
            value: option.value.map(value),
            word: option.word,
            is_understanding: option.foreign_value.is_some(),
            repeats: option.repeats,
            about: brief(option.help),
        }
    }

    fn of_command(option: &CommandOption) -> Self {
        let long = option.name.trim_start_matches('-');
        let value = |value: &'static str| Word { name: value.to_owned(), values: Values::of(long, value) };
        Self {
            names: vec![option.name.to_owned()],
            value: option.value.map(value),
            word: None,
            is_understanding: false,
            repeats: option.about.contains("repeats"),
            about: brief(option.about),
        }
    }
}

/// All that the client can be told, by the tables of the protocol and of its own.
pub(super) fn commands() -> Vec<Command> {
    let own = TOOLS.iter().map(|tool| Command {
        names: names(tool.name),
        is_asked: false,
        about: brief(tool.line.summary),
        flags: flags(&tool.line),
        words: tool.line.usage.iter().flat_map(|usage| words(tool.name, usage)).collect(),
        repeats: tool.line.usage.iter().any(|usage| usage.contains("...")),
        runs: false,
    });
    COMMANDS.iter().map(Command::of).chain(own).collect()
}

/// A command by its name, in which `-` and `_` are the same.
fn names(name: &str) -> Vec<String> {
    let dashed = name.replace('_', "-");
    [name.to_owned()].into_iter().chain((dashed != name).then_some(dashed)).collect()
}

impl Command {
    fn of(entry: &Entry) -> Self {
        let (behind, before): (Vec<_>, Vec<_>) = entry.options.iter().partition(|option| option.name == "--");
        Self {
            names: names(entry.name),
            is_asked: true,
            about: brief(entry.about),
            flags: before.into_iter().map(Flag::of_command).collect(),
            words: words(entry.name, entry.takes),
            repeats: entry.takes.contains("..."),
            runs: !behind.is_empty(),
        }
    }
}

/// The words in a synopsis: all in capitals that is no option, nor the value of one.
fn words(owner: &str, synopsis: &'static str) -> Vec<Word> {
    let bare = |word: &'static str| word.trim_matches(['[', ']', '.']);
    let mut is_option = false;
    let names = synopsis.split_whitespace().filter(|word| {
        // With its value, up to the bracket that ends it.
        is_option |= bare(word).starts_with('-');
        let is_word = !is_option && bare(word).starts_with(char::is_uppercase);
        is_option &= !word.ends_with(']');
        is_word && !["OPTS", "OPTIONS"].contains(&bare(word))
    });
    names.map(|name| Word { values: Values::of(owner, bare(name)), name: bare(name).to_owned() }).collect()
}

/// The beginning of an explanation: its first sentence, or what fits of that.
fn brief(text: &str) -> String {
    const WIDTH: usize = 72;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = words.split(". ").next().unwrap_or_default();
    let first = sentence.split("; ").next().unwrap_or_default();
    let short = if first.len() > WIDTH { first.split(": ").next().unwrap_or_default() } else { first };
    let mut out = String::new();
    for word in short.split(' ') {
        if out.len() + word.len() > WIDTH {
            return out.trim_end_matches([',', ' ']).to_owned() + " ...";
        }
        out.push_str(if out.is_empty() { "" } else { " " });
        out.push_str(word);
    }
    out.trim_end_matches(['.', ':']).to_owned()
}

/// What a script says of itself.
fn heading(shell: &str, name: &str) -> String {
    format!(
        "# {shell} completion for {name}, made by `{name} --completions {shell}`\n\
         # from its tables of options and commands, version {}.\n\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:,+@%".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{client, daemon};

    #[test]
    fn what_a_table_calls_a_value_says_what_it_can_be() {
        let program = Program::new(&daemon::COMMAND_LINE, Vec::new());
        let values = |name: &str| {
            let flag = program.flags.iter().find(|flag| flag.names.iter().any(|it| it == name));
            flag.and_then(|flag| flag.value.as_ref()).map(|value| value.values.clone())
        };
        let ready = Values::Words(vec!["auto", "accepting", "manual", "timer"]);
        for (name, expected) in [
            ("--ready", Some(ready)),
            ("-d", Some(Values::Files)),
            ("--trace", Some(Values::Files)),
            ("--chdir", Some(Values::Directories)),
            ("--signal-timeout", Some(Values::Any)),
            ("-m", None),
        ] {
            assert_eq!(values(name), expected, "{name}");
        }
        assert!(
            matches!(values("--stop-signal"), Some(Values::Words(words)) if words.contains(&"USR2") && !words.contains(&"KILL"))
        );
    }

    #[test]
    fn every_command_takes_what_its_synopsis_says() {
        let commands = commands();
        let find =
            |name: &str| commands.iter().find(|it| it.names.iter().any(|known| known == name)).unwrap();
        let values = |name| find(name).words.iter().map(|word| word.values.clone()).collect::<Vec<_>>();
        assert!(matches!(values("signal").as_slice(), [Values::Words(_), Values::Asked(Offer::Pids)]));
        assert!(find("signal").repeats && !find("worker:ack").repeats);
        assert_eq!(values("die"), [Values::Words(vec!["INT", "QUIT", "USR2", "TERM", "KILL"])]);
        assert_eq!(values("worker:ack"), [Values::Asked(Offer::Pids)]);
        assert_eq!(values("replay"), [Values::Files]);
        assert_eq!(values("help"), [Values::Command]);
        assert_eq!(
            (values("upgrade"), values("events"), values("set-workers")),
            (vec![], vec![], vec![Values::Any])
        );
        assert!(find("upgrade-fleet").runs && !find("status").runs);
    }

    #[test]
    fn descriptions_are_short_and_end_with_a_word() {
        let program = Program::new(&client::COMMAND_LINE, commands());
        let daemon = Program::new(&daemon::COMMAND_LINE, Vec::new());
        let flags = program.all_flags().chain(daemon.all_flags()).map(|(_, flag)| &flag.about);
        for about in flags.chain(program.commands.iter().map(|it| &it.about)) {
            assert!(!about.is_empty() && about.len() <= 80 && about.is_ascii(), "{about}");
            assert!(!about.ends_with(['.', ',', ':', ';']) || about.ends_with(" ..."), "{about}");
        }
        assert_eq!(brief("One: two. Three."), "One: two");
    }

    #[test]
    fn a_word_is_one_to_a_shell() {
        assert_eq!(quoted("--env"), "--env");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
        assert_eq!(quoted(""), "''");
    }
}
