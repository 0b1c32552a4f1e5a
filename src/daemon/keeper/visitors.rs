//! Who comes to the control socket while nobody supervises.
//!
//! What is said is looked at and left where it is, unless it is answered here: a supervisor that comes finds it. What
//! workers report is answered and noted.

use super::{
    super::{client::Peer, clock::monotonic, kept::HeldClient},
    orphan::TAKE_OVER,
};
use crate::{
    fsm::{event::Command, id::Pid},
    protocol::{Envelope, Operation, Request, decode},
};
use log::{debug, warn};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::{MsgFlags, recv},
};
use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

/// How many may be there. The one that came first makes room for the next, unless it waits for a supervisor.
const MOST: usize = 64;

/// How many reports are noted.
const MOST_REPORTS: usize = 20_000;

/// How much of a line is looked at. What asks for something that is answered here is shorter.
const LOOKED_AT: usize = 16 * 1024;

/// How soon, in milliseconds, a line is looked at again that is not complete.
const AGAIN: u16 = 50;

/// How often that is done.
const LOOKS: u32 = 200;

/// Somebody.
struct Visitor {
    stream: UnixStream,
    held: HeldClient,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may say something.
    Listened,
    /// It has begun to, and was looked at so often.
    Begun(u32),
    /// What it has said is for a supervisor.
    Parked,
    Gone,
}

/// What the keeper does more about than answering.
pub(super) enum Asked {
    Stop,
    TakeOver(UnixStream),
}

/// What was said that is not just answered.
enum Said {
    Asked(Asked),
    /// A worker's report, for whoever takes over.
    Report(Vec<u8>),
}

/// What a worker is told that has reported.
const NOTED: &str = "noted for the next supervisor, since nobody supervises now";

/// All of them.
pub(super) struct Visitors {
    all: Vec<Visitor>,
    reports: Vec<(HeldClient, Vec<u8>)>,
    supervisor: Pid,
    since: Duration,
}

impl Visitors {
    pub(super) fn new(supervisor: Pid) -> Self {
        Self { all: Vec::new(), reports: Vec::new(), supervisor, since: monotonic() }
    }

    /// How long to wait at most for the next word of anybody.
    pub(super) fn timeout(&self) -> PollTimeout {
        let begun = self.all.iter().any(|visitor| matches!(visitor.state, State::Begun(_)));
        if begun { PollTimeout::from(AGAIN) } else { PollTimeout::NONE }
    }

    /// Those of whom an event tells.
    pub(super) fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listened = self.all.iter().filter(|visitor| visitor.state == State::Listened);
        listened.map(|visitor| PollFd::new(visitor.stream.as_fd(), PollFlags::POLLIN))
    }

    /// Lets in whoever has come.
    pub(super) fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            self.admit(stream);
        }
    }

    /// Lets in one that has connected.
    pub(super) fn admit(&mut self, mut stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let Some(Peer { pid, user, group }) = Peer::admitted(&mut stream, "service") else { return };
        if self.all.len() >= MOST {
            let first = self.all.iter().position(|visitor| visitor.state != State::Parked);
            self.all.remove(first.unwrap_or_default());
        }
        let held = HeldClient { fd: stream.as_raw_fd(), pid, user, group, reports: false };
        self.all.push(Visitor { stream, held, state: State::Listened });
    }

    /// Answers those who have said something. Returns what is not for this room to do. `serving` says who serves.
    pub(super) fn next(&mut self, serving: &str) -> Option<Asked> {
        let (supervisor, since) = (self.supervisor, self.since);
        let lapsed = monotonic().saturating_sub(since).as_secs();
        let hint = format!(
            "nobody supervises this service: the supervisor (pid {supervisor}) is gone since {lapsed} s, and {serving} \
             on without it; start it again with the same command line to have it take over, or `die` stops the service"
        );
        let mut asked = None;
        for visitor in &mut self.all {
            match visitor.look(&hint) {
                None => {}
                Some(Said::Report(line)) if self.reports.len() < MOST_REPORTS => {
                    // Whoever takes over has no connection for it any more.
                    self.reports.push((HeldClient { fd: -1, ..visitor.held.clone() }, line));
                }
                Some(Said::Report(_)) => {
                    warn!("process {} has reported, and too many have", visitor.held.pid)
                }
                Some(Said::Asked(what)) => {
                    asked = Some(what);
                    break;
                }
            }
        }
        self.all.retain(|visitor| visitor.state != State::Gone);
        asked
    }

    /// What workers have reported, and who has done so.
    pub(super) fn reports(&self) -> &[(HeldClient, Vec<u8>)] {
        &self.reports
    }

    /// Those who are there, for a supervisor: each may be about to say something.
    pub(super) fn there(&self) -> impl Iterator<Item = HeldClient> {
        self.all.iter().filter(|visitor| visitor.state != State::Gone).map(|visitor| visitor.held.clone())
    }
}

impl Visitor {
    /// Looks at what it has said, and answers that if it can be answered.
    fn look(&mut self, hint: &str) -> Option<Said> {
        let looks = match self.state {
            State::Listened => 0,
            State::Begun(looks) => looks,
            State::Parked | State::Gone => return None,
        };
        let mut text = vec![0; LOOKED_AT];
        let length =
            match recv(self.stream.as_raw_fd(), &mut text, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
                Ok(0) => {
                    self.state = State::Gone;
                    return None;
                }
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => return None,
                Err(_) => {
                    self.state = State::Gone;
                    return None;
                }
            };
        text.truncate(length);
        let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
            if length == LOOKED_AT || looks >= LOOKS {
                self.say(&Envelope::refused(hint));
                self.state = State::Gone;
            } else {
                self.state = State::Begun(looks.saturating_add(1));
            }
            return None;
        };
        self.state = State::Listened;
        let line = text.get(..end).unwrap_or_default();
        if line == TAKE_OVER.as_bytes() {
            self.consume(end.saturating_add(1));
            self.state = State::Gone;
            return self.stream.try_clone().ok().map(|stream| Said::Asked(Asked::TakeOver(stream)));
        }
        let reply_to = match decode(line) {
            Ok(Request { reply_to, operation }) if operation.reported().is_some() => {
                let report = matches!(operation, Operation::Ack { .. }).then(|| line.to_vec());
                self.consume(end.saturating_add(1));
                self.say(&Envelope::done(NOTED).answering(reply_to));
                return report.map(Said::Report);
            }
            Ok(Request { operation: Operation::Machine(Command::Die { .. }), .. }) => {
                self.state = State::Parked;
                return Some(Said::Asked(Asked::Stop));
            }
            Ok(Request { reply_to, .. }) => reply_to,
            Err(refusal) => refusal.reply_to,
        };
        debug!("process {} is told that nobody supervises", self.held.pid);
        self.consume(end.saturating_add(1));
        self.say(&Envelope::refused(hint).answering(reply_to));
        None
    }

    fn consume(&mut self, length: usize) {
        let mut text = vec![0; length];
        // It was there a moment ago.
        let _ = self.stream.read_exact(&mut text);
    }

    fn say(&mut self, envelope: &Envelope) {
        // Who does not read short lines is not waited for.
        if self.stream.write_all(envelope.encode().as_bytes()).is_err() {
            self.state = State::Gone;
        }
    }
}
