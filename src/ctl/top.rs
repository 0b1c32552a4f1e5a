//! The live view: `einhyrningsinsctl top`.
//!
//! What it knows and what keys mean is in [`model`], apart from how that is [drawn](draw) and from
//! where it [comes from](sources): a model that is given the same news draws the same screen. `run` has the
//! terminal, and is the only place that waits; each of the sources is a thread of its own, so that a supervisor that
//! does not answer, or one order that takes its time, holds up nothing else.

#[cfg(feature = "top")]
pub mod asking;
#[cfg(feature = "top")]
pub mod draw;
#[cfg(feature = "top")]
pub mod help;
#[cfg(feature = "top")]
pub mod keys;
#[cfg(feature = "top")]
pub mod list;
#[cfg(feature = "top")]
pub mod look;
#[cfg(feature = "top")]
pub mod model;
#[cfg(feature = "top")]
mod plan;
#[cfg(feature = "top")]
mod run;
#[cfg(feature = "top")]
pub mod screen;
#[cfg(feature = "top")]
pub mod sources;
#[cfg(feature = "top")]
pub mod table;
#[cfg(feature = "top")]
pub mod usage;
#[cfg(feature = "top")]
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
    if !cfg!(feature = "top") {
        return complain(Outcome::Failed, &"top: not built in; a build with the feature `top` has it");
    }
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
    match show(target, interval) {
        Ok(outcome) => outcome,
        Err(why) => complain(Outcome::Failed, &format_args!("top: the terminal: {why}")),
    }
}

#[cfg(feature = "top")]
use run::run as show;

#[cfg(not(feature = "top"))]
fn show(_: &Target, _: Millis) -> Result<Outcome, String> {
    Err("not built in".to_owned())
}

fn complain(outcome: Outcome, why: &dyn fmt::Display) -> Outcome {
    // There is nowhere left to complain about that to.
    let _ = writeln!(io::stderr(), "einhyrningsinsctl: {}", visible_lines(&why.to_string()));
    outcome
}

#[cfg(all(test, feature = "top"))]
mod tests;
