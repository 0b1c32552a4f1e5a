//! The real programs, with real workers and real clients.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a harness has more than any one test needs, tests wait with deadlines, and pick what they \
              look for from whatever there is"
)]

mod alone;
mod another;
mod bereft;
mod checked;
mod client;
mod completions;
mod configured;
mod control;
mod conventions;
mod crowd;
mod current;
mod einhorn;
mod einhorn_names;
mod einhorn_options;
mod endings;
mod endurance;
mod events;
mod explained;
mod faults;
mod given;
mod groups;
mod habits;
mod handed;
mod handover;
mod harness;
mod idle;
mod inherited;
mod killed;
mod lane;
mod lifecycle;
mod load;
mod loaded;
mod manager;
mod notified;
mod orders;
mod output;
mod packaged;
mod pages;
mod paused;
mod poison;
mod probe;
mod progress;
mod readme;
mod replay;
mod reports;
mod restarted;
mod saturated;
mod scarce;
#[cfg(feature = "serve")]
mod served;
mod servers;
mod setback;
mod severed;
mod shared;
mod shutdown;
mod smoke;
mod snippets;
mod socket;
mod stalled;
mod startup;
mod systemd;
mod terminal;
mod told;
mod tools;
mod top;
mod tour;
mod trace;
mod trial;
mod unix;
mod upgrade;
mod usage;
mod wire;
