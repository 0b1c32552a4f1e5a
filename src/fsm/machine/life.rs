//! The supervisor's own life: from the start over the first healthy worker to the end.
//!
//! [`transition`] is `fsm-spec/life.table`, which is edited first; a test compares the two cell by cell.
//! Only `apply` leads from one state to another.

use crate::fsm::words::{
    signal::Shutdown,
    table::Outcome,
    text::{records, words},
};

records! {
    /// Where the supervisor itself is.
    #[derive(Copy)]
    pub enum Life {
        /// Nothing has happened yet.
        "new" => New,
        /// The first generation's program is being captured.
        "pinning" => Pinning,
        /// So many sockets are bound, and others are not yet.
        "binding" => Binding {
            /// How many.
            done: u32,
        },
        /// Workers are kept running; none was ever healthy.
        "starting" => Starting,
        /// Some were healthy, but never yet all at once.
        "serving" => Serving,
        /// Every slot has had a healthy worker, all at the same time.
        "up" => Up,
        /// Workers are brought down.
        "stopping" => Stopping {
            /// How.
            shutdown: Shutdown,
            /// The exit status to end with.
            code: u8,
        },
        /// It is over.
        "done" => Done {
            /// The exit status.
            code: u8,
        },
    }
}

words! {
    /// A life without its data: the rows of the table.
    pub enum LifeTag {
        /// Nothing has happened yet.
        "new" => New,
        /// The first program is being captured.
        "pinning" => Pinning,
        /// Sockets are being bound.
        "binding" => Binding,
        /// No worker was ever healthy.
        "starting" => Starting,
        /// Some were.
        "serving" => Serving,
        /// All were.
        "up" => Up,
        /// Workers are brought down.
        "stopping" => Stopping,
        /// It is over.
        "done" => Done,
    }
}

words! {
    /// What can happen to it: the columns of the table. Guards are resolved before it: what is captured
    /// and refused for an upgrade is none of these.
    pub enum LifeInput {
        /// The shell is ready.
        "start" => Start,
        /// The first program is captured, and there are sockets to bind.
        "pinned" => Pinned,
        /// The first program is captured, and there are none.
        "pinned-bare" => PinnedBare,
        /// The first program cannot be run.
        "pin-failed" => PinFailed,
        /// A socket listens, and there are more.
        "bound" => Bound,
        /// The last socket listens.
        "bound-last" => BoundLast,
        /// A socket cannot be bound.
        "bind-failed" => BindFailed,
        /// A worker is healthy.
        "healthy" => Healthy,
        /// Every slot has a healthy worker.
        "all-healthy" => AllHealthy,
        /// Somebody asks for the end.
        "stop" => Stop,
        /// The program cannot run at all, or no more.
        "abandon" => Abandon,
        /// No slot is left to try, and no worker is left.
        "lost" => Lost,
        /// The last worker is gone that can go.
        "empty" => Empty,
    }
}

words! {
    /// What follows from a move, beyond the move itself.
    pub enum LifeEffect {
        /// Capture the first program.
        "pin" => Pin,
        /// Bind the next socket.
        "bind" => Bind,
        /// Fill the slots.
        "run" => Run,
        /// Say that the service is up.
        "report-up" => ReportUp,
        /// Say that it is being stopped.
        "report-stopping" => ReportStopping,
        /// Give up the upgrade under way, if there is one.
        "cancel" => Cancel,
        /// Answer all who wait, and end.
        "exit" => Exit,
    }
}

/// An input with the data that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifeChange {
    Start,
    Pinned { listeners: u32 },
    PinFailed { code: u8 },
    Bound { listeners: u32 },
    BindFailed,
    Healthy,
    AllHealthy,
    Stop(Shutdown),
    Abandon { shutdown: Shutdown, code: u8 },
    Lost,
    Empty { stuck: u32 },
}

/// The exit status of a service that could not be brought up or kept up.
pub(super) const FAILED: u8 = 1;

/// The table. Total: every input in every state has an outcome.
#[must_use]
pub fn transition(life: LifeTag, input: LifeInput) -> Outcome<LifeTag, LifeEffect> {
    use LifeEffect::{Bind, Cancel, Exit, Pin, ReportStopping, ReportUp, Run};
    use LifeTag as L;
    use Outcome::{Move, Reject, Stay};

    match (life, input) {
        (L::New, LifeInput::Start) => Move(L::Pinning, &[Pin]),
        (L::Pinning, LifeInput::Pinned) => Move(L::Binding, &[Bind]),
        (L::Pinning, LifeInput::PinnedBare) => Move(L::Starting, &[Run]),
        (L::Pinning, LifeInput::PinFailed) => Move(L::Done, &[Exit]),
        (L::Binding, LifeInput::Bound) => Move(L::Binding, &[Bind]),
        (L::Binding, LifeInput::BoundLast) => Move(L::Starting, &[Run]),
        (L::Binding, LifeInput::BindFailed) => Move(L::Done, &[Exit]),
        (L::Starting, LifeInput::Healthy) => Move(L::Serving, &[]),
        (L::Serving, LifeInput::AllHealthy) => Move(L::Up, &[ReportUp]),
        (L::Serving | L::Up | L::Stopping, LifeInput::Healthy) | (L::Up, LifeInput::AllHealthy) => Stay,
        (L::Starting | L::Serving | L::Up, LifeInput::Abandon) => Move(L::Stopping, &[Cancel]),
        (L::Stopping, LifeInput::Abandon) => Stay,
        (L::Starting | L::Serving | L::Up, LifeInput::Lost) => Move(L::Done, &[Exit]),
        (L::Stopping, LifeInput::Empty) => Move(L::Done, &[Exit]),
        (
            L::New | L::Pinning | L::Binding | L::Starting | L::Serving | L::Up | L::Stopping,
            LifeInput::Stop,
        ) => Move(L::Stopping, &[ReportStopping, Cancel]),
        _ => Reject,
    }
}

impl LifeChange {
    fn input(self, before: Life) -> LifeInput {
        match self {
            Self::Start => LifeInput::Start,
            Self::Pinned { listeners: 0 } => LifeInput::PinnedBare,
            Self::Pinned { .. } => LifeInput::Pinned,
            Self::PinFailed { .. } => LifeInput::PinFailed,
            Self::Bound { listeners } if before.bound() + 1 < listeners => LifeInput::Bound,
            Self::Bound { .. } => LifeInput::BoundLast,
            Self::BindFailed => LifeInput::BindFailed,
            Self::Healthy => LifeInput::Healthy,
            Self::AllHealthy => LifeInput::AllHealthy,
            Self::Stop(_) => LifeInput::Stop,
            Self::Abandon { .. } => LifeInput::Abandon,
            Self::Lost => LifeInput::Lost,
            Self::Empty { .. } => LifeInput::Empty,
        }
    }

    /// How workers are brought down, and with what status the supervisor ends.
    fn stopping(self, before: Life) -> (Shutdown, u8) {
        match (self, before) {
            (Self::Stop(shutdown), Life::Stopping { shutdown: under_way, code }) => {
                (harsher(under_way).max(shutdown), code)
            }
            (Self::Abandon { shutdown, code }, _) => (shutdown, code),
            (Self::Stop(shutdown), _) => (shutdown, 0),
            (_, _) => (Shutdown::Kill, FAILED),
        }
    }

    /// The status the supervisor ends with.
    fn code(self, before: Life) -> u8 {
        match (self, before) {
            (Self::PinFailed { code }, _) => code,
            (Self::Empty { stuck: 0 }, Life::Stopping { code, .. }) => code,
            (Self::Empty { .. }, Life::Stopping { code, .. }) => code.max(FAILED),
            (_, _) => FAILED,
        }
    }
}

/// What a second request to shut down makes of the first.
fn harsher(shutdown: Shutdown) -> Shutdown {
    match shutdown {
        Shutdown::Graceful => Shutdown::Quick,
        Shutdown::Fast | Shutdown::Quick | Shutdown::Kill => Shutdown::Kill,
    }
}

/// That cannot happen now; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LifeRejected {
    pub(super) life: LifeTag,
    pub(super) input: LifeInput,
}

impl Life {
    /// The row of the table.
    #[must_use]
    pub fn tag(self) -> LifeTag {
        match self {
            Self::New => LifeTag::New,
            Self::Pinning => LifeTag::Pinning,
            Self::Binding { .. } => LifeTag::Binding,
            Self::Starting => LifeTag::Starting,
            Self::Serving => LifeTag::Serving,
            Self::Up => LifeTag::Up,
            Self::Stopping { .. } => LifeTag::Stopping,
            Self::Done { .. } => LifeTag::Done,
        }
    }

    /// Whether workers are kept running.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Serving | Self::Up)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// How workers are brought down, if they are.
    #[must_use]
    pub fn shutdown(self) -> Option<Shutdown> {
        if let Self::Stopping { shutdown, .. } = self { Some(shutdown) } else { None }
    }

    fn bound(self) -> u32 {
        if let Self::Binding { done } = self { done } else { 0 }
    }

    /// The one way from one state to another.
    pub(super) fn apply(&mut self, change: LifeChange) -> Result<&'static [LifeEffect], LifeRejected> {
        let before = *self;
        let (life, input) = (before.tag(), change.input(before));
        let (next, effects) = match transition(life, input) {
            Outcome::Move(next, effects) => (next, effects),
            Outcome::Stay => return Ok(&[]),
            Outcome::Reject => return Err(LifeRejected { life, input }),
        };
        *self = match next {
            LifeTag::New => Self::New,
            LifeTag::Pinning => Self::Pinning,
            LifeTag::Binding if life == LifeTag::Binding => Self::Binding { done: before.bound() + 1 },
            LifeTag::Binding => Self::Binding { done: 0 },
            LifeTag::Starting => Self::Starting,
            LifeTag::Serving => Self::Serving,
            LifeTag::Up => Self::Up,
            LifeTag::Stopping => {
                let (shutdown, code) = change.stopping(before);
                Self::Stopping { shutdown, code }
            }
            LifeTag::Done => Self::Done { code: change.code(before) },
        };
        Ok(effects)
    }
}
