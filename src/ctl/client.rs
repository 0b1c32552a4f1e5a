//! One command after the other, over a connection that is made when it is needed.

use super::{
    connection::{Connection, Lost, Unreachable},
    outcome::Outcome,
    render::Screen,
};
use std::path::PathBuf;

/// Runs commands, and shows what comes of them.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Client {
    /// A client of the supervisor at `path`; not connected yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    /// Runs one command (its name, then its arguments) to its end, and shows everything. A connection
    /// that was lost, now or since the last command, is made anew for the next one; a command is never
    /// sent twice.
    pub fn run(&mut self, command: &[String], screen: &mut Screen<'_>) -> Outcome {
        let Some((name, args)) = command.split_first() else { return Outcome::Done };
        let mut connection = match self.take_connection() {
            Ok(connection) => connection,
            Err(unreachable) => {
                screen.complain(&unreachable);
                return Outcome::Unreachable;
            }
        };
        connection.send(name, args);
        match follow(&mut connection, screen) {
            Ok(outcome) => {
                self.connection = Some(connection);
                outcome
            }
            Err(lost) => {
                screen.complain(&format_args!("{name}: {lost}"));
                Outcome::Failed
            }
        }
    }

    /// Makes sure that there is a connection for the next command.
    ///
    /// # Errors
    /// If no supervisor can be reached.
    pub fn connect(&mut self) -> Result<(), Unreachable> {
        self.connection = Some(self.take_connection()?);
        Ok(())
    }

    fn take_connection(&mut self) -> Result<Connection, Unreachable> {
        if let Some(mut connection) = self.connection.take()
            && !connection.is_closed()
        {
            return Ok(connection);
        }
        Connection::open(&self.path)
    }
}

/// Shows the lines of an answer up to the last.
fn follow(connection: &mut Connection, screen: &mut Screen<'_>) -> Result<Outcome, Lost> {
    loop {
        let reply = connection.receive()?;
        screen.show(&reply);
        match reply.envelope {
            envelope if envelope.wait => {}
            envelope if envelope.ok => return Ok(Outcome::Done),
            _ => return Ok(Outcome::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::{fake::Fake, render::Style};

    fn run(client: &mut Client, command: &str) -> (Outcome, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let outcome = client.run(&command, &mut Screen::new(&mut out, &mut err, Style::Plain));
        (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_command_is_sent_as_words_and_its_answer_shown() {
        let fake = Fake::new(&[&["{\"message\":\"number of workers: 1 → 4\",\"ok\":true}\n"]]);
        let mut client = Client::new(fake.path());
        let (outcome, out, err) = run(&mut client, "set_workers 4");
        assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Done, "number of workers: 1 → 4\n", ""));
        assert_eq!(fake.requests(), ["{\"args\":[\"4\"],\"command\":\"set_workers\",\"id\":\"1\"}"]);
    }

    #[test]
    fn a_refusal_goes_to_standard_error() {
        let fake = Fake::new(&[&["{\"message\":\"unknown command `frob`\",\"ok\":false}\n"]]);
        let (outcome, out, err) = run(&mut Client::new(fake.path()), "frob");
        assert_eq!(
            (outcome, out.as_str(), err.as_str()),
            (Outcome::Failed, "", "einhyrningsinsctl: unknown command `frob`\n")
        );
    }

    #[test]
    fn progress_is_shown_line_by_line_until_the_last_one() {
        let fake = Fake::new(&[&[concat!(
            "{\"message\":\"generation 2: 0/1 healthy, 0 retired\",\"ok\":true,\"wait\":true}\n",
            "{\"message\":\"generation 2: 1/1 healthy, 1 retired\",\"ok\":true,\"wait\":true}\n",
            "{\"message\":\"rolled back\",\"ok\":false}\n",
        )]]);
        let (outcome, out, err) = run(&mut Client::new(fake.path()), "upgrade");
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!(out, "generation 2: 0/1 healthy, 0 retired\ngeneration 2: 1/1 healthy, 1 retired\n");
        assert_eq!(err, "einhyrningsinsctl: rolled back\n");
    }

    #[test]
    fn an_end_before_the_last_line_is_a_failure() {
        let progress = "{\"message\":\"still at it\",\"ok\":true,\"wait\":true}\n{\"mess";
        let fake = Fake::new(&[&[progress]]);
        let (outcome, out, err) = run(&mut Client::new(fake.path()), "upgrade");
        assert_eq!((outcome, out.as_str()), (Outcome::Failed, "still at it\n"));
        assert_eq!(
            err,
            "einhyrningsinsctl: upgrade: the supervisor closed the connection before its last word\n"
        );
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_a_failure() {
        let fake = Fake::new(&[&["hello\n"]]);
        let (outcome, _, err) = run(&mut Client::new(fake.path()), "status");
        assert_eq!(outcome, Outcome::Failed);
        assert!(err.contains("status: the answer cannot be understood: it is not a JSON object"), "{err}");
    }

    #[test]
    fn a_lost_connection_is_made_anew_for_the_next_command() {
        let done = "{\"message\":\"done\",\"ok\":true}\n";
        let fake = Fake::new(&[&[done, done], &[""], &[done]]);
        let mut client = Client::new(fake.path());
        assert_eq!(run(&mut client, "inc").0, Outcome::Done);
        assert_eq!(run(&mut client, "dec").0, Outcome::Done);
        fake.wait_for_hang_ups(1);
        assert_eq!(run(&mut client, "status").0, Outcome::Failed, "lost amid a command: never sent twice");
        assert_eq!(run(&mut client, "status").0, Outcome::Done);
        assert_eq!(fake.requests().len(), 4);
    }

    #[test]
    fn a_supervisor_that_cannot_be_reached_is_told_from_one_that_refuses() {
        let fake = Fake::new(&[]);
        let nobody = fake.path().with_file_name("nobody.sock");
        let (outcome, _, err) = run(&mut Client::new(nobody.clone()), "status");
        assert_eq!(outcome, Outcome::Unreachable);
        let expected = format!("cannot reach a supervisor at {}: No such file", nobody.display());
        assert!(err.contains(&expected), "{err}");
    }
}
