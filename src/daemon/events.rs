//! The last events, and who reads along. A reader is at some event; what has happened since is sent to it as fast as it
//! reads, and what is forgotten by then it misses. So a slow one delays nobody and takes no memory of its own.

use crate::{
    fsm::{id::RequestId, notice::Notice},
    protocol::events::{Since, Wanted},
};
use std::collections::{BTreeMap, VecDeque};

/// How many events are remembered.
const REMEMBERED: usize = 500;

/// How many may read along: they keep connections that others may need.
const READERS: usize = 100;

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The supervisor began, or goes on where another was, of that version.
    Began { before: Option<String> },
    /// The machine had that to tell.
    Notice(Notice),
}

/// What to tell a reader next.
#[derive(Debug)]
pub(crate) enum News<'e> {
    /// So many events are forgotten already.
    Missed(u64),
    /// The event of that number, which was at that time.
    Event { number: u64, at: u64, event: &'e Event },
    /// It has all that it has asked for: so many.
    All(u64),
}

#[derive(Debug)]
struct Reader {
    /// The event that it is told of next.
    next: u64,
    /// The one after the last that it wants to be told of.
    end: Option<u64>,
    told: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Events {
    remembered: VecDeque<(u64, Event)>,
    /// How many there have been.
    count: u64,
    readers: BTreeMap<RequestId, Reader>,
}

impl Events {
    /// Something has happened, at that time in ms since 1970.
    pub(crate) fn note(&mut self, at: u64, event: Event) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((at, event));
        self.count += 1;
    }

    /// Somebody reads along from now on.
    ///
    /// # Errors
    /// If there are too many already.
    pub(crate) fn enter(&mut self, request: RequestId, wanted: Wanted) -> Result<(), String> {
        if self.readers.len() >= READERS {
            return Err(format!("{READERS} clients read events already, which is all that may"));
        }
        let next = match wanted.since {
            Since::Now => self.count + 1,
            Since::Event(number) => number.saturating_add(1).min(self.count + 1),
        };
        let end = wanted.until_now.then_some(self.count + 1);
        self.readers.insert(request, Reader { next, end, told: 0 });
        Ok(())
    }

    /// It does no longer.
    pub(crate) fn leave(&mut self, request: RequestId) {
        self.readers.remove(&request);
    }

    /// All who read along.
    pub(crate) fn readers(&self) -> Vec<RequestId> {
        self.readers.keys().copied().collect()
    }

    /// Those for whom there is news.
    pub(crate) fn behind(&self) -> Vec<RequestId> {
        let has_news = |reader: &Reader| reader.next <= self.count || reader.end.is_some();
        self.readers.iter().filter(|(_, reader)| has_news(reader)).map(|(request, _)| *request).collect()
    }

    /// What a reader is to be told next, if there is anything; it counts as told.
    pub(crate) fn next(&mut self, request: RequestId) -> Option<News<'_>> {
        let reader = self.readers.get_mut(&request)?;
        if reader.end.is_some_and(|end| reader.next >= end) {
            return Some(News::All(reader.told));
        }
        let first = self.count + 1 - self.remembered.len() as u64;
        if reader.next < first {
            let missed = first - reader.next;
            reader.next = first;
            return Some(News::Missed(missed));
        }
        let number = reader.next;
        let (at, event) = self.remembered.get(usize::try_from(number - first).ok()?)?;
        reader.next += 1;
        reader.told += 1;
        Some(News::Event { number, at: *at, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted = Wanted { since: Since::Event(0), until_now: false };
    const ONE: RequestId = RequestId(1);

    fn with(count: u64) -> Events {
        let mut events = Events::default();
        for at in 1..=count {
            events.note(at, Event::Began { before: None });
        }
        events
    }

    /// The numbers of what a reader is told; what it misses as a negative number.
    fn told(events: &mut Events) -> Vec<i64> {
        let mut all = Vec::new();
        while let Some(news) = events.next(ONE) {
            match news {
                News::Missed(missed) => all.push(-i64::try_from(missed).unwrap()),
                News::Event { number, at, .. } => {
                    assert_eq!(number, at);
                    all.push(i64::try_from(number).unwrap());
                }
                News::All(_) => break,
            }
        }
        all
    }

    #[test]
    fn a_reader_is_told_of_each_event_once() {
        let mut events = with(3);
        events.enter(ONE, ALL).unwrap();
        assert_eq!(told(&mut events), [1, 2, 3]);
        assert!(events.behind().is_empty());
        events.note(4, Event::Began { before: None });
        assert_eq!(events.behind(), [ONE]);
        assert_eq!(told(&mut events), [4]);
        events.leave(ONE);
        assert!(events.next(ONE).is_none() && events.readers().is_empty());
    }

    #[test]
    fn it_begins_where_it_was_asked_to_and_ends_if_it_was_asked_to() {
        for (since, until_now, expected) in [
            (Since::Now, false, vec![]),
            (Since::Event(2), false, vec![3]),
            (Since::Event(9), false, vec![]),
            (Since::Event(u64::MAX), true, vec![]),
            (Since::Event(0), true, vec![1, 2, 3]),
        ] {
            let mut events = with(3);
            events.enter(ONE, Wanted { since, until_now }).unwrap();
            assert_eq!(told(&mut events), expected, "{since:?}");
            assert_eq!(matches!(events.next(ONE), Some(News::All(_))), until_now);
        }
        let mut events = with(3);
        events.enter(ONE, Wanted { since: Since::Event(1), until_now: true }).unwrap();
        events.note(4, Event::Began { before: None });
        assert_eq!(told(&mut events), [2, 3], "what comes later was not asked for");
        assert!(matches!(events.next(ONE), Some(News::All(2))));
    }

    #[test]
    fn what_is_forgotten_before_it_is_read_is_counted() {
        let most = REMEMBERED as u64;
        let mut events = with(most + 5);
        events.enter(ONE, ALL).unwrap();
        let all = told(&mut events);
        assert_eq!((all[0], all[1], all.len()), (-5, 6, REMEMBERED + 1));
    }

    #[test]
    fn not_everybody_can_read_along() {
        let mut events = with(0);
        for number in 0..READERS as u64 {
            events.enter(RequestId(number), ALL).unwrap();
        }
        assert!(events.enter(RequestId(1_000), ALL).unwrap_err().starts_with("100 clients "));
        events.leave(ONE);
        events.enter(RequestId(1_000), ALL).unwrap();
    }
}
