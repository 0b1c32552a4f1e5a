//! What can happen next, and how much of it there is to be.

use super::{place::Place, worlds::World};
use crate::world::spawn_error;
use einhyrningsins::fsm::{
    action::Action,
    config::AckMode,
    event::{Command, EventKind, ExitStatus, Notification, Proof, Sight, Strategy},
    id::{ClientId, Pid, RequestId, WorkerId},
    index::TimerKind,
    worker::{Phase, PhaseTag, Worker},
};
use std::collections::BTreeSet;

/// How often things may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Rolling upgrades.
    pub rolling: u8,
    /// Fleet upgrades.
    pub fleet: u8,
    /// Upgrades as the world has them, with a canary or a soak.
    pub trial: u8,
    /// Requests to give an upgrade up.
    pub abort: u8,
    /// Changes of the number of workers, and retries.
    pub scale: u8,
    /// Requests to shut down.
    pub stop: u8,
    /// Starts that fail, workers that end unasked, programs that cannot be captured.
    pub fault: u8,
    /// Workers that end unasked, and nothing else that fails.
    pub end: u8,
    /// Acks that do not come in time.
    pub missed: u8,
    /// Deadlines that something else overtakes.
    pub late: u8,
    /// Clients that leave.
    pub leave: u8,
}

/// How a move is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// It fits the state.
    Fits,
    /// It fits, and nothing may come of it but an answer.
    Idle,
    /// The shell is broken: the machine says so, and nothing may come of it.
    Broken,
}

/// One thing that can happen.
#[derive(Clone, Debug)]
pub enum Move {
    /// The machine is told something.
    Tell(EventKind, Budget, Sense),
    /// The time of the next deadline comes, and the machine is not told yet.
    Pass(Budget),
}

/// A process that is no worker's.
const STRANGER: Pid = Pid(2);
const SHELL: ClientId = ClientId(1);
const LASTING: u8 = 7;
const PASSING: u8 = 0;
const SHORT: u8 = 3;

/// The request of every move; numbers are never used twice on any one path.
fn request(place: &Place) -> RequestId {
    RequestId(place.depth + 1)
}

/// The lowest process number that is free, so that numbers come back as soon as they can.
fn free_pid(place: &Place) -> Pid {
    let used = &place.supervisor.fleet().index().pids;
    let free = (100..).map(Pid).find(|pid| !used.contains_key(pid));
    free.unwrap_or(STRANGER)
}

/// The good answer to an order.
pub fn good_answer(order: &Action, place: &Place) -> Option<EventKind> {
    match order {
        Action::Pin { generation, .. } => Some(EventKind::Pinned { generation: *generation }),
        Action::Bind { listener } => Some(EventKind::Bound { listener: *listener }),
        Action::Spawn { worker, .. } => Some(EventKind::Spawned { worker: *worker, pid: free_pid(place) }),
        _ => None,
    }
}

fn bad_answer(order: &Action, how: u8) -> Option<EventKind> {
    let error = spawn_error(how);
    match order {
        Action::Pin { generation, .. } => Some(EventKind::PinFailed { generation: *generation, error }),
        Action::Bind { listener } => Some(EventKind::BindFailed { listener: *listener, errno: error.errno }),
        Action::Spawn { worker, .. } => Some(EventKind::SpawnFailed { worker: *worker, error }),
        _ => None,
    }
}

/// A worker says for itself that it is ready.
pub fn ack(worker: Pid, place: &Place) -> EventKind {
    EventKind::Acked { pid: worker, sender: worker, group: Some(worker), request: Some(request(place)) }
}

/// Its process ends. How is for people only; both ways occur.
pub fn exit(worker: &Worker, pid: Pid) -> EventKind {
    let signal = worker.id().0.is_multiple_of(2);
    let status = if signal { ExitStatus::Signal(9) } else { ExitStatus::Code(0) };
    EventKind::Exited { pid, status, error: None, orphans: signal }
}

fn exec_failure(pid: Pid, how: u8) -> EventKind {
    EventKind::Exited { pid, status: ExitStatus::Code(127), error: Some(spawn_error(how)), orphans: false }
}

/// A client asks for something.
pub fn ask(command: Command, place: &Place) -> EventKind {
    EventKind::Requested { client: SHELL, request: request(place), command }
}

/// Everything that can happen in a state.
pub fn all(place: &Place, world: &World) -> Vec<Move> {
    let mut out = Vec::with_capacity(16);
    answers(place, world, &mut out);
    time(place, &mut out);
    processes(place, world, &mut out);
    clients(place, world, &mut out);
    out
}

/// Orders are answered in any order, and everything else may happen before.
fn answers(place: &Place, world: &World, out: &mut Vec<Move>) {
    for order in &place.unanswered {
        out.extend(good_answer(order, place).map(|kind| Move::Tell(kind, place.left, Sense::Fits)));
        let Some(fault) = place.left.fault.checked_sub(1) else {
            continue;
        };
        let left = Budget { fault, ..place.left };
        let others: &[u8] = if world.lasting { &[LASTING, SHORT] } else { &[] };
        for how in [PASSING].iter().chain(others).copied() {
            out.extend(bad_answer(order, how).map(|kind| Move::Tell(kind, left, Sense::Fits)));
        }
    }
}

/// The machine is woken in time, or something else comes first.
fn time(place: &Place, out: &mut Vec<Move>) {
    let Some((deadline, _)) = place.supervisor.next_deadline() else {
        return;
    };
    // Nothing here is ever late enough for a gap, so the machine's own time is the shell's.
    let due = place.supervisor.fleet().index().deadlines.iter().take_while(|(time, _)| *time <= deadline);
    let misses = due.into_iter().any(|(_, kind)| matches!(kind, TimerKind::AckTimeout(_)));
    if let Some(missed) = place.left.missed.checked_sub(u8::from(misses)) {
        out.push(Move::Tell(EventKind::Woke, Budget { missed, ..place.left }, Sense::Fits));
    }
    if let Some(late) = place.left.late.checked_sub(1).filter(|_| deadline > place.at) {
        out.push(Move::Pass(Budget { late, ..place.left }));
    }
}

/// Processes end, acknowledge, and speak for each other.
fn processes(place: &Place, world: &World, out: &mut Vec<Move>) {
    let fleet = place.supervisor.fleet();
    let mut spoken = BTreeSet::new();
    for (pid, worker) in &fleet.index().pids {
        let Some(worker) = fleet.worker(*worker) else {
            continue;
        };
        let tag = worker.phase().tag();
        let manual = matches!(world.config.ack, AckMode::Manual(_));
        if tag.is_draining() {
            out.push(Move::Tell(exit(worker, *pid), place.left, Sense::Fits));
            if world.lasting {
                out.push(Move::Tell(exec_failure(*pid, SHORT), place.left, Sense::Fits));
            }
        } else if let Some(end) = place.left.end.checked_sub(1) {
            out.push(Move::Tell(exit(worker, *pid), Budget { end, ..place.left }, Sense::Fits));
        } else if let Some(fault) = place.left.fault.checked_sub(1) {
            let left = Budget { fault, ..place.left };
            out.push(Move::Tell(exit(worker, *pid), left, Sense::Fits));
            if world.chatter && world.lasting && tag == PhaseTag::Healthy {
                let word = Notification::Stopping;
                out.push(Move::Tell(EventKind::Notified { pid: *pid, word }, left, Sense::Fits));
            }
            if tag == PhaseTag::PendingAck || world.config.ack == AckMode::After(super::worlds::NOTHING) {
                out.push(Move::Tell(exec_failure(*pid, PASSING), left, Sense::Fits));
                if world.lasting {
                    out.push(Move::Tell(exec_failure(*pid, LASTING), left, Sense::Fits));
                    out.push(Move::Tell(exec_failure(*pid, SHORT), left, Sense::Fits));
                }
            }
        }
        if tag == PhaseTag::PendingAck && manual {
            out.push(Move::Tell(ack(*pid, place), place.left, Sense::Fits));
        }
        if world.config.ack.looks() {
            let mut seen =
                |sight| out.push(Move::Tell(EventKind::Seen { pid: *pid, sight }, place.left, Sense::Fits));
            if tag == PhaseTag::PendingAck || worker.proof() == Some(Proof::Timer) {
                seen(Sight::Accepting);
            }
            if tag == PhaseTag::PendingAck && worker.registered().is_none() {
                seen(Sight::Registered);
            }
        }
        if world.chatter && spoken.insert(tag) {
            chatter(place, worker, *pid, out);
        }
    }
}

/// What is said and changes nothing: acks that come too late or from somebody else, pings, answers that
/// come twice.
fn chatter(place: &Place, worker: &Worker, pid: Pid, out: &mut Vec<Move>) {
    let request = Some(request(place));
    let mut idle = |kind| out.push(Move::Tell(kind, place.left, Sense::Idle));
    if worker.phase().tag() != PhaseTag::Healthy {
        idle(EventKind::Notified { pid, word: Notification::Stopping });
    }
    if !matches!(worker.phase(), Phase::PendingAck { .. }) {
        idle(ack(pid, place));
        idle(EventKind::Acked { pid, sender: STRANGER, group: Some(pid), request });
        idle(EventKind::Acked { pid, sender: STRANGER, group: None, request: None });
    }
    idle(EventKind::Acked { pid, sender: STRANGER, group: Some(STRANGER), request });
    idle(EventKind::Acked { pid: STRANGER, sender: pid, group: Some(pid), request });
    if let Some(other) = place.supervisor.fleet().index().pids.keys().find(|other| **other != pid) {
        idle(EventKind::Acked { pid, sender: *other, group: Some(pid), request });
        idle(EventKind::Acked { pid, sender: *other, group: None, request: None });
    }
    idle(EventKind::Exited { pid: STRANGER, status: ExitStatus::Code(0), error: None, orphans: false });
    let mut broken = |kind| out.push(Move::Tell(kind, place.left, Sense::Broken));
    broken(EventKind::Spawned { worker: worker.id(), pid: free_pid(place) });
    broken(EventKind::SpawnFailed { worker: worker.id(), error: spawn_error(LASTING) });
    broken(EventKind::SpawnFailed { worker: WorkerId(0), error: spawn_error(PASSING) });
}

/// Clients ask, and leave.
fn clients(place: &Place, world: &World, out: &mut Vec<Move>) {
    let left = place.left;
    let upgrade =
        |strategy| ask(Command::Upgrade { strategy, canary: None, soak: None, timeout: None }, place);
    let mut tell = |kind, left| out.push(Move::Tell(kind, left, Sense::Fits));
    if let Some(rolling) = left.rolling.checked_sub(1) {
        tell(upgrade(Strategy::Rolling), Budget { rolling, ..left });
    }
    if let Some(fleet) = left.fleet.checked_sub(1) {
        tell(upgrade(Strategy::Fleet), Budget { fleet, ..left });
    }
    if let Some(trial) = left.trial.checked_sub(1) {
        for command in world.trials {
            tell(ask(command.clone(), place), Budget { trial, ..left });
        }
    }
    if let Some(abort) = left.abort.checked_sub(1) {
        tell(ask(Command::Abort, place), Budget { abort, ..left });
    }
    if let Some(scale) = left.scale.checked_sub(1) {
        for command in world.scales {
            tell(ask(command.clone(), place), Budget { scale, ..left });
        }
    }
    if let Some(stop) = left.stop.checked_sub(1) {
        for shutdown in world.stops {
            tell(ask(Command::Die { shutdown: *shutdown }, place), Budget { stop, ..left });
        }
    }
    if let Some(leave) = left.leave.checked_sub(1).filter(|_| !place.supervisor.waiting().is_empty()) {
        tell(EventKind::ClientGone { client: SHELL }, Budget { leave, ..left });
    }
}
