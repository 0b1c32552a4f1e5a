//! When workers are looked at from outside: as long as somebody is to be seen, and at growing distances. What is seen
//! is told to the core, which knows what it means; with nobody to be seen there is no system call.

use super::{
    clock::Monotonic,
    look::{Reach, Sight, Watched, look},
};
use crate::fsm::{
    event,
    id::{Errno, Generation, Pid},
    time::{Millis, Time},
};
use log::warn;
use nix::errno::Errno as Sys;
use std::{mem, os::fd::BorrowedFd};

/// The first look at a worker that was just started, and the longest that it waits for the next.
const FIRST: Millis = Millis(2);
const LONGEST: Millis = Millis(50);

/// How long the loop may stand still for it at a time.
const ROUND: Millis = Millis(5);

/// A look takes at most one of so many parts of the time.
const SHARE: u64 = 10;

/// How many looks there are from one that takes in a worker's whole process group to the next.
const WIDE: u32 = 10;

/// Looks, if it is to.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    /// Whether there is anything to be seen.
    looks: bool,
    due: Option<Time>,
    pause: Millis,
    /// Who was looked at last: not everybody may be in one round.
    last: Option<Pid>,
    rounds: u32,
    /// Whether it was told that something cannot be seen.
    told: bool,
    /// Of which generation it was told last that nobody waits on a socket.
    untaken: Option<Generation>,
}

impl Lookout {
    /// Looks if `looks`: where workers have a socket, and are asked for more than time.
    pub(crate) fn new(looks: bool) -> Self {
        Self { looks, ..Self::default() }
    }

    /// A worker was started that is to be seen.
    pub(crate) fn expect(&mut self, now: Time) {
        if self.looks {
            let first = now + FIRST;
            self.due = Some(self.due.map_or(first, |due| due.min(first)));
            (self.pause, self.rounds) = (FIRST, 0);
        }
    }

    /// Words for a worker that counts as healthy although it was looked at and nobody waits on a socket of it: one
    /// of each generation is told.
    pub(crate) fn untaken(
        &mut self,
        generation: Generation,
        pid: Pid,
        program: impl FnOnce() -> String,
    ) -> Option<String> {
        let is_new = self.looks && !self.told && self.untaken != Some(generation);
        is_new.then(|| {
            self.untaken = Some(generation);
            let program = program();
            format!(
                "generation {generation} ({program}): pid {pid} has stayed alive, and nobody was seen waiting on any of \
                 its sockets: clients wait until somebody does; if it serves none, leave out --bind, or say --ready timer"
            )
        })
    }

    /// When to look next.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Looks whether those who are to be seen wait for connections on one of these sockets. Returns what was seen.
    pub(crate) fn look<'fd>(
        &mut self,
        clock: &Monotonic,
        unseen: &[Pid],
        sockets: impl IntoIterator<Item = BorrowedFd<'fd>>,
    ) -> Vec<(Pid, event::Sight)> {
        let (from, mut seen) = (clock.now(), Vec::new());
        if unseen.is_empty() {
            self.due = None;
            return seen;
        }
        // They may have been bound anew.
        let watched = Watched::new(sockets);
        self.rounds = self.rounds.wrapping_add(1);
        let reach = if self.rounds.is_multiple_of(WIDE) { Reach::Group } else { Reach::Family };
        let mut hidden = None;
        let next = unseen.iter().position(|pid| Some(*pid) > self.last).unwrap_or_default();
        for pid in unseen.iter().cycle().skip(next).take(unseen.len()) {
            match look(*pid, &watched, reach) {
                Sight::Accepting => seen.push((*pid, event::Sight::Accepting)),
                Sight::Wrapped => seen.push((*pid, event::Sight::Registered)),
                Sight::Hidden(errno) => hidden = Some((*pid, Some(errno))),
                Sight::Vast => hidden = Some((*pid, None)),
                Sight::NotYet => {}
            }
            self.last = Some(*pid);
            if clock.now().since(from) >= ROUND {
                break;
            }
        }
        let took = clock.now().since(from);
        self.pause = Millis((self.pause.0 * 3 / 2).min(LONGEST.0));
        self.due = Some(clock.now() + self.pause.max(Millis(took.0 * SHARE)));
        if let Some((pid, errno)) = hidden.filter(|_| !mem::replace(&mut self.told, true)) {
            warn!("{}", words(pid, errno));
        }
        seen
    }
}

/// What keeps a worker from being seen, and what to do.
fn words(pid: Pid, errno: Option<Errno>) -> String {
    let why = match errno {
        Some(Errno(number)) if number == Sys::ENOSYS as i32 => {
            "it runs on another architecture, or as 32 bits".to_owned()
        }
        Some(errno) => format!("proc(5) does not tell: {}", crate::protocol::words::errno(errno)),
        None => "it has too many processes, threads or connections".to_owned(),
    };
    format!(
        "whether pid {pid} accepts connections cannot be seen: {why}; a worker like this is healthy once it reports so, \
         or, with --ready timer, once it has stayed alive for --ack-after"
    )
}
