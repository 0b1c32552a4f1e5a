//! One connection to the control socket: lines in, lines out, both in bounded memory.

use super::{
    kept::{Buffers, Bytes},
    process,
};
use crate::{
    fsm::{
        id::{Pid, RequestId},
        time::{Millis, Time},
    },
    protocol::{Envelope, LineBuffer, Overlong, ReplyTo, line::REQUEST_MAX},
};
use log::warn;
use mio::net::UnixStream;
use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    os::fd::AsFd,
};

/// How much is read at a time.
const CHUNK: usize = 16 * 1024;

/// How much room may be kept for a client that has nothing to say.
const SPARE: usize = 1024;

/// How much may wait to be sent before a client counts as one that does not read. A single answer
/// may be longer.
const UNSENT_MAX: usize = 256 * 1024;

/// How often in a row the system may lack the memory to send an answer before that is given up; it is tried
/// a few times a second.
const SETBACKS_MAX: u32 = 25;

/// How long somebody who has connected may take to say something before it can be sent away for others.
const GRACE: Millis = Millis(1_000);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The process that connected, or the worker that has inherited the connection.
    pub(crate) pid: Pid,
    /// The user that connected; for a worker the supervisor has done so.
    pub(crate) user: u32,
    /// The process group that it was in then; none if it had ended already.
    pub(crate) group: Option<Pid>,
}

impl Peer {
    /// Who has connected, if he may control that, which is called so. If not, he is told, and so is the log.
    pub(crate) fn admitted(stream: &mut (impl AsFd + Write), controlled: &str) -> Option<Self> {
        let peer = getsockopt(stream, PeerCredentials)
            .inspect_err(|error| warn!("control socket: nobody knows who connected: {error}; refused"))
            .ok()?;
        let (user, mine) = (peer.uid(), geteuid().as_raw());
        if user != 0 && user != mine {
            warn!("control socket: refused process {} of user {user}", peer.pid());
            let refusal = Envelope::refused(format!(
                "user {user} may not control this {controlled}; root and user {mine} may"
            ));
            // If the line does not fit into an empty socket buffer, it is not worth waiting for.
            let _ = stream.write(refusal.encode().as_bytes());
            return None;
        }
        let pid = Pid(u32::try_from(peer.pid()).unwrap_or_default());
        // Asked now, since by the time it is heard it may have ended: not everybody waits for an answer.
        Some(Self { pid, user, group: process::group_of(pid) })
    }
}

/// A request that has not had its last line yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Which.
    pub(crate) request: RequestId,
    /// What the client calls it, and how it wrote it.
    pub(crate) reply_to: ReplyTo,
    /// As it came.
    pub(crate) line: Vec<u8>,
    /// If it is a report, the process that it is about: who sends one may not read that it is refused.
    pub(crate) reported: Option<Pid>,
    /// Whether its answer goes on for as long as the client is there, and means nothing once the supervisor is not.
    pub(crate) streams: bool,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whatever there is to ask for. It was made by somebody who may, and can be made again.
    Requests,
    /// What a worker has to say of itself, and nothing else. The worker has inherited it and may not be able to
    /// make another.
    Reports,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    /// Who connected.
    pub(crate) peer: Peer,
    pub(crate) purpose: Purpose,
    /// The request under way.
    pub(crate) in_flight: Option<InFlight>,
    /// The client has closed its end: it may have asked for things, but reads no answers.
    pub(crate) hung_up: bool,
    /// Nothing more is to be read: the client has said all, or too much.
    pub(crate) ended: bool,
    /// The client has closed its end, or the half that it speaks on.
    said_all: bool,
    /// It has said something.
    has_spoken: bool,
    /// Since when it is there.
    pub(crate) since: Time,
    input: LineBuffer,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    /// How often in a row what is unsent could not be sent, though there was room for it.
    setbacks: u32,
    /// Whether it is noted that there is something of it which a crash would lose.
    pub(crate) noted: bool,
    /// Whether the keeper may have the connection, too: it does not end by our closing it.
    pub(crate) entrusted: bool,
}

impl Client {
    pub(crate) fn new(stream: UnixStream, peer: Peer, purpose: Purpose) -> Self {
        Self {
            stream,
            peer,
            purpose,
            in_flight: None,
            hung_up: false,
            ended: false,
            said_all: false,
            has_spoken: false,
            since: Time(0),
            input: LineBuffer::new(REQUEST_MAX),
            unread: Vec::new(),
            unsent: Vec::new(),
            setbacks: 0,
            noted: false,
            entrusted: false,
        }
    }

    /// What has passed between it and us only in part. What was read of a line that is not complete comes first.
    pub(crate) fn buffers(&self) -> Buffers {
        let unread = [self.input.partial(), &self.unread].concat();
        Buffers { unread: Bytes(unread), unsent: Bytes(self.unsent.clone()) }
    }

    /// Takes that over.
    pub(crate) fn adopt(&mut self, buffers: Buffers) {
        (self.unread, self.unsent) = (buffers.unread.0, buffers.unsent.0);
    }

    /// Whether there is anything of that.
    pub(crate) fn is_cut(&self) -> bool {
        !(self.unread.is_empty() && self.unsent.is_empty() && self.input.partial().is_empty())
    }

    /// How much memory is kept for it, in bytes: what it has sent and was not taken yet, and what it has not
    /// read. About half of what that may take in truth.
    pub(crate) fn weight(&self) -> usize {
        self.input.kept() + self.unread.capacity() + self.unsent.capacity()
    }

    /// Whether nothing is left to do for it.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.in_flight.is_none() && (self.unsent.is_empty() || self.hung_up)
    }

    /// Whether it has read all that was sent to it.
    pub(crate) fn has_read_all(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Whether something is to be sent to it once more, which no event will tell of.
    pub(crate) fn is_held_up(&self) -> bool {
        self.setbacks > 0
    }

    /// Whether it could be sent away without losing anything that was asked for and not answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.unsent.is_empty()
    }

    /// Whether it has had the time to say what it has connected for.
    pub(crate) fn had_its_turn(&self, now: Time) -> bool {
        self.has_spoken || now.since(self.since) > GRACE
    }

    /// The next line it has sent, if there is one.
    pub(crate) fn next_line(&mut self) -> Option<Result<Vec<u8>, Overlong>> {
        while !self.ended {
            let mut rest = self.unread.as_slice();
            let line = self.input.next_line(&mut rest);
            let used = self.unread.len() - rest.len();
            self.unread.drain(..used);
            if line.is_some() {
                self.has_spoken = true;
                return line;
            }
            // There may be thousands of workers, and each speaks once.
            if self.unread.capacity() > SPARE || self.purpose == Purpose::Reports {
                self.unread = Vec::new();
            }
            if !self.read_on() {
                break;
            }
        }
        None
    }

    /// What it has said last may lack its line end, if it has said all; with one it can be taken.
    fn end(&mut self) {
        if mem::replace(&mut self.said_all, true) {
            self.ended = true;
        } else {
            self.unread.push(b'\n');
        }
    }

    fn read_on(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.end();
                    return !self.ended;
                }
                Ok(count) => {
                    self.unread.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // What one that reads no answers has said is done. It may stay, and say no more, for ever.
                    self.ended |= error.kind() != ErrorKind::WouldBlock || self.hung_up;
                    return false;
                }
            }
        }
    }

    /// Gives up on it. What it may still ask for is not done either: it could go on like this for ever.
    pub(crate) fn give_up(&mut self) {
        self.hang_up();
        self.ended = true;
        self.unread = Vec::new();
        self.input = LineBuffer::new(REQUEST_MAX);
    }

    /// Sends a line, now or when the client reads. Gives up on one that does not read; but a worker need not
    /// read, and what it does not is not kept.
    pub(crate) fn say(&mut self, line: &str) {
        if self.purpose == Purpose::Reports && !self.unsent.is_empty() {
            return;
        }
        if self.unsent.len() > UNSENT_MAX {
            self.give_up();
        } else if !self.hung_up {
            self.unsent.extend_from_slice(line.as_bytes());
            if !self.is_held_up() {
                self.flush();
            }
        }
    }

    /// Sends what waits, as far as it goes. Gives up on one to which nothing can be sent for long.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return self.hang_up(),
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.setbacks = 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) && self.setbacks < SETBACKS_MAX => {
                    self.setbacks += 1;
                    return;
                }
                // It left without reading, as some clients do.
                Err(_) => return self.hang_up(),
            }
        }
        // A long answer's memory is not kept for a client that may stay for days.
        self.unsent = Vec::new();
    }

    fn hang_up(&mut self) {
        self.hung_up = true;
        self.unsent = Vec::new();
        self.setbacks = 0;
    }
}

/// Whether the system had no memory to send with, which it may have a moment later: send(2).
fn is_passing(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| [Errno::ENOMEM, Errno::ENOBUFS].contains(&errno))
}
