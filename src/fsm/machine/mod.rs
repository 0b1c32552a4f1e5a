//! The machine itself: takes events in, decides, and orders. Changes workers and slots through the
//! [`fleet`](super::fleet) only.

mod command;
pub mod life;
mod lifecycle;
mod outstanding;
mod proof;
mod reconcile;
pub mod releases;
pub mod requests;
pub mod rollout;
pub mod supervisor;
mod told;
mod upgrade;
