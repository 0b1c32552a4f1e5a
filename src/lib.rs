//! Einhyrningsins: a socket multiplexer with graceful restarts.
#![cfg_attr(not(any(feature = "daemon", feature = "ctl", feature = "worker")), no_std)]

extern crate alloc;

#[forbid(unsafe_code)]
pub mod fsm;
