//! One connection: a request comes in, an answer goes out, and that is all. None of it waits.

use super::http::{Answer, Asked, Code, LONGEST};
use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{MsgFlags, Shutdown, send, shutdown},
    unistd::read,
};
use std::{
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

/// How long the head of a request may take; how long it may take until the answer has been taken, and until the guest
/// hangs up then.
const ARRIVAL: Duration = Duration::from_secs(5);
const DELIVERY: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(1);

/// How long the request of who has just come may take, and how long its answer, before it makes room for another. Of
/// many that come at a time the first wait for the last, so that a request takes longer to come.
const COURTESY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(500);

/// How much is written at a time, so that all others have their turn.
const PIECE: usize = 256 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Guest {
    stream: OwnedFd,
    stage: Stage,
    /// Since when it is at this stage.
    since: Duration,
}

#[derive(Debug)]
enum Stage {
    /// The request comes in.
    Asking(Vec<u8>),
    /// The answer is awaited.
    Waiting(Asked),
    /// The answer goes out: its head, its body, how much of both has gone.
    Taking { head: Vec<u8>, answer: Answer, body: bool, gone: usize },
    /// Nothing more is to be said, but what was may still be on its way: who closes with something left to be read
    /// cuts it off.
    Leaving,
}

/// What is next for a guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It stays.
    Stay,
    /// It wants to know this.
    Ask(Asked),
    /// It is gone.
    Leave,
}

impl Guest {
    pub(super) fn new(stream: OwnedFd, now: Duration) -> Self {
        Self { stream, stage: Stage::Asking(Vec::new()), since: now }
    }

    /// What to wait for.
    pub(super) fn awaits(&self) -> PollFlags {
        match self.stage {
            Stage::Asking(_) | Stage::Leaving => PollFlags::POLLIN,
            // That it hangs up is told of in any case.
            Stage::Waiting(_) => PollFlags::empty(),
            Stage::Taking { .. } => PollFlags::POLLOUT,
        }
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Option<Duration> {
        Some(
            self.since
                + match self.stage {
                    Stage::Asking(_) => ARRIVAL,
                    Stage::Waiting(_) => return None,
                    Stage::Taking { .. } => DELIVERY,
                    Stage::Leaving => GOODBYE,
                },
        )
    }

    /// In which turn it has to go if there is no room for another; `None` if it may stay.
    pub(super) fn turn_to_go(&self, now: Duration) -> Option<u8> {
        let spent = now.saturating_sub(self.since);
        match self.stage {
            Stage::Leaving => Some(0),
            Stage::Asking(_) => (spent >= COURTESY).then_some(1),
            Stage::Taking { .. } => (spent >= PATIENCE).then_some(2),
            Stage::Waiting(_) => None,
        }
    }

    /// Whether it has not asked for anything yet.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// Something has happened to its connection.
    pub(super) fn go_on(&mut self, events: PollFlags, now: Duration) -> Next {
        match &self.stage {
            Stage::Asking(_) => self.hear(now),
            Stage::Waiting(_) => {
                let gone = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
                if gone { Next::Leave } else { Next::Stay }
            }
            Stage::Taking { .. } => self.say(now),
            Stage::Leaving => self.see_off(),
        }
    }

    /// Its time is over.
    pub(super) fn expire(&mut self, now: Duration) -> Next {
        match &self.stage {
            Stage::Asking(head) if !head.is_empty() => {
                let late = format!("the request has not come within {} s\n", ARRIVAL.as_secs());
                self.answer(Answer::text(Code::Slow, late), true, now)
            }
            Stage::Asking(_) | Stage::Waiting(_) | Stage::Taking { .. } | Stage::Leaving => Next::Leave,
        }
    }

    /// What it waits for.
    pub(super) fn waits_for(&self) -> Option<&Asked> {
        match &self.stage {
            Stage::Waiting(asked) => Some(asked),
            Stage::Asking(_) | Stage::Taking { .. } | Stage::Leaving => None,
        }
    }

    /// Tells it this.
    pub(super) fn answer(&mut self, answer: Answer, body: bool, now: Duration) -> Next {
        let head = answer.head().into_bytes();
        (self.stage, self.since) = (Stage::Taking { head, answer, body, gone: 0 }, now);
        self.say(now)
    }

    fn hear(&mut self, now: Duration) -> Next {
        let Stage::Asking(head) = &mut self.stage else { return Next::Stay };
        let mut piece = [0; LONGEST];
        let room = piece.get_mut(..LONGEST.saturating_sub(head.len())).unwrap_or_default();
        match read(&self.stream, room) {
            Ok(0) => return Next::Leave,
            Ok(length) => head.extend_from_slice(room.get(..length).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => return Next::Stay,
            Err(_) => return Next::Leave,
        }
        match Asked::read(head) {
            Ok(None) => Next::Stay,
            Ok(Some(asked)) => {
                (self.stage, self.since) = (Stage::Waiting(asked.clone()), now);
                Next::Ask(asked)
            }
            Err(refusal) => self.answer(refusal, true, now),
        }
    }

    fn say(&mut self, now: Duration) -> Next {
        let Stage::Taking { head, answer, body, gone } = &mut self.stage else { return Next::Stay };
        let text: &[u8] = if *body { &answer.body } else { &[] };
        let total = head.len() + text.len();
        let mut left = PIECE;
        while *gone < total && left > 0 {
            let rest = match head.get(*gone..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => text.get(*gone - head.len()..).unwrap_or_default(),
            };
            let rest = rest.get(..left.min(rest.len())).unwrap_or_default();
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(length) => {
                    *gone += length;
                    left = left.saturating_sub(length);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return Next::Stay,
                Err(_) => return Next::Leave,
            }
        }
        if *gone < total {
            return Next::Stay;
        }
        if shutdown(self.stream.as_raw_fd(), Shutdown::Write).is_err() {
            return Next::Leave;
        }
        (self.stage, self.since) = (Stage::Leaving, now);
        Next::Stay
    }

    /// Reads what it still says, and makes nothing of it.
    fn see_off(&self) -> Next {
        match read(&self.stream, &mut [0; LONGEST]) {
            Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR) => Next::Stay,
            Ok(0) | Err(_) => Next::Leave,
        }
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
