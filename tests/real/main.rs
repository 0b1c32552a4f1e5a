//! The real programs, with real workers and real clients.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a harness has more than any one test needs, and tests wait with deadlines"
)]

mod harness;
mod load;
mod smoke;
