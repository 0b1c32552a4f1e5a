//! What holds of a state, whatever led to it.

use super::{Violation, holds};
use crate::fsm::fleet::{
    index::TimerKind,
    slot::{Hold, Side},
    worker::{Phase, PhaseTag},
};
use crate::fsm::words::id::Generation;
use crate::fsm::{machine::supervisor::Supervisor, words::upgrade::Stage};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
};

/// Everything that is to be looked at in a state by itself.
pub(super) fn all(state: &Supervisor) -> Result<(), Violation> {
    derived(state)?;
    processes(state)?;
    occupants(state)?;
    deadlines(state)?;
    status(state)?;
    captured(state)?;
    gaps(state)?;
    outage(state)?;
    canaries(state)
}

fn outage(state: &Supervisor) -> Result<(), Violation> {
    let known = state.releases().is_known_to_serve(state.stable());
    let down = state.life().is_running() && known && state.fleet().healthy() == 0;
    let told = state.outage();
    let serves = state.fleet().healthy_of(state.stable()) > 0;
    holds(37, known || !serves, || "what serves is said never to have".into())?;
    holds(37, told.is_some() == down, || format!("{told:?}, and {} serve", state.fleet().healthy()))
}

/// A seat that waits for a stand-in has a reason to wait, and somebody to stand in for.
fn gaps(state: &Supervisor) -> Result<(), Violation> {
    let fleet = state.fleet();
    for (id, slot) in fleet.slots() {
        let Some(seat) = slot.side(Side::Outgoing).filter(|seat| seat.worker().is_none()) else {
            continue;
        };
        let serves = slot.current().is_some_and(|worker| fleet.is_healthy(worker));
        holds(40, id.0 < fleet.target() && !serves, || format!("slot {id} keeps a seat for nothing"))?;
        let busy = state.is_unfinished() || !state.life().is_running();
        let proven = [slot.generation(), seat.generation()].map(|generation| generation == state.stable());
        let waits = matches!(seat.hold(), Hold::Until(_)) && proven == [false, true];
        holds(40, busy || waits, || format!("nobody stands in for who ended in slot {id}: {seat:?}"))?;
    }
    Ok(())
}

fn captured(state: &Supervisor) -> Result<(), Violation> {
    let mut used: BTreeSet<Generation> = [state.stable(), state.wanted()].into();
    used.extend(state.fleet().workers().values().map(|worker| worker.generation()));
    used.extend(state.fleet().slots().values().map(|slot| slot.generation()));
    let unused = state.pinned().difference(&used).next();
    holds(36, unused.is_none(), || format!("{unused:?} is captured for nothing"))
}

fn canaries(state: &Supervisor) -> Result<(), Violation> {
    let ahead = state.rollout().filter(|rollout| matches!(rollout.stage, Stage::Canary | Stage::CanarySoak));
    let Some(rollout) = ahead else {
        return Ok(());
    };
    let slots = state.fleet().index().slots.count(rollout.generation);
    let most = usize::try_from(rollout.terms.canary).unwrap_or(usize::MAX);
    holds(32, slots <= most, || format!("{slots} slots are ahead, {most} may be"))
}

pub(super) fn derived(state: &Supervisor) -> Result<(), Violation> {
    let anew = state.fleet().reindexed();
    holds(28, anew == *state.fleet().index(), || {
        format!("derived {:?}, derived anew {anew:?}", state.fleet().index())
    })
}

fn processes(state: &Supervisor) -> Result<(), Violation> {
    let mut seen = BTreeMap::new();
    for worker in state.fleet().workers().values() {
        if let Some(pid) = worker.phase().pid() {
            let other = seen.insert(pid, worker.id());
            holds(6, other.is_none(), || format!("pid {pid} is worker {} and {other:?}", worker.id()))?;
        }
    }
    Ok(())
}

fn occupants(state: &Supervisor) -> Result<(), Violation> {
    let fleet = state.fleet();
    let mut places = BTreeMap::new();
    for (id, slot) in fleet.slots() {
        let both = [slot.current(), slot.outgoing()];
        let up = both.iter().flatten().count();
        holds(2, up <= 2 && (slot.current().is_none() || slot.current() != slot.outgoing()), || {
            format!("slot {id}: {slot:?}")
        })?;
        holds(30, id.0 < fleet.target() || up > 0, || format!("slot {id} is beyond the target and empty"))?;
        for worker in both.into_iter().flatten() {
            let known = fleet.worker(worker);
            let fits = known.is_some_and(|worker| worker.slot() == *id && worker.phase().tag().is_up());
            holds(30, fits, || format!("slot {id} has {known:?}"))?;
            let serves = slot.current() == Some(worker) && fleet.is_healthy(worker);
            holds(34, !serves || slot.seat().served(), || {
                format!("slot {id} serves and is said never to have")
            })?;
            places.insert(worker, *id);
        }
    }
    for worker in fleet.workers().values() {
        let placed = places.contains_key(&worker.id()) || !worker.phase().tag().is_up();
        holds(30, placed, || format!("worker {} is up and in no slot", worker.id()))?;
        holds(30, worker.phase() != Phase::Dead, || format!("worker {} is dead and kept", worker.id()))?;
    }
    let range = u32::try_from(fleet.slots().keys().filter(|slot| slot.0 < fleet.target()).count());
    holds(30, range == Ok(fleet.target()), || format!("{range:?} slots for {}", fleet.target()))
}

pub(super) fn deadlines(state: &Supervisor) -> Result<(), Violation> {
    for (_, kind) in &state.fleet().index().deadlines {
        let alive = match kind {
            TimerKind::Unfinished | TimerKind::Soak | TimerKind::Upgrade | TimerKind::Down => false,
            TimerKind::AckAfter(worker) | TimerKind::AckTimeout(worker) | TimerKind::Rung(worker) => {
                state.fleet().worker(*worker).is_some()
            }
            TimerKind::Backoff(slot, side) => {
                state.fleet().slots().get(slot).is_some_and(|slot| slot.side(*side).is_some())
            }
        };
        holds(17, alive, || format!("{kind:?} belongs to nothing"))?;
    }
    Ok(())
}

pub(super) fn status(state: &Supervisor) -> Result<(), Violation> {
    let status = state.status();
    let tagged = |chosen: PhaseTag| status.workers.iter().filter(|worker| worker.phase == chosen).count();
    let healthy = u32::try_from(tagged(PhaseTag::Healthy)).ok();
    let agrees = healthy == Some(status.healthy)
        && status.workers.len() == state.fleet().workers().len()
        && status.slots.len() == state.fleet().slots().len()
        && status.target == state.fleet().target()
        && status.upgrade.is_some() == state.rollout().is_some();
    holds(21, agrees, || format!("{status:?}"))
}
