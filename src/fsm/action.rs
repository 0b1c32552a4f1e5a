//! What to do: orders to the shell. They are to be performed in the order given; see the
//! [module's](super) ordering obligations.

use super::{
    event::{ExitStatus, SpawnError, Strategy},
    id::{Errno, Generation, ListenerId, Pid, RequestId, SlotId, WorkerId},
    rollout::Stage,
    signal::{Shutdown, Signal},
    text::{BadText, Field, put_display, records, words},
    time::Millis,
};
use alloc::{string::String, vec::Vec};

records! {
    /// The kinds of orders.
    pub enum Action {
        /// Capture the program of a generation. Answered by `Pinned` or `PinFailed`.
        "pin" => Pin {
            /// Which generation.
            generation: Generation,
            /// The upgrade request it belongs to, if one did.
            request: Option<RequestId>,
        },
        /// Nothing will run in this generation any more; release what was captured.
        "forget" => Forget {
            /// Which generation.
            generation: Generation,
        },
        /// Bind a socket and listen. Answered by `Bound` or `BindFailed`.
        "bind" => Bind {
            /// Which socket.
            listener: ListenerId,
        },
        /// Start a worker. Answered by `Spawned` or `SpawnFailed`.
        "spawn" => Spawn {
            /// The worker's name from now on.
            worker: WorkerId,
            /// The position it fills.
            slot: SlotId,
            /// The program it runs.
            generation: Generation,
        },
        /// Send a signal to a worker.
        "signal" => Signal {
            /// Which worker.
            worker: WorkerId,
            /// Its process.
            pid: Pid,
            /// Which signal.
            signal: Signal,
            /// To whom exactly.
            scope: Scope,
        },
        /// Kill what is left in the process group of a worker that was just reaped.
        "sweep" => Sweep {
            /// The worker's process, which was the group's leader.
            pid: Pid,
        },
        /// The one final answer to a request.
        "reply" => Reply {
            /// Which request.
            request: RequestId;
            /// The answer.
            reply: Reply,
        },
        /// More about a request that is still under way.
        "progress" => Progress {
            /// Which request.
            request: RequestId,
            /// The generation that is coming.
            generation: Generation,
            /// Its healthy workers.
            healthy: u32,
            /// How many there are to be.
            target: u32,
            /// Old workers that were asked to go.
            retired: u32,
            /// How far the upgrade is.
            stage: Stage,
        },
        /// Something people may want to know.
        "notice" => Notice {
            ;
            /// What.
            notice: Notice,
        },
        /// Nothing is left to do; end with this status. Always the last action.
        "exit" => Exit {
            /// The supervisor's exit status.
            code: u8,
        },
    }
}

words! {
    /// To whom a signal goes.
    pub enum Scope {
        /// The worker's own process.
        "process" => Process,
        /// All of its process group.
        "group" => Group,
    }
}

/// Why a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The process could not be made, or did not become the program.
    Spawn(SpawnError),
    /// It ended before it was healthy.
    Exited(ExitStatus),
    /// It did not acknowledge in time.
    Unacknowledged,
}

impl Field for Failure {
    fn put(&self, out: &mut String) {
        match self {
            Self::Spawn(error) => {
                out.push_str("spawn:");
                error.put(out);
            }
            Self::Exited(status) => {
                out.push_str("exited:");
                status.put(out);
            }
            Self::Unacknowledged => put_display(out, "unacknowledged"),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.split_once(':') {
            Some(("spawn", error)) => SpawnError::get(error).map(Self::Spawn),
            Some(("exited", status)) => ExitStatus::get(status).map(Self::Exited),
            _ if word == "unacknowledged" => Ok(Self::Unacknowledged),
            _ => Err(BadText::new(format_args!("`{word}` is none of: spawn:…, exited:…, unacknowledged"))),
        }
    }
}

words! {
    /// Why a generation is taken back.
    pub enum Cause {
        /// A slot of it was given up: too many starts failed, or one failed for good.
        "gave-up" => GaveUp,
        /// A worker of it ended while it was on trial.
        "died" => Died,
        /// Somebody asked for it.
        "aborted" => Aborted,
    }
}

records! {
    /// Final answers.
    pub enum Reply {
        /// The worker is acknowledged.
        "acked" => Acked {
            /// Its process.
            pid: Pid,
        },
        /// It was acknowledged before; nothing changed.
        "already-acked" => AlreadyAcked {
            /// Its process.
            pid: Pid,
        },
        /// It is on its way out; nothing changed.
        "acked-while-draining" => AckedWhileDraining {
            /// Its process.
            pid: Pid,
        },
        /// No worker has that process id.
        "no-such-worker" => NoSuchWorker {
            /// The process that was named.
            pid: Pid,
        },
        /// Only a worker itself, or a process of its group, can speak for it.
        "not-yours" => NotYours {
            /// The worker's process that was named.
            pid: Pid,
            /// Who said so.
            sender: Pid,
        },
        /// The ping is noted.
        "pinged" => Pinged {
            /// The worker's process.
            pid: Pid,
        },
        /// To be filled in from `Supervisor::status`.
        "status" => Status,
        /// The number of workers is changed.
        "target" => Target {
            /// What it was.
            old: u32,
            /// What it is.
            new: u32,
        },
        /// That number of workers is not possible; nothing changed.
        "target-refused" => TargetRefused {
            /// What it is.
            target: u32,
            /// The least there can be.
            least: u32,
            /// The most there can be.
            most: u32,
        },
        /// The signal was sent.
        "signalled" => Signalled {
            /// Which.
            signal: Signal,
            /// To how many workers.
            count: u32,
        },
        /// Slots that were given up are tried again.
        "retrying" => Retrying {
            /// How many.
            slots: u32,
        },
        /// The shutdown has begun.
        "stopping" => Stopping {
            /// How.
            shutdown: Shutdown,
        },
        /// Too late or too early for that: the supervisor is stopping or not up yet.
        "not-running" => NotRunning,
        /// Every worker is of the new generation.
        "upgraded" => Upgraded {
            /// Which.
            generation: Generation,
            /// How many workers.
            workers: u32,
            /// How long it took.
            took: Millis,
        },
        /// The new generation's program cannot be run; nothing was touched.
        "upgrade-refused" => UpgradeRefused {
            /// Which generation it would have been.
            generation: Generation,
            /// Why.
            error: SpawnError,
        },
        /// The new generation was taken back, and the old one serves.
        "rolled-back" => RolledBack {
            /// The generation that was taken back.
            generation: Generation,
            /// The one that serves.
            serving: Generation,
            /// Why.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How often it was tried.
            failures: u32,
            /// How it failed the last time.
            failure: Option<Failure>,
            /// How many workers of that one serve.
            healthy: u32,
            /// How many there should be.
            target: u32,
            /// How long it took.
            took: Millis,
        },
        /// The new generation was taken back, and the old one could not be brought back everywhere.
        "not-restored" => NotRestored {
            /// The generation that was taken back.
            generation: Generation,
            /// Why.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How it failed the last time.
            failure: Option<Failure>,
            /// How many workers serve, of whatever generation.
            healthy: u32,
            /// How many there should be.
            target: u32,
        },
        /// The upgrade under way is being taken back.
        "aborting" => Aborting {
            /// The generation that was coming.
            generation: Generation,
        },
        /// There is no upgrade to give up.
        "nothing-to-abort" => NothingToAbort,
        /// A newer upgrade took over.
        "superseded" => Superseded {
            /// The generation that was coming.
            generation: Generation,
            /// The one that comes now.
            by: Generation,
        },
        /// The supervisor shuts down instead.
        "cancelled" => Cancelled {
            /// The generation that was coming.
            generation: Generation,
        },
    }
}

words! {
    /// Why a worker is asked to go.
    pub enum Why {
        /// Its replacement is healthy.
        "replaced" => Replaced,
        /// Its generation failed or was superseded.
        "withdrawn" => Withdrawn,
        /// Fewer workers are wanted.
        "surplus" => Surplus,
        /// It did not acknowledge in time.
        "unacknowledged" => Unacknowledged,
        /// The supervisor shuts down.
        "shutdown" => Shutdown,
        /// The supervisor shuts down and gives it the whole grace period after TERM.
        "fast-shutdown" => FastShutdown,
    }
}

records! {
    /// What people may want to know. The shell gives each its words and its level.
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
            /// How often in a row this slot has failed.
            failures: u32,
            /// How often it may.
            retries: u32,
            /// The next try, if there is one.
            retry_in: Option<Millis>,
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
            /// When its replacement starts.
            retry_in: Millis,
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
        },
        /// A worker is asked to go.
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

/// What one step orders, in the order it is to be performed.
pub type Actions = Vec<Action>;
