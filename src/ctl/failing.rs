//! What fails while an upgrade is waited for: its progress lines do not tell.

use super::{
    clock::Clock,
    connection::Target,
    interrupt::Attended,
    report::{Report, Slot},
    session::Session,
};
use crate::protocol::visible::visible;
use core::fmt;
use std::time::Duration;

/// When it is looked for the first time.
const FIRST: Duration = Duration::from_millis(100);

/// How often it is looked then.
const LOOK: Duration = Duration::from_millis(500);

/// How long that may take; meanwhile nothing else is shown.
const SOON: Duration = Duration::from_millis(300);

/// The slots in which workers fail to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// How many there are.
    pub slots: usize,
    /// How one that is there failed the last time, on one line.
    pub last: Option<String>,
}

impl Failing {
    /// As the report has it.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let lacks = |slot: &Slot| slot.lacks.unwrap_or_default();
        let failing = report.slots.iter().filter(|slot| slot.gave_up || slot.failures > 0 || lacks(slot) > 0);
        let worst = failing.clone().max_by_key(|slot| (slot.gave_up, slot.failures, lacks(slot)));
        let last = worst.and_then(|slot| slot.last_failure.as_ref()).map(|last| visible(&last.message));
        Self { slots: failing.count(), last }
    }
}

/// The count alone.
impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failing", self.slots)
    }
}

/// Looks for it over a connection of its own, as long as that is answered.
#[derive(Debug)]
pub struct Lookout<'a> {
    target: &'a Target,
    attended: &'a Attended<'a>,
    session: Option<Session<'a>>,
    clock: Clock,
    /// When to look next; `None` is never.
    due: Option<Duration>,
}

impl<'a> Lookout<'a> {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(target: &'a Target, attended: &'a Attended<'a>) -> Self {
        Self { target, attended, session: None, clock: Clock::start(), due: Some(FIRST) }
    }

    /// How long until it is to look; `None` if it is not to any more.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_sub(self.clock.now()))
    }

    /// What it sees, if it is time to look.
    pub fn look(&mut self) -> Option<Failing> {
        self.due.take_if(|due| *due <= self.clock.now())?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(self.target, self.attended).ok()?,
        };
        let report = Report::from_fields(&session.ask_within("status", &[], SOON).ok()?.fields)?;
        self.session = Some(session);
        self.due = Some(self.clock.now() + LOOK);
        Some(Failing::of(&report))
    }
}
