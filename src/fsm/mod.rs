//! The core: a state machine that decides everything and does nothing.
pub mod action;
pub mod backoff;
mod command;
pub mod config;
pub mod event;
pub mod fleet;
pub mod id;
pub mod index;
pub mod invariants;
mod lifecycle;
mod reconcile;
pub mod rollout;
pub mod signal;
pub mod status;
pub mod supervisor;
pub mod text;
pub mod time;
pub mod trace;
mod upgrade;
pub mod worker;

pub use supervisor::Supervisor;
