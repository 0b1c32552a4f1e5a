//! Commands line by line: from a person, with line editing, or from a pipe.

use super::{client::Client, outcome::Outcome, render::Screen};
use crate::{
    cli::order::{Order, Unfinished, split},
    protocol::{
        command::{Audience, COMMANDS},
        line::REQUEST_MAX,
        words::io_error,
    },
};
use rustyline::{
    CompletionType, Config, Context, Editor, Helper, completion::Completer, error::ReadlineError,
    highlight::Highlighter, hint::Hinter, history::FileHistory, validate::Validator,
};
use std::{
    env,
    ffi::OsString,
    fmt, fs,
    io::{self, BufRead},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The words that end a session.
const LEAVE: [&str; 2] = ["quit", "exit"];

/// What a command in a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A command.
    Run(Order),
    /// The end of the session.
    Leave,
}

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineOutcome {
    /// Its commands were run, up to the first that failed.
    Ran(Outcome),
    /// It asks for the end.
    Leave,
}

/// Reads commands from a terminal until the person leaves. A failed command has been seen by then,
/// and is no failure of the session; nor is one that Ctrl-C has ended the wait for.
pub fn session(client: &mut Client, screen: &mut Screen<'_>) -> Outcome {
    let mut editor = match editor() {
        Ok(editor) => editor,
        Err(error) => {
            screen.complain(&format_args!("cannot use the terminal: {error}"));
            return Outcome::Failed;
        }
    };
    // The answer tells which supervisor this is.
    let greeting: Vec<String> = ["ehlo".to_owned()].into_iter().chain(env::var("USER")).collect();
    if let Ok(Some(order)) = Order::read(&greeting)
        && client.run(&order, screen) == Outcome::Unreachable
    {
        return Outcome::Unreachable;
    }
    let history = history_path(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"));
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Outcome::Done,
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                screen.complain(&format_args!("nothing was done: {}", Misread::NotUtf8));
                continue;
            }
            Err(error) => {
                screen.complain(&format_args!("cannot read from the terminal: {error}"));
                return Outcome::Failed;
            }
        };
        remember(&mut editor, line.trim(), history.as_deref());
        match split(&line).map_err(Misread::Unfinished).and_then(|commands| steps(&commands)) {
            Ok(steps) if execute(&steps, client, screen) == LineOutcome::Leave => return Outcome::Done,
            Ok(_) => {}
            Err(why) => screen.complain(&format_args!("nothing was done: {why}")),
        }
    }
}

/// Runs commands from `input`, one line after the other, to its end or to Ctrl-C. A line that goes on in the
/// next, as to sh, is run with that. Commands that fail do not stop it, and what came of the last of them is
/// what comes of all; a line that cannot be read does, before anything of it is run, and so does a supervisor
/// that cannot be reached.
pub fn batch(input: impl BufRead, client: &mut Client, screen: &mut Screen<'_>) -> Outcome {
    let mut script = Script { input, line: 0 };
    let mut last_failure = Outcome::Done;
    loop {
        let steps = match script.next() {
            Ok(Some(steps)) => steps,
            Ok(None) => return last_failure,
            Err(Stop::Input(error)) => {
                screen.complain(&format_args!("cannot read from standard input: {}", io_error(&error)));
                return Outcome::Failed;
            }
            Err(Stop::Misread { line, why }) => {
                screen.complain(&format_args!("line {line}: {why}; from that line on nothing was done"));
                return Outcome::Misused;
            }
        };
        match execute(&steps, client, screen) {
            LineOutcome::Ran(Outcome::Done) => {}
            LineOutcome::Ran(outcome @ (Outcome::Interrupted | Outcome::Unreachable)) => return outcome,
            LineOutcome::Ran(outcome) => last_failure = outcome,
            LineOutcome::Leave => return last_failure,
        }
    }
}

/// Commands line by line.
struct Script<R> {
    input: R,
    /// How many lines were read.
    line: usize,
}

/// Why no more commands come.
enum Stop {
    /// They cannot be had.
    Input(io::Error),
    /// They make no sense.
    Misread {
        /// On the line of this number, counted from 1.
        line: usize,
        why: Misread,
    },
}

/// Why a line is not commands.
enum Misread {
    NotUtf8,
    /// It ends amid something.
    Unfinished(Unfinished),
    /// It has a command that there is not, or that takes something else.
    Unknown(String),
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the line is not UTF-8"),
            Self::Unfinished(why) => write!(f, "the line {why}"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

impl<R: BufRead> Script<R> {
    /// The commands of the next line, and of those in which it goes on; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<Step>>, Stop> {
        let mut text = String::new();
        let line = self.line + 1;
        loop {
            let more = self.read_line(&mut text)?;
            match split(text.strip_suffix('\n').unwrap_or(&text)) {
                Ok(_) if !more && text.is_empty() => return Ok(None),
                Ok(commands) => return steps(&commands).map(Some).map_err(|why| Stop::Misread { line, why }),
                // What is longer than any request is not going to be one.
                Err(_) if more && text.len() <= REQUEST_MAX => {}
                Err(why) => return Err(Stop::Misread { line, why: Misread::Unfinished(why) }),
            }
        }
    }

    /// Appends the next line, with its end. Answers whether there was one.
    fn read_line(&mut self, text: &mut String) -> Result<bool, Stop> {
        let mut bytes = Vec::new();
        let length = self.input.read_until(b'\n', &mut bytes).map_err(Stop::Input)?;
        self.line += 1;
        match str::from_utf8(&bytes) {
            Ok(more) => text.push_str(more),
            Err(_) => return Err(Stop::Misread { line: self.line, why: Misread::NotUtf8 }),
        }
        Ok(length > 0)
    }
}

/// What the commands of a line ask for, all of them or none: a line is understood before it is run.
fn steps(commands: &[Vec<String>]) -> Result<Vec<Step>, Misread> {
    let step = |words: &Vec<String>| {
        if words.first().is_some_and(|name| LEAVE.contains(&name.as_str())) {
            return Ok(Some(Step::Leave));
        }
        Order::read(words).map(|order| order.map(Step::Run)).map_err(Misread::Unknown)
    };
    commands.iter().filter_map(|words| step(words).transpose()).collect()
}

/// Runs the commands of a line, up to the first that fails.
fn execute(steps: &[Step], client: &mut Client, screen: &mut Screen<'_>) -> LineOutcome {
    for step in steps {
        let Step::Run(order) = step else { return LineOutcome::Leave };
        let outcome = client.run(order, screen);
        if outcome != Outcome::Done {
            return LineOutcome::Ran(outcome);
        }
    }
    LineOutcome::Ran(Outcome::Done)
}

fn editor() -> rustyline::Result<Editor<Names, FileHistory>> {
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Names));
    Ok(editor)
}

/// Adds a line to the history and to its file. A history that cannot be written is no error.
fn remember(editor: &mut Editor<Names, FileHistory>, line: &str, path: Option<&Path>) {
    if line.is_empty() {
        return;
    }
    let _ = editor.add_history_entry(line);
    if let Some(path) = path {
        if let Some(directory) = path.parent() {
            // The XDG base directory specification asks for this mode.
            let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        }
        let _ = editor.append_history(path);
    }
}

/// Where the history is kept: as the XDG base directory specification says, which also says that
/// paths that are not absolute do not count.
fn history_path(state_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let directory =
        state_home.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".local/state")))?;
    Some(directory.join("einhyrningsinsctl_history"))
}

/// Completes the names of commands.
struct Names;

/// The names that a person may want at this place, and where what he has typed of it begins.
fn candidates(typed: &str) -> (usize, Vec<String>) {
    let command = typed.rsplit(';').next().unwrap_or_default().trim_start();
    let ours = COMMANDS.iter().filter(|entry| entry.audience == Audience::People).map(|entry| entry.name);
    let fitting = ours.chain(LEAVE).filter(|name| name.starts_with(command)).map(str::to_owned);
    (typed.len() - command.len(), fitting.collect())
}

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(candidates(line.get(..pos).unwrap_or_default()))
    }
}

impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ctl::{fake::Fake, interrupt::Interrupts, render::Style},
        protocol::command,
    };

    const DONE: &str = "{\"message\":\"done\",\"ok\":true}\n";
    const NO: &str = "{\"message\":\"no\",\"ok\":false}\n";

    fn batch_of(input: &str, fake: &Fake) -> (Outcome, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
        let mut client = Client::new(fake.target(), Interrupts::leave());
        let outcome = batch(input.as_bytes(), &mut client, &mut screen);
        (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_batch_goes_on_after_a_failure_and_remembers_it() {
        let fake = Fake::new(&[&[DONE, NO, DONE]]);
        let (outcome, out, err) = batch_of("# what follows;\ninc\n\n  retry\r\n;dec ; # is run", &fake);
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!((out.as_str(), err.as_str()), ("done\ndone\n", "einhyrningsinsctl: no\n"));
        assert_eq!(fake.requests().len(), 3);
    }

    #[test]
    fn quit_leaves_and_what_follows_is_not_run() {
        for word in LEAVE {
            let fake = Fake::new(&[&[DONE, DONE]]);
            assert_eq!(batch_of(&format!("inc; {word}\ndec\n"), &fake).0, Outcome::Done);
            assert_eq!(fake.requests().len(), 1);
        }
    }

    #[test]
    fn help_is_our_own() {
        let fake = Fake::new(&[]);
        std::fs::remove_file(fake.path()).unwrap();
        assert_eq!(batch_of("help\n", &fake), (Outcome::Done, command::help() + "\n", String::new()));
        assert_eq!(batch_of("status\n", &fake).0, Outcome::Unreachable);
    }

    #[test]
    fn the_first_line_that_cannot_be_read_is_named_and_is_the_end() {
        for (rest, why) in [
            ("dec; upgrade --env 'X=a;b\ninc\n", "the line has a ' that is not closed"),
            ("dec; staus\ninc\n", "unknown command `staus`; did you mean `status`?"),
            ("dec \\", "the line has nothing behind its last \\"),
        ] {
            let fake = Fake::new(&[&[DONE, DONE, DONE]]);
            let (outcome, out, err) = batch_of(&format!("inc\n\n{rest}"), &fake);
            assert_eq!((outcome, out.as_str()), (Outcome::Misused, "done\n"), "{rest}");
            assert_eq!(
                err,
                format!("einhyrningsinsctl: line 3: {why}; from that line on nothing was done\n")
            );
            assert_eq!(fake.requests().len(), 1, "{rest}");
        }
    }

    #[test]
    fn a_line_goes_on_as_it_would_to_a_shell() {
        let fake = Fake::new(&[&[DONE, DONE, DONE]]);
        let (outcome, ..) = batch_of("inc \\\n3 # it's so \\\nupgrade --env 'X=a\nb'\ndec\n", &fake);
        assert_eq!(outcome, Outcome::Done);
        let asked = fake.requests();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[0].contains("[\"3\"]") && asked[1].contains("\"X=a\\nb\""), "{asked:?}");
    }

    #[test]
    fn what_never_closes_is_not_read_without_end() {
        let fake = Fake::new(&[&[DONE]]);
        let lines = "'\n".to_owned() + &"a line\n".repeat(REQUEST_MAX);
        let (outcome, _, err) = batch_of(&lines, &fake);
        assert_eq!(outcome, Outcome::Misused);
        assert!(err.starts_with("einhyrningsinsctl: line 1: the line has a ' that"), "{err}");
    }

    #[test]
    fn a_supervisor_that_is_gone_is_not_looked_for_with_every_line() {
        let fake = Fake::new(&[]);
        std::fs::remove_file(fake.path()).unwrap();
        let (outcome, _, err) = batch_of("inc\ndec\n", &fake);
        assert_eq!((outcome, err.lines().count()), (Outcome::Unreachable, 1), "{err}");
    }

    #[test]
    fn names_of_commands_are_completed_and_nothing_else() {
        let names = |typed| candidates(typed);
        assert_eq!(names("up"), (0, vec!["upgrade".into(), "upgrade_fleet".into()]));
        assert_eq!(names("inc;  q"), (6, vec!["quieter".into(), "quit".into()]));
        assert_eq!(names("signal H").1, Vec::<String>::new());
        assert_eq!(names("worker").1, Vec::<String>::new());
        assert!(names("").1.contains(&"status".into()));
    }

    #[test]
    fn the_history_is_kept_where_state_belongs() {
        let path = |state: Option<&str>, home: Option<&str>| {
            history_path(state.map(OsString::from), home.map(OsString::from))
        };
        let in_state = Some(PathBuf::from("/state/einhyrningsinsctl_history"));
        let in_home = Some(PathBuf::from("/home/me/.local/state/einhyrningsinsctl_history"));
        assert_eq!(path(Some("/state"), Some("/home/me")), in_state);
        assert_eq!(path(Some("relative"), Some("/home/me")), in_home);
        assert_eq!(path(None, Some("/home/me")), in_home);
        assert_eq!(path(None, None), None);
    }
}
