//! The core: a state machine that decides everything and does nothing.
//!
//! It opens no file, starts no process, reads no clock, writes no log, allocates no thread. It is
//! `no_std`, depends on nothing, and is built that way in every check of this project. What it does:
//! it takes an [`Event`](event::Event), a fact that the shell reports, and returns
//! [`Action`](action::Action)s, orders to the shell, in order.
//!
//! ```
//! use einhyrningsins::fsm::{
//!     Supervisor,
//!     action::Action,
//!     config::Config,
//!     event::{Event, EventKind},
//!     id::Generation,
//!     time::Time,
//! };
//!
//! let mut supervisor = Supervisor::new(Config::default());
//! let actions = supervisor.step(Event { at: Time(0), kind: EventKind::Start });
//! assert_eq!(actions, [Action::Pin { generation: Generation(1), request: None }]);
//! ```
//!
//! # Rooms
//!
//! | Room | For | Knows |
//! |---|---|---|
//! | `words` | events, actions, and the values in them, with their text form | nothing |
//! | [`fleet`] | workers and slots, and what follows from them; the only writer of both | `words` |
//! | `machine` | the decisions: what an event means, what is to be done next | `words`, `fleet` |
//! | `view` | status, trace, snapshot, journal, invariants: reads, and puts together again | all of them |
//!
//! What is public is named without its room: `fsm::event`, `fsm::worker`, `fsm::status`.
//!
//! # Theory of operation
//!
//! A [step](Supervisor::step) has two halves. The event is applied to what it concerns: a worker, by
//! the table in [`worker`]; a slot; the upgrade; the supervisor's own life. Then the machine
//! *reconciles*: it compares what is with what is wanted and decides one thing after the other until
//! nothing is left to decide. Whether a worker must be started, retired or given up is never remembered
//! as a task; it follows from the state, every time. So an event that comes late, twice or in another
//! order finds a machine that looks at what is there.
//!
//! * A **worker** ([`worker`]) is one process. What can happen to it in which phase stands in one table.
//! * A **slot** ([`slot`]) is a position to be filled. It outlives its workers, and carries what they
//!   have in common: failures, back-off, generation. Whether it may start a worker has a table of its own.
//! * The supervisor's own **life** ([`life`]), from the start to the end, has one too.
//! * The [`fleet`] owns both, and is the only writer of a phase, a slot, a count or a deadline. What
//!   follows from them ([`index`]) is derived in the same place.
//! * Generations, and the upgrade from one to the next, are [`releases`], which nothing else writes.
//! * A **rollout** ([`rollout`]) is an upgrade. It decides from counts alone, by the first row of its table
//!   that holds. Going back is the same
//!   machinery with the proven generation as the wanted one.
//! * **Deadlines** follow from the phase, its beginning and the configuration. Nothing is set or
//!   cancelled, so nothing stale can fire. [`Supervisor::next_deadline`] says when to wake up; waking
//!   up early, late or twice does no harm.
//!
//! # What the shell owes the machine
//!
//! * `Start` comes first, once. Times come from a monotonic clock.
//! * Actions are performed in the order given, and those that are answered (`Pin`, `Bind`, `Spawn`) are
//!   answered once each, before the shell sleeps again.
//! * What a worker leaves behind in its group is killed before the worker is reaped, since the group's number
//!   is sure to be the worker's own only until then. What cannot be killed as a whole, because a live worker
//!   has joined the group, is left for the `Sweep`, which spares that one; the number lives on with it.
//! * Every child that is reaped is reported, and no child is reaped without. A signal goes to the
//!   process that the action names, and to no other.
//! * What is known is told before the time: exits and acks that are already there come before `Woke`.
//! * A request has a number of its own; its answers go to whoever sent it, in the order of the requests.
//! * After `Exit` nothing is told any more.
//!
//! # When something impossible happens
//!
//! An event that cannot happen (an answer to a question that was not asked, say) is a bug of the shell
//! or of the machine. In debug builds it is a panic, so that tests find it; in release builds it is a
//! notice that changes nothing, for a supervisor that stops takes a service with it.

pub mod fleet;
mod machine;
mod view;
mod words;

pub use fleet::{backoff, index, slot, worker};
pub use machine::{life, releases, requests, rollout, supervisor, supervisor::Supervisor};
pub use view::{invariants, journal, snapshot, status, trace};
pub use words::{action, config, event, id, notice, reason, signal, table, text, time, upgrade};
