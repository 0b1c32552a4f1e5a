//! The core: a state machine that decides everything and does nothing.

pub mod action;
pub mod config;
pub mod event;
pub mod id;
pub mod signal;
pub mod status;
pub mod text;
pub mod time;
pub mod worker;
