//! What a supervisor leaves behind: a snapshot, and behind it everything that has happened since, a line each.
//!
//! ```text
//! einhyrningsins-snapshot 7
//! …
//! end lines=9 sum=0f3a…
//! + client client=3 fd=12 …
//! @1500 exited pid=102 status=1
//! ```
//!
//! `@` is an event, as in a [trace](super::trace). `+` is something that the shell keeps, which means nothing here:
//! it is handed back as it is. Actions are not written down; they follow. The way back is specified in
//! `fsm-spec/handover.md`.

pub use super::trace::write_event;
use super::{
    snapshot::{BadSnapshot, END},
    trace::{self, Line},
};
use crate::fsm::{
    machine::supervisor::Supervisor,
    words::{action::Action, event::Event, text::Record},
};
use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};

/// How a line of the shell's begins.
pub const KEPT: &str = "+ ";

/// A machine that was brought back.
#[derive(Clone, Debug)]
pub struct Resumed<'a> {
    /// As it was after the last event. It takes what is impossible for a notice, as it may have done before.
    pub supervisor: Supervisor,
    /// The last event since the snapshot, if there was any, and what it called for. Whether that was done is for others
    /// to know.
    pub last: Option<(Event, Vec<Action>)>,
    /// The shell's lines, in order, without the mark in front.
    pub kept: Vec<&'a str>,
    /// Whether the last line of all is one of those.
    pub ends_kept: bool,
}

/// Which events are to be stepped through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All.
    Last,
    /// All but the last one, which is handed back with no actions.
    BeforeLast,
}

/// Brings a machine back.
///
/// # Errors
/// If the snapshot is refused, a line is none, or the last one has no end.
pub fn resume(text: &str, until: Until) -> Result<Resumed<'_>, BadSnapshot> {
    let (snapshot, rest) = parts(text)?;
    let mut supervisor = Supervisor::restore(snapshot)?.lenient();
    let first = snapshot.lines().count() + 1;
    let (mut kept, mut events, mut ends_kept) = (Vec::new(), Vec::new(), false);
    for (line, text) in (first..).zip(rest.split_inclusive('\n')) {
        let bad = |message: String| BadSnapshot { line, message };
        let text = text.strip_suffix('\n').ok_or_else(|| bad("cut short: the line has no end".into()))?;
        if let Some(text) = text.strip_prefix(KEPT) {
            kept.push(text);
            ends_kept = true;
            continue;
        }
        match trace::parse(text) {
            Ok(Line::Event(event)) => events.push(event),
            Ok(_) => return Err(bad("neither an event nor something kept".into())),
            Err(why) => return Err(bad(why.to_string())),
        }
        ends_kept = false;
    }
    let last = events.pop();
    for event in events {
        supervisor.step(event);
    }
    let last = last.map(|event| {
        let actions = match until {
            Until::Last => supervisor.step(event.clone()),
            Until::BeforeLast => Vec::new(),
        };
        (event, actions)
    });
    Ok(Resumed { supervisor, last, kept, ends_kept })
}

/// The snapshot, and what comes after it.
fn parts(text: &str) -> Result<(&str, &str), BadSnapshot> {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.starts_with(END) {
            return Ok(text.split_at_checked(end).unwrap_or_default());
        }
    }
    Err(BadSnapshot { line: 0, message: "cut short: there is no whole snapshot".into() })
}

/// Appends a line of the shell's.
pub fn write_kept(out: &mut String, kept: &impl Record) {
    out.push_str(KEPT);
    kept.write(out);
    out.push('\n');
}
