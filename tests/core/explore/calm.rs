//! What becomes of a state when nothing goes wrong any more, and when nothing dies any more.

use super::{
    key,
    moves::{ack, ask, exit, good_answer},
    place::Place,
};
use crate::world::{SHORTAGE, spawn_error};
use einhyrningsins::fsm::{
    action::Action,
    config::{AckMode, KILL_AFTER},
    event::{Command, EventKind, Sight},
    slot::Hold,
    time::Millis,
    upgrade::Stage,
    worker::PhaseTag,
};
use std::collections::BTreeMap;

/// Steps to rest, by the state they are counted from.
#[derive(Default)]
pub struct Calm {
    known: BTreeMap<u128, u32>,
}

/// More than any calm run needs.
const LIMIT: u32 = 400;

/// What happens next in a benign world: orders are carried out, workers acknowledge, whoever was asked to
/// go goes, and time passes only when there is nothing else to do.
fn benign(place: &Place) -> Option<EventKind> {
    let fleet = place.supervisor.fleet();
    if place.supervisor.life().is_done() {
        return None;
    }
    if let Some(order) = place.unanswered.first() {
        return good_answer(order, place);
    }
    let manual = matches!(fleet.config().ack, AckMode::Manual(_));
    let mut live = fleet.index().pids.iter().filter_map(|(pid, id)| Some((*pid, fleet.worker(*id)?)));
    let next = live.find_map(|(pid, worker)| match worker.phase().tag() {
        PhaseTag::PendingAck if manual => Some(ack(pid, place)),
        PhaseTag::PendingAck if fleet.config().ack.looks() => {
            Some(EventKind::Seen { pid, sight: Sight::Accepting })
        }
        tag if tag.is_draining() => Some(exit(worker, pid)),
        _ => None,
    });
    next.or_else(|| place.supervisor.next_deadline().map(|_| EventKind::Woke))
}

impl Calm {
    /// Follows a state until nothing is left to happen, and looks at what that is (I23, I24, I26, I27).
    /// Returns how many steps it took.
    ///
    /// # Errors
    /// If it takes too long, or the machine rests where it must not.
    pub fn converge(&mut self, from: &Place) -> Result<u32, String> {
        let mut place = from.bare();
        let mut passed = Vec::new();
        let mut steps = loop {
            let here = key::calm(&place);
            if let Some(left) = self.known.get(&here) {
                break *left + 1;
            }
            passed.push(here);
            if passed.len() > LIMIT as usize {
                return Err(format!("I23: no rest within {LIMIT} steps"));
            }
            match benign(&place) {
                Some(kind) => place.hear(kind),
                None => break at_rest(&mut place)?,
            }
        };
        for here in passed.into_iter().rev() {
            self.known.insert(here, steps);
            steps += 1;
        }
        Ok(steps.saturating_sub(1))
    }
}

/// Looks at a state in which nothing is left to happen. Slots that were given up are for people to try
/// again, so that is done. Returns how many more steps that took.
fn at_rest(place: &mut Place) -> Result<u32, String> {
    let mut steps = 0;
    let gave_up = |place: &Place| {
        let slots = place.supervisor.fleet().slots().values();
        slots.filter(|slot| slot.seat().hold() == Hold::GaveUp).count()
    };
    if gave_up(place) > 0 && !place.supervisor.life().is_done() {
        quiet(place)?;
        place.hear(ask(Command::Retry, place));
        while let Some(kind) = benign(place) {
            place.hear(kind);
            steps += 1;
            if steps > LIMIT {
                return Err(format!("I24: no rest within {LIMIT} steps of another try"));
            }
        }
    }
    quiet(place)?;
    let (machine, fleet) = (&place.supervisor, place.supervisor.fleet());
    if machine.life().is_done() {
        return Ok(steps);
    }
    let all = fleet.index().census.total();
    if gave_up(place) > 0 || fleet.healthy() != fleet.target() || all != fleet.target() {
        return Err(format!("I24: {} healthy, {all} in all, {} wanted", fleet.healthy(), fleet.target()));
    }
    let stable = machine.stable();
    if fleet.healthy_of(stable) != fleet.target() || fleet.index().slots.count(stable) != fleet.slots().len()
    {
        return Err(format!("I23: not all workers are of generation {stable}"));
    }
    if machine.pinned().iter().ne([&stable]) {
        return Err(format!("I26: {:?} still captured, and {stable} runs", machine.pinned()));
    }
    Ok(steps)
}

/// Nothing is under way.
fn quiet(place: &Place) -> Result<(), String> {
    let machine = &place.supervisor;
    if !(machine.life().is_running() || machine.life().is_done()) {
        return Err(format!("I25: at rest while {:?}", machine.life()));
    }
    if machine.rollout().is_some() && machine.life().is_running() {
        return Err(format!("I23: at rest in {:?}", machine.rollout()));
    }
    if !machine.waiting().is_empty() {
        return Err(format!("I16: {:?} wait at rest", machine.waiting()));
    }
    if machine.next_deadline().is_some() {
        return Err(format!("I27: {:?} at rest", machine.next_deadline()));
    }
    Ok(())
}

/// Follows a way back while the machine lacks something for every start (I42).
///
/// # Errors
/// If it takes too long.
pub fn starve(from: &Place) -> Result<(), String> {
    let mut place = from.bare();
    for _ in 0..LIMIT {
        if place.supervisor.stage() != Stage::Back {
            return Ok(());
        }
        let kind = match place.unanswered.first() {
            Some(Action::Spawn { worker, .. }) => {
                Some(EventKind::SpawnFailed { worker: *worker, error: spawn_error(SHORTAGE) })
            }
            _ => benign(&place),
        };
        match kind {
            Some(kind) => place.hear(kind),
            None => return Err(format!("I42: at rest in {:?}", place.supervisor.rollout())),
        }
    }
    Err(format!("I42: not over within {LIMIT} steps: {:?}", place.supervisor.rollout()))
}

/// Follows a shutdown in which no process ever ends (I25).
///
/// # Errors
/// If it takes longer than the grace period and the two rungs after it.
pub fn outlast(from: &Place) -> Result<(), String> {
    let mut place = from.bare();
    let began = place.at;
    let most = Millis(place.supervisor.fleet().config().grace.0 + 2 * KILL_AFTER.0);
    for _ in 0..LIMIT {
        let deadline = place.supervisor.next_deadline();
        let answer = place.unanswered.first().and_then(|order| good_answer(order, &place));
        match answer.or(deadline.map(|_| EventKind::Woke)) {
            Some(kind) if !place.supervisor.life().is_done() => place.hear(kind),
            _ => break,
        }
    }
    let took: Millis = place.at.since(began);
    if !place.supervisor.life().is_done() || took > most {
        return Err(format!("I25: {:?} after {took:?} of {most:?}", place.supervisor.life()));
    }
    Ok(())
}
