//! Words and levels for what the machine has to tell.
//!
//! ERROR is for what somebody has to be woken for, WARN for what should be looked at in the morning,
//! INFO for what changes, DEBUG for the rest.

mod shortage;

pub(crate) use shortage::Shortages;

use crate::{
    fsm::{
        config::BACKOFF_MAX,
        event::ExitStatus,
        id::{Errno, Generation, ListenerId, WorkerId},
        notice::Notice,
        reason::{Next, Sequel, Why},
        signal::Signal,
        time::Millis,
    },
    protocol::words::{count, exit_status, failure, found, setback, span, spawn_error, times},
};
use log::Level;
use std::collections::{BTreeMap, BTreeSet};

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
        Notice::Healthy { worker, slot, generation, pid, took, proof } => format!(
            "worker {worker}: pid {pid} in slot {slot}, generation {generation}, is healthy after {}: {}",
            span(*took),
            found(*proof)
        ),
        Notice::StartFailed { worker, slot, generation, failure: why, failures, retries, next } => {
            let counted = failures.map(|failures| {
                let of = if failures > *retries { String::new() } else { format!(" of {retries}") };
                format!(" (failure {failures}{of} in a row)")
            });
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
        Notice::Gone { worker, slot, generation, pid, status, unasked } => format!(
            "worker {worker}: pid {pid} of slot {slot}, generation {generation}, {} as {}",
            exit_status(*status),
            if *unasked { "it had said" } else { "asked" }
        ),
        Notice::Draining { worker, slot, generation, pid, why: Why::Leaving } => {
            format!(
                "worker {worker}: pid {pid} in slot {slot}, generation {generation}, says that it is stopping"
            )
        }
        Notice::Draining { worker, slot, generation, pid, why } => {
            format!(
                "worker {worker}: pid {pid} in slot {slot}, generation {generation}, is asked to go: {}",
                reason(*why)
            )
        }
        Notice::Escalated { worker, pid, signal } => {
            format!("worker {worker}: pid {pid} is still there; sending {signal}")
        }
        Notice::Stuck { worker, pid } => format!(
            "worker {worker}: pid {pid} is still there after KILL; nothing more can be done to it, \
             and it no longer counts"
        ),
        Notice::Orphans { worker, pid } => {
            format!("worker {worker}: pid {pid} has left processes behind in its process group; killing them")
        }
        Notice::GaveUp { slot, generation, failures, failure: why, then } => format!(
            "slot {slot}: generation {generation} ({}) failed to start {}, at last: {}; given up{}",
            program(*generation),
            times(*failures),
            failure(why),
            sequel(*then)
        ),
        Notice::Failing { slot, generation, failures, failure: why } => format!(
            "slot {slot}: generation {generation} ({}) failed to start {} in a row, at last: {}; its \
             generation has served, so the slot goes on being tried, every {} at least",
            program(*generation),
            times(*failures),
            failure(why),
            span(BACKOFF_MAX)
        ),
        Notice::Down { lasted, failure: why } => format!(
            "no worker is healthy, for {} now{}; they go on being tried",
            span(*lasted),
            why.as_ref().map(|why| format!("; the last start failed: {}", failure(why))).unwrap_or_default()
        ),
        Notice::NoLongerDown { lasted } => {
            format!("a worker is healthy again; there was none for {}", span(*lasted))
        }
        Notice::Lost { failure: why } => format!("no worker is left to try: {}; ending", failure(why)),
        Notice::BindFailed { listener, errno } => format!("{}; ending", trouble(*listener, *errno)),
        Notice::PinFailed { generation, error } => {
            format!("cannot run {}: {}", program(*generation), spawn_error(error))
        }
        Notice::Up { workers, took } => {
            format!("up: {} after {}", count(*workers, "healthy worker"), span(*took))
        }
        Notice::Upgrading { generation, strategy, canary, soak, timeout } => {
            let ahead =
                canary.map(|canary| format!(", {} ahead", count(canary, "worker"))).unwrap_or_default();
            let trial = soak.map(|soak| format!(", on trial for {}", span(soak))).unwrap_or_default();
            let within = timeout.map(|time| format!(", within {}", span(time))).unwrap_or_default();
            let program = program(*generation);
            format!(
                "{strategy} upgrade to generation {generation} ({program}{ahead}{trial}{within}) has begun"
            )
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

/// Workers that a stop signal ended because they had no handler for it: all that a release has to do in
/// order to finish its connections, and one that does not is told of once.
#[derive(Debug)]
pub(crate) struct Unhandled {
    /// The one that was chosen for all, with the system's number of it.
    chosen: Option<(Signal, i32)>,
    /// What each was sent, where that depends on its program.
    sent: BTreeMap<WorkerId, (Signal, i32)>,
    /// Those that were told of, as long as others of them may follow.
    told: BTreeSet<Generation>,
    /// Workers that have been healthy and are there. Any other has no connections to finish.
    ready: BTreeSet<WorkerId>,
}

impl Unhandled {
    pub(crate) fn new(chosen: Option<(Signal, i32)>) -> Self {
        Self { chosen, sent: BTreeMap::new(), told: BTreeSet::new(), ready: BTreeSet::new() }
    }

    /// A worker without a handler for it was sent the signal that was chosen for its program.
    pub(crate) fn sent(&mut self, worker: WorkerId, signal: Signal, number: i32) {
        self.sent.insert(worker, (signal, number));
    }

    /// Takes in what the core has to tell. Returns what to warn of, if there is something new.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most of what there is to tell is not about that")]
    pub(crate) fn note(&mut self, notice: &Notice, program: impl Fn(Generation) -> String) -> Option<String> {
        match notice {
            Notice::Healthy { worker, .. } => {
                self.ready.insert(*worker);
            }
            Notice::Crashed { worker, .. } | Notice::StartFailed { worker, .. } => {
                self.ready.remove(worker);
            }
            Notice::Gone { worker, generation, pid, status, .. } => {
                let ready = self.ready.remove(worker);
                let (signal, number) = self.sent.remove(worker).or(self.chosen)?;
                if ready && *status == ExitStatus::Signal(number) && self.told.insert(*generation) {
                    return Some(format!(
                        "generation {generation} ({}): worker pid {pid} had no handler for SIG{signal} and \
                         was ended by it; connections may have been cut; have it handle SIG{signal}, or say \
                         what it handles with --stop-signal",
                        program(*generation)
                    ));
                }
            }
            _ => {}
        }
        None
    }
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

fn sequel(then: Sequel) -> &'static str {
    match then {
        Sequel::UntilAsked => {
            " until a worker is healthy, or until `retry`, `upgrade` or a new number of workers"
        }
        Sequel::TakenBack => ", and with it its generation",
        // That is a line of its own.
        Sequel::Ending => "",
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Replaced => "its replacement is healthy",
        Why::Withdrawn => "its generation is withdrawn",
        Why::Surplus => "fewer workers are wanted",
        Why::Unacknowledged => "it was not ready in time",
        Why::Leaving => "it says that it is stopping",
        Why::Shutdown => "the supervisor is shutting down",
    }
}

fn level(notice: &Notice) -> Level {
    match notice {
        Notice::Stuck { .. }
        | Notice::GaveUp { .. }
        | Notice::Failing { .. }
        | Notice::Down { .. }
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
        | Notice::TargetRefused { .. }
        | Notice::NoLongerDown { .. }
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
        // That one is told of is seen to where reports are refused: once, and with what was sent.
        Notice::Spawned { .. } | Notice::NotYours { .. } => Level::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        id::{Pid, SlotId},
        reason::Failure,
    };

    const SLOT: SlotId = SlotId(0);
    const PID: Pid = Pid(30);

    fn healthy(worker: u64, generation: u32) -> Notice {
        let (worker, generation, took) = (WorkerId(worker), Generation(generation), Millis(1));
        Notice::Healthy {
            worker,
            slot: SLOT,
            generation,
            pid: PID,
            took,
            proof: crate::fsm::event::Proof::Timer,
        }
    }

    fn gone(worker: u64, generation: u32, status: ExitStatus) -> Notice {
        let (worker, generation) = (WorkerId(worker), Generation(generation));
        Notice::Gone { worker, slot: SLOT, generation, pid: PID, status, unasked: false }
    }

    #[test]
    fn a_stop_signal_that_nobody_handles_is_told_of_once_for_each_generation() {
        let mut unhandled = Unhandled::new(Some((Signal::Usr2, 12)));
        let mut served = |worker, generation, status| {
            unhandled.note(&healthy(worker, generation), |_| String::new());
            unhandled.note(&gone(worker, generation, status), |_| "/bin/a".into())
        };
        let deaf = ExitStatus::Signal(12);
        assert_eq!(served(1, 1, ExitStatus::Code(0)), None);
        assert_eq!(served(2, 1, ExitStatus::Signal(15)), None, "that was a harsher one");
        let told = served(3, 2, deaf).unwrap();
        assert!(
            told.starts_with("generation 2 (/bin/a): worker pid 30 had no handler for SIGUSR2"),
            "{told}"
        );
        assert!(told.contains("--stop-signal"), "{told}");
        assert_eq!(served(4, 2, deaf), None);
        assert!(served(5, 1, deaf).is_some(), "of the one that was gone back to");
        assert_eq!(served(6, 1, deaf), None);
    }

    #[test]
    fn a_worker_that_never_was_healthy_has_nothing_to_lose_whyever_it_is_to_go() {
        let mut unhandled = Unhandled::new(Some((Signal::Term, 15)));
        let mut note = |notice| unhandled.note(&notice, |_| String::new());
        let generation = Generation(1);
        for (number, why) in (1..).zip([Why::Unacknowledged, Why::Withdrawn, Why::Surplus, Why::Shutdown]) {
            note(Notice::Draining { worker: WorkerId(number), slot: SLOT, generation, pid: PID, why });
            assert_eq!(note(gone(number, 1, ExitStatus::Signal(15))), None, "{why}");
        }
        note(healthy(9, 1));
        assert!(note(gone(9, 1, ExitStatus::Signal(15))).is_some());
    }

    #[test]
    fn a_slot_that_was_given_up_is_told_with_what_becomes_of_it() {
        let said = |then| {
            let failure = Failure::Exited(ExitStatus::Code(1));
            let gave_up =
                Notice::GaveUp { slot: SLOT, generation: Generation(2), failures: 5, failure, then };
            words(&gave_up, |_, _| String::new(), |_| "/bin/a".into()).1
        };
        let start =
            "slot 0: generation 2 (/bin/a) failed to start 5 times, at last: exited with status 1; given up";
        let until = " until a worker is healthy, or until `retry`, `upgrade` or a new number of workers";
        assert_eq!(said(Sequel::UntilAsked), format!("{start}{until}"));
        assert_eq!(said(Sequel::TakenBack), format!("{start}, and with it its generation"));
        assert_eq!(said(Sequel::Ending), start);
    }

    #[test]
    fn workers_that_are_gone_are_not_remembered() {
        let mut unhandled = Unhandled::new(Some((Signal::Usr2, 12)));
        let mut note = |notice| unhandled.note(&notice, |_| String::new());
        let (worker, generation, next) = (WorkerId(1), Generation(1), Next::NotReplaced);
        let status = ExitStatus::Code(1);
        let failure = Failure::Exited(status);
        for end in [
            gone(1, 1, status),
            Notice::Crashed { worker, slot: SLOT, generation, pid: PID, status, next },
            Notice::StartFailed { worker, slot: SLOT, generation, failure, failures: None, retries: 1, next },
        ] {
            note(healthy(1, 1));
            note(end);
        }
        assert!(unhandled.ready.is_empty());
    }
}
