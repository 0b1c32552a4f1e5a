//! The search itself: breadth first, every state once, every move from it.

use super::{
    calm::{Calm, outlast, starve},
    key,
    moves::{self, Move, Sense},
    place::Place,
    rows::{self, Row},
    worlds::World,
};
use einhyrningsins::fsm::{
    event::{Event, EventKind},
    text::Record as _,
    trace::{self, Line},
};
use std::collections::{BTreeMap, BTreeSet};

/// Where to stop, for worlds that are too large to be seen whole.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Distinct states.
    pub states: usize,
    /// Steps from the start.
    pub depth: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Moves made, all of them checked.
    pub moves: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// The most steps to rest from any of them.
    pub calm: u32,
    /// Pairs of merged states whose successors were compared.
    pub compared: usize,
    /// Rows of the table that were used.
    pub rows: BTreeSet<Row>,
}

/// One in so many states is kept to be compared with others that are taken for the same.
const SAMPLE: u128 = 61;

struct Search<'a> {
    world: &'a World,
    seen: BTreeSet<u128>,
    kept: BTreeMap<u128, Place>,
    /// For every state, the one it was first reached from and by what, if not by time alone.
    trail: Vec<(usize, Option<Event>)>,
    calm: Calm,
    report: Report,
}

/// Explores a world.
///
/// # Errors
/// The first violation, with the shortest way to it as a trace.
pub fn explore(world: &World, bounds: Bounds) -> Result<Report, String> {
    let mut search = Search {
        world,
        seen: BTreeSet::new(),
        kept: BTreeMap::new(),
        trail: Vec::new(),
        calm: Calm::default(),
        report: Report::default(),
    };
    let mut first = Place::new(world.config.clone(), world.budget);
    let (event, _) = first.checked(EventKind::Start, Sense::Fits).map_err(|(_, what)| what)?;
    search.trail.push((0, Some(event)));
    search.seen.insert(key::full(&first));
    let mut layer = vec![(0, first)];
    while !layer.is_empty() && search.report.depth < bounds.depth && search.seen.len() < bounds.states {
        let mut next = Vec::new();
        for (from, place) in layer {
            if search.seen.len() >= bounds.states {
                break;
            }
            search.leave(from, &place, &mut next)?;
        }
        layer = next;
        search.report.depth += usize::from(!layer.is_empty());
    }
    search.report.states = search.seen.len();
    Ok(search.report)
}

impl Search<'_> {
    /// Makes every move from a state.
    fn leave(&mut self, from: usize, place: &Place, next: &mut Vec<(usize, Place)>) -> Result<(), String> {
        self.survive(place).map_err(|what| self.tell(from, None, &what))?;
        for step in moves::all(place, self.world) {
            self.report.moves += 1;
            let mut to = place.clone();
            let event = match step {
                Move::Pass(_) => {
                    to.make(step);
                    None
                }
                Move::Tell(kind, left, sense) => {
                    to.left = left;
                    let (event, actions) = to
                        .checked(kind, sense)
                        .map_err(|(event, what)| self.tell(from, Some(&event), &what))?;
                    let rows = &mut self.report.rows;
                    rows::used(&place.supervisor, &event.kind, &actions, &to.supervisor, rows)
                        .map_err(|what| self.tell(from, Some(&event), &what))?;
                    if sense != Sense::Fits {
                        if key::full(&to) != key::full(place) {
                            return Err(self.tell(from, Some(&event), "changed by what changes nothing"));
                        }
                        continue;
                    }
                    Some(event)
                }
            };
            let here = key::full(&to);
            if !self.seen.insert(here) {
                self.compare(here, &to).map_err(|what| self.tell(from, event.as_ref(), &what))?;
                continue;
            }
            if here.is_multiple_of(SAMPLE) {
                self.kept.insert(here, to.bare());
            }
            self.trail.push((from, event));
            if !to.supervisor.life().is_done() {
                next.push((self.trail.len() - 1, to));
            }
        }
        Ok(())
    }

    /// What becomes of a state when nothing goes wrong any more, when nothing can be started any more, and when nothing
    /// dies any more.
    fn survive(&mut self, place: &Place) -> Result<(), String> {
        self.report.calm = self.report.calm.max(self.calm.converge(place)?);
        starve(place)?;
        if place.supervisor.life().shutdown().is_some() { outlast(place) } else { Ok(()) }
    }

    /// Two states with the same key must lead to states with the same keys.
    fn compare(&mut self, here: u128, place: &Place) -> Result<(), String> {
        if !here.is_multiple_of(SAMPLE) {
            return Ok(());
        }
        let Some(kept) = self.kept.get(&here) else {
            return Ok(());
        };
        if kept.supervisor.snapshot() == place.supervisor.snapshot() {
            return Ok(());
        }
        // One comparison a key: what comes later is as likely to differ from any other.
        let kept = kept.clone();
        self.kept.remove(&here);
        self.report.compared += 1;
        let (one, other) = (self.successors(&kept), self.successors(place));
        if one == other {
            return Ok(());
        }
        let (kept, place) = (kept.supervisor.snapshot(), place.supervisor.snapshot());
        Err(format!("merged with a state that goes on differently:\n{kept}\nand here\n{place}"))
    }

    fn successors(&self, place: &Place) -> BTreeSet<u128> {
        let after = moves::all(place, self.world).into_iter().map(|step| {
            let mut to = place.bare();
            to.make(step);
            key::full(&to)
        });
        after.collect()
    }

    /// The shortest way to a state, and one event further, as a trace.
    fn tell(&self, mut from: usize, last: Option<&Event>, what: &str) -> String {
        let mut events: Vec<&Event> = last.into_iter().collect();
        while let Some((before, event)) = self.trail.get(from) {
            events.extend(event);
            if from == 0 {
                break;
            }
            from = *before;
        }
        let lines = events.into_iter().rev().map(|event| Line::Event(event.clone()).to_string());
        let lines: Vec<String> = core::iter::once(self.world.config.to_line()).chain(lines).collect();
        let told = lines.join("\n");
        let told = trace::retell(&told).unwrap_or_else(|why| format!("{told}\n{why}"));
        format!("{}: {what}\n{told}", self.world.name)
    }
}
