//! The command line of `einhyrningsinsctl`: its table of options, and what they mean together.

use super::{
    error::{UsageError, brief},
    parse::Typed,
    table::{CommandLine, Opt, OptionsEnd, Rows, Section, Text, Topic},
    value::{DEFAULT_SOCKET_PATH, Value},
};
use crate::protocol::command::{COMMANDS, Entry, options_in_a_line};
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// The options, one by one. What each does is told in [`COMMAND_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    Execute,
    SocketPath,
    Json,
    Help,
    Version,
}

/// All about the command line of `einhyrningsinsctl`.
pub static COMMAND_LINE: CommandLine<Key> = CommandLine {
    program: "einhyrningsinsctl",
    usage: &["[OPTIONS] COMMAND [ARGS...]", "[OPTIONS] -e CMD", "[OPTIONS]", "replay FILE"],
    summary: "Tells a running einhyrningsins what to do, and shows what it answers. Without a command, \
              it reads commands interactively. Options end at the first word that is none.",
    sections: &[Section {
        title: "Options",
        options: &[
            Opt::valued(
                Key::Execute,
                "execute",
                "CMD",
                "Run CMD, a command with its arguments in one word. Several are separated by semicolons.",
            )
            .short('e')
            .repeats(),
            Opt::valued(Key::SocketPath, "socket-path", "PATH", "The supervisor's control socket.")
                .short('d')
                .defaults_to(DEFAULT_SOCKET_PATH),
            Opt::flag(Key::Json, "json", "Print the lines of a reply as they come."),
            Opt::flag(Key::Help, "help", "Print this text and exit.").short('h').prints(Text::Help),
            Opt::flag(Key::Version, "version", "Print name and version, and exit.").prints(Text::Version),
        ],
    }],
    topics: &[
        Topic { title: "Commands", rows: Rows::Elsewhere(command_rows) },
        Topic {
            title: "Without a supervisor",
            rows: Rows::Here(&[(
                "replay FILE",
                "Tell what einhyrningsins --trace recorded in FILE again, event by event, up to the first \
                 where this version decides otherwise.",
            )]),
        },
        Topic {
            title: "Exit status",
            rows: Rows::Here(&[
                ("0", "Done."),
                ("1", "A command was refused, or it failed; a replay differs."),
                ("2", "The command line is wrong; nothing was done."),
                ("3", "No supervisor could be reached."),
            ]),
        },
    ],
    options_end: OptionsEnd::FirstWord,
    foreign: |_| None,
};

/// Every command of the protocol's table, in sentences.
fn command_rows() -> Vec<(String, String)> {
    let row = |entry: &Entry| (entry.synopsis(), sentence(&entry.explanation()));
    let options = ("OPTS".to_owned(), options_in_a_line());
    COMMANDS.iter().map(row).chain([options]).collect()
}

/// A clause as a sentence.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To replay this trace.
    Replay(PathBuf),
    /// To print this.
    Print(Text),
}

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The control socket to connect to.
    pub socket_path: PathBuf,
    /// Whether to print replies as they come.
    pub json: bool,
    /// Commands to run one after the other, each with its arguments. None means to ask for them.
    pub commands: Vec<Vec<String>>,
}

/// Reads a command line, without the program's name at its start.
///
/// # Errors
/// If anything in it is unknown, malformed or contradictory.
pub fn parse<I: IntoIterator<Item = OsString>>(args: I) -> Result<Parsed, UsageError> {
    let typed = Typed::read(&COMMAND_LINE, args, |_| false)?;
    if let Some(text) = typed.prints {
        return Ok(Parsed::Print(text));
    }
    if let Some(trace) = replay(&typed)? {
        return Ok(Parsed::Replay(trace));
    }
    Ok(Parsed::Run(Box::new(Options {
        socket_path: typed
            .value(Key::SocketPath, Value::socket_path)?
            .unwrap_or_else(|| DEFAULT_SOCKET_PATH.into()),
        json: typed.has(Key::Json),
        commands: commands(&typed)?,
    })))
}

/// The trace of `replay FILE`, the one command that is not for a supervisor.
fn replay(typed: &Typed<Key>) -> Result<Option<PathBuf>, UsageError> {
    let Some((_, files)) = typed.words.split_first().filter(|(name, _)| *name == "replay") else {
        return Ok(None);
    };
    let refuse = |word: &OsStr, why: &str| UsageError::BadValue {
        option: "COMMAND".to_owned(),
        value: brief(word),
        why: why.to_owned(),
        accepted: "replay FILE".to_owned(),
    };
    for (key, one) in [(Key::Execute, "--execute"), (Key::Json, "--json")] {
        if typed.has(key) {
            let why = "a replay stands alone, and is shown to people only";
            return Err(UsageError::Conflict { one, other: "replay", why });
        }
    }
    match files {
        [] => Err(refuse("replay".as_ref(), "needs the file of a trace")),
        [file] if file.is_empty() => Err(refuse(file, "is not the path of a file")),
        [file] => Ok(Some(file.into())),
        [_, second, ..] => Err(refuse(second, "is one word too many")),
    }
}

fn commands(typed: &Typed<Key>) -> Result<Vec<Vec<String>>, UsageError> {
    match (typed.has(Key::Execute), typed.words.is_empty()) {
        (true, false) => {
            let why = "quote a command that has arguments, as in -e 'set_workers 4'";
            Err(UsageError::Conflict { one: "--execute", other: "COMMAND", why })
        }
        (true, true) => {
            let each = typed.values(Key::Execute).map(split).collect::<Result<Vec<_>, _>>()?;
            Ok(each.into_iter().flatten().collect())
        }
        (false, true) => Ok(Vec::new()),
        (false, false) => typed.words.iter().map(word).collect::<Result<_, _>>().map(|words| vec![words]),
    }
}

/// The commands between semicolons. Words are separated by white space; there is no quoting.
fn split(value: Value<'_>) -> Result<Vec<Vec<String>>, UsageError> {
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let text = value.text.to_str().ok_or_else(|| value.refuse("is not UTF-8", "UTF-8"))?;
    let commands: Vec<_> = text.split(';').map(words).filter(|words| !words.is_empty()).collect();
    if commands.is_empty() {
        return Err(value.refuse("holds no command", "commands, separated by semicolons"));
    }
    Ok(commands)
}

/// A word of COMMAND ARGS. Replies and requests are UTF-8, so it must be, too.
fn word(word: &OsString) -> Result<String, UsageError> {
    let text = word.to_str().filter(|text| !text.is_empty()).map(str::to_owned);
    text.ok_or_else(|| UsageError::BadValue {
        option: "COMMAND".to_owned(),
        value: brief(word),
        why: "is empty or not UTF-8".to_owned(),
        accepted: "words in UTF-8".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn parse_words(words: &[&str]) -> Result<Parsed, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    fn options(words: &[&str]) -> Options {
        match parse_words(words) {
            Ok(Parsed::Run(options)) => *options,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn error(words: &[&str]) -> String {
        parse_words(words).unwrap_err().to_string()
    }

    #[test]
    fn without_a_command_the_client_is_interactive() {
        let socket_path = PathBuf::from("/tmp/einhorn.sock");
        assert_eq!(options(&[]), Options { socket_path, json: false, commands: vec![] });
    }

    #[test]
    fn a_command_may_be_given_as_words() {
        let given = options(&["--json", "-d", "/run/x", "upgrade", "--canary", "1", "--", "a;b"]);
        assert_eq!(given.commands, [["upgrade", "--canary", "1", "--", "a;b"]]);
        assert!(given.json);
        assert_eq!(given.socket_path, PathBuf::from("/run/x"));
    }

    #[test]
    fn a_command_may_be_given_as_one_word() {
        assert_eq!(options(&["-e", "status"]).commands, [["status"]]);
        assert_eq!(options(&["--execute= signal  HUP\t12 "]).commands, [["signal", "HUP", "12"]]);
    }

    #[test]
    fn several_commands_are_separated_by_semicolons() {
        let commands = [vec!["inc"], vec!["signal", "HUP"], vec!["status"]];
        for words in
            [["-e", "inc;signal HUP ; status;"].as_slice(), &["-e", "inc", "-e", ";signal HUP;;status"]]
        {
            assert_eq!(options(words).commands, commands, "{words:?}");
        }
    }

    #[test]
    fn a_command_is_given_one_way_or_the_other() {
        let rest = "quote a command that has arguments, as in -e 'set_workers 4'";
        assert_eq!(
            error(&["-e", "set_workers", "4"]),
            format!("--execute and COMMAND do not go together: {rest}")
        );
    }

    #[test]
    fn a_replay_takes_one_file_and_nothing_else() {
        let file = || OsString::from_vec(b"/tmp/\xff".to_vec());
        assert_eq!(parse(["replay".into(), file()]), Ok(Parsed::Replay(file().into())));
        let rest = "accepted: replay FILE";
        for (words, complaint) in [
            (["replay"].as_slice(), "COMMAND: `replay` needs the file of a trace; "),
            (&["replay", ""], "COMMAND: `` is not the path of a file; "),
            (&["replay", "one", "two"], "COMMAND: `two` is one word too many; "),
        ] {
            assert_eq!(error(words), format!("{complaint}{rest}"));
        }
        for (words, option) in
            [(["--json", "replay", "f"].as_slice(), "--json"), (&["-e", "inc", "replay", "f"], "--execute")]
        {
            assert!(error(words).starts_with(&format!("{option} and replay do not go together: ")));
        }
        assert_eq!(options(&["-e", "replay f"]).commands, [["replay", "f"]]);
    }

    #[test]
    fn an_empty_command_is_refused() {
        for value in ["", " ", ";", " ; "] {
            let rest = "holds no command; accepted: commands, separated by semicolons";
            assert_eq!(error(&["-e", value]), format!("--execute: `{value}` {rest}"));
        }
        assert_eq!(error(&[""]), "COMMAND: `` is empty or not UTF-8; accepted: words in UTF-8");
    }

    #[test]
    fn commands_are_utf_8() {
        let bad = || OsString::from_vec(b"a\xff".to_vec());
        assert!(parse([bad()]).is_err());
        assert!(parse(["-e".into(), bad()]).is_err());
    }

    #[test]
    fn help_and_version_win() {
        for (words, parsed) in [
            (["-e", "", "-h"], Parsed::Print(Text::Help)),
            (["--json", "--help", "--nonsense"], Parsed::Print(Text::Help)),
            (["-d", "", "--version"], Parsed::Print(Text::Version)),
        ] {
            assert_eq!(parse_words(&words), Ok(parsed));
        }
    }

    #[test]
    fn help_tells_every_command_with_what_it_takes_and_does() {
        let help = COMMAND_LINE.help();
        let topic = help.split("\n\n").find_map(|topic| topic.strip_prefix("Commands:\n")).unwrap();
        let words = topic.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [
            "status Show the supervisor, its workers and any upgrade under way. upgrade [OPTS] Replace the \
             workers a few at a time; waits for the end. upgrade_fleet [OPTS] Start ",
            " worker:ping PID For workers: this worker is alive. OPTS --canary N (so many go ahead), ",
        ] {
            assert!(words.contains(said), "{said} is not in:\n{help}");
        }
        for entry in COMMANDS {
            let term = format!("  {} ", entry.synopsis());
            assert_eq!(topic.lines().filter(|line| line.starts_with(&term)).count(), 1, "{term} in:\n{help}");
        }
    }

    #[test]
    fn every_option_of_the_table_has_an_effect() {
        let nothing = parse_words(&[]);
        for option in COMMAND_LINE.options() {
            let sample = match option.key {
                Key::Execute => "status",
                Key::SocketPath => "/run/x",
                Key::Json | Key::Help | Key::Version => "",
            };
            let long = format!("--{}", option.long);
            let parsed = parse_words(&[long.as_str(), sample][..1 + usize::from(option.value.is_some())]);
            assert!(parsed.is_ok() && parsed != nothing, "{long}: {parsed:?}");
        }
    }
}
