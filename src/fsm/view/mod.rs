//! Ways to look at the machine: as a status, as a trace, as a snapshot, against its invariants. They read
//! what it shows and put it together again from parts; they change nothing of a machine that runs.

pub mod invariants;
pub mod journal;
pub mod snapshot;
pub mod status;
pub mod trace;
