//! The shell: does what the core decides, and tells it what happened.
//!
//! One thread, one event loop (`shell`). Nothing in here decides anything about workers; where it
//! seems to want to, the question belongs to [`crate::fsm`].
//!
//! Each room uses those below it and none above:
//!
//! | Room | For |
//! |---|---|
//! | `check` | what a start would come to, without one |
//! | `start` | from options to a running loop, in an order that leaves nothing behind |
//! | `resume` | from what a supervisor has left behind to a running loop |
//! | `shell` | the loop: gather facts, tell the core, perform its actions |
//! | `succession` | what a supervisor that was killed has left behind, from whoever has it |
//! | `keeper` | a process that has everything if the supervisor is killed |
//! | `signals` | which signals are taken, and which of them are orders |
//! | `release`, `history` | what each generation runs, from being asked for to what came of it |
//! | `tally` | counting what happens |
//! | `events` | the last events, and who reads along |
//! | `successor` | the program that is to take over on command |
//! | `manager` | what the service manager is told of the service |
//! | `background` | whether a start that failed was that of a daemon |
//! | `leftovers` | telling of processes that keep a socket without a worker |
//! | `control` | the control socket: requests and answers |
//! | `notify` | where workers notify their manager |
//! | `refused` | telling of reports that were refused, which their senders do not read |
//! | `crowd`, `client` | who is connected to the control socket, and one of them |
//! | `pidfile`, `lockfile` | the supervisor's process id in a file; a lock on one |
//! | `door`, `claim` | the control socket's listener, and the file that leads to it |
//! | `reserve` | the descriptors that the supervisor keeps back for itself |
//! | `watch` | learning that the file or its folder was removed |
//! | `handed` | sockets that a service manager has handed over |
//! | `called` | what a supervisor was called with: what it comes to, in what another call differs |
//! | `process` | fork, exec, signals, reaping; with `memory`, `pidfd` and `socket_calls` the one room with `unsafe` |
//! | `program` | what is executed, captured once |
//! | `explain` | why a program cannot be executed, and what can be done about it |
//! | `sockets`, `listen`, `resolve` | `--bind`: all sockets, each kind of address, names of hosts and users |
//! | `reference` | `{fd:NAME}` in a program's arguments |
//! | `given` | the contract with workers: variables, descriptors, what is kept from them |
//! | `directory` | where workers run: what a name leads to at each upgrade |
//! | `queue` | how many connections wait to be accepted |
//! | `holders` | who else has a socket, or a port |
//! | `lookout` | when workers are looked at, as long as somebody is to be seen |
//! | `drain` | which signal makes a worker drain |
//! | `look` | whether a worker is seen waiting for connections, or has some |
//! | `pidfd` | a process by a descriptor |
//! | `sock_diag` | asking the kernel for connections, and reading its answer |
//! | `facts` | what the kernel tells of processes |
//! | `procfs` | reading its words |
//! | `journal` | what whoever takes over from this supervisor reads |
//! | `deposit` | the descriptors for whoever takes over after a kill |
//! | `kept` | the lines of the shell in the journal |
//! | `socket_calls` | what can be done with sockets and has no safe form elsewhere |
//! | `memory` | memory that outlives the program |
//! | `recorder` | `--trace` |
//! | `place` | a socket's path: locked, cleared of what is stale, ours, given back |
//! | `report`, `log` | words and levels for what happens; writing them |
//! | `welcome` | what `--demo` says |
//! | `sink` | writing that never waits |
//! | `clock`, `token` | the one clock; what the loop waits for |

mod background;
mod called;
mod check;
mod claim;
mod client;
mod clock;
mod control;
mod crowd;
mod deposit;
mod directory;
mod door;
mod drain;
mod events;
mod explain;
mod facts;
mod given;
mod handed;
mod history;
mod holders;
mod journal;
mod keeper;
#[allow(unreachable_pub, dead_code, reason = "made by the macros of the core, where all is public")]
mod kept;
mod leftovers;
mod listen;
mod lockfile;
mod log;
mod look;
mod lookout;
mod manager;
mod memory;
mod notify;
mod pidfd;
mod pidfile;
mod place;
mod process;
mod program;
mod queue;
mod recorder;
mod reference;
mod refused;
mod release;
mod report;
mod reserve;
mod resolve;
#[cfg(test)]
mod rooms;
#[cfg(test)]
mod scratch;
mod shell;
mod signals;
mod sink;
mod socket_calls;
mod sockets;
mod start;
mod succession;
mod successor;
mod tally;
mod token;
mod watch;
mod welcome;

#[doc(hidden)]
pub mod procfs;
#[doc(hidden)]
pub mod resume;
#[doc(hidden)]
pub mod sock_diag;

pub use called::read;
pub use check::check_config;
pub use resume::give_back;
pub use start::{check_handover, run};
pub use successor::CHECK as CHECK_HANDOVER;
