//! Telling those who read along what happens.

use super::Shell;
use crate::{
    daemon::{
        clock::time_of_day,
        events::{Event, News},
        report,
    },
    fsm::{
        id::{Generation, RequestId},
        notice::Notice,
    },
    protocol::{
        Envelope,
        events::{Happening, Wanted, What, closing, missed, opening},
    },
};
use log::{Level, warn};
use std::process as this;

/// How many events a reader is told of before it is the next one's turn, and that of all else.
const TURN: usize = 32;

impl Shell<'_> {
    /// Something has happened that whoever reads along is told of.
    pub(super) fn happened(&mut self, event: Event) {
        self.events.note(time_of_day(), event);
    }

    /// Somebody reads along from now on.
    pub(super) fn read_along(&mut self, request: RequestId, wanted: Wanted) {
        for reader in self.events.readers() {
            if self.control.awaits_more(reader).is_none() {
                self.events.leave(reader);
            }
        }
        match self.events.enter(request, wanted) {
            Ok(()) => {
                let version = env!("CARGO_PKG_VERSION");
                self.control.answer(request, opening(version, this::id(), wanted));
            }
            Err(why) => {
                warn!("a client asked for events, which is refused: {why}");
                self.control.answer(request, Envelope::refused(why));
            }
        }
    }

    /// Tells those who read along what there is to tell, each as fast as it reads. Answers whether there is more for
    /// one that does.
    pub(super) fn stream(&mut self) -> bool {
        let mut more = false;
        for request in self.events.behind() {
            match self.control.awaits_more(request) {
                None => self.events.leave(request),
                Some(false) => {}
                Some(true) => more |= self.stream_to(request),
            }
        }
        more
    }

    fn stream_to(&mut self, request: RequestId) -> bool {
        for _ in 0..TURN {
            let Some(news) = self.events.next(request) else { return false };
            let envelope = match news {
                News::Missed(count) => missed(count),
                News::All(told) => {
                    self.events.leave(request);
                    self.control.answer(request, closing(told));
                    return false;
                }
                News::Event { number, at, event } => {
                    let event = event.clone();
                    self.happening(number, at, &event)
                }
            };
            self.control.answer(request, envelope);
            if self.control.awaits_more(request) != Some(true) {
                return false;
            }
        }
        true
    }

    fn happening(&self, number: u64, at: u64, event: &Event) -> Envelope {
        match event {
            Event::Began { before } => {
                let before = before.as_deref();
                let words = match before {
                    None => "the supervisor has begun".to_owned(),
                    Some(version) => format!("this supervisor goes on where one of version {version} was"),
                };
                let (words, level) = (&*words, word(Level::Info));
                Happening { number, at, level, words, what: What::Began { before } }.envelope()
            }
            Event::Notice(notice) => {
                let (level, words) = self.worded(notice, |generation| self.releases.past_name(generation));
                let (words, level) = (&*words, word(level));
                Happening { number, at, level, words, what: What::Notice(notice) }.envelope()
            }
        }
    }

    /// The words for what the core has to tell, and how much it matters. `program` knows what generations run.
    pub(super) fn worded(&self, notice: &Notice, program: impl Fn(Generation) -> String) -> (Level, String) {
        report::words(notice, |listener, errno| self.sockets.trouble(listener, errno), program)
    }

    /// Those who read along are told what there is left, and that nothing more comes.
    pub(super) fn end_streams(&mut self) {
        self.stream();
        for request in self.events.readers() {
            self.events.leave(request);
            self.control.answer(request, Envelope::done("the supervisor ends"));
        }
    }
}

/// How much an event matters.
fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}
