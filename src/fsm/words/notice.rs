//! What people may want to know. Typed here; the shell gives each its words and its level.

use super::{
    event::{ExitStatus, Proof, SpawnError, Strategy},
    id::{Errno, Generation, ListenerId, Pid, SlotId, WorkerId},
    reason::{Cause, Failure, Next, Sequel, Why},
    signal::{Shutdown, Signal},
    text::records,
    time::Millis,
};
use alloc::string::String;

records! {
    /// What people may want to know.
    pub enum Notice {
        /// A worker's process exists.
        "spawned" => Spawned {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// Its process.
            pid: Pid,
        },
        /// A worker is healthy.
        "healthy" => Healthy {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// Its process.
            pid: Pid,
            /// How long after its start.
            took: Millis,
            /// How that is known.
            proof: Proof,
        },
        /// A start failed.
        "start-failed" => StartFailed {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// How.
            failure: Failure,
            /// How often in a row its slot has failed, if this counts against that.
            failures: Option<u32>,
            /// How often it may.
            retries: u32,
            /// What comes in its place.
            next: Next,
        },
        /// A healthy worker ended without being asked to.
        "crashed" => Crashed {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// Its process.
            pid: Pid,
            /// How it ended.
            status: ExitStatus,
            /// What comes in its place.
            next: Next,
        },
        /// A worker that was asked to go is gone.
        "gone" => Gone {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// Its process.
            pid: Pid,
            /// How it ended.
            status: ExitStatus,
            /// Whether nobody had asked it to.
            unasked: bool,
        },
        /// A worker is asked to go, or says that it does.
        "draining" => Draining {
            /// Which worker.
            worker: WorkerId,
            /// Its slot.
            slot: SlotId,
            /// Its generation.
            generation: Generation,
            /// Its process.
            pid: Pid,
            /// Why.
            why: Why,
        },
        /// A draining worker did not go in time and gets a harsher signal.
        "escalated" => Escalated {
            /// Which worker.
            worker: WorkerId,
            /// Its process.
            pid: Pid,
            /// The harsher signal.
            signal: Signal,
        },
        /// Even KILL did not remove a worker.
        "stuck" => Stuck {
            /// Which worker.
            worker: WorkerId,
            /// Its process.
            pid: Pid,
        },
        /// A worker that ended has left processes behind in its group; they are killed.
        "orphans" => Orphans {
            /// Which worker.
            worker: WorkerId,
            /// Its process.
            pid: Pid,
        },
        /// A slot has failed too often and is not tried again.
        "gave-up" => GaveUp {
            /// Which slot.
            slot: SlotId,
            /// Of which generation.
            generation: Generation,
            /// How often it was tried.
            failures: u32,
            /// How it failed the last time.
            failure: Failure,
            /// What becomes of it.
            then: Sequel,
        },
        /// A slot has failed as often as others are given up after. What it runs has served, so it goes on being
        /// tried.
        "failing" => Failing {
            /// Which slot.
            slot: SlotId,
            /// Of which generation.
            generation: Generation,
            /// How often it was tried.
            failures: u32,
            /// How it failed the last time.
            failure: Failure,
        },
        /// A service that has served does so no more; told once a minute.
        "down" => Down {
            /// For how long.
            lasted: Millis,
            /// How a start failed the last time, in the slot that has failed most.
            failure: Option<Failure>,
        },
        /// It serves again, after that was told.
        "no-longer-down" => NoLongerDown {
            /// How long it did not.
            lasted: Millis,
        },
        /// No slot is left to try; the supervisor ends.
        "lost" => Lost {
            /// How it failed the last time.
            failure: Failure,
        },
        /// A socket cannot be bound; the supervisor ends.
        "bind-failed" => BindFailed {
            /// Which socket.
            listener: ListenerId,
            /// What the system said.
            errno: Errno,
        },
        /// A program cannot be run.
        "pin-failed" => PinFailed {
            /// Which generation.
            generation: Generation,
            /// Why.
            error: SpawnError,
        },
        /// Every worker is healthy for the first time.
        "up" => Up {
            /// How many.
            workers: u32,
            /// How long it took.
            took: Millis,
        },
        /// An upgrade has begun.
        "upgrading" => Upgrading {
            /// The generation that is coming.
            generation: Generation,
            /// In which order.
            strategy: Strategy,
            /// How many new workers go ahead of the others, if any do.
            canary: Option<u32>,
            /// How long new workers must stay healthy before they are trusted.
            soak: Option<Millis>,
            /// How long it may take.
            timeout: Option<Millis>,
        },
        /// What there is of a new generation is healthy, and on trial from now on.
        "on-trial" => OnTrial {
            /// The generation.
            generation: Generation,
            /// How many workers.
            workers: u32,
            /// For how long.
            soak: Millis,
        },
        /// An upgrade is complete.
        "upgraded" => Upgraded {
            /// The generation that serves.
            generation: Generation,
            /// How long it took.
            took: Millis,
        },
        /// A new generation is taken back.
        "rolling-back" => RollingBack {
            /// The generation that is taken back.
            generation: Generation,
            /// The one that is to serve.
            to: Generation,
            /// Why.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How it failed the last time.
            failure: Option<Failure>,
        },
        /// The old generation serves again.
        "rolled-back" => RolledBack {
            /// The generation that serves.
            to: Generation,
            /// How many workers of it serve.
            healthy: u32,
            /// How many there should be.
            target: u32,
        },
        /// A newer upgrade took over.
        "superseded" => Superseded {
            /// The generation that was coming.
            generation: Generation,
            /// The one that comes now.
            by: Generation,
        },
        /// The number of workers is changed.
        "target" => Target {
            /// What it was.
            old: u32,
            /// What it is.
            new: u32,
        },
        /// A signal asked for a number of workers that is not possible; nothing changed.
        "target-refused" => TargetRefused {
            /// What it is.
            target: u32,
            /// The least there can be.
            least: u32,
            /// The most there can be.
            most: u32,
        },
        /// The shutdown has begun, or became harsher.
        "stopping" => Stopping {
            /// How.
            shutdown: Shutdown,
            /// Workers that are to go.
            workers: u32,
        },
        /// Somebody spoke for a worker that is not his.
        "not-yours" => NotYours {
            /// The worker's process that was named.
            pid: Pid,
            /// Who said so.
            sender: Pid,
        },
        /// Nothing ran for a while; the deadlines that fell into it are put off.
        "gap" => Gap {
            /// How long.
            lost: Millis,
        },
        /// Something that cannot happen did. Nothing was changed.
        "impossible" => Impossible {
            /// What.
            what: String,
        },
    }
}
