//! One command after the other, over a connection that is made when it is needed.

use super::{
    clock::Clock,
    connection::{Connection, Lost, Target, Unreachable},
    failing::Lookout,
    interrupt::{Attended, Interrupts},
    outcome::Outcome,
    owner::Peer,
    patience::Patience,
    render::Screen,
    session::Trouble,
    wait::{self, Back},
};
use crate::{
    cli::order::{Dispatch, Order},
    protocol::{
        Envelope,
        command::{self, Awaited},
    },
};
use std::{io::Stdout, os::fd::AsFd as _};

/// Runs commands, and shows what comes of them.
#[derive(Debug)]
pub struct Client {
    target: Target,
    interrupts: Interrupts,
    connection: Option<Connection>,
    /// Where it is shown, if it is to be noticed that nobody reads there any more.
    shown: Option<Stdout>,
}

impl Client {
    /// A client of the supervisor at `target`; not connected yet. Ctrl-C ends the wait for an answer, if
    /// `interrupts` notices it.
    #[must_use]
    pub fn new(target: Target, interrupts: Interrupts) -> Self {
        Self { target, interrupts, connection: None, shown: None }
    }

    /// The same, and what goes on for as long as somebody reads it ends as soon as nobody reads from `shown`.
    #[must_use]
    pub fn for_reader_of(self, shown: Stdout) -> Self {
        Self { shown: Some(shown), ..self }
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
        let shown = self.shown.as_ref().filter(|_| streams(dispatch)).map(Stdout::as_fd);
        let attended = self.interrupts.attend().for_reader_of(shown);
        // Asked for now: once it has ended nobody can tell who it was.
        let peer = connection.peer().unwrap_or(Peer { pid: None, handle: None });
        let (patience, lookout) = (self.target.patience, Lookout::new(&self.target, &attended));
        let mut talk =
            Talk { connection: &mut connection, peer: &peer, attended: &attended, patience, lookout };
        match talk.carry_out(dispatch, screen) {
            Ok(outcome) => {
                drop(attended);
                self.connection = Some(connection);
                outcome
            }
            // What may still come over the connection belongs to nobody: the next command gets another.
            Err(Lost::Unread) => Outcome::Done,
            Err(Lost::Interrupted) if streams(dispatch) => Outcome::Interrupted,
            Err(Lost::Interrupted) => {
                screen.complain(&format_args!("interrupted; {}", left_behind(dispatch)));
                Outcome::Interrupted
            }
            Err(lost @ Lost::Unfinished(_)) => {
                screen.complain(&format_args!("{}: {lost}; {}", dispatch.name, left_behind(dispatch)));
                Outcome::Unreachable
            }
            Err(lost @ (Lost::Silent(_) | Lost::Stalled(_))) => {
                let unheard_of = matches!(lost, Lost::Silent(_));
                let behind =
                    if unheard_of { unheard(dispatch) } else { format!("; {}", left_behind(dispatch)) };
                let trouble = Trouble::Lost { lost, pid: peer.pid };
                screen.complain(&format_args!("{}: {trouble}{behind}", dispatch.name));
                Outcome::Unreachable
            }
            Err(lost @ (Lost::Closed | Lost::Broken(_))) => {
                let ended = peer.pid.filter(|pid| !wait::exists(*pid));
                let what = match ended {
                    Some(pid) => format!("the supervisor, pid {pid}, has ended before its last word"),
                    None => lost.to_string(),
                };
                screen.complain(&format_args!("{}: {what}{}", dispatch.name, unheard(dispatch)));
                Outcome::Unreachable
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
        None => format!("whether `{}` is carried out is not known", dispatch.name),
    }
}

/// Whether its answer goes on until the client has had enough.
fn streams(dispatch: &Dispatch) -> bool {
    command::find(dispatch.name).is_some_and(|entry| entry.streams)
}

/// What becomes of a command of which nothing was heard; a clause, or nothing if it changes nothing.
fn unheard(dispatch: &Dispatch) -> String {
    match dispatch.name {
        "status" | "history" | "events" | "version" | "ehlo" | "help" => String::new(),
        name => format!("; whether `{name}` is carried out is not known"),
    }
}

/// A command on its way to its end.
struct Talk<'a> {
    connection: &'a mut Connection,
    peer: &'a Peer,
    attended: &'a Attended<'a>,
    patience: Patience,
    lookout: Lookout<'a>,
}

impl Talk<'_> {
    fn carry_out(&mut self, dispatch: &Dispatch, screen: &mut Screen<'_>) -> Result<Outcome, Lost> {
        self.connection.send(dispatch.name, &dispatch.args);
        let last = self.follow(dispatch, screen)?;
        if !last.ok {
            return Ok(Outcome::Failed);
        }
        let Self { connection, peer, attended, patience, .. } = self;
        match dispatch.awaited {
            None => {}
            Some(Awaited::End) => {
                wait::for_end(peer, connection, attended, patience.next)?;
                let pid = peer.pid.map(|pid| format!(", pid {pid},")).unwrap_or_default();
                screen.note(&format!("the supervisor{pid} has ended"));
            }
            Some(Awaited::TakenBack) => match wait::for_way_back(&last, connection, attended, patience)? {
                Back::Whole(words) => screen.note(&words),
                Back::Short(words) => {
                    screen.complain(&words);
                    return Ok(Outcome::Failed);
                }
            },
        }
        Ok(Outcome::Done)
    }

    /// Shows the lines of an answer up to the last, and returns that. What goes on for as long as somebody reads it ends
    /// when nobody does.
    fn follow(&mut self, dispatch: &Dispatch, screen: &mut Screen<'_>) -> Result<Envelope, Lost> {
        let clock = Clock::start();
        let mut silence = Some((self.patience.first, Lost::Silent(self.patience.first)));
        let mut since = clock.now();
        loop {
            let left = silence.as_ref().map(|(most, _)| (since + *most).saturating_sub(clock.now()));
            let look = self.lookout.patience().filter(|_| screen.has_bar());
            let patience = [left, screen.patience(), look].into_iter().flatten().min();
            match self.connection.receive(self.attended, patience)? {
                Some(reply) => {
                    screen.show(&reply);
                    if !reply.envelope.wait {
                        return Ok(reply.envelope);
                    }
                    if streams(dispatch) && screen.is_unread() {
                        return Err(Lost::Unread);
                    }
                    let next = self.patience.next.filter(|_| !streams(dispatch));
                    silence = next.map(|next| (next, Lost::Stalled(next)));
                    since = clock.now();
                }
                None => screen.catch_up(),
            }
            if screen.has_bar()
                && let Some(failing) = self.lookout.look()
            {
                screen.tell_failing(failing);
            }
            if let Some((_, lost)) = silence.take_if(|(most, _)| clock.now() >= since + *most) {
                return Err(lost);
            }
        }
    }
}

#[cfg(test)]
mod tests;
