//! `replay FILE`: what a supervisor recorded, told again by the machine of this version.
//!
//! The machine decides anew from the recorded events alone. Each is shown with what follows from it and
//! with the slots that look different after it, up to the first event of which the recording says
//! something else.

use super::{
    outcome::Outcome,
    render::{Screen, Style},
};
use crate::{
    fsm::{
        Supervisor,
        id::{Generation, Pid, SlotId, WorkerId},
        slot::Hold,
        text::Record as _,
        trace::{Recorded, Recording, TraceError, Unknown, follow, recording},
        worker::PhaseTag,
    },
    protocol::{
        visible::visible,
        words::{count, io_error},
    },
};
use std::{collections::BTreeMap, fmt, fs, io, path::Path};

/// Replays the trace at `path`: `Done` if everything recorded there follows today as well.
#[must_use]
pub fn replay(path: &Path) -> Outcome {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
    let outcome = replay_on(&mut screen, path);
    screen.conclude(outcome)
}

fn replay_on(screen: &mut Screen<'_>, path: &Path) -> Outcome {
    let name = visible(&path.to_string_lossy());
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            screen.complain(&format_args!("cannot read {name}: {}", io_error(&error)));
            return Outcome::Failed;
        }
    };
    // What is not UTF-8 is not a trace either: reading it names the line.
    match tell(screen, &String::from_utf8_lossy(&bytes)) {
        Ok(told) => {
            screen.say(&told);
            Outcome::Done
        }
        Err(why) => {
            screen.complain(&format_args!("{name}, {why}"));
            Outcome::Failed
        }
    }
}

/// Tells a trace. Returns what there is to say when all of it has been told; the error says on which
/// line something is wrong with it.
fn tell(screen: &mut Screen<'_>, text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("in which nothing is recorded: there is nothing to replay".into());
    }
    let unreadable = |bad: TraceError| format!("line {}: {}", bad.line, visible(&bad.message));
    let (text, torn) = whole(text);
    let Recording { mut steps, gaps } = recording(text).map_err(unreadable)?;
    let mut run: Option<(Supervisor, Picture)> = None;
    // A trace may consist of its events alone.
    let silent = steps.iter().all(|step| step.followed.is_empty());
    // The file may end amid an event, as after a power cut; what followed from that is not all there.
    let is_cut =
        |step: &mut Recorded| !silent && !step.followed.last().is_some_and(|last| last.starts_with('='));
    let cut = steps.pop_if(is_cut);
    for step in &steps {
        if let Some(config) = &step.config {
            screen.say(&config.to_line());
            run = Some((Supervisor::new(config.clone()).lenient(), Picture::new()));
        }
        let Some((supervisor, before)) = &mut run else { continue };
        let today = follow(supervisor, &step.event);
        screen.say(&format!("{} {}", seconds(step.event.at.0), step.event.kind.to_line()));
        for action in today.iter().filter(|line| line.starts_with('>')) {
            screen.say(&format!("{INDENT}{action}"));
        }
        let after = picture(supervisor);
        let changed = changes(before, &after);
        if !changed.is_empty() {
            screen.say(&format!("{INDENT}{changed}"));
        }
        *before = after;
        if !silent && step.followed != today {
            return Err(difference(text, step, &today));
        }
    }
    gaps.iter().for_each(|gap| screen.say(&missing(gap)));
    ending(cut.as_ref(), torn).into_iter().for_each(|line| screen.say(&line));
    let all = gaps.is_empty() && cut.is_none() && torn.is_none();
    let events = number(steps.len(), "event");
    let found = if silent { "with nothing recorded of what followed" } else { "no difference" };
    let least = if all { "" } else { "; the rest is not replayed" };
    Ok(format!("{events}, {found}{least}"))
}

/// The lines that have an end, and the number of the one that has none: whatever records ends every line, so
/// that one was torn while it was written.
fn whole(text: &str) -> (&str, Option<usize>) {
    match text.rsplit_once('\n') {
        Some((_, "")) => (text, None),
        Some((lines, _)) => (lines, Some(lines.lines().count() + 1)),
        None if text.is_empty() => (text, None),
        None => ("", Some(1)),
    }
}

/// What there is to say about how the file ends, if it does so amid something.
fn ending(cut: Option<&Recorded>, torn: Option<usize>) -> Vec<String> {
    let torn = torn.map(|line| format!("line {line}: a torn last line, which has no end; not replayed"));
    let cut = cut.map(|step| {
        format!("line {}: not all that followed from this event is recorded; not replayed", step.line)
    });
    cut.into_iter().chain(torn).collect()
}

/// What a gap means.
fn missing(gap: &Unknown) -> String {
    let (lost, after) = (number(gap.lost, "step"), number(gap.after, "event"));
    format!("line {}: a gap: {lost} lost; not replayed: {after} after it", gap.line)
}

fn number(many: impl TryInto<u32>, what: &str) -> String {
    count(many.try_into().unwrap_or(u32::MAX), what)
}

/// As wide as a time and the space after it.
const INDENT: &str = "             ";

fn seconds(ms: u64) -> String {
    format!("{:>8}.{:03}", ms / 1_000, ms % 1_000)
}

/// Where the recording and today part, and what each of them says there.
fn difference(text: &str, step: &Recorded, today: &[String]) -> String {
    let same = step.followed.iter().zip(today).take_while(|(then, now)| then == now).count();
    let lines = (1..).zip(text.lines()).skip(step.line);
    let mut followed = lines.filter(|(_, line)| line.trim().starts_with(['>', '=']));
    // With nothing more recorded, the last line of what is.
    let line = if same < step.followed.len() {
        followed.nth(same).map(|(number, _)| number)
    } else {
        same.checked_sub(1).and_then(|last| followed.nth(last)).map(|(number, _)| number)
    };
    let said = |line: Option<&String>| line.map_or_else(|| "nothing more".into(), |line| visible(line));
    format!(
        "line {}: the machine decides otherwise today\n  recorded: {}\n  today:    {}",
        line.unwrap_or(step.line),
        said(step.followed.get(same)),
        said(today.get(same)),
    )
}

/// Every slot that exists or has workers left.
type Picture = BTreeMap<SlotId, SeenSlot>;

/// A slot, as far as it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct SeenSlot {
    /// Why it starts no worker at present; `None` if the slot itself is no more.
    hold: Option<Hold>,
    /// Oldest first.
    workers: Vec<SeenWorker>,
}

/// A worker, as far as it is shown.
#[derive(Debug, PartialEq, Eq)]
struct SeenWorker {
    id: WorkerId,
    pid: Option<Pid>,
    phase: PhaseTag,
    generation: Generation,
}

fn picture(supervisor: &Supervisor) -> Picture {
    let fleet = supervisor.fleet();
    let seen = |hold| SeenSlot { hold: Some(hold), workers: Vec::new() };
    let mut picture: Picture =
        fleet.slots().iter().map(|(id, slot)| (*id, seen(slot.seat().hold()))).collect();
    for worker in fleet.workers().values() {
        picture.entry(worker.slot()).or_default().workers.push(SeenWorker {
            id: worker.id(),
            pid: worker.phase().pid(),
            phase: worker.phase().tag(),
            generation: worker.generation(),
        });
    }
    picture
}

/// The slots of `after` that are not as they were, and those that are no more.
fn changes(before: &Picture, after: &Picture) -> String {
    let changed = after.iter().filter(|(id, slot)| before.get(id) != Some(slot));
    let changed = changed.map(|(id, slot)| format!("slot {id}: {slot}"));
    let gone = before.keys().filter(|id| !after.contains_key(id)).map(|id| format!("slot {id}: dropped"));
    changed.chain(gone).collect::<Vec<_>>().join(" | ")
}

impl fmt::Display for SeenSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.workers.is_empty() {
            return f.write_str(match self.hold {
                Some(Hold::GaveUp) => "given up",
                Some(Hold::Until(_)) => "backs off",
                Some(Hold::Ready) | None => "empty",
            });
        }
        for (position, worker) in self.workers.iter().enumerate() {
            let SeenWorker { id, pid, phase, generation } = worker;
            let comma = if position > 0 { ", " } else { "" };
            let pid = pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
            write!(f, "{comma}worker {id}{pid} {phase} g{generation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::trace::retell;

    const CONFIG: &str =
        "config target=1 listeners=0 ack=after:0 retries=2 backoff=100 grace=0 stop=USR2 unacked=1 surge=1";

    /// Events alone, of two runs.
    fn events() -> String {
        format!(
            "# For people.\n{CONFIG}\n@0 start\n@5 pinned generation=1\n\n{CONFIG}\n@0 start\n\
             @5 pinned generation=1\n@12 spawned worker=1 pid=101\n@61000 exited pid=101 status=0\n\
             @61001 signalled signal=INT\n@61002 spawn-failed worker=2 error=fork:11:passing\n"
        )
    }

    /// The same with all that follows.
    fn trace() -> String {
        retell(&events()).unwrap()
    }

    fn told(text: &str) -> (Result<String, String>, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let result = tell(&mut Screen::new(&mut out, &mut err, Style::Plain), text);
        (result, String::from_utf8(out).unwrap())
    }

    fn difference_in(text: &str) -> String {
        told(text).0.unwrap_err()
    }

    #[test]
    fn each_event_is_shown_with_what_follows_and_the_slots_that_changed() {
        let (result, shown) = told(&trace());
        assert_eq!(result.unwrap(), "8 events, no difference");
        assert_eq!(
            shown.rsplit(&format!("{CONFIG}\n")).next().unwrap(),
            "       0.000 start
             > pin generation=1
       0.005 pinned generation=1
             > spawn worker=1 slot=0 generation=1
             slot 0: worker 1 spawning/wanted g1
       0.012 spawned worker=1 pid=101
             > notice spawned worker=1 slot=0 generation=1 pid=101
             > notice healthy worker=1 slot=0 generation=1 pid=101 took=7 proof=timer
             > notice up workers=1 took=12
             slot 0: worker 1 pid 101 healthy g1
      61.000 exited pid=101 status=0
             > notice crashed worker=1 slot=0 generation=1 pid=101 status=0 next=in:0
             > spawn worker=2 slot=0 generation=1
             slot 0: worker 2 spawning/wanted g1
      61.001 signalled signal=INT
             > notice stopping shutdown=graceful workers=1
             slot 0: worker 2 spawning/unwanted g1
      61.002 spawn-failed worker=2 error=fork:11:passing
             > exit code=0
             slot 0: empty
"
        );
    }

    #[test]
    fn with_events_alone_there_is_nothing_to_differ_from() {
        let (result, shown) = told(&events());
        assert_eq!(result.unwrap(), "8 events, with nothing recorded of what followed");
        assert_eq!(shown, told(&trace()).1);
    }

    #[test]
    fn what_is_recorded_differently_is_named_with_its_line() {
        let changed = trace().replacen("> spawn worker=1", "> spawn worker=7", 1);
        let rest = "the machine decides otherwise today\n  recorded: > spawn worker=7 slot=0 generation=1\n  \
                    today:    > spawn worker=1 slot=0 generation=1";
        assert_eq!(difference_in(&changed), format!("line 7: {rest}"));
    }

    #[test]
    fn what_is_recorded_too_much_or_too_little_is_named_too() {
        let more = trace().replacen("> pin generation=1\n", "> pin generation=1\n> pin generation=2\n", 1);
        let (what, state) = ("the machine decides otherwise today", "= healthy=0 starting=0 draining=0");
        assert_eq!(
            difference_in(&more),
            format!("line 5: {what}\n  recorded: > pin generation=2\n  today:    {state}")
        );
        let less = trace().replacen(
            "> pin generation=1\n= healthy=0 starting=0 draining=0",
            "> pin generation=1",
            1,
        );
        assert_eq!(
            difference_in(&less),
            format!("line 4: {what}\n  recorded: nothing more\n  today:    {state}")
        );
    }

    #[test]
    fn a_file_that_ends_amid_something_is_told_up_to_there_and_differs_in_nothing() {
        let trace = trace();
        let lines = trace.lines().count();
        let last_event = (1..).zip(trace.lines()).filter(|(_, line)| line.starts_with('@')).last().unwrap().0;
        let cut =
            format!("line {last_event}: not all that followed from this event is recorded; not replayed\n");
        let torn = |line| format!("line {line}: a torn last line, which has no end; not replayed\n");
        let rest = "7 events, no difference; the rest is not replayed";
        // Amid the last line; behind the one before it; amid that; amid the event's own.
        let without = |lines: usize| trace.split_inclusive('\n').take(lines).collect::<String>();
        for (text, told_at_end) in [
            (trace[..trace.len() - 3].to_owned(), cut.clone() + &torn(lines)),
            (without(lines - 1), cut.clone()),
            (without(lines - 1).trim_end().to_owned(), cut + &torn(lines - 1)),
            (without(last_event).trim_end_matches(['g', '\n']).to_owned(), torn(last_event)),
        ] {
            let (result, shown) = told(&text);
            assert_eq!(result.unwrap(), rest, "{text}");
            assert!(shown.ends_with(&told_at_end), "{shown}");
        }
        assert_eq!(whole(""), ("", None));
        assert_eq!(whole("torn"), ("", Some(1)));
    }

    #[test]
    fn nothing_is_told_of_a_trace_that_cannot_be_read() {
        let (result, shown) = told(&events().replace("@12 spawned", "@12 spa\u{1b}wned"));
        let why = result.unwrap_err();
        assert!(why.starts_with(r"line 9: `spa\u{1b}wned` is none of: start, "), "{why}");
        assert_eq!(shown, "");
    }
}
