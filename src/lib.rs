//! Einhyrningsins: a socket multiplexer with graceful restarts.
#![cfg_attr(not(any(feature = "daemon", feature = "ctl", feature = "worker")), no_std)]

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
