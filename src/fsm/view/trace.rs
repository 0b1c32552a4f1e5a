//! Traces: what the machine was told and what it ordered, one line each, for people and for replay.
//!
//! ```text
//! config target=1 listeners=0 ack=after:1000 retries=5 backoff=100 grace=30000 stop=USR2 unacked=1 surge=1
//! @1500 exited pid=102 status=1
//! > spawn worker=4 slot=1 generation=1
//! = healthy=3 starting=1 draining=0 next=2500
//! ```
//!
//! `config` begins a run, `@` is an event with the shell's time in milliseconds, `>` an action it
//! called for, `=` the state after it. Blank lines and lines that begin with `#` are for people.
//! Events alone determine everything else, so a trace can be written with its events only and told
//! anew by [`retell`].

use crate::fsm::fleet::worker::PhaseTag;
use crate::fsm::machine::supervisor::Supervisor;
use crate::fsm::words::{
    action::Action,
    config::Config,
    event::{Event, EventKind},
    text::{BadText, Field, Record, Words, put_display, record},
    time::Time,
};
use alloc::{string::String, vec::Vec};
use core::fmt;

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A run begins.
    Config(Config),
    /// Something happened.
    Event(Event),
    /// The machine called for something.
    Action(Action),
    /// How things stood then.
    State(State),
    /// For people.
    Comment,
}

record! {
    /// How things stand after a step, in short.
    #[derive(Copy)]
    pub struct State {
        /// Workers that serve.
        pub healthy: u32,
        /// Workers on the way to it.
        pub starting: u32,
        /// Workers on the way out.
        pub draining: u32,
        /// When the machine wants to be woken, on the shell's clock.
        pub next: Option<Time>,
    }
}

impl State {
    /// The state of `supervisor`.
    #[must_use]
    pub fn of(supervisor: &Supervisor) -> Self {
        let census = &supervisor.fleet().index().census;
        Self {
            healthy: supervisor.fleet().healthy(),
            starting: census.count_where(PhaseTag::is_starting),
            draining: census.total() - census.count_where(PhaseTag::is_up),
            next: supervisor.next_deadline().map(|(time, _)| time),
        }
    }
}

/// Reads one line.
///
/// # Errors
/// If it is none of the kinds above.
pub fn parse(line: &str) -> Result<Line, BadText> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Comment);
    }
    if let Some(rest) = line.strip_prefix('@') {
        let mut words = Words::new(rest);
        let at = Time::get(words.next().unwrap_or_default())?;
        let kind = EventKind::read(&mut words)?;
        return nothing_more(words, Line::Event(Event { at, kind }));
    }
    if let Some(rest) = line.strip_prefix('>') {
        return Action::from_line(rest).map(Line::Action);
    }
    if let Some(rest) = line.strip_prefix('=') {
        return State::from_line(rest).map(Line::State);
    }
    let config = Config::from_line(line)?;
    config.check()?;
    Ok(Line::Config(config))
}

fn nothing_more(mut words: Words<'_>, line: Line) -> Result<Line, BadText> {
    match words.next() {
        None => Ok(line),
        Some(word) => Err(BadText::new(format_args!("unexpected `{word}`"))),
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(config) => f.write_str(&config.to_line()),
            Self::Event(event) => write!(f, "@{} {}", event.at.0, event.kind.to_line()),
            Self::Action(action) => write!(f, "> {}", action.to_line()),
            Self::State(state) => write!(f, "= {}", state.to_line()),
            Self::Comment => Ok(()),
        }
    }
}

/// Appends the lines of one step.
pub fn write_step(out: &mut String, event: &Event, actions: &[Action], after: State) {
    put_display(out, format_args!("{}\n", Line::Event(event.clone())));
    for action in actions {
        put_display(out, format_args!("{}\n", Line::Action(action.clone())));
    }
    put_display(out, format_args!("{}\n", Line::State(after)));
}

/// What is wrong with a trace, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl core::error::Error for TraceError {}

/// One event of a trace, with what was recorded of its consequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its line, counted from 1.
    pub line: usize,
    /// Set if a run begins with this event.
    pub config: Option<Config>,
    /// The event.
    pub event: Event,
    /// What followed, as text, so that words this version no longer knows can be compared too.
    pub followed: Vec<String>,
}

/// Takes a trace apart into its events.
///
/// # Errors
/// If a line cannot be read, or an event comes before any `config`. Actions and states are not read,
/// only kept.
pub fn recorded(text: &str) -> Result<Vec<Recorded>, TraceError> {
    let mut config = None;
    let mut begun = false;
    let mut steps: Vec<Recorded> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let wrong = |message: &str| TraceError { line: number, message: message.into() };
        if line.starts_with(['>', '=']) {
            let step = steps.last_mut().filter(|_| config.is_none());
            step.ok_or_else(|| wrong("nothing has happened yet"))?.followed.push(line.into());
            continue;
        }
        match parse(line).map_err(|why| wrong(&why.message))? {
            Line::Comment | Line::Action(_) | Line::State(_) => {}
            Line::Config(new) => {
                config = Some(new);
                begun = true;
            }
            Line::Event(_) if !begun => return Err(wrong("an event before any `config`")),
            Line::Event(event) => {
                steps.push(Recorded { line: number, config: config.take(), event, followed: Vec::new() });
            }
        }
    }
    Ok(steps)
}

/// What follows from an event, as text.
#[must_use]
pub fn follow(supervisor: &mut Supervisor, event: &Event) -> Vec<String> {
    let mut out = String::new();
    let actions = supervisor.step(event.clone());
    write_step(&mut out, event, &actions, State::of(supervisor));
    out.lines().skip(1).map(String::from).collect()
}

/// Tells a trace anew: its configuration, events and comments as they are, actions and states as the
/// machine gives them today.
///
/// # Errors
/// As [`recorded`].
pub fn retell(text: &str) -> Result<String, TraceError> {
    let mut steps = recorded(text)?.into_iter().peekable();
    let mut supervisor: Option<Supervisor> = None;
    let mut out = String::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if !line.starts_with(['>', '=']) {
            out.push_str(line);
            out.push('\n');
        }
        if let Some(step) = steps.next_if(|step| step.line == number) {
            if let Some(config) = step.config {
                supervisor = Some(Supervisor::new(config).lenient());
            }
            for line in supervisor.iter_mut().flat_map(|supervisor| follow(supervisor, &step.event)) {
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::words::config::TARGET_MAX;

    #[test]
    fn a_configuration_that_no_command_line_leads_to_is_refused() {
        let written = |target, retries, max_unacked, max_surge| {
            parse(&Config { target, retries, max_unacked, max_surge, ..Config::default() }.to_line())
        };
        assert!(written(TARGET_MAX, 1, 1, 1).is_ok());
        for (line, what) in [
            (written(0, 1, 1, 1), "target: 0 is not from 1 to 10000"),
            (written(u32::MAX, 1, 1, 1), "target: 4294967295 is not from 1 to 10000"),
            (written(1, 0, 1, 1), "retries: 0 is not from 1 to 4294967295"),
            (written(1, 1, 0, 1), "unacked: 0 is not from 1 to 10000"),
            (written(1, 1, 1, 0), "surge: 0 is not from 1 to 10000"),
        ] {
            assert_eq!(line.unwrap_err().message, what);
        }
    }
}
