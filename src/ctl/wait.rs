//! Waiting on after an answer, for what it promised.

use super::{
    clock::Clock,
    connection::{Connection, Lost},
    interrupt::{Attended, Waited},
    owner::Peer,
    patience::Patience,
    process,
};
use crate::protocol::Envelope;
use miniserde::json::{Number, Object, Value};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use std::{os::fd::AsFd as _, time::Duration};

/// How often a supervisor is asked how far it is on its way back.
const ASK: Duration = Duration::from_millis(200);

/// How often a process is looked for where the kernel has no handle to wait for.
const LOOK: Duration = Duration::from_millis(20);

/// How going back has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// All workers that there are to be are healthy again, and of the generation that serves.
    Whole(String),
    /// It is over, and not so.
    Short(String),
}

/// Waits until a process is gone, its sockets with it, for `most` if that is given. (One that has ended and was
/// not waited for by its parent is gone in this sense.)
///
/// # Errors
/// If waiting is interrupted, or takes too long.
pub fn for_end(
    peer: &Peer,
    connection: &mut Connection,
    attended: &Attended<'_>,
    most: Option<Duration>,
) -> Result<(), Lost> {
    let limit = Limit::start(most);
    match peer {
        Peer { handle: Some(handle), .. } => {
            match pause(attended.wait(Some(handle.as_fd()), limit.left()?))? {
                Waited::Ready => Ok(()),
                Waited::TimedOut | Waited::Interrupted | Waited::Unread => limit.is_over(),
            }
        }
        Peer { pid: Some(pid), handle: None } => {
            while exists(*pid) {
                limit.left()?;
                pause(attended.wait(None, Some(LOOK)))?;
            }
            Ok(())
        }
        // All that can be seen of it from here is that it hangs up.
        Peer { pid: None, handle: None } => match connection.receive(attended, limit.left()?) {
            Err(Lost::Interrupted) => Err(Lost::Interrupted),
            Ok(None) => limit.is_over(),
            Ok(Some(_)) | Err(_) => Ok(()),
        },
    }
}

/// How long something is waited for.
struct Limit {
    clock: Clock,
    most: Option<Duration>,
}

impl Limit {
    fn start(most: Option<Duration>) -> Self {
        Self { clock: Clock::start(), most }
    }

    /// How much of the time is left, if it is limited; an error if none is.
    fn left(&self) -> Result<Option<Duration>, Lost> {
        let Some(most) = self.most else { return Ok(None) };
        let left = most.saturating_sub(self.clock.now());
        if left.is_zero() { Err(Lost::Unfinished(most)) } else { Ok(Some(left)) }
    }

    fn is_over(&self) -> Result<(), Lost> {
        Err(Lost::Unfinished(self.most.unwrap_or_else(|| self.clock.now())))
    }
}

/// An interruption as an error.
fn pause(waited: Waited) -> Result<Waited, Lost> {
    match waited {
        Waited::Interrupted => Err(Lost::Interrupted),
        Waited::Unread => Err(Lost::Unread),
        Waited::Ready | Waited::TimedOut => Ok(waited),
    }
}

/// Whether there is a process of that number that has not ended.
#[must_use]
pub fn exists(pid: i32) -> bool {
    let ended = matches!(process::state(pid), Some('Z' | 'X'));
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH) && !ended
}

/// Waits until the upgrade to that generation is no more.
///
/// # Errors
/// If the connection is lost, the supervisor does not answer, or waiting is interrupted or takes too long.
pub fn for_way_back(
    aborting: &Envelope,
    connection: &mut Connection,
    attended: &Attended<'_>,
    patience: &Patience,
) -> Result<Back, Lost> {
    let generation = number(&aborting.fields, "generation");
    let limit = Limit::start(patience.next);
    loop {
        connection.send("status", &[]);
        let reply = connection.receive_soon(attended, patience.first)?;
        let Some(status) = object(&reply.envelope.fields, "status") else {
            return Ok(Back::Short(reply.envelope.message));
        };
        // Under way back the generation is the one that it goes to.
        let goes_on = |upgrade: &Object| {
            let back = matches!(upgrade.get("rolling_back"), Some(Value::Bool(true)));
            back || number(upgrade, "generation") == generation
        };
        if !object(status, "upgrade").is_some_and(goes_on) {
            return Ok(back(generation, status));
        }
        let left = limit.left()?;
        pause(attended.wait(None, Some(left.map_or(ASK, |left| left.min(ASK)))))?;
    }
}

fn back(generation: Option<u64>, status: &Object) -> Back {
    let count = |name| number(status, name).unwrap_or_default();
    let (serving, healthy, target) = (count("generation"), count("healthy_of_generation"), count("target"));
    let taken = generation.map(|generation| format!("generation {generation} ")).unwrap_or_default();
    let words = format!(
        "{taken}is taken back: generation {serving} serves with {healthy} of {target} workers healthy"
    );
    if healthy < target { Back::Short(words) } else { Back::Whole(words) }
}

fn object<'a>(fields: &'a Object, name: &str) -> Option<&'a Object> {
    match fields.get(name) {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn number(fields: &Object, name: &str) -> Option<u64> {
    match fields.get(name) {
        Some(Value::Number(Number::U64(number))) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::interrupt::Interrupts;
    use std::{os::unix::net::UnixStream, process::Command, thread};

    #[test]
    fn a_process_is_waited_for_with_or_without_a_handle() {
        // A pidfd is readable once its process has ended; so is the end of a pipe that it holds.
        let mut sleeper = Command::new("sleep").arg("0.2").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        let (here, _there) = UnixStream::pair().unwrap();
        let mut connection = Connection::from(here);
        let interrupts = Interrupts::leave();
        assert!(exists(pid));
        for_end(&Peer { pid: Some(pid), handle: None }, &mut connection, &interrupts.attend(), None).unwrap();
        assert!(!exists(pid), "although nobody has waited for it");
        sleeper.wait().unwrap();
        assert!(!exists(pid));

        let (ours, theirs) = UnixStream::pair().unwrap();
        let closes = thread::spawn(move || drop(theirs));
        for_end(&Peer { pid: None, handle: Some(ours.into()) }, &mut connection, &interrupts.attend(), None)
            .unwrap();
        closes.join().unwrap();
    }

    #[test]
    fn one_that_cannot_be_seen_is_waited_for_by_its_connection() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let closes = thread::spawn(move || drop(theirs));
        let mut connection = Connection::from(ours);
        let interrupts = Interrupts::leave();
        for_end(&Peer { pid: None, handle: None }, &mut connection, &interrupts.attend(), None).unwrap();
        closes.join().unwrap();
    }
}
