//! What people tell a supervisor to do: text to commands, and commands to orders.
//!
//! Text is split as a shell would split it: white space separates words; `;` and line ends separate
//! commands; single quotes, double quotes and backslashes take that meaning away from what they enclose;
//! `#` at the start of a word begins a comment; a backslash at the end of a line joins it with the next.
//! Nothing is expanded.

use crate::protocol::command::{self, Awaited, HELP, Served};
use std::{fmt, iter::Peekable, mem, str::Chars};

/// A command that makes sense, as far as that can be told without a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To say this, for which no supervisor is needed.
    Tell(String),
    /// To send this.
    Send(Dispatch),
}

/// A command to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Its name in the table of commands.
    pub name: &'static str,
    /// What the supervisor gets along with it.
    pub args: Vec<String>,
    /// What to wait for when it has been answered.
    pub awaited: Option<Awaited>,
}

/// Why a text is not a list of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A quote is open at the end.
    Quote(char),
    /// The last character is a backslash.
    Backslash,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quote(quote) => write!(f, "has a {quote} that is not closed"),
            Self::Backslash => f.write_str("has nothing behind its last \\"),
        }
    }
}

impl std::error::Error for Unfinished {}

impl Order {
    /// Reads a command: its name, then its arguments. `None` if there is not even a name.
    ///
    /// # Errors
    /// If there is no such command, or it does not take these arguments, with a message of one line that
    /// names what was found and what is accepted.
    pub fn read(words: &[String]) -> Result<Option<Self>, String> {
        let Some((name, words)) = words.split_first() else { return Ok(None) };
        let entry = command::find(name).ok_or_else(|| command::unknown(name))?;
        let (mut args, mut awaited) = (Vec::new(), None);
        let mut rest = words.iter().cloned();
        while let Some(word) = rest.next() {
            match entry.option(&word) {
                // What follows belongs to the program that it names.
                _ if word == "--" => {
                    args.push(word);
                    args.extend(rest.by_ref());
                }
                Some(option) => match option.served {
                    Served::ByClient(what) => awaited = Some(what),
                    Served::BySupervisor => {
                        args.push(word);
                        args.extend(option.value.and_then(|_| rest.next()));
                    }
                },
                None if word == "--help" || word == "-h" => return Ok(Some(Self::Tell(entry.help()))),
                None => args.push(word),
            }
        }
        entry.understands(&args)?;
        let about = args.first().and_then(|name| command::find(name));
        if entry.name == HELP {
            return Ok(Some(Self::Tell(about.map_or_else(command::help, command::Entry::help))));
        }
        Ok(Some(Self::Send(Dispatch { name: entry.name, args, awaited })))
    }
}

/// The commands in a text, each as its words. None is empty.
///
/// # Errors
/// If the text ends amid something. Then nothing of it is to be run.
pub fn split(text: &str) -> Result<Vec<Vec<String>>, Unfinished> {
    split_at(text, &[';', '\n'])
}

/// The words in a line that is one command, whatever is in it.
///
/// # Errors
/// If it ends amid something.
pub(super) fn words(line: &str) -> Result<Vec<String>, Unfinished> {
    split_at(line, &[]).map(|commands| commands.into_iter().flatten().collect())
}

/// The commands in a text, which end at each of `ends`.
fn split_at(text: &str, ends: &[char]) -> Result<Vec<Vec<String>>, Unfinished> {
    let mut splitter = Splitter::default();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => splitter.quoted(letter, &mut letters)?,
            '\\' => match letters.next().ok_or(Unfinished::Backslash)? {
                // The line goes on.
                '\n' => {}
                letter => splitter.letter(letter),
            },
            '#' if splitter.word.is_none() => while letters.next_if(|letter| *letter != '\n').is_some() {},
            _ if ends.contains(&letter) => splitter.end_command(),
            _ if letter.is_whitespace() => splitter.end_word(),
            _ => splitter.letter(letter),
        }
    }
    splitter.end_command();
    Ok(splitter.commands)
}

/// What has been split off so far.
#[derive(Default)]
struct Splitter {
    commands: Vec<Vec<String>>,
    command: Vec<String>,
    /// The word that has begun; `None` between words. A pair of quotes begins one, too.
    word: Option<String>,
}

impl Splitter {
    fn letter(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn end_word(&mut self) {
        self.command.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        let command = mem::take(&mut self.command);
        if !command.is_empty() {
            self.commands.push(command);
        }
    }

    /// Takes what is between a quote and the next one of its kind. Between double quotes a backslash
    /// takes the meaning from what has one there, and is itself before all else.
    fn quoted(&mut self, quote: char, letters: &mut Peekable<Chars<'_>>) -> Result<(), Unfinished> {
        let word = self.word.get_or_insert_default();
        loop {
            match letters.next().ok_or(Unfinished::Quote(quote))? {
                letter if letter == quote => return Ok(()),
                '\\' if quote == '"' => {
                    match letters.next_if(|next| matches!(next, '"' | '\\' | '$' | '`' | '\n')) {
                        Some('\n') => {}
                        Some(next) => word.push(next),
                        None => word.push('\\'),
                    }
                }
                letter => word.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(line: &str) -> Result<Order, String> {
        let commands = split(line).map_err(|why| why.to_string())?;
        Ok(Order::read(&commands[0])?.unwrap())
    }

    fn sent(line: &str) -> Dispatch {
        match order(line) {
            Ok(Order::Send(dispatch)) => dispatch,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn quotes_and_backslashes_are_understood_as_in_a_shell() {
        for (text, commands) in [
            ("inc", &[["inc"].as_slice()][..]),
            ("upgrade --env 'X=a;b c'; status", &[&["upgrade", "--env", "X=a;b c"], &["status"]]),
            (r#"a "b;\"\\\$\x" c\ d\;e"#, &[&["a", r#"b;"\$\x"#, "c d;e"]]),
            (r"'it'\''s' ''", &[&["it's", ""]]),
            ("a'b'\"c\"d", &[&["abcd"]]),
            ("in\\\nc \\\n 3\ndec '\\\n' \"a\\\nb\"", &[&["inc", "3"], &["dec", "\\\n", "ab"]]),
            (" ;;\n inc;; dec \r\n;", &[&["inc"], &["dec"]]),
            (
                "# all of this; is\ninc # and this\ndec a#b '#c' \\#d",
                &[&["inc"], &["dec", "a#b", "#c", "#d"]],
            ),
            ("", &[]),
        ] {
            assert_eq!(split(text).unwrap(), commands, "{text}");
        }
    }

    #[test]
    fn what_is_not_finished_is_refused_as_a_whole() {
        for (text, why) in [
            ("inc; upgrade --env 'X=a", "has a ' that is not closed"),
            ("inc; \"it's", "has a \" that is not closed"),
            ("inc \\", "has nothing behind its last \\"),
        ] {
            assert_eq!(split(text).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn what_the_client_serves_is_not_sent() {
        let [wait, after] = ["die --wait TERM", "die TERM --wait"].map(sent);
        assert_eq!(wait, after);
        let expected = Dispatch { name: "die", args: vec!["TERM".into()], awaited: Some(Awaited::End) };
        assert_eq!(wait, expected);
        assert_eq!(sent("abort --wait").awaited, Some(Awaited::TakenBack));
        assert_eq!(sent("abort").awaited, None);
        let program = sent("upgrade -- sleep --wait --help");
        assert_eq!(program.args, ["--", "sleep", "--wait", "--help"]);
    }

    #[test]
    fn help_is_told_here() {
        assert_eq!(order("help"), Ok(Order::Tell(command::help())));
        let upgrade = command::find("upgrade").unwrap().help();
        for line in ["help upgrade", "upgrade --help", "upgrade -h", "upgrade --canary 1 --help"] {
            assert_eq!(order(line), Ok(Order::Tell(upgrade.clone())), "{line}");
        }
        let value = order("upgrade --env --help").unwrap_err();
        assert!(value.contains("`--help` is not VAR=VALUE"), "a value is no option: {value}");
    }

    #[test]
    fn what_no_supervisor_would_understand_is_refused_here() {
        for (line, said) in [
            ("staus", "unknown command `staus`; did you mean `status`?"),
            ("help nonsense", "help: unknown command `nonsense`; accepted: status, "),
            ("inc 1 2", "inc: unexpected argument `2`"),
            ("set_workers", "set_workers: the argument is missing"),
            ("set-workers abc", "set_workers: `abc` is not a number of workers; it can be from 1 to 10000"),
            ("worker:ack abc", "worker:ack: `abc` is not a process id; "),
            ("worker:ack", "worker:ack: `pid` is missing"),
            ("upgrade --wait", "upgrade: unexpected argument `--wait`; accepted: --canary N"),
            ("die --soon", "die: `--soon` is not a way to shut down"),
        ] {
            let message = order(line).unwrap_err();
            assert!(message.starts_with(said), "{line}: {message}");
        }
        assert_eq!(Order::read(&[]), Ok(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_word_can_be_quoted(words in prop::collection::vec("\\PC{0,8}", 1..4)) {
            let quoted: Vec<String> =
                words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            prop_assert_eq!(split(&quoted.join(" ")).unwrap(), [words]);
        }

        #[test]
        fn any_text_is_commands_or_unfinished(text in "[a-z '\"\\\\;#\n]{0,20}") {
            if let Ok(commands) = split(&text) {
                prop_assert!(commands.iter().all(|words| !words.is_empty()));
            }
        }
    }
}
