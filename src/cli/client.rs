//! The command line of `einhyrningsinsctl`: its table of options, and what they mean together.

mod manual;

use super::{
    completions::{self, Offer, Program, Shell},
    error::{UsageError, brief},
    man,
    order::{self, Order},
    parse::Typed,
    table::{CommandLine, Opt, OptionsEnd, Rows, Section, Text, Topic},
    tool::{self, Errand, TOOLS},
    value::Value,
};
use crate::{
    fsm::{config::SPAN, time::Millis},
    protocol::command::{self, COMMANDS, Entry, options_in_a_line},
};
use std::{
    ffi::{OsStr, OsString},
    ops::RangeInclusive,
    path::PathBuf,
};

/// The options, one by one. What each does is told in [`COMMAND_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    Execute,
    SocketPath,
    AnyOwner,
    Json,
    Timeout,
    Help,
    Version,
    Man,
    Completions,
    Complete,
}

/// The word for the page of the control protocol.
const PROTOCOL: &str = "protocol";

/// An answer takes some time.
const TIMEOUT: RangeInclusive<Millis> = Millis(1)..=*SPAN.end();

/// All about the command line of `einhyrningsinsctl`.
pub static COMMAND_LINE: CommandLine<Key> = CommandLine {
    program: "einhyrningsinsctl",
    usage: &["[OPTIONS] COMMAND [ARGS...]", "[OPTIONS] -e CMD", "[OPTIONS]"],
    summary: "Tells a running einhyrningsins what to do, and shows what it answers. Without a command, \
              it reads commands interactively. Options may stand on either side of a command; what follows \
              -- is the command's own.",
    sections: &[Section {
        title: "Options",
        options: &[
            Opt::valued(
                Key::Execute,
                "execute",
                "CMD",
                "Run CMD, a command with its arguments in one word. Several are separated by semicolons; quotes \
                 and backslashes are understood as in a shell.",
            )
            .short('e')
            .repeats(),
            Opt::valued(
                Key::SocketPath,
                "socket-path",
                "PATH",
                "The supervisor's control socket. [default: $EINHORN_SOCK_PATH, which workers have, or else \
                 /tmp/einhorn.sock]",
            )
            .short('d'),
            Opt::flag(
                Key::AnyOwner,
                "any-owner",
                "Talk to a control socket that neither root nor the own user has made.",
            ),
            Opt::flag(Key::Json, "json", "Print the lines of a reply as they come."),
            Opt::valued(
                Key::Timeout,
                "timeout",
                "SECS",
                "How long a connection may take, and then the first line of an answer as a whole. Further lines of \
                 an upgrade's, and what `--wait` waits for, may take as long as they do, unless this is \
                 given: then so long each, but not of `events`. Behind `upgrade` and `wait` it is that one's own.",
            )
            .defaults_to("10"),
            Opt::flag(Key::Help, "help", "Print this text and exit.").short('h').prints(Text::Help),
            Opt::flag(Key::Version, "version", "Print name and version, and exit.").prints(Text::Version),
            Opt::flag(
                Key::Man,
                "man",
                "Print the manual page, in man(7), and exit; with protocol, that of the control protocol.",
            )
            .word(PROTOCOL),
            Opt::valued(Key::Completions, "completions", "SHELL", completions::HELP),
            Opt::valued(Key::Complete, "complete", "WHAT", "Print what can be typed, for a shell.").hidden(),
        ],
    }],
    topics: &[
        Topic { title: "Commands", rows: Rows::Elsewhere(command_rows) },
        Topic { title: "Commands of the client's own", rows: Rows::Elsewhere(tool_rows) },
        STATUSES,
    ],
    options_end: OptionsEnd::Dashes { is_theirs },
    abbreviates: false,
    foreign: instead,
};

const STATUSES: Topic = Topic {
    title: "Exit status",
    rows: Rows::Here(&[
        ("0", "Done."),
        ("1", "A command was refused, or it failed; a probe did not pass; a replay differs."),
        (
            "2",
            "The command line is wrong, and nothing was done; or a line of the input, and nothing from there on.",
        ),
        (
            "3",
            "No supervisor could be reached, or it does not answer in time, or its socket is another user's.",
        ),
        ("4", "Done, but the output could not be written."),
        ("130", "Interrupted by Ctrl-C; what was begun goes on."),
    ]),
};

/// What `--man` prints.
pub(super) fn manual() -> String {
    man::page(&COMMAND_LINE, &manual::MANUAL)
}

/// What `--completions SHELL` prints.
pub(super) fn completions(shell: Shell) -> String {
    shell.script(&Program::new(&COMMAND_LINE, completions::commands()))
}

/// Whether the next word is an option of the command itself, or the value of the one before.
fn is_theirs(words: &[OsString], next: &OsStr) -> bool {
    if let Some(tool) = words.first().and_then(|name| tool::find(name)) {
        return tool.takes(words.last(), next);
    }
    let Some(entry) = words.first().and_then(|name| command::find(name.to_str()?)) else {
        return false;
    };
    let option = |name: &str| entry.option(name);
    let last = words.last().and_then(|last| option(last.to_str()?));
    let own = next.to_str().and_then(|next| option(next.split('=').next()?));
    last.is_some_and(|option| option.value.is_some()) || own.is_some()
}

/// What to do instead of an option that there is not.
fn instead(name: &str) -> Option<String> {
    let dashed = format!("--{name}");
    let of_supervisor =
        COMMANDS.iter().filter(|entry| entry.option(&dashed).is_some()).map(|entry| entry.name);
    let own = TOOLS.iter().filter(|tool| tool.line.find(name).is_some()).map(|tool| tool.name);
    let owners: Vec<_> = of_supervisor.chain(own).collect();
    match owners.as_slice() {
        [owner, ..] => {
            let names: Vec<_> = owners.iter().map(|owner| format!("`{owner}`")).collect();
            Some(format!("it belongs behind {}, as in `{owner} {dashed}`", names.join(" and ")))
        }
        [] => match name {
            "socket" | "control-socket" | "command-socket" | "s" => Some("use --socket-path PATH".to_owned()),
            "V" => Some("did you mean `--version`?".to_owned()),
            "command" | "cmd" | "c" => Some("use --execute CMD, or give the command as it is".to_owned()),
            "command-name" | "name" => Some("use --socket-path /tmp/einhorn-NAME.sock".to_owned()),
            _ => None,
        },
    }
}

/// Every command of the protocol's table, in sentences.
fn command_rows() -> Vec<(String, String)> {
    let row = |entry: &Entry| (entry.synopsis(), sentence(&entry.explanation()));
    let options = ("OPTS".to_owned(), options_in_a_line());
    COMMANDS.iter().map(row).chain([options]).collect()
}

/// Every command of the client's own.
fn tool_rows() -> Vec<(String, String)> {
    TOOLS.iter().map(|tool| (tool.synopsis(), tool.line.summary.to_owned())).collect()
}

/// A clause as a sentence.
pub(super) fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To do what is the client's own.
    Errand(Box<Options>, Errand),
    /// To say what can be typed.
    Offer(Box<Options>, Offer),
    /// To print this.
    Print(Text),
    /// To say this about a command.
    Tell(String),
}

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The control socket to connect to, if it was named.
    pub socket_path: Option<PathBuf>,
    /// Whether it may be anybody's.
    pub any_owner: bool,
    /// Whether to print replies as they come.
    pub json: bool,
    /// How long a supervisor may take to answer, if that was said.
    pub timeout: Option<Millis>,
    /// Commands to run one after the other. None means to ask for them.
    pub commands: Vec<Order>,
}

/// Reads a command line, without the program's name at its start.
///
/// # Errors
/// If anything in it is unknown, malformed or contradictory.
pub fn parse<I: IntoIterator<Item = OsString>>(args: I) -> Result<Parsed, UsageError> {
    let typed = Typed::read(&COMMAND_LINE, args, |_| false)?;
    match (typed.prints, typed.words.first()) {
        (Some(Text::Help), Some(name)) => return about(name).map(Parsed::Tell),
        (Some(text), _) => return Ok(Parsed::Print(text)),
        (None, _) => {}
    }
    if typed.has(Key::Man) {
        return page(&typed.words).map(Parsed::Tell);
    }
    if let Some(shell) = typed.value(Key::Completions, Shell::read)? {
        return Ok(Parsed::Tell(completions(shell)));
    }
    let options = |commands| -> Result<_, UsageError> {
        Ok(Box::new(Options {
            socket_path: typed.value(Key::SocketPath, Value::socket_path)?,
            any_owner: typed.has(Key::AnyOwner),
            json: typed.has(Key::Json),
            timeout: typed.value(Key::Timeout, |value| value.seconds(TIMEOUT))?,
            commands,
        }))
    };
    if let Some(offer) = typed.value(Key::Complete, Offer::read)? {
        return Ok(Parsed::Offer(options(Vec::new())?, offer));
    }
    match own(&typed)? {
        Some(errand) => Ok(Parsed::Errand(options(Vec::new())?, errand)),
        None => Ok(Parsed::Run(options(commands(&typed)?)?)),
    }
}

/// The manual page that was asked for.
fn page(words: &[OsString]) -> Result<String, UsageError> {
    match words {
        [] => Ok(manual()),
        [word] if word == PROTOCOL => Ok(man::protocol()),
        [word, ..] => Err(UsageError::BadValue {
            option: "--man".to_owned(),
            value: brief(word),
            why: "has no manual page".to_owned(),
            accepted: format!("--man alone, or --man {PROTOCOL}; COMMAND --help tells of a command"),
        }),
    }
}

/// The help for a command.
fn about(name: &OsString) -> Result<String, UsageError> {
    if let Some(tool) = tool::find(name) {
        return Ok(tool.line.help());
    }
    let name = word(name)?;
    let entry = command::find(&name).ok_or_else(|| UsageError::Command { why: command::unknown(&name) })?;
    Ok(entry.help() + "\n")
}

/// What a command of the client's own is to do, if that was given.
fn own(typed: &Typed<Key>) -> Result<Option<Errand>, UsageError> {
    let Some((name, rest)) = typed.words.split_first() else { return Ok(None) };
    let Some(tool) = tool::find(name) else { return Ok(None) };
    let alone = (Key::Execute, "--execute", "it stands alone");
    let for_people = (Key::Json, "--json", "it is shown to people only");
    for (key, one, why) in
        [Some(alone), Some(for_people).filter(|_| tool.is_for_people())].into_iter().flatten()
    {
        if typed.has(key) {
            return Err(UsageError::Conflict { one, other: tool.name, why });
        }
    }
    tool.read(rest).map(Some)
}

fn commands(typed: &Typed<Key>) -> Result<Vec<Order>, UsageError> {
    let words = match (typed.has(Key::Execute), typed.words.is_empty()) {
        (true, false) => {
            let why = "quote a command that has arguments, as in -e 'set_workers 4'";
            return Err(UsageError::Conflict { one: "--execute", other: "COMMAND", why });
        }
        (true, true) => {
            let each = typed.values(Key::Execute).map(split).collect::<Result<Vec<_>, _>>()?;
            each.into_iter().flatten().collect()
        }
        (false, true) => Vec::new(),
        (false, false) => vec![command_line(&typed.words)?],
    };
    read(&words)
}

/// The commands in a value, as they are to be carried out.
pub(super) fn orders(value: Value<'_>) -> Result<Vec<Order>, UsageError> {
    read(&split(value)?)
}

/// What commands ask for, each given by its words.
fn read(commands: &[Vec<String>]) -> Result<Vec<Order>, UsageError> {
    let orders = commands.iter().filter_map(|words| Order::read(words).transpose());
    orders.collect::<Result<_, _>>().map_err(|why| UsageError::Command { why })
}

/// The commands in a value. There is at least one.
fn split(value: Value<'_>) -> Result<Vec<Vec<String>>, UsageError> {
    let text = value.text.to_str().ok_or_else(|| value.refuse("is not UTF-8", "UTF-8"))?;
    let commands = order::split(text).map_err(|why| value.refuse(why, "commands, quoted as in a shell"))?;
    if commands.is_empty() {
        return Err(value.refuse("holds no command", "commands, separated by semicolons"));
    }
    Ok(commands)
}

/// A command that was given as words. Those behind its name may be empty, as a program's arguments may.
fn command_line(words: &[OsString]) -> Result<Vec<String>, UsageError> {
    if words.first().is_some_and(|name| name.is_empty()) {
        return Err(UsageError::BadValue {
            option: "COMMAND".to_owned(),
            value: String::new(),
            why: "is no command".to_owned(),
            accepted: "a command; --help lists them".to_owned(),
        });
    }
    words.iter().map(word).collect()
}

/// A word of COMMAND ARGS. Replies and requests are UTF-8, so it must be, too.
fn word(word: &OsString) -> Result<String, UsageError> {
    word.to_str().map(str::to_owned).ok_or_else(|| UsageError::BadValue {
        option: "COMMAND".to_owned(),
        value: brief(word),
        why: "is not UTF-8".to_owned(),
        accepted: "words in UTF-8".to_owned(),
    })
}

#[cfg(test)]
mod tests;
