//! What of a state matters for the future, as a number of 128 bits.
//!
//! See the [parent](super) for why merging states with equal keys loses nothing.

use super::{place::Place, worlds::NOTHING};
use einhyrningsins::fsm::{
    action::Action,
    config::{AckMode, DOWN_AGAIN, EARLY, SETTLED},
    event::{Proof, Strategy},
    id::{Generation, RequestId},
    index::TimerKind,
    life::Life,
    slot::{Hold, Seat},
    time::Time,
    upgrade::Terms,
    worker::{Phase, Rung, Worker},
};
use std::collections::BTreeSet;

/// Whether workers that serve may still end of their own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// They may, so it matters how long they have served.
    Faults,
    /// They will not.
    Calm,
}

/// Where health takes no time, a start may still turn out to have failed for good up to this time.
const FIRST_MOMENT_MS: u64 = 1_000;
const AT_ONCE: AckMode = AckMode::After(NOTHING);

/// The key of a state and of what may still happen to it.
pub fn full(place: &Place) -> u128 {
    let mut out = Vec::with_capacity(160);
    let left = &place.left;
    out.extend([left.rolling, left.fleet, left.trial, left.abort, left.scale, left.stop]);
    out.extend([left.fault, left.end, left.missed, left.late, left.leave]);
    let ahead = if left.fault > 0 || left.end > 0 { Ahead::Faults } else { Ahead::Calm };
    machine(place, ahead, &mut out);
    fold(&out)
}

/// The key of the machine alone, for a world in which nothing goes wrong any more.
pub fn calm(place: &Place) -> u128 {
    let mut out = Vec::with_capacity(160);
    machine(place, Ahead::Calm, &mut out);
    fold(&out)
}

/// Fowler, Noll and Vo's hash, 128 bits, variant 1a.
fn fold(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |sum: u128, byte| {
        (sum ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// Appends a number, seven bits at a time.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn small(number: impl TryInto<u8>) -> u8 {
    number.try_into().unwrap_or(u8::MAX)
}

/// Generations by their order among those that anything still names.
struct Names(BTreeSet<Generation>);

impl Names {
    fn of(place: &Place) -> Self {
        let machine = &place.supervisor;
        let mut names: BTreeSet<Generation> = machine.pinned().clone();
        names.extend([machine.stable(), machine.wanted()]);
        names.extend(machine.rollout().map(|rollout| rollout.generation));
        names.extend(machine.fleet().slots().values().map(|slot| slot.generation()));
        names.extend(machine.fleet().index().generations.keys());
        names.extend(place.unanswered.iter().filter_map(pinning));
        Self(names)
    }

    fn rank(&self, generation: Generation) -> u8 {
        let before = self.0.range(..generation).count();
        small(before)
    }
}

fn pinning(order: &Action) -> Option<Generation> {
    if let Action::Pin { generation, .. } = order { Some(*generation) } else { None }
}

fn machine(place: &Place, ahead: Ahead, out: &mut Vec<u8>) {
    let machine = &place.supervisor;
    // A deadline that has passed is due, whether the machine was told of the time or not.
    let (now, fleet, names) = (place.at, machine.fleet(), Names::of(place));
    out.extend(match machine.life() {
        Life::New => [0, 0],
        Life::Pinning => [1, 0],
        Life::Binding { done } => [2, small(done)],
        Life::Starting | Life::Serving | Life::Up => [3, 0],
        Life::Stopping { shutdown, .. } => [4, shutdown as u8],
        Life::Done { .. } => [5, 0],
    });
    put(out, u64::from(fleet.target()));
    let unfinished = matches!(machine.next_deadline(), Some((_, TimerKind::Unfinished)));
    // Turns matter as long as somebody may end early, and a target of one may become another.
    if ahead == Ahead::Faults {
        put(out, fleet.extent().turns.map_or(0, |turns| turns.since(now).0));
    }
    out.extend([u8::from(unfinished), names.rank(machine.stable()), names.rank(machine.wanted())]);
    out.extend([u8::from(place.served), u8::from(machine.releases().is_known_to_serve(machine.stable()))]);
    let looks = fleet.config().ack.looks();
    let coming = machine.rollout().is_some_and(|rollout| rollout.shows);
    out.push(u8::from(looks && machine.releases().named().shows) + 2 * u8::from(looks && coming));
    if let Some(outage) = machine.outage() {
        put(out, 1 + outage.next.since(now).0);
        out.push(u8::from(outage.next > outage.since + DOWN_AGAIN));
    }
    out.push(u8::MAX);
    if fleet.config().ack == AT_ONCE && ahead == Ahead::Faults {
        put(out, now.0.min(FIRST_MOMENT_MS));
    }
    let waits = |request: Option<RequestId>| request.is_some_and(|id| machine.waiting().contains_key(&id));
    put(out, machine.waiting().len() as u64);
    out.extend(machine.pinned().iter().map(|generation| names.rank(*generation)));
    out.push(u8::MAX);
    for order in &place.unanswered {
        match order {
            Action::Pin { generation, request } => {
                out.extend([1, names.rank(*generation)]);
                // Any other answers a question that nobody asks any more.
                let pinning = place.pinning.filter(|(pinning, _)| pinning == generation);
                if let Some((_, terms)) = pinning {
                    out.extend([1, u8::from(waits(*request))]);
                    put_terms(terms, out);
                } else {
                    out.push(0);
                }
            }
            Action::Bind { listener } => out.extend([2, small(listener.0)]),
            _ => {}
        }
    }
    out.push(u8::MAX);
    if let Some(rollout) = machine.rollout() {
        out.extend([names.rank(rollout.generation), u8::from(waits(rollout.request))]);
        put_terms(rollout.terms, out);
        out.extend([rollout.stage as u8, u8::from(rollout.fresh)]);
        out.push(u8::from(rollout.has_served && rollout.stage.is_forward()));
        if let Some(end) = machine.releases().timeout() {
            put(out, 1 + end.since(now).0);
        }
        if rollout.stage.is_trial() {
            put(out, now.since(rollout.stage_since).0);
        }
    }
    out.push(u8::MAX);
    let mut loose: Vec<Vec<u8>> = Vec::new();
    let seen = Seen { now, names: &names, ahead, looks };
    let mut held = BTreeSet::new();
    for (id, slot) in fleet.slots() {
        put(out, u64::from(id.0));
        seat(slot.seat(), now, &names, out);
        // Whether it has served is asked of a slot without a healthy worker, and while all keep running.
        let serves = slot.current().is_some_and(|current| fleet.is_healthy(current));
        out.push(u8::from(slot.seat().served() && !serves && machine.life().is_running()));
        match slot.aside() {
            Some(aside) => seat(aside, now, &names, out),
            None => out.push(u8::MAX),
        }
        out.push(u8::from(slot.current() < slot.outgoing()));
        for occupant in [slot.current(), slot.outgoing()] {
            held.extend(occupant);
            match occupant.and_then(|occupant| fleet.worker(occupant)) {
                Some(found) => worker(found, &seen, out),
                None => out.push(u8::MAX),
            }
        }
    }
    out.push(u8::MAX);
    for found in fleet.workers().values().filter(|worker| !held.contains(&worker.id())) {
        let mut bytes = Vec::with_capacity(8);
        worker(found, &seen, &mut bytes);
        loose.push(bytes);
    }
    loose.sort_unstable();
    loose.into_iter().for_each(|bytes| out.extend(bytes));
}

/// What a worker is seen by.
struct Seen<'a> {
    now: Time,
    names: &'a Names,
    ahead: Ahead,
    looks: bool,
}

fn seat(seat: &Seat, now: Time, names: &Names, out: &mut Vec<u8>) {
    out.push(names.rank(seat.generation()));
    put(out, u64::from(seat.failures()));
    put(out, u64::from(seat.early()));
    put(out, u64::from(seat.lacks()));
    match seat.hold() {
        Hold::Ready => out.push(0),
        Hold::GaveUp => out.push(1),
        Hold::Until(time) => {
            out.push(2);
            put(out, time.since(now).0);
        }
    }
}

fn put_terms(terms: Terms, out: &mut Vec<u8>) {
    out.push(u8::from(terms.strategy == Strategy::Fleet));
    put(out, u64::from(terms.canary));
    put(out, terms.soak.0);
}

fn worker(worker: &Worker, seen: &Seen<'_>, out: &mut Vec<u8>) {
    let Seen { now, names, ahead, looks } = *seen;
    out.extend([small(worker.phase().tag().order()), names.rank(worker.generation())]);
    let age = now.since(worker.since());
    if let (Phase::PendingAck { .. }, Some(registered)) = (worker.phase(), worker.registered()) {
        put(out, 1 + now.since(registered).0);
    }
    put(out, worker.extended().map_or(0, |until| 1 + until.since(now).0));
    // Whether it may show itself yet, and what it is measured by.
    let unproved = looks && worker.proof() == Some(Proof::Timer);
    out.push(u8::from(unproved) + 2 * u8::from(worker.strict()));
    if worker.phase().tag().is_up() && ahead == Ahead::Faults {
        put(out, now.since(worker.born()).min(EARLY).0);
    }
    match worker.phase() {
        Phase::PendingAck { .. } => put(out, age.0),
        Phase::Healthy { .. } if ahead == Ahead::Faults => put(out, age.min(SETTLED).0),
        Phase::Draining { rung: Rung::Stuck, .. } => {}
        Phase::Draining { rung, .. } => {
            out.push(u8::from(rung == Rung::PatientTerm));
            put(out, age.0);
        }
        Phase::Spawning { .. } | Phase::Healthy { .. } | Phase::Dead => {}
    }
}
