//! What happened: facts the shell reports. They carry no judgement; the core decides what they mean.

use super::{
    id::{ClientId, Errno, Generation, ListenerId, Pid, RequestId, WorkerId},
    signal::{Shutdown, Signal},
    text::{BadText, Field, put_display, records, words},
    time::{Millis, Time},
};
use alloc::{string::String, vec::Vec};

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the shell learned of it, on its monotonic clock. Time enters the machine here only.
    pub at: Time,
    /// What it was.
    pub kind: EventKind,
}

records! {
    /// The kinds of facts.
    pub enum EventKind {
        /// The shell is ready to act. Always the first event, once.
        "start" => Start,
        /// The time of `next_deadline` has come. Harmless when it has not.
        "woke" => Woke,
        /// Answers `Action::Pin`: the program of a generation is captured.
        "pinned" => Pinned {
            /// Which generation.
            generation: Generation,
        },
        /// Answers `Action::Pin`: the program cannot be run.
        "pin-failed" => PinFailed {
            /// Which generation.
            generation: Generation,
            /// Why.
            error: SpawnError,
        },
        /// Answers `Action::Bind`: the socket listens.
        "bound" => Bound {
            /// Which socket.
            listener: ListenerId,
        },
        /// Answers `Action::Bind`: it cannot be bound.
        "bind-failed" => BindFailed {
            /// Which socket.
            listener: ListenerId,
            /// What the system said.
            errno: Errno,
        },
        /// Answers `Action::Spawn`: the process exists. It may not have executed the program yet.
        "spawned" => Spawned {
            /// Which worker.
            worker: WorkerId,
            /// The process.
            pid: Pid,
        },
        /// Answers `Action::Spawn`: there is no process.
        "spawn-failed" => SpawnFailed {
            /// Which worker.
            worker: WorkerId,
            /// What went wrong.
            error: SpawnError,
        },
        /// A child was reaped. Any child: strangers inherited from elsewhere too.
        "exited" => Exited {
            /// The process.
            pid: Pid,
            /// How it ended.
            status: ExitStatus,
            /// Set if it ended before it had become the program.
            error: Option<SpawnError>,
            /// Whether other processes are left in its process group.
            orphans: bool,
        },
        /// Somebody says that a worker is ready.
        "acked" => Acked {
            /// The worker's process, as claimed.
            pid: Pid,
            /// The process that says so.
            sender: Pid,
            /// That process's group; none if it had ended before it could be asked.
            group: Option<Pid>,
            /// The request to answer, if it came as one.
            request: Option<RequestId>,
        },
        /// Somebody says that a worker is alive.
        "pinged" => Pinged {
            /// The worker's process, as claimed.
            pid: Pid,
            /// The process that says so.
            sender: Pid,
            /// That process's group; none if it had ended before it could be asked.
            group: Option<Pid>,
            /// The request to answer, if it came as one.
            request: Option<RequestId>,
        },
        /// A worker has told its manager something.
        "notified" => Notified {
            /// The worker's process.
            pid: Pid,
            /// What.
            word: Notification,
        },
        /// A worker asks for more time in what it does at present.
        "extended" => Extended {
            /// The worker's process.
            pid: Pid,
            /// For how long from now on.
            by: Millis,
        },
        /// A worker was looked at from outside, and something was seen.
        "seen" => Seen {
            /// The worker's process.
            pid: Pid,
            /// What.
            sight: Sight,
        },
        /// The supervisor got a signal.
        "signalled" => Signalled {
            /// Which.
            signal: Signal,
        },
        /// A client asks for something.
        "requested" => Requested {
            /// Who.
            client: ClientId,
            /// The request to answer.
            request: RequestId;
            /// What is asked for.
            command: Command,
        },
        /// A client has closed its connection. What it asked for goes on; the answers are dropped.
        "client-gone" => ClientGone {
            /// Who.
            client: ClientId,
        },
    }
}

words! {
    /// What a worker tells its manager, sd_notify(3).
    pub enum Notification {
        /// It is ready.
        "ready" => Ready,
        /// It finishes what it has begun and goes.
        "stopping" => Stopping,
    }
}

words! {
    /// What can be seen of a worker from outside.
    pub enum Sight {
        /// It waits for connections.
        "accepting" => Accepting,
        /// It has registered a socket for edge-triggered events: necessary, and not sufficient.
        "registered" => Registered,
    }
}

words! {
    /// How a worker was found healthy.
    pub enum Proof {
        /// It has said so.
        "acknowledged" => Acknowledged,
        /// It has notified its manager.
        "notified" => Notified,
        /// It was seen waiting for connections.
        "seen" => Seen,
        /// It has stayed alive for long enough.
        "timer" => Timer,
    }
}

records! {
    /// What clients can ask of the machine.
    pub enum Command {
        /// How things stand.
        "status" => Status,
        /// Replace every worker by one of a new generation.
        "upgrade" => Upgrade {
            /// In which order.
            strategy: Strategy,
            /// How many new workers go ahead of the others, if any do.
            canary: Option<u32>,
            /// How long new workers must stay healthy before they are trusted.
            soak: Option<Millis>,
            /// How long it may take until the new generation is trusted.
            timeout: Option<Millis>,
        },
        /// Give up the upgrade under way.
        "abort" => Abort,
        /// One worker more.
        "inc" => Inc,
        /// One worker fewer.
        "dec" => Dec,
        /// That many workers.
        "set-workers" => SetWorkers {
            /// The new target.
            count: u32,
        },
        /// Send a signal to workers.
        "signal" => Signal {
            /// Which.
            signal: Signal,
            /// To whom; all workers if empty.
            pids: Vec<Pid>,
        },
        /// Try again to fill slots that were given up.
        "retry" => Retry,
        /// Shut down.
        "die" => Die {
            /// How.
            shutdown: Shutdown,
        },
    }
}

words! {
    /// In which order an upgrade replaces workers.
    pub enum Strategy {
        /// A few at a time; each new one that is healthy retires one old one.
        "rolling" => Rolling,
        /// All new ones first, then all old ones retire together.
        "fleet" => Fleet,
    }
}

words! {
    /// Where on the way from `fork` to the program a start failed.
    pub enum SpawnStage {
        /// Finding and checking the program.
        "pin" => Pin,
        /// Making the process.
        "fork" => Fork,
        /// Giving the process a group of its own.
        "setpgid" => Setpgid,
        /// Putting signal dispositions and the mask back to their defaults.
        "signals" => Signals,
        /// Handing over the sockets and closing everything else.
        "files" => Files,
        /// Changing to the working directory.
        "chdir" => Chdir,
        /// Becoming the program.
        "exec" => Exec,
    }
}

words! {
    /// Whether trying again could help.
    pub enum Prospect {
        /// The program, its interpreter or its directory does not exist.
        "not-found" => NotFound,
        /// It exists but cannot be executed.
        "not-executable" => NotExecutable,
        /// It may work the next time.
        "passing" => Passing,
        /// The machine lacks something for a while (processes, descriptors, memory). That says nothing about
        /// the program.
        "shortage" => Shortage,
    }
}

/// Why a worker's process did not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// Where.
    pub stage: SpawnStage,
    /// What the system said.
    pub errno: Errno,
    /// Whether trying again could help.
    pub prospect: Prospect,
}

impl SpawnError {
    /// Whether that says nothing about the program.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        self.prospect == Prospect::Shortage
    }

    /// The exit status for such an error, if it is a lasting one: that of shells, 127 for a program or an
    /// interpreter that does not exist and 126 for one that cannot be executed. A directory is no program; that of
    /// any failed start is for it.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self.prospect {
            Prospect::NotFound | Prospect::NotExecutable if self.stage == SpawnStage::Chdir => Some(1),
            Prospect::NotFound => Some(127),
            Prospect::NotExecutable => Some(126),
            Prospect::Passing | Prospect::Shortage => None,
        }
    }
}

impl Field for SpawnError {
    fn put(&self, out: &mut String) {
        put_display(out, format_args!("{}:{}:{}", self.stage, self.errno, self.prospect));
    }

    fn get(word: &str) -> Result<Self, BadText> {
        let bad = || BadText::new(format_args!("`{word}` is not STAGE:ERRNO:PROSPECT"));
        let (stage, rest) = word.split_once(':').ok_or_else(bad)?;
        let (errno, prospect) = rest.split_once(':').ok_or_else(bad)?;
        Ok(Self {
            stage: SpawnStage::get(stage)?,
            errno: Errno::get(errno)?,
            prospect: Prospect::get(prospect)?,
        })
    }
}

/// The word for a status that nobody has seen.
const UNKNOWN: &str = "unknown";

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it, by the system's number.
    Signal(i32),
    /// Nobody has seen how: the supervisor was not there, or could not keep what it had seen.
    Unknown,
}

impl Field for ExitStatus {
    fn put(&self, out: &mut String) {
        match self {
            Self::Code(code) => put_display(out, code),
            Self::Signal(number) => put_display(out, format_args!("signal:{number}")),
            Self::Unknown => out.push_str(UNKNOWN),
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word.strip_prefix("signal:") {
            Some(number) => i32::get(number).map(Self::Signal),
            None if word == UNKNOWN => Ok(Self::Unknown),
            None => i32::get(word).map(Self::Code),
        }
    }
}
