//! Einhyrningsins: a socket multiplexer with graceful restarts.
//!
//! The supervisor binds listening sockets once, runs N copies of a program on them, keeps them alive,
//! and replaces them by a new version on command, without dropping a connection. The README is for
//! those who run it; this is the map of the house for those who change it, and [`worker`] is for those
//! who write programs that run under it.
//!
//! A pure state machine decides and a thin shell acts:
//!
//! ```text
//!   signals, dead children,          Event             ┌──────────────┐
//!   clients, time        ──► daemon ─────────────────► │ fsm          │
//!                            (shell)                   │ Supervisor:: │
//!   fork, kill, bind,    ◄──        ◄───────────────── │ step         │
//!   replies, log                     Vec<Action>       └──────────────┘
//! ```
//!
//! | Room | For | Knows |
//! |---|---|---|
//! | [`fsm`] | the machine; specified in `fsm-spec/` | nothing but itself |
//! | [`protocol`] | what is said over the control socket | `fsm`'s words |
//! | [`cli`] | both command lines, each from one table | `fsm`'s words and limits, `protocol`'s commands |
//! | [`daemon`] | the shell: processes, sockets, signals, log | all of the above |
//! | [`ctl`] | the client | `protocol`, `cli`, and `fsm` for replays |
//! | [`worker`] | for programs that run as workers | nothing |
//!
//! Without features the crate is `fsm` alone, without `std`. The feature `worker` adds [`worker`], which
//! takes the standard library only; `daemon` and `ctl` are the two programs, and `serve` is what the client serves over
//! HTTP.
#![cfg_attr(not(any(feature = "daemon", feature = "ctl", feature = "worker")), no_std)]
#![cfg_attr(
    not(all(feature = "daemon", feature = "ctl")),
    allow(rustdoc::broken_intra_doc_links, reason = "rooms that this build leaves out")
)]

extern crate alloc;

#[forbid(unsafe_code)]
pub mod fsm;

#[cfg(any(feature = "daemon", feature = "ctl"))]
pub mod cli;
#[cfg(feature = "ctl")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(any(feature = "daemon", feature = "ctl"))]
pub mod protocol;
#[cfg(feature = "worker")]
pub mod worker;
