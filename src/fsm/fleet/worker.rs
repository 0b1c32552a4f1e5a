//! One worker's life: its phases, what can happen in each, and what follows.
//!
//! [`transition`] is the whole table in one match; `fsm-spec/worker.table` is the same table for
//! people, and normative: it is edited first, and a test compares the two cell by cell. The table
//! runs on tags, so it is finite; the data of a phase lives in [`Phase`], so that a healthy worker
//! without a process cannot be written down. Only [`Fleet::apply`](crate::fsm::fleet::Fleet) moves a
//! worker.

use crate::fsm::words::{
    config::{Config, KILL_AFTER},
    event::{Proof, SpawnError},
    id::{Generation, Pid, SlotId, WorkerId},
    reason::{Failure, Why},
    table::Outcome,
    text::{record, records, words},
    time::{Millis, Time},
};

record! {
    /// A worker, from the decision to start it to the report of its end.
    #[derive(Copy)]
    pub opaque struct Worker {
        /// Its name.
        id: WorkerId = "worker",
        /// The slot it was started for.
        slot: SlotId,
        /// The program it runs.
        generation: Generation,
        /// When it was started.
        born: Time,
        /// When the present phase (or rung) began; its deadline is derived from this.
        since: Time,
        /// When it last pinged.
        pinged: Option<Time>,
        /// How it was found healthy, if it was.
        proof: Option<Proof>,
        /// Since when a socket of it is registered for edge-triggered events, if that was seen.
        registered: Option<Time>,
        /// Until when it has asked for time, in its present phase.
        extended: Option<Time>,
        /// Whether time alone is no proof for it.
        strict: bool;
        /// Where it is.
        phase: Phase,
    }
}

records! {
    /// Where a worker is, with what is known there and nowhere else.
    #[derive(Copy)]
    pub enum Phase {
        /// The shell was told to start it and has not answered yet.
        "spawning" => Spawning {
            /// Whether it is still wanted.
            wanted: bool,
        },
        /// Its process exists; nobody knows yet whether it works.
        "pending-ack" => PendingAck {
            /// The process.
            pid: Pid,
        },
        /// It serves.
        "healthy" => Healthy {
            /// The process.
            pid: Pid,
        },
        /// It was asked to go.
        "draining" => Draining {
            /// The process.
            pid: Pid,
            /// The reason.
            why: Why,
            /// How it was asked last.
            rung: Rung,
        },
        /// Its process is gone, or never was.
        "dead" => Dead,
    }
}

words! {
    /// How a draining worker was asked to go; each rung is harsher than the one before.
    pub enum Rung {
        /// The stop signal: finish what was begun.
        "stop" => Stop,
        /// TERM, and soon KILL.
        "term" => Term,
        /// TERM, with all the time there is to drain.
        "patient-term" => PatientTerm,
        /// KILL, to its whole process group.
        "kill" => Kill,
        /// KILL did not help either; nothing is left to try.
        "stuck" => Stuck,
    }
}

words! {
    /// A phase without its data: the rows of the table.
    pub enum PhaseTag {
        /// Being started, and wanted.
        "spawning/wanted" => SpawningWanted,
        /// Being started, but no longer wanted.
        "spawning/unwanted" => SpawningUnwanted,
        /// Started, not yet known to work.
        "pending-ack" => PendingAck,
        /// Serving.
        "healthy" => Healthy,
        /// Asked by the stop signal.
        "draining/stop" => DrainingStop,
        /// Asked by TERM.
        "draining/term" => DrainingTerm,
        /// Killed, not yet reaped.
        "draining/kill" => DrainingKill,
        /// Killed long ago, and still there.
        "draining/stuck" => DrainingStuck,
        /// Gone.
        "dead" => Dead,
    }
}

words! {
    /// What can happen to a worker: the columns of the table. Guards are resolved before it, so
    /// that an expired timer is `ack` without `--manual` and `ack-expired` with it.
    pub enum Input {
        /// The process exists.
        "spawned" => Spawned,
        /// There will be no process.
        "spawn-failed" => SpawnFailed,
        /// The process was reaped.
        "exited" => Exited,
        /// There is no process, or none that became the program, for want of something that the machine lacks
        /// for a while.
        "short" => Short,
        /// It is known to work.
        "ack" => Ack,
        /// It has not said in time that it works.
        "ack-expired" => AckExpired,
        /// It has said that it is stopping.
        "leave" => Leave,
        /// It is to finish what it has begun and go.
        "drain" => Drain,
        /// It is to go soon.
        "terminate" => Terminate,
        /// It is to go now.
        "kill" => Kill,
        /// The time of its rung has run out.
        "rung-expired" => RungExpired,
    }
}

words! {
    /// What follows from a move, beyond the move itself.
    pub enum Effect {
        /// Send the stop signal to its process.
        "signal-stop" => SignalStop,
        /// Send TERM to its process.
        "signal-term" => SignalTerm,
        /// Send KILL to its process group.
        "signal-kill" => SignalKill,
        /// Its slot counts a failed start and backs off.
        "failed-start" => FailedStart,
        /// Its slot loses a worker that served.
        "crash" => Crash,
        /// Its slot loses a worker that served and is stopping by itself.
        "left" => Left,
        /// Its slot waits for what the machine lacks.
        "shortage" => Shortage,
        /// Say that nothing removes it.
        "report-stuck" => ReportStuck,
    }
}

impl Phase {
    /// The row of the table.
    #[must_use]
    pub fn tag(&self) -> PhaseTag {
        match self {
            Self::Spawning { wanted: true } => PhaseTag::SpawningWanted,
            Self::Spawning { wanted: false } => PhaseTag::SpawningUnwanted,
            Self::PendingAck { .. } => PhaseTag::PendingAck,
            Self::Healthy { .. } => PhaseTag::Healthy,
            Self::Draining { rung: Rung::Stop, .. } => PhaseTag::DrainingStop,
            Self::Draining { rung: Rung::Term | Rung::PatientTerm, .. } => PhaseTag::DrainingTerm,
            Self::Draining { rung: Rung::Kill, .. } => PhaseTag::DrainingKill,
            Self::Draining { rung: Rung::Stuck, .. } => PhaseTag::DrainingStuck,
            Self::Dead => PhaseTag::Dead,
        }
    }

    /// Its process, where there is one.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match self {
            Self::PendingAck { pid } | Self::Healthy { pid } | Self::Draining { pid, .. } => Some(*pid),
            Self::Spawning { .. } | Self::Dead => None,
        }
    }

    /// Why it was asked to go, if it was.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Draining { why, .. } => Some(*why),
            Self::Spawning { .. } | Self::PendingAck { .. } | Self::Healthy { .. } | Self::Dead => None,
        }
    }
}

impl PhaseTag {
    /// Wanted, and on the way to serving.
    #[must_use]
    pub fn is_starting(self) -> bool {
        matches!(self, Self::SpawningWanted | Self::PendingAck)
    }

    /// Holds its slot: starting or serving.
    #[must_use]
    pub fn is_up(self) -> bool {
        self.is_starting() || self == Self::Healthy
    }

    /// Has a process that was asked to go.
    #[must_use]
    pub fn is_draining(self) -> bool {
        matches!(self, Self::DrainingStop | Self::DrainingTerm | Self::DrainingKill | Self::DrainingStuck)
    }

    /// How far along it is. A worker's phases never go backwards.
    #[must_use]
    pub fn order(self) -> usize {
        Self::ALL.iter().position(|tag| *tag == self).unwrap_or_default()
    }
}

/// The table. Total: every input in every phase has an outcome.
#[must_use]
pub fn transition(phase: PhaseTag, input: Input) -> Outcome<PhaseTag, Effect> {
    use Effect::{Crash, FailedStart, Left, ReportStuck, Shortage, SignalKill, SignalStop, SignalTerm};
    use Outcome::{Move, Reject, Stay};
    use PhaseTag as P;

    match (phase, input) {
        (P::SpawningWanted, Input::Spawned) => Move(P::PendingAck, &[]),
        (P::SpawningWanted, Input::SpawnFailed) => Move(P::Dead, &[FailedStart]),
        (P::SpawningWanted | P::PendingAck | P::Healthy, Input::Short) => Move(P::Dead, &[Shortage]),
        (P::SpawningWanted, Input::Drain | Input::Terminate | Input::Kill) => Move(P::SpawningUnwanted, &[]),
        (
            P::SpawningWanted | P::SpawningUnwanted,
            Input::Exited | Input::Ack | Input::AckExpired | Input::Leave | Input::RungExpired,
        ) => Reject,

        (P::SpawningUnwanted, Input::Spawned) => Move(P::DrainingTerm, &[SignalTerm]),
        (P::SpawningUnwanted, Input::SpawnFailed | Input::Short) => Move(P::Dead, &[]),
        (P::SpawningUnwanted, Input::Drain | Input::Terminate | Input::Kill) => Stay,

        (P::PendingAck, Input::Exited) => Move(P::Dead, &[FailedStart]),
        (P::PendingAck, Input::Ack) => Move(P::Healthy, &[]),
        (P::PendingAck, Input::Leave) => Stay,
        (P::PendingAck, Input::AckExpired) => Move(P::DrainingTerm, &[FailedStart, SignalTerm]),
        (P::PendingAck | P::Healthy, Input::Drain) => Move(P::DrainingStop, &[SignalStop]),
        (P::PendingAck | P::Healthy, Input::Terminate) => Move(P::DrainingTerm, &[SignalTerm]),
        (P::PendingAck | P::Healthy, Input::Kill) => Move(P::DrainingKill, &[SignalKill]),
        (P::PendingAck, Input::Spawned | Input::SpawnFailed | Input::RungExpired) => Reject,

        (P::Healthy, Input::Exited) => Move(P::Dead, &[Crash]),
        (P::Healthy, Input::Ack) => Stay,
        (P::Healthy, Input::Leave) => Move(P::DrainingStop, &[Left]),
        (P::Healthy, Input::Spawned | Input::SpawnFailed | Input::AckExpired | Input::RungExpired) => Reject,

        (P::DrainingStop, Input::Terminate | Input::RungExpired) => Move(P::DrainingTerm, &[SignalTerm]),
        (P::DrainingTerm, Input::RungExpired) => Move(P::DrainingKill, &[SignalKill]),
        (P::DrainingStop | P::DrainingTerm, Input::Kill) => Move(P::DrainingKill, &[SignalKill]),
        (P::DrainingKill, Input::RungExpired) => Move(P::DrainingStuck, &[ReportStuck]),
        (P::DrainingStuck, Input::RungExpired) => Reject,
        (
            P::DrainingStop | P::DrainingTerm | P::DrainingKill | P::DrainingStuck,
            Input::Exited | Input::Short,
        ) => Move(P::Dead, &[]),
        (
            P::DrainingStop | P::DrainingTerm | P::DrainingKill | P::DrainingStuck,
            Input::Ack | Input::Leave | Input::Drain,
        )
        | (P::DrainingTerm | P::DrainingKill | P::DrainingStuck, Input::Terminate)
        | (P::DrainingKill | P::DrainingStuck, Input::Kill) => Stay,
        (
            P::DrainingStop | P::DrainingTerm | P::DrainingKill | P::DrainingStuck,
            Input::Spawned | Input::SpawnFailed | Input::AckExpired,
        ) => Reject,

        (P::Dead, _) => Reject,
    }
}

/// An input with the data that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The process exists.
    Spawned(Pid),
    /// There will be no process, and why not.
    SpawnFailed(SpawnError),
    /// The process was reaped, and how it came to its end.
    Exited(Failure),
    /// It is known to work.
    Ack(Proof),
    /// It has not said in time that it works.
    AckExpired,
    /// It has said that it is stopping.
    Leave,
    /// It is to finish what it has begun and go.
    Drain(Why),
    /// It is to go soon.
    Terminate(Why),
    /// The same, but with all the time there is to drain.
    TerminatePatiently(Why),
    /// It is to go now.
    Kill(Why),
    /// The time of its rung has run out.
    RungExpired,
}

impl Change {
    /// Whether it is the machine's own wish that the worker goes.
    #[must_use]
    pub fn is_order(&self) -> bool {
        match self {
            Self::Drain(_) | Self::Terminate(_) | Self::TerminatePatiently(_) | Self::Kill(_) => true,
            Self::Spawned(_)
            | Self::SpawnFailed(_)
            | Self::Exited(_)
            | Self::Ack(_)
            | Self::AckExpired
            | Self::Leave
            | Self::RungExpired => false,
        }
    }

    /// The column of the table.
    #[must_use]
    pub fn input(&self) -> Input {
        match self {
            Self::Spawned(_) => Input::Spawned,
            Self::SpawnFailed(error) | Self::Exited(Failure::Spawn(error)) if error.is_shortage() => {
                Input::Short
            }
            Self::SpawnFailed(_) => Input::SpawnFailed,
            Self::Exited(_) => Input::Exited,
            Self::Ack(_) => Input::Ack,
            Self::AckExpired => Input::AckExpired,
            Self::Leave => Input::Leave,
            Self::Drain(_) => Input::Drain,
            Self::Terminate(_) | Self::TerminatePatiently(_) => Input::Terminate,
            Self::Kill(_) => Input::Kill,
            Self::RungExpired => Input::RungExpired,
        }
    }

    /// The process it brings.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        if let Self::Spawned(pid) = self { Some(*pid) } else { None }
    }

    /// The reason it gives for going.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Drain(why) | Self::Terminate(why) | Self::TerminatePatiently(why) | Self::Kill(why) => {
                Some(*why)
            }
            Self::AckExpired => Some(Why::Unacknowledged),
            Self::Leave => Some(Why::Leaving),
            Self::Spawned(_) | Self::SpawnFailed(_) | Self::Exited(_) | Self::Ack(_) | Self::RungExpired => {
                None
            }
        }
    }

    /// How the worker failed, should this be the end of its start or of its service.
    #[must_use]
    pub fn failure(&self, pid: Option<Pid>, age: Millis) -> Option<Failure> {
        match self {
            Self::SpawnFailed(error) => Some(Failure::Spawn(*error)),
            Self::Exited(failure) => Some(*failure),
            Self::AckExpired => Some(Failure::Unacknowledged { pid: pid?, age }),
            Self::Spawned(_)
            | Self::Ack(_)
            | Self::Leave
            | Self::Drain(_)
            | Self::Terminate(_)
            | Self::TerminatePatiently(_)
            | Self::Kill(_)
            | Self::RungExpired => None,
        }
    }
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The worker is in another phase, with these effects.
    Moved(&'static [Effect]),
    /// Nothing changed, and that is right.
    Stayed,
    /// That cannot happen to it now; nothing changed.
    Rejected,
}

impl Worker {
    /// A worker that the shell is told to start.
    pub(super) fn new(id: WorkerId, slot: SlotId, generation: Generation, now: Time) -> Self {
        let phase = Phase::Spawning { wanted: true };
        let (pinged, proof, registered, extended) = (None, None, None, None);
        let (born, since, strict) = (now, now, false);
        Self { id, slot, generation, born, since, pinged, proof, registered, extended, strict, phase }
    }

    /// The one way from one phase to another.
    pub(super) fn apply(&mut self, change: Change, now: Time) -> Step {
        match transition(self.phase.tag(), change.input()) {
            Outcome::Move(next, effects) => match enter(next, self.phase, change) {
                Some(phase) => {
                    (self.phase, self.since, self.extended) = (phase, now, None);
                    self.proof = if let Change::Ack(proof) = change { Some(proof) } else { self.proof };
                    Step::Moved(effects)
                }
                None => Step::Rejected,
            },
            Outcome::Stay => Step::Stayed,
            Outcome::Reject => Step::Rejected,
        }
    }

    /// Notes that a socket of it is registered for edge-triggered events.
    pub(super) fn register(&mut self, now: Time) {
        self.registered = self.registered.or(Some(now));
    }

    /// Puts its deadline off until then.
    pub(super) fn extend(&mut self, until: Time) {
        self.extended = self.extended.max(Some(until));
    }

    /// Time alone is no proof for it from here on.
    pub(super) fn call_for_proof(&mut self) {
        self.strict = true;
    }

    /// Notes that it has shown what time had been taken for.
    pub(super) fn prove(&mut self, proof: Proof) {
        self.proof = self.proof.map(|known| if known == Proof::Timer { proof } else { known });
    }

    /// Notes a sign of life.
    pub(super) fn ping(&mut self, now: Time) {
        self.pinged = Some(now);
    }
}

/// The phase a move leads to, with its data. `None` if the data is not to be had, which the table
/// rules out.
fn enter(next: PhaseTag, before: Phase, change: Change) -> Option<Phase> {
    let pid = change.pid().or(before.pid());
    let why = change.why().or(before.why()).unwrap_or(Why::Withdrawn);
    let draining = |rung| pid.map(|pid| Phase::Draining { pid, why, rung });
    match next {
        PhaseTag::SpawningWanted => Some(Phase::Spawning { wanted: true }),
        PhaseTag::SpawningUnwanted => Some(Phase::Spawning { wanted: false }),
        PhaseTag::PendingAck => pid.map(|pid| Phase::PendingAck { pid }),
        PhaseTag::Healthy => pid.map(|pid| Phase::Healthy { pid }),
        PhaseTag::DrainingStop => draining(Rung::Stop),
        PhaseTag::DrainingTerm if matches!(change, Change::TerminatePatiently(_)) => {
            draining(Rung::PatientTerm)
        }
        PhaseTag::DrainingTerm => draining(Rung::Term),
        PhaseTag::DrainingKill => draining(Rung::Kill),
        PhaseTag::DrainingStuck => draining(Rung::Stuck),
        PhaseTag::Dead => Some(Phase::Dead),
    }
}

impl Rung {
    /// How long it lasts before the next one. `None`: there is none.
    #[must_use]
    pub fn patience(self, config: &Config) -> Option<Millis> {
        match self {
            Self::Stop | Self::PatientTerm => Some(config.grace),
            Self::Term | Self::Kill => Some(KILL_AFTER),
            Self::Stuck => None,
        }
    }
}
