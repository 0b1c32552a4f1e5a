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
//! `! gap steps=3` stands where so many steps could not be written, perhaps behind the beginning of a line.
//! What comes after it is for people too, up to the next `config`: nobody knows what the machine was by then.
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
use core::{fmt, mem};

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
    /// Here something is missing.
    Gap(Gap),
    /// For people.
    Comment,
}

record! {
    /// Steps that were lost, because they could not be written.
    #[derive(Copy)]
    pub struct Gap {
        /// How many.
        pub steps: u64,
    }
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

/// What marks a gap. A torn line may stand before it; text in other lines has no blanks.
const GAP: &str = "! gap ";

/// Reads one line.
///
/// # Errors
/// If it is none of the kinds above.
pub fn parse(line: &str) -> Result<Line, BadText> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Comment);
    }
    if let Some((_, rest)) = line.rsplit_once(GAP) {
        return Gap::from_line(rest).map(Line::Gap);
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
            Self::Gap(gap) => write!(f, "{GAP}{}", gap.to_line()),
            Self::Comment => Ok(()),
        }
    }
}

/// Appends the line of an event.
pub fn write_event(out: &mut String, event: &Event) {
    put_display(out, format_args!("@{} ", event.at.0));
    event.kind.write(out);
    out.push('\n');
}

/// Appends the lines of one step.
pub fn write_step(out: &mut String, event: &Event, actions: &[Action], after: State) {
    write_event(out, event);
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

/// Where a recording is of no use, from a gap up to where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The line of the gap, counted from 1.
    pub line: usize,
    /// How many steps were lost there.
    pub lost: u64,
    /// How many events stand after it and cannot be told again, since what was before them is not known.
    pub after: u64,
}

/// A trace taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Its events, as far as they can be told again: those after a gap are left out, and so is one before it of
    /// whose consequences a part is missing.
    pub steps: Vec<Recorded>,
    /// Its gaps. Another one within what is not known because of the first adds to that.
    pub gaps: Vec<Unknown>,
}

/// Reads a line of a recording, in which what followed from an event is only kept.
fn read(number: usize, line: &str) -> Result<Line, TraceError> {
    let line = line.trim();
    if line.starts_with(['>', '=']) && !line.contains(GAP) {
        return Ok(Line::Comment);
    }
    parse(line).map_err(|why| TraceError { line: number, message: why.message })
}

/// How far a recording has come.
#[derive(Clone, Debug)]
enum Known {
    /// No run has begun.
    Nothing,
    /// A run has begun, and nothing has happened in it.
    Config(Config),
    /// Everything that has happened.
    Everything,
    /// Something is missing.
    NotAll,
}

/// The [steps](Recording::steps) of a trace.
///
/// # Errors
/// As [`recording`].
pub fn recorded(text: &str) -> Result<Vec<Recorded>, TraceError> {
    recording(text).map(|recording| recording.steps)
}

/// Takes a trace apart.
///
/// # Errors
/// If a line cannot be read, or an event comes before any `config`. Actions and states are not read,
/// only kept.
pub fn recording(text: &str) -> Result<Recording, TraceError> {
    let mut known = Known::Nothing;
    let Recording { mut steps, mut gaps } = Recording::default();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let wrong = |message: &str| TraceError { line: number, message: message.into() };
        let follows = line.starts_with(['>', '=']);
        match (read(number, line)?, &known) {
            (Line::Config(config), _) => known = Known::Config(config),
            (Line::Gap(Gap { steps: lost }), Known::NotAll) => {
                if let Some(gap) = gaps.last_mut() {
                    gap.lost = gap.lost.saturating_add(lost);
                }
            }
            (Line::Gap(Gap { steps: lost }), _) => {
                gaps.push(Unknown { line: number, lost, after: 0 });
                let cut =
                    |step: &mut Recorded| !step.followed.last().is_some_and(|last| last.starts_with('='));
                if matches!(known, Known::Everything) {
                    steps.pop_if(cut);
                }
                known = Known::NotAll;
            }
            (Line::Event(_), Known::NotAll) => {
                if let Some(gap) = gaps.last_mut() {
                    gap.after += 1;
                }
            }
            (_, Known::NotAll) => {}
            (Line::Event(_), Known::Nothing) => return Err(wrong("an event before any `config`")),
            (Line::Event(event), _) => {
                let config = match mem::replace(&mut known, Known::Everything) {
                    Known::Config(config) => Some(config),
                    Known::Nothing | Known::Everything | Known::NotAll => None,
                };
                steps.push(Recorded { line: number, config, event, followed: Vec::new() });
            }
            (_, Known::Everything) if follows => {
                if let Some(step) = steps.last_mut() {
                    step.followed.push(line.into());
                }
            }
            _ if follows => return Err(wrong("nothing has happened yet")),
            (Line::Action(_) | Line::State(_) | Line::Comment, _) => {}
        }
    }
    Ok(Recording { steps, gaps })
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
        if !line.starts_with(['>', '=']) || line.contains(GAP) {
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
    use alloc::{format, vec};

    #[test]
    fn what_comes_after_a_gap_is_not_told_again_until_the_next_run() {
        let config = Config::default().to_line();
        let state = "= healthy=0 starting=0 draining=0";
        let text = format!(
            "{config}\n@0 start\n{state}\n@1 woke\n> spawn wo! gap steps=2\n@2 woke\n{state}\n\
             ! gap steps=1\n@3 woke\n{config}\n@0 start\n"
        );
        let told: Vec<usize> = recorded(&text).unwrap().iter().map(|step| step.line).collect();
        assert_eq!(told, [2, 11]);
        assert_eq!(recording(&text).map(|it| it.gaps), Ok(vec![Unknown { line: 5, lost: 3, after: 2 }]));
        assert_eq!(retell(&retell(&text).unwrap()), retell(&text));

        let headless = format!("! gap steps=4\n@2 woke\n{config}\n@0 start\n");
        assert_eq!(recorded(&headless).unwrap().len(), 1);
        assert_eq!(parse("! gap steps=x").unwrap_err().message, "steps: `x` is not a number in range");
    }

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
