//! What to do: orders to the shell. They are to be performed in the order given; see the
//! [module's](crate::fsm) ordering obligations.

use super::{
    event::SpawnError,
    id::{Generation, ListenerId, Pid, RequestId, SlotId, WorkerId},
    notice::Notice,
    reason::{Cancel, Cause, Failure},
    signal::{Shutdown, Signal},
    text::{records, words},
    time::Millis,
};
use crate::fsm::words::upgrade::Stage;

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
        /// Ask a worker to finish what it has begun and go, by the signal that its program is known to want.
        "stop" => Stop {
            /// Which worker.
            worker: WorkerId,
            /// Its process.
            pid: Pid,
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
        /// The same, if it handles the signal: others would be ended by it.
        "handler" => Handler,
        /// The worker's own process, which is continued if it was stopped, so that it can take the signal in.
        "awake" => Awake,
        /// All of its process group.
        "group" => Group,
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
        /// Only a worker itself, or a process of its group, can speak for it; one that has ended since is
        /// believed.
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
        /// There cannot be more canaries than workers; nothing changed.
        "canary-refused" => CanaryRefused {
            /// How many were asked for.
            canary: u32,
            /// How many workers there are to be.
            target: u32,
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
            /// How many there should be.
            target: u32,
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
            /// How often it was tried, if one failed.
            failures: Option<u32>,
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
            /// The one that is to serve.
            serving: Generation,
            /// Why.
            cause: Cause,
            /// The slot that failed, if one did.
            slot: Option<SlotId>,
            /// How it failed the last time.
            failure: Option<Failure>,
            /// How many workers of that one serve.
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
        /// It ends without having come to anything.
        "cancelled" => Cancelled {
            /// The generation that was coming.
            generation: Generation,
            /// Why.
            cause: Cancel,
        },
    }
}
