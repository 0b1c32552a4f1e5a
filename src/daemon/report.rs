//! Words and levels for what the machine has to tell.
//!
//! ERROR is for what somebody has to be woken for, WARN for what should be looked at in the morning,
//! INFO for what changes, DEBUG for the rest.

use crate::{
    fsm::{
        id::{Errno, Generation, ListenerId},
        notice::Notice,
        reason::{Next, Why},
        time::Millis,
    },
    protocol::words::{count, exit_status, failure, setback, span, spawn_error, times},
};
use log::Level;

/// What to log for a notice. `trouble` tells why a socket could not be bound, `program` where a
/// generation's program is.
pub(crate) fn words(
    notice: &Notice,
    trouble: impl Fn(ListenerId, Errno) -> String,
    program: impl Fn(Generation) -> String,
) -> (Level, String) {
    let text = match notice {
        Notice::Spawned { worker, slot, generation, pid } => {
            format!("worker {worker}: pid {pid} started in slot {slot}, generation {generation}")
        }
        Notice::Healthy { worker, slot, generation, pid, took } => format!(
            "worker {worker}: pid {pid} in slot {slot}, generation {generation}, is healthy after {}",
            span(*took)
        ),
        Notice::StartFailed { worker, slot, generation, failure: why, failures, retries, next } => {
            let counted = failures.map(|failures| format!(" (failure {failures} of {retries} in a row)"));
            format!(
                "worker {worker}: start in slot {slot}, generation {generation} ({}), failed: {}{}; {}",
                program(*generation),
                failure(why),
                counted.unwrap_or_default(),
                what_next("trying again", *next)
            )
        }
        Notice::Crashed { worker, slot, generation, pid, status, next } => format!(
            "worker {worker}: pid {pid} in slot {slot}, generation {generation}, {} without being asked to; {}",
            exit_status(*status),
            what_next("replaced", *next)
        ),
        Notice::Gone { worker, slot, generation, pid, status } => format!(
            "worker {worker}: pid {pid} of slot {slot}, generation {generation}, {} as asked",
            exit_status(*status)
        ),
        Notice::Draining { worker, slot, generation, pid, why } => {
            format!(
                "worker {worker}: pid {pid} in slot {slot}, generation {generation}, is asked to go: {}",
                reason(*why)
            )
        }
        Notice::Escalated { worker, pid, signal } => {
            format!("worker {worker}: pid {pid} has not gone in time; sending {signal}")
        }
        Notice::Stuck { worker, pid } => format!(
            "worker {worker}: pid {pid} is still there after KILL; nothing more can be done to it, \
             and it no longer counts"
        ),
        Notice::Orphans { worker, pid } => {
            format!("worker {worker}: pid {pid} has left processes behind in its process group; killing them")
        }
        Notice::GaveUp { slot, generation, failures, failure: why, ending } => format!(
            "slot {slot}: generation {generation} ({}) failed to start {}, at last: {}; given up{}",
            program(*generation),
            times(*failures),
            failure(why),
            if *ending { "" } else { " until `retry`, `upgrade` or a new number of workers" }
        ),
        Notice::Lost { failure: why } => format!("no worker is left to try: {}; ending", failure(why)),
        Notice::BindFailed { listener, errno } => format!("{}; ending", trouble(*listener, *errno)),
        Notice::PinFailed { generation, error } => {
            format!("cannot run {}: {}", program(*generation), spawn_error(error))
        }
        Notice::Up { workers, took } => {
            format!("up: {} after {}", count(*workers, "healthy worker"), span(*took))
        }
        Notice::Upgrading { generation, strategy, canary, soak } => {
            let ahead =
                canary.map(|canary| format!(", {} ahead", count(canary, "worker"))).unwrap_or_default();
            let trial = soak.map(|soak| format!(", on trial for {}", span(soak))).unwrap_or_default();
            let program = program(*generation);
            format!("{strategy} upgrade to generation {generation} ({program}{ahead}{trial}) has begun")
        }
        Notice::OnTrial { generation, workers, soak } => format!(
            "generation {generation}: {} healthy, and on trial for {}",
            count(*workers, "worker"),
            span(*soak)
        ),
        Notice::Upgraded { generation, took } => {
            format!("upgrade to generation {generation} is complete after {}", span(*took))
        }
        Notice::RollingBack { generation, to, cause, slot, failure } => format!(
            "{} ({}); going back to generation {to}",
            setback(*generation, *cause, *slot, None, failure.as_ref()),
            program(*generation)
        ),
        Notice::RolledBack { to, healthy, target } if healthy < target => format!(
            "going back is over, and generation {to} has {healthy} of {target} workers healthy; `status` \
             tells what becomes of the others"
        ),
        Notice::RolledBack { to, healthy, target } => {
            format!("rolled back: generation {to}, {healthy} of {target} workers are healthy")
        }
        Notice::Superseded { generation, by } => {
            format!("upgrade to generation {generation} is superseded by generation {by}")
        }
        Notice::Target { old, new } => format!("number of workers: {old} → {new}"),
        Notice::TargetRefused { target, least, most } => format!(
            "number of workers: {target}, as before; it can be from {least} to {most}, and a signal asked for \
             another"
        ),
        Notice::Stopping { shutdown, workers } => {
            format!("{shutdown} shutdown; {} to go", count(*workers, "worker"))
        }
        Notice::NotYours { pid, sender } => {
            format!("process {sender} spoke for worker pid {pid}, which it is no part of; refused")
        }
        Notice::Gap { lost } => format!(
            "nothing ran here for {}: suspended, stopped or starved; deadlines are put off by as much",
            span(*lost)
        ),
        Notice::Impossible { what } => {
            format!("cannot happen, and did: {what}; nothing was changed; please report this as a bug")
        }
    };
    (level(notice), text)
}

/// What comes in the place of a worker; another is `done` sooner or later.
fn what_next(done: &str, next: Next) -> String {
    match next {
        Next::In(Millis(0)) => format!("{done} at once"),
        Next::In(delay) => format!("{done} in {}", span(delay)),
        Next::GivenUp { .. } => "not tried again".into(),
        Next::NotReplaced => "no other is started in its place".into(),
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Replaced => "its replacement is healthy",
        Why::Withdrawn => "its generation is withdrawn",
        Why::Surplus => "fewer workers are wanted",
        Why::Unacknowledged => "it did not acknowledge in time",
        Why::Shutdown => "the supervisor is shutting down",
    }
}

fn level(notice: &Notice) -> Level {
    match notice {
        Notice::Stuck { .. }
        | Notice::GaveUp { .. }
        | Notice::Lost { .. }
        | Notice::BindFailed { .. }
        | Notice::PinFailed { .. }
        | Notice::RollingBack { .. }
        | Notice::Impossible { .. } => Level::Error,
        Notice::StartFailed { .. }
        | Notice::Crashed { .. }
        | Notice::Escalated { .. }
        | Notice::Orphans { .. }
        | Notice::RolledBack { .. }
        | Notice::Superseded { .. }
        | Notice::NotYours { .. }
        | Notice::TargetRefused { .. }
        | Notice::Gap { .. } => Level::Warn,
        Notice::Healthy { .. }
        | Notice::Gone { .. }
        | Notice::Draining { .. }
        | Notice::Up { .. }
        | Notice::Upgrading { .. }
        | Notice::OnTrial { .. }
        | Notice::Upgraded { .. }
        | Notice::Target { .. }
        | Notice::Stopping { .. } => Level::Info,
        Notice::Spawned { .. } => Level::Debug,
    }
}
