//! One command after the other, over a connection that is made when it is needed.

use super::{
    connection::{Connection, Lost, Target, Unreachable},
    interrupt::{Attended, Interrupts},
    outcome::Outcome,
    owner::Peer,
    render::Screen,
    wait::{self, Back},
};
use crate::{
    cli::order::{Dispatch, Order},
    protocol::{
        Envelope,
        command::{self, Awaited},
    },
};

/// Runs commands, and shows what comes of them.
#[derive(Debug)]
pub struct Client {
    target: Target,
    interrupts: Interrupts,
    connection: Option<Connection>,
}

impl Client {
    /// A client of the supervisor at `target`; not connected yet. Ctrl-C ends the wait for an answer, if
    /// `interrupts` notices it.
    #[must_use]
    pub fn new(target: Target, interrupts: Interrupts) -> Self {
        Self { target, interrupts, connection: None }
    }

    /// Carries an order out to its end, and shows everything. A connection that was lost, now or since the
    /// last command, is made anew for the next one; a command is never sent twice.
    pub fn run(&mut self, order: &Order, screen: &mut Screen<'_>) -> Outcome {
        let dispatch = match order {
            Order::Send(dispatch) => dispatch,
            Order::Tell(text) => {
                screen.show(&Envelope::done(text.as_str()).into());
                return Outcome::Done;
            }
        };
        let mut connection = match self.take_connection() {
            Ok(connection) => connection,
            Err(unreachable) => {
                screen.complain(&unreachable);
                return Outcome::Unreachable;
            }
        };
        let attended = self.interrupts.attend();
        match carry_out(dispatch, &mut connection, &attended, screen) {
            Ok(outcome) => {
                drop(attended);
                self.connection = Some(connection);
                outcome
            }
            // What may still come over the connection belongs to nobody: the next command gets another.
            Err(Lost::Interrupted) => {
                screen.complain(&format_args!("interrupted; {}", left_behind(dispatch)));
                Outcome::Interrupted
            }
            Err(lost) => {
                screen.complain(&format_args!("{}: {lost}", dispatch.name));
                Outcome::Failed
            }
        }
    }

    fn take_connection(&mut self) -> Result<Connection, Unreachable> {
        if let Some(mut connection) = self.connection.take()
            && !connection.is_closed()
        {
            return Ok(connection);
        }
        Connection::open(&self.target)
    }
}

/// What becomes of a command that nobody waits for any more. Nobody should have to guess that.
fn left_behind(dispatch: &Dispatch) -> String {
    match dispatch.awaited {
        Some(Awaited::End) => "the shutdown goes on".to_owned(),
        Some(Awaited::TakenBack) => "going back goes on: `status` shows it".to_owned(),
        None if command::find(dispatch.name).is_some_and(|entry| entry.waits) => {
            "the upgrade goes on: `status` shows it, `abort` gives it up".to_owned()
        }
        None => format!("whether `{}` was carried out is not known", dispatch.name),
    }
}

fn carry_out(
    dispatch: &Dispatch,
    connection: &mut Connection,
    attended: &Attended<'_>,
    screen: &mut Screen<'_>,
) -> Result<Outcome, Lost> {
    // Asked for now: once it has ended nobody can tell who it was.
    let peer = connection.peer().unwrap_or(Peer { pid: None, handle: None });
    connection.send(dispatch.name, &dispatch.args);
    let last = follow(connection, attended, screen)?;
    if !last.ok {
        return Ok(Outcome::Failed);
    }
    match dispatch.awaited {
        None => {}
        Some(Awaited::End) => {
            wait::for_end(&peer, connection, attended)?;
            let pid = peer.pid.map(|pid| format!(", pid {pid},")).unwrap_or_default();
            screen.note(&format!("the supervisor{pid} has ended"));
        }
        Some(Awaited::TakenBack) => match wait::for_way_back(&last, connection, attended)? {
            Back::Whole(words) => screen.note(&words),
            Back::Short(words) => {
                screen.complain(&words);
                return Ok(Outcome::Failed);
            }
        },
    }
    Ok(Outcome::Done)
}

/// Shows the lines of an answer up to the last, and returns that.
fn follow(
    connection: &mut Connection,
    attended: &Attended<'_>,
    screen: &mut Screen<'_>,
) -> Result<Envelope, Lost> {
    loop {
        match connection.receive(attended, screen.patience())? {
            Some(reply) => {
                screen.show(&reply);
                if !reply.envelope.wait {
                    return Ok(reply.envelope);
                }
            }
            None => screen.catch_up(),
        }
    }
}

#[cfg(test)]
mod tests;
