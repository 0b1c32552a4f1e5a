//! What has happened last, for the page. As long as somebody looks at it, a stream of events is held open; a
//! supervisor that has none to tell of is left alone.

use crate::ctl::{
    clock::Clock,
    connection::Target,
    interrupt::Interrupts,
    session::{Session, Trouble},
};
use crate::protocol::Envelope;
use miniserde::json::{self, Value};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How many are shown.
const SHOWN: usize = 50;

/// For how long nobody has to look before the stream is closed.
const INTEREST: Duration = Duration::from_secs(60);

/// How long until the stream is opened again once it has ended; and if the supervisor has refused it.
const PAUSE: Duration = Duration::from_secs(1);
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// What has happened.
#[derive(Debug)]
pub(super) struct Events {
    target: Target,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last ones, each as JSON.
    lines: VecDeque<String>,
    /// Whether somebody listens for more.
    attended: bool,
    /// When somebody last looked.
    looked: Duration,
    /// What is wrong with the stream.
    trouble: Option<String>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to go on; if not, it is over.
    fn goes_on(&self) -> bool {
        let mut seen = self.seen();
        seen.attended = self.clock.now().saturating_sub(seen.looked) < INTEREST;
        seen.attended
    }
}

impl Events {
    pub(super) fn of(target: Target) -> Self {
        let shared = Shared { clock: Clock::start(), seen: Mutex::default() };
        Self { target, shared: Arc::new(shared) }
    }

    /// The last events as members of an object, oldest first: a list `events`, and `events_trouble` if there is
    /// something wrong. Whoever looks wants to see more.
    pub(super) fn look(&self) -> String {
        let mut seen = self.shared.seen();
        seen.looked = self.shared.clock.now();
        if !seen.attended {
            let (target, shared) = (self.target.clone(), Arc::clone(&self.shared));
            let begun = thread::Builder::new().name("events".into()).spawn(move || follow(&target, &shared));
            seen.attended = begun.is_ok();
        }
        let lines: Vec<&str> = seen.lines.iter().map(String::as_str).collect();
        let trouble = json::to_string(&seen.trouble);
        format!("\"events\":[{}],\"events_trouble\":{trouble}", lines.join(","))
    }
}

/// Listens until nobody looks any more.
fn follow(target: &Target, shared: &Shared) {
    let interrupts = Interrupts::leave();
    while shared.goes_on() {
        let Err(trouble) = listen(target, shared) else { return };
        let pause = match &trouble {
            Trouble::Refused(_) => LONG_PAUSE,
            Trouble::Unreachable(_) | Trouble::Lost { .. } => PAUSE,
        };
        shared.seen().trouble = Some(trouble.to_string());
        let _ = interrupts.attend().wait(None, Some(pause));
    }
}

/// Listens on one connection. Ends well only if nobody looks any more.
fn listen(target: &Target, shared: &Shared) -> Result<(), Trouble> {
    let interrupts = Interrupts::leave();
    let attended = interrupts.attend();
    let mut session = Session::open(target, &attended)?;
    let mut line = Some(session.ask("events", &["--since".into(), "start".into()])?);
    // From here on everything that is remembered comes again.
    {
        let mut seen = shared.seen();
        seen.lines.clear();
        seen.trouble = None;
    }
    loop {
        match line.take() {
            Some(envelope) if !envelope.ok => return Err(Trouble::Refused(envelope.message)),
            Some(envelope) => {
                let mut seen = shared.seen();
                seen.lines.extend(written(&envelope));
                let surplus = seen.lines.len().saturating_sub(SHOWN);
                seen.lines.drain(..surplus);
            }
            None if !shared.goes_on() => return Ok(()),
            None => {}
        }
        line = session.next(Some(PAUSE))?.map(|reply| reply.envelope);
    }
}

/// A line of the stream as an object of its own: the event's members, and its message. `None` if nothing has
/// happened.
fn written(envelope: &Envelope) -> Option<String> {
    let mut fields = match (envelope.fields.get("event"), envelope.fields.get("lost")) {
        (Some(Value::Object(event)), _) => event.clone(),
        (_, Some(lost)) => [("lost".to_owned(), lost.clone())].into_iter().collect(),
        (_, None) => return None,
    };
    fields.insert("message".into(), Value::String(envelope.message.clone()));
    Some(json::to_string(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fake::Fake;

    fn await_events(events: &Events, expected: &str) {
        let clock = Clock::start();
        while events.look() != expected {
            assert!(clock.now() < Duration::from_secs(60), "{}", events.look());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_last_events_are_kept_and_those_that_were_lost_are_told_of() {
        let lines = "{\"message\":\"a\",\"ok\":true,\"wait\":true,\"event\":{\"seq\":1,\"kind\":\"healthy\"}}\n\
                     {\"message\":\"b\",\"ok\":true,\"wait\":true,\"lost\":3}\n\
                     {\"message\":\"c\",\"ok\":true,\"wait\":true}\n";
        // The second answer is never given: the stream stays open.
        let fake = Fake::new(&[&[lines, ""]]);
        let events = Events::of(fake.target());
        let expected = "\"events\":[{\"kind\":\"healthy\",\"message\":\"a\",\"seq\":1},\
                        {\"lost\":3,\"message\":\"b\"}],\"events_trouble\":null";
        await_events(&events, expected);
        assert!(fake.requests().concat().contains("[\"--since\",\"start\"]"));
    }

    #[test]
    fn a_supervisor_without_such_a_stream_is_told_of() {
        let fake = Fake::new(&[&["{\"message\":\"unknown command `events`\",\"ok\":false}\n"]]);
        let events = Events::of(fake.target());
        await_events(&events, "\"events\":[],\"events_trouble\":\"unknown command `events`\"");
    }
}
