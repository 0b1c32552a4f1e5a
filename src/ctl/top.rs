//! The live view: `einhyrningsinsctl top`.
//!
//! What it knows and what keys mean is in [`model`], apart from how that is [drawn](draw) and from
//! where it [comes from](sources): a model that is given the same news draws the same screen. `run` has the
//! terminal, and is the only place that waits; each of the sources is a thread of its own, so that a supervisor that
//! does not answer, or one order that takes its time, holds up nothing else.

pub mod asking;
pub mod draw;
pub mod help;
pub mod keys;
pub mod list;
pub mod look;
pub mod model;
mod plan;
mod run;
pub mod screen;
pub mod sources;
pub mod table;
pub mod usage;
pub mod words;

use super::{
    connection::{Connection, Target},
    outcome::Outcome,
    terminal::{self, Lacking},
};
use crate::{fsm::time::Millis, protocol::visible::visible_lines};
use core::fmt;
use std::io::{self, Write as _};

/// Shows how the service at `target` stands, looking every `interval`, until somebody leaves.
#[must_use]
pub fn top(target: &Target, interval: Millis) -> Outcome {
    if let Err(Lacking(what)) = terminal::can_be_filled() {
        return complain(
            Outcome::Misused,
            &format_args!("top needs a terminal: {what}; `status` shows the same once"),
        );
    }
    // Whoever has the wrong path in mind is not to wait for somebody there.
    if let Err(unreachable) = Connection::open(target) {
        return complain(Outcome::Unreachable, &unreachable);
    }
    match run::run(target, interval) {
        Ok(outcome) => outcome,
        Err(why) => complain(Outcome::Failed, &format_args!("top: the terminal: {why}")),
    }
}

fn complain(outcome: Outcome, why: &dyn fmt::Display) -> Outcome {
    // There is nowhere left to complain about that to.
    let _ = writeln!(io::stderr(), "einhyrningsinsctl: {}", visible_lines(&why.to_string()));
    outcome
}

#[cfg(test)]
mod tests;
