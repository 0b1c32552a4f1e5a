//! The shell: does what the core decides, and tells it what happened.
//!
//! One thread, one event loop (`shell`). Nothing in here decides anything about workers; where it
//! seems to want to, the question belongs to [`crate::fsm`].
//!
//! | Room | For |
//! |---|---|
//! | `start` | from options to a running loop, in an order that leaves nothing behind |
//! | `shell`, `token` | the loop: gather facts, tell the core, perform its actions; what it waits for |
//! | `process` | fork, exec, signals, reaping; the one room with `unsafe` |
//! | `program` | what a generation runs, captured once |
//! | `given` | the contract with workers: variables, descriptors, what is kept from them |
//! | `history` | what came of the generations so far |
//! | `sockets`, `listen`, `resolve` | `--bind` |
//! | `claim`, `control`, `client`, `watch` | the control socket: its file, its clients, its loss |
//! | `place` | a socket's path: locked, cleared of what is stale, ours, given back |
//! | `report`, `log` | words and levels for what happens; writing them without ever waiting |
//! | `recorder` | `--trace` |
//! | `clock` | the one clock |

mod claim;
mod client;
mod clock;
mod control;
mod given;
mod history;
mod listen;
mod log;
mod place;
mod process;
mod program;
mod recorder;
mod release;
mod report;
mod resolve;
#[cfg(test)]
mod scratch;
mod shell;
mod sockets;
mod start;
mod token;
mod watch;
mod welcome;

pub use start::run;
