//! Commands line by line: from a person, with line editing, or from a pipe.

use super::{client::Client, outcome::Outcome, render::Screen};
use crate::{
    cli::order::{Order, split},
    protocol::{
        command::{Audience, COMMANDS},
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
    fs,
    io::BufRead,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The words that end a session.
const LEAVE: [&str; 2] = ["quit", "exit"];

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
    if run_words(&greeting, client, screen) == Outcome::Unreachable {
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
            Err(error) => {
                screen.complain(&format_args!("cannot read from the terminal: {error}"));
                return Outcome::Failed;
            }
        };
        remember(&mut editor, line.trim(), history.as_deref());
        if execute(&line, client, screen) == LineOutcome::Leave {
            return Outcome::Done;
        }
    }
}

/// Runs commands from `input`, one line after the other, to its end or to Ctrl-C. Failures do not stop it;
/// what came of the last command that failed is what comes of all.
pub fn batch(mut input: impl BufRead, client: &mut Client, screen: &mut Screen<'_>) -> Outcome {
    let mut last_failure = Outcome::Done;
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return last_failure,
            Ok(_) => {}
            Err(error) => {
                screen.complain(&format_args!("cannot read from standard input: {}", io_error(&error)));
                return Outcome::Failed;
            }
        }
        match execute(&String::from_utf8_lossy(&line), client, screen) {
            LineOutcome::Ran(Outcome::Done) => {}
            LineOutcome::Ran(Outcome::Interrupted) => return Outcome::Interrupted,
            LineOutcome::Ran(outcome) => last_failure = outcome,
            LineOutcome::Leave => return last_failure,
        }
    }
}

/// Runs the commands of a line, up to the first that fails; none of them if the line is not finished.
fn execute(line: &str, client: &mut Client, screen: &mut Screen<'_>) -> LineOutcome {
    let commands = match split(line) {
        Ok(commands) => commands,
        Err(unfinished) => {
            screen.complain(&format_args!("nothing was done: the line {unfinished}"));
            return LineOutcome::Ran(Outcome::Misused);
        }
    };
    for words in commands {
        if words.first().is_some_and(|name| LEAVE.contains(&name.as_str())) {
            return LineOutcome::Leave;
        }
        let outcome = run_words(&words, client, screen);
        if outcome != Outcome::Done {
            return LineOutcome::Ran(outcome);
        }
    }
    LineOutcome::Ran(Outcome::Done)
}

fn run_words(words: &[String], client: &mut Client, screen: &mut Screen<'_>) -> Outcome {
    match Order::read(words) {
        Ok(Some(order)) => client.run(&order, screen),
        Ok(None) => Outcome::Done,
        Err(why) => {
            screen.complain(&why);
            Outcome::Misused
        }
    }
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
    fn of_a_line_that_is_not_finished_nothing_is_run() {
        let fake = Fake::new(&[&[DONE]]);
        let (outcome, out, err) = batch_of("inc; upgrade --env 'X=a;b\n", &fake);
        assert_eq!((outcome, out.as_str()), (Outcome::Misused, ""));
        assert_eq!(err, "einhyrningsinsctl: nothing was done: the line has a ' that is not closed\n");
        assert!(fake.requests().is_empty());
        let (outcome, _, err) = batch_of("staus\n", &fake);
        assert_eq!(outcome, Outcome::Misused);
        assert_eq!(err, "einhyrningsinsctl: unknown command `staus`; did you mean `status`?\n");
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
