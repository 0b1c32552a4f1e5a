//! What the view knows. Nothing here reads a clock, a file or the terminal: what happens comes in as [`News`] and
//! keys, and what is to be done goes out as [`Effect`]s.

use super::{
    asking::Mode,
    keys::Key,
    list::{List, Row, Way},
    usage::Usages,
    words::one_line,
};
use crate::ctl::report::{Report, Worker};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How many events are kept.
const EVENTS: usize = 500;

/// How many looks the lines of the sockets go back.
pub const LOOKS: usize = 60;

/// What has happened.
#[derive(Debug)]
pub enum News {
    /// How things stand.
    Report(Box<Report>, Usages),
    /// The supervisor has not answered so far, with what it is doing.
    Silent(String),
    /// There is none any more, or no connection to it.
    Gone(String),
    /// It tells of an event.
    Event(Event),
    /// It tells of events, and so many of them have been missed; it has forgotten them, or was too fast for us.
    Missed(u64),
    /// It tells of none.
    NoEvents(String),
    /// An order that was given is being carried out.
    Progress(u64, String),
    /// It has been answered; and whether well.
    Answer(u64, bool, String),
}

/// What a supervisor has told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// How bad it is.
    pub level: String,
    /// In words.
    pub message: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To leave.
    Quit,
    /// To let the shell have the terminal for a while.
    Suspend,
    /// To draw everything again.
    Redraw,
    /// To tell the supervisor this.
    Tell(Vec<String>),
}

/// How it is with the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Live,
    /// It does not, since then, and why.
    Lost(Duration, String),
}

/// The last word on what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it is good news.
    pub ok: bool,
    /// The words, on one line.
    pub words: String,
}

/// What the view knows.
#[derive(Debug)]
pub struct Model {
    /// How things stood the last time that it was told.
    pub report: Option<Report>,
    /// What processes take.
    pub usages: Usages,
    /// How it is with the supervisor.
    pub link: Link,
    /// How many connections waited, by address, oldest first.
    pub queues: BTreeMap<String, VecDeque<u32>>,
    /// The last events, oldest first.
    pub events: VecDeque<Event>,
    /// Why there are none.
    pub no_events: Option<String>,
    /// The last answer.
    pub said: Option<Said>,
    /// What is being done, with how far it is, by the order's number.
    pub doing: BTreeMap<u64, String>,
    /// What keys mean.
    pub mode: Mode,
    /// Workers.
    pub list: List,
    last: Duration,
}

impl Model {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            report: None,
            usages: Usages::new(),
            link: Link::Live,
            queues: BTreeMap::new(),
            events: VecDeque::new(),
            no_events: None,
            said: None,
            doing: BTreeMap::new(),
            mode: Mode::Watch,
            list: List::default(),
            last: Duration::ZERO,
        }
    }

    /// Takes in what has happened.
    pub fn hear(&mut self, news: News, now: Duration) {
        match news {
            News::Report(report, usages) => self.take(*report, usages, now),
            // It is since the last answer that nobody knows.
            News::Silent(words) | News::Gone(words) => self.link = Link::Lost(self.last, one_line(&words)),
            News::Event(event) => self.happen(event),
            News::Missed(0) => self.no_events = None,
            News::Missed(count) => {
                let last = self.events.back().cloned().unwrap_or_default();
                let message = format!("{count} events are missing here");
                self.push(Event { level: "warn".into(), message, ..last });
            }
            News::NoEvents(why) => self.no_events = Some(one_line(&why)),
            News::Progress(order, words) => {
                self.doing.insert(order, one_line(&words));
            }
            News::Answer(order, ok, words) => {
                self.doing.remove(&order);
                self.say(ok, &words);
            }
        }
    }

    /// Begins to do that.
    pub fn begin(&mut self, order: u64, words: &[String]) {
        self.said = None;
        self.doing.insert(order, format!("{}: asked", words.join(" ")));
    }

    /// Has something to say.
    pub fn say(&mut self, ok: bool, words: &str) {
        self.said = Some(Said { ok, words: one_line(words) });
    }

    fn take(&mut self, report: Report, usages: Usages, now: Duration) {
        if let Some(before) = self.report.as_ref().map(|report| report.pid).filter(|pid| *pid != report.pid) {
            self.say(
                true,
                &format!("another supervisor answers: pid {}, in place of pid {before}", report.pid),
            );
        }
        self.queues.retain(|address, _| report.sockets.iter().any(|socket| socket.address == *address));
        for socket in &report.sockets {
            let Some(queue) = socket.queue else { continue };
            let queue = u32::try_from(queue).unwrap_or(u32::MAX);
            let looks = self.queues.entry(socket.address.clone()).or_default();
            looks.push_back(queue);
            if looks.len() > LOOKS {
                looks.pop_front();
            }
        }
        self.list.update(&report, &usages);
        (self.link, self.last) = (Link::Live, now);
        (self.report, self.usages) = (Some(report), usages);
    }

    /// Whoever connects again is told again what is remembered.
    fn happen(&mut self, event: Event) {
        let place = |event: &Event| (event.at_ms, event.seq);
        self.no_events = None;
        if self.events.back().is_none_or(|last| place(last) < place(&event)) {
            self.push(event);
        }
    }

    fn push(&mut self, event: Event) {
        self.events.push_back(Event { message: one_line(&event.message), ..event });
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// The worker that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Worker> {
        match self.list.chosen()? {
            Row::Worker(index) => self.report.as_ref()?.workers.get(*index),
            Row::Group(_) | Row::Vacant(_) => None,
        }
    }

    /// The processes on the screen.
    #[must_use]
    pub fn on_screen(&self) -> Vec<u32> {
        let Some(report) = &self.report else { return Vec::new() };
        let pid = |row: &Row| match row {
            Row::Worker(index) => report.workers.get(*index)?.pid,
            Row::Group(_) | Row::Vacant(_) => None,
        };
        self.list.shown().filter_map(|(row, _)| pid(row)).collect()
    }

    /// Does what a key says.
    pub fn press(&mut self, key: Key) -> Option<Effect> {
        let always = [('c', Effect::Quit), ('l', Effect::Redraw), ('z', Effect::Suspend)];
        if let Some((_, effect)) = always.into_iter().find(|(letter, _)| key == Key::Ctrl(*letter)) {
            return Some(effect);
        }
        match &self.mode {
            Mode::Watch => self.watch(key),
            Mode::Help(_) | Mode::Which { .. } | Mode::Whom { .. } | Mode::Sure { .. } => self.answer(key),
        }
    }

    fn watch(&mut self, key: Key) -> Option<Effect> {
        let way = match key {
            Key::Letter('q') | Key::Esc => return Some(Effect::Quit),
            Key::Up | Key::Letter('k') => Way::Up,
            Key::Down | Key::Letter('j') => Way::Down,
            Key::PageUp | Key::Ctrl('b') => Way::PageUp,
            Key::PageDown | Key::Ctrl('f') => Way::PageDown,
            Key::Home => Way::First,
            Key::End | Key::Letter('G') => Way::Last,
            Key::Letter('g') => {
                self.on_list(List::group);
                return None;
            }
            Key::Enter | Key::Letter(' ') => {
                self.on_list(List::fold);
                return None;
            }
            Key::Letter('+' | '=') => return Some(Effect::Tell(vec!["inc".into()])),
            Key::Letter('-') => return Some(Effect::Tell(vec!["dec".into()])),
            Key::Letter('r') => return Some(Effect::Tell(vec!["retry".into()])),
            Key::Letter(letter) => {
                self.ask(letter);
                return None;
            }
            Key::Ctrl(_) | Key::Backspace => return None,
        };
        if let Some(report) = &self.report {
            self.list.go(way, report);
        }
        None
    }

    fn on_list(&mut self, act: impl FnOnce(&mut List, &Report, &Usages)) {
        if let Some(report) = &self.report {
            act(&mut self.list, report, &self.usages);
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}
