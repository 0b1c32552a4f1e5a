//! The core against its specification: nothing here starts a process or reads a clock.
#![allow(dead_code, unreachable_pub, reason = "the world is shared with harnesses outside of this one")]
#![allow(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and looks at what it is about"
)]

mod broken;
mod corners;
mod cost;
mod damage;
mod explore;
mod golden;
mod handover;
mod invariants;
mod kernel;
mod model;
mod props;
mod reference;
mod rollout;
mod script;
mod seeds;
mod sim;
mod status;
mod table;
#[path = "../../fuzz/targets.rs"]
mod targets;
mod text;
mod world;
