//! What came on the command line.

use super::{
    client::Client,
    interactive,
    outcome::Outcome,
    render::{Screen, Style},
};
use crate::protocol::{command, words::io_error};
use signal_hook::{consts::SIGINT, iterator::Signals};
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process, thread,
};

/// In what form to show answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    People,
    /// Reply lines as they came.
    Json,
}

/// Runs `commands` (each its name, then its arguments) one after the other, up to the first that
/// fails; without any, an interactive session, or what comes on standard input if that is no terminal.
#[must_use]
pub fn run(socket_path: &Path, format: Format, commands: &[Vec<String>]) -> Outcome {
    let style = match format {
        Format::Json => Style::Json,
        Format::People if io::stdout().is_terminal() => Style::Terminal,
        Format::People => Style::Plain,
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, style);
    let mut client = Client::new(socket_path.to_owned());
    if commands.iter().any(|words| waits(words)) {
        tell_when_interrupted();
    }
    let outcome = if !commands.is_empty() {
        run_all(&mut client, commands, &mut screen)
    } else if io::stdin().is_terminal() {
        interactive::session(&mut client, &mut screen)
    } else {
        interactive::batch(io::stdin().lock(), &mut client, &mut screen)
    };
    match screen.take_error() {
        Some(error) => {
            screen.complain(&format_args!("cannot write to standard output: {}", io_error(&error)));
            if outcome == Outcome::Done { Outcome::Failed } else { outcome }
        }
        None => outcome,
    }
}

/// Whether a command is about something that goes on without the client.
fn waits(words: &[String]) -> bool {
    words.first().and_then(|name| command::find(name)).is_some_and(|entry| entry.waits)
}

/// The exit status of who was ended by SIGINT, as shells tell it.
const INTERRUPTED: i32 = 130;

/// Ctrl-C ends the client and not the upgrade; nobody should have to guess that.
fn tell_when_interrupted() {
    let Ok(mut signals) = Signals::new([SIGINT]) else {
        // Then it ends without a word, as other programs do.
        return;
    };
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // Nobody is left to tell if standard error is closed.
            let words =
                "einhyrningsinsctl: interrupted; the upgrade goes on: `status` shows it, `abort` gives it up";
            let _ = writeln!(io::stderr(), "\n{words}");
            process::exit(INTERRUPTED);
        }
    });
}

fn run_all(client: &mut Client, commands: &[Vec<String>], screen: &mut Screen<'_>) -> Outcome {
    commands
        .iter()
        .map(|command| client.run(command, screen))
        .find(|outcome| *outcome != Outcome::Done)
        .unwrap_or(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fake::Fake;

    #[test]
    fn upgrades_are_waited_for_however_they_are_written() {
        for (line, expected) in [
            ("upgrade --soak 5", true),
            ("upgrade_fleet", true),
            ("upgrade-fleet", true),
            ("inc", false),
            ("ehlo upgrade", false),
            ("upgrades", false),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(waits(&words), expected, "{line}");
        }
    }

    #[test]
    fn several_commands_stop_at_the_first_that_fails() {
        let done = "{\"message\":\"done\",\"ok\":true}\n";
        let no = "{\"message\":\"no\",\"ok\":false}\n";
        let fake = Fake::new(&[&[done, no, done]]);
        let commands = ["inc", "frob", "dec"].map(|name| vec![name.to_owned()]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
        assert_eq!(run_all(&mut Client::new(fake.path()), &commands, &mut screen), Outcome::Failed);
        assert_eq!(fake.requests().len(), 2);
    }
}
