//! The real programs, with real workers and real clients.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a harness has more than any one test needs, tests wait with deadlines, and pick what they \
              look for from whatever there is"
)]

mod endings;
mod given;
mod harness;
mod lifecycle;
mod load;
mod output;
mod probe;
mod smoke;
mod startup;
mod trace;
mod usage;
