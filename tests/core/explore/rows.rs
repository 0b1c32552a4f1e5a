//! Which rows of the table a step has used, found from the fleet before and after it.

use einhyrningsins::fsm::{
    Supervisor,
    action::{Action, Reply},
    config::AckMode,
    event::{EventKind, Notification, Sight},
    id::{Pid, WorkerId},
    index::TimerKind,
    life::Life,
    signal::Shutdown,
    table::Outcome,
    worker::{Input, PhaseTag, transition},
};
use std::{collections::BTreeSet, fmt::Write as _};

/// A row of the table.
pub type Row = (PhaseTag, Input);

/// The rows that a step has used. Every change of a phase must be one that the table allows for what
/// happened.
///
/// # Errors
/// If a worker is where no row leads.
pub fn used(
    before: &Supervisor,
    kind: &EventKind,
    actions: &[Action],
    after: &Supervisor,
    rows: &mut BTreeSet<Row>,
) -> Result<(), String> {
    let known = before.fleet().workers().keys().copied();
    let fresh = (before.fleet().extent().next_worker.0..after.fleet().extent().next_worker.0).map(WorkerId);
    for id in known.chain(fresh) {
        let mut tag =
            before.fleet().worker(id).map_or(PhaseTag::SpawningWanted, |worker| worker.phase().tag());
        let end = after.fleet().worker(id).map_or(PhaseTag::Dead, |worker| worker.phase().tag());
        for input in heard(before, id, kind, actions, after) {
            rows.insert((tag, input));
            if let Outcome::Move(next, _) = transition(tag, input) {
                tag = next;
            }
        }
        if tag != end {
            let input = ordered(tag, end, after.life());
            let input = input.ok_or_else(|| format!("worker {id} went from {tag} to {end} by no row"))?;
            rows.insert((tag, input));
        }
    }
    Ok(())
}

/// What the event itself says to a worker.
fn heard(
    before: &Supervisor,
    id: WorkerId,
    kind: &EventKind,
    actions: &[Action],
    after: &Supervisor,
) -> Vec<Input> {
    let fleet = before.fleet();
    let is = |pid: &Pid| fleet.by_pid(*pid).is_some_and(|worker| worker.id() == id);
    let at_once = fleet.config().ack == AckMode::After(super::worlds::NOTHING);
    match kind {
        EventKind::Spawned { worker, .. } if *worker == id => {
            let tag = fleet.worker(id).map(|worker| worker.phase().tag());
            let healthy = at_once && tag == Some(PhaseTag::SpawningWanted);
            [Input::Spawned].into_iter().chain(healthy.then_some(Input::Ack)).collect()
        }
        EventKind::SpawnFailed { worker, error } if *worker == id => {
            vec![if error.is_shortage() { Input::Short } else { Input::SpawnFailed }]
        }
        EventKind::Exited { pid, error, .. } if is(pid) => {
            vec![if error.is_some_and(|error| error.is_shortage()) { Input::Short } else { Input::Exited }]
        }
        EventKind::Acked { pid, .. } if is(pid) => {
            // Whether it was taken as one, only the answer tells.
            let taken = actions.iter().any(|action| {
                let Action::Reply { reply, .. } = action else {
                    return false;
                };
                matches!(reply, Reply::Acked { .. } | Reply::AckedWhileDraining { .. })
            });
            if taken { vec![Input::Ack] } else { Vec::new() }
        }
        EventKind::Notified { pid, word: Notification::Stopping } if is(pid) => vec![Input::Leave],
        EventKind::Seen { pid, sight: Sight::Accepting } if is(pid) => {
            let pending = fleet.worker(id).is_some_and(|worker| worker.phase().tag() == PhaseTag::PendingAck);
            if pending { vec![Input::Ack] } else { Vec::new() }
        }
        EventKind::Woke => {
            let due = fleet.index().deadlines.iter().take_while(|(time, _)| *time <= after.now());
            let waits = |id| {
                after.fleet().worker(id).is_some_and(|worker| worker.phase().tag() == PhaseTag::PendingAck)
            };
            // Where time is no proof, more is asked for when it is over.
            due.filter_map(|(_, kind)| expired(*kind, id).filter(|input| *input != Input::Ack || !waits(id)))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn expired(kind: TimerKind, id: WorkerId) -> Option<Input> {
    match kind {
        TimerKind::AckAfter(worker) if worker == id => Some(Input::Ack),
        TimerKind::AckTimeout(worker) if worker == id => Some(Input::AckExpired),
        TimerKind::Rung(worker) if worker == id => Some(Input::RungExpired),
        _ => None,
    }
}

/// What the machine must have decided for a worker to go on from `tag` to `end`.
fn ordered(tag: PhaseTag, end: PhaseTag, life: Life) -> Option<Input> {
    let leads = |input: &Input| matches!(transition(tag, *input), Outcome::Move(next, _) if next == end);
    let fits = match life {
        Life::Stopping { shutdown: Shutdown::Kill, .. } => Input::Kill,
        Life::Stopping { shutdown: Shutdown::Fast | Shutdown::Quick, .. } => Input::Terminate,
        _ => Input::Drain,
    };
    [fits].into_iter().find(leads)
}

/// Rows that nothing can reach, and why.
pub struct Unreached {
    /// The phases.
    pub phases: &'static [PhaseTag],
    /// The inputs that never come in them.
    pub inputs: &'static [Input],
    /// Why.
    pub why: &'static str,
}

use Input as I;
use PhaseTag as P;

/// The list for people is drawn from this one: `fsm-spec/unreached.md`.
pub const UNREACHED: &[Unreached] = &[
    Unreached {
        phases: &[P::SpawningWanted, P::SpawningUnwanted],
        inputs: &[I::Exited, I::Ack, I::Leave],
        why: "Exits and words name a process, and there is none yet.",
    },
    Unreached {
        phases: &[
            P::SpawningWanted,
            P::SpawningUnwanted,
            P::Healthy,
            P::DrainingStop,
            P::DrainingTerm,
            P::DrainingKill,
            P::DrainingStuck,
        ],
        inputs: &[I::AckExpired],
        why: "Only a worker that is starting has this deadline; it is gone with the phase.",
    },
    Unreached {
        phases: &[P::SpawningWanted, P::SpawningUnwanted, P::PendingAck, P::Healthy, P::DrainingStuck],
        inputs: &[I::RungExpired],
        why: "Only a worker on a rung that ends has this deadline; it is gone with the rung.",
    },
    Unreached {
        phases: &[P::Healthy],
        inputs: &[I::Ack],
        why: "A second ack is answered before the table is asked.",
    },
    Unreached {
        phases: &[P::SpawningUnwanted, P::DrainingStop, P::DrainingTerm, P::DrainingKill, P::DrainingStuck],
        inputs: &[I::Drain],
        why: "The machine asks only workers that are up to drain.",
    },
    Unreached {
        phases: &[P::SpawningUnwanted, P::DrainingTerm, P::DrainingKill, P::DrainingStuck],
        inputs: &[I::Terminate],
        why: "A shutdown gives TERM only to workers that have not had it.",
    },
    Unreached {
        phases: &[P::SpawningUnwanted, P::DrainingKill, P::DrainingStuck],
        inputs: &[I::Kill],
        why: "A shutdown kills only what was not killed.",
    },
    Unreached {
        phases: &[P::Dead],
        inputs: Input::ALL,
        why: "The dead are forgotten: no name and no process number leads to them.",
    },
];

/// The rows on the list.
pub fn unreached() -> BTreeSet<Row> {
    let rows = UNREACHED.iter().flat_map(|entry| {
        entry.phases.iter().flat_map(|phase| entry.inputs.iter().map(|input| (*phase, *input)))
    });
    rows.collect()
}

/// The list for people.
pub fn drawn() -> String {
    let mut out = String::from(
        "# Rows that nothing reaches\n\n\
         The table is total, so it also says what would be right if something happened that cannot. These\n\
         are the rows that the exploration of all small worlds never uses, and why; all others it does use.\n\
         Drawn from `tests/core/explore/rows.rs` by `UPDATE_TRACES=1 cargo test --test core`.\n\n\
         | Phase | Input | Why not |\n|---|---|---|\n",
    );
    for entry in UNREACHED {
        let phases: Vec<&str> = entry.phases.iter().map(|phase| phase.word()).collect();
        let inputs: Vec<&str> = entry.inputs.iter().map(|input| input.word()).collect();
        let inputs = if entry.inputs == Input::ALL { String::from("any") } else { inputs.join(", ") };
        writeln!(out, "| {} | {inputs} | {} |", phases.join(", "), entry.why).expect("a string takes all");
    }
    out
}
