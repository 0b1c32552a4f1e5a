//! Where guests are attended to: one thread, all of them in turn.

use super::{
    desk::{Answers, Desk, FRESH, Found, Wanted},
    door::Door,
    guest::{Guest, Next},
    http::Asked,
    route::{Route, answer, route},
};
use crate::ctl::clock::Clock;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    time::Duration,
};

/// How many guests there may be, unless the limit of descriptors is lower; and how many descriptors are for others.
const MOST: usize = 512;
const OTHERS: u64 = 32;

/// How many are let in at a time, so that those inside have their turn.
const TURN: usize = 64;

/// For how long nobody is let in if the system lets nobody in; and how often it is looked who could make room.
const PAUSE: Duration = Duration::from_millis(20);

/// How long those who wait for an answer are still attended to in the end.
const LAST: Duration = Duration::from_millis(500);

/// All that goes on.
#[derive(Debug)]
pub(super) struct Hall {
    clock: Clock,
    signals: UnixStream,
    desk: Desk,
    answers: Answers,
    /// What the desk has been asked.
    asked: BTreeSet<Wanted>,
    /// What it has answered last, and when.
    last: BTreeMap<Wanted, (Duration, Found)>,
    /// In the order in which they came.
    guests: BTreeMap<u64, Guest>,
    came: u64,
    most: usize,
    /// Until when nobody is let in.
    closed: Duration,
    /// When it ends, if it is to.
    end: Option<Duration>,
}

/// What has happened while it was waited.
struct Happened {
    signal: bool,
    bell: bool,
    door: bool,
    guests: Vec<(u64, PollFlags)>,
}

impl Hall {
    pub(super) fn new(signals: UnixStream, desk: Desk, answers: Answers) -> io::Result<Self> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let most = usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(MOST).clamp(1, MOST);
        Ok(Self {
            clock: Clock::start(),
            signals,
            desk,
            answers,
            asked: BTreeSet::new(),
            last: BTreeMap::new(),
            guests: BTreeMap::new(),
            came: 0,
            most,
            closed: Duration::ZERO,
            end: None,
        })
    }

    /// Attends to whoever comes, until a signal comes.
    pub(super) fn run(&mut self, door: &Door) {
        loop {
            let happened = self.wait(door);
            let now = self.clock.now();
            if happened.signal {
                let mut signals = &self.signals;
                let _ = signals.read(&mut [0; 64]);
                self.end = Some(self.end.map_or(now + LAST, |_| now));
            }
            if happened.bell {
                let _ = self.answers.bell.read(&mut [0; 64]);
                self.tell(now);
            }
            for (number, events) in happened.guests {
                let next = self.guests.get_mut(&number).map(|guest| guest.go_on(events, now));
                self.settle(number, next, now);
            }
            self.expire(now);
            if happened.door {
                self.let_in(door, now);
            }
            if let Some(end) = self.end {
                self.guests.retain(|_, guest| !guest.is_idle());
                if now >= end || self.guests.is_empty() {
                    return;
                }
            }
        }
    }

    fn wait(&self, door: &Door) -> Happened {
        let now = self.clock.now();
        let is_open = self.end.is_none() && now >= self.closed;
        let watched = if is_open { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.answers.bell.as_fd(), PollFlags::POLLIN),
            PollFd::new(door.as_fd(), watched),
        ];
        fds.extend(self.guests.values().map(|guest| PollFd::new(guest.as_fd(), guest.awaits())));
        let deadlines = self.guests.values().filter_map(Guest::deadline);
        let opens = Some(self.closed).filter(|closed| *closed > now);
        let until = deadlines.chain(opens).chain(self.end).min();
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up, so that the time is over when it is said to be.
            let left = until.saturating_sub(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let woken = poll(&mut fds, timeout).is_ok();
        let mut events = fds.iter().map(|fd| fd.revents().filter(|_| woken).unwrap_or(PollFlags::empty()));
        let mut happens = || events.next().is_some_and(|events| !events.is_empty());
        let (signal, bell, door) = (happens(), happens(), happens());
        let guests = self.guests.keys().copied().zip(events).filter(|(_, events)| !events.is_empty());
        Happened { signal, bell, door: door && is_open, guests: guests.collect() }
    }

    fn let_in(&mut self, door: &Door, now: Duration) {
        for _ in 0..TURN {
            if self.guests.len() >= self.most && !self.make_room(now) {
                self.closed = now + PAUSE;
                return;
            }
            match door.accept() {
                Ok(stream) => {
                    self.came += 1;
                    let mut guest = Guest::new(stream, now);
                    // What it wants has most often come with it.
                    let next = guest.go_on(PollFlags::POLLIN, now);
                    self.guests.insert(self.came, guest);
                    self.settle(self.came, Some(next), now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has given up already.
                Err(error) if error.raw_os_error() == Some(Errno::ECONNABORTED as i32) => {}
                Err(_) => {
                    self.closed = now + PAUSE;
                    return;
                }
            }
        }
    }

    /// Asks the one to go who takes the most time; whether there is room then.
    fn make_room(&mut self, now: Duration) -> bool {
        while self.guests.len() >= self.most {
            let turns =
                self.guests.iter().filter_map(|(number, guest)| Some((guest.turn_to_go(now)?, *number)));
            let Some((_, number)) = turns.min() else { return false };
            // What it wants may have come since it was last looked at.
            if let Some(guest) = self.guests.get_mut(&number).filter(|guest| guest.is_idle()) {
                let next = guest.go_on(PollFlags::POLLIN, now);
                self.settle(number, Some(next), now);
                if !self.guests.get(&number).is_some_and(Guest::is_idle) {
                    continue;
                }
            }
            self.guests.remove(&number);
        }
        true
    }

    fn expire(&mut self, now: Duration) {
        let due = |guest: &Guest| guest.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<u64> =
            self.guests.iter().filter(|(_, guest)| due(guest)).map(|(number, _)| *number).collect();
        for number in due {
            let next = self.guests.get_mut(&number).map(|guest| guest.expire(now));
            self.settle(number, next, now);
        }
    }

    fn settle(&mut self, number: u64, next: Option<Next>, now: Duration) {
        match next {
            None | Some(Next::Stay) => {}
            Some(Next::Leave) => drop(self.guests.remove(&number)),
            Some(Next::Ask(asked)) => self.ask(number, &asked, now),
        }
    }

    /// Answers what can be answered at once, and asks for the rest what was not asked just now.
    fn ask(&mut self, number: u64, asked: &Asked, now: Duration) {
        let reply = match route(asked) {
            Route::Here(reply) => reply,
            Route::Desk(wanted) => {
                let last = self.last.get(&wanted).filter(|(at, _)| now.saturating_sub(*at) < FRESH);
                let Some((_, found)) = last else {
                    if self.asked.insert(wanted) {
                        self.desk.ask(wanted);
                    }
                    return;
                };
                answer(asked, found)
            }
        };
        let next = self.guests.get_mut(&number).map(|guest| guest.answer(reply, asked.body, now));
        self.settle(number, next, now);
    }

    /// Tells those who wait what the desk has found out.
    fn tell(&mut self, now: Duration) {
        let found: Vec<_> = self.answers.take().collect();
        for (wanted, found) in found {
            self.asked.remove(&wanted);
            let waits = |guest: &Guest| {
                let asked =
                    guest.waits_for().filter(|asked| matches!(route(asked), Route::Desk(it) if it == wanted));
                asked.cloned()
            };
            let waiting = self.guests.iter().filter_map(|(number, guest)| Some((*number, waits(guest)?)));
            let waiting: Vec<_> = waiting.collect();
            for (number, asked) in waiting {
                let reply = answer(&asked, &found);
                let next = self.guests.get_mut(&number).map(|guest| guest.answer(reply, asked.body, now));
                self.settle(number, next, now);
            }
            self.last.insert(wanted, (now, found));
        }
    }
}
