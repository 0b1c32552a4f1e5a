//! The machine's answers, in words and as data.

use super::{
    json::{members, number, or_null, text},
    reply::Envelope,
    words::{count, failure_value, setback, span, spawn_error},
};
use crate::fsm::{
    action::Reply,
    id::{Generation, Pid},
    reason::{Cancel, Failure},
    signal::Shutdown,
    time::Millis,
};
use miniserde::json::{Object, Value};

/// The last line of the answer to a request, but for the request's id.
///
/// [`Reply::Status`] carries nothing; [`super::status::envelope`] is the answer to it.
#[must_use]
pub fn reply(reply: &Reply) -> Envelope {
    Envelope { message: message(reply), ok: is_ok(reply), fields: fields(reply), ..Envelope::default() }
}

/// Whether what was asked for is so now, or will be. An ack that comes too late or twice is no
/// failure of the worker that sent it.
fn is_ok(reply: &Reply) -> bool {
    match reply {
        Reply::Acked { .. }
        | Reply::AlreadyAcked { .. }
        | Reply::AckedWhileDraining { .. }
        | Reply::Pinged { .. }
        | Reply::Status
        | Reply::Target { .. }
        | Reply::Signalled { count: 1.., .. }
        | Reply::Retrying { .. }
        | Reply::Stopping { .. }
        | Reply::Aborting { .. }
        | Reply::Upgraded { .. } => true,
        Reply::NoSuchWorker { .. }
        | Reply::Signalled { count: 0, .. }
        | Reply::NotYours { .. }
        | Reply::TargetRefused { .. }
        | Reply::CanaryRefused { .. }
        | Reply::NotRunning
        | Reply::UpgradeRefused { .. }
        | Reply::RolledBack { .. }
        | Reply::NotRestored { .. }
        | Reply::NothingToAbort
        | Reply::Superseded { .. }
        | Reply::Cancelled { .. } => false,
    }
}

/// How many serve, at the end of an upgrade.
fn serves(healthy: u32, target: u32) -> String {
    if healthy < target {
        format!("{healthy} of {target} workers; the others have ended since and are started again")
    } else {
        count(healthy, "healthy worker")
    }
}

fn message(reply: &Reply) -> String {
    match reply {
        Reply::Acked { pid } => format!("worker {pid} is acknowledged"),
        Reply::AlreadyAcked { pid } => format!("worker {pid} was acknowledged before; nothing changed"),
        Reply::AckedWhileDraining { pid } => format!("worker {pid} is on its way out; nothing changed"),
        Reply::NoSuchWorker { pid } => format!("no worker has pid {pid}; nothing changed"),
        Reply::NotYours { pid, sender } => format!(
            "process {sender} cannot speak for worker {pid}: \
             only that process and those of its process group can; nothing changed"
        ),
        Reply::Pinged { pid } => format!("ping of worker {pid} noted"),
        Reply::Status => "status".into(),
        Reply::Target { old, new } if old == new => format!("number of workers: {new}, as before"),
        Reply::Target { old, new } => format!("number of workers: {old} → {new}"),
        Reply::TargetRefused { target, least, most } => {
            format!("number of workers: {target}, as before; it can be from {least} to {most}")
        }
        Reply::CanaryRefused { canary, target } => format!(
            "--canary: {canary} workers cannot go ahead of {target}; accepted: 1 to {target}; nothing changed"
        ),
        Reply::Signalled { signal, count: 0 } => {
            format!("there is no worker to signal: {signal} was sent to nobody")
        }
        Reply::Signalled { signal, count: workers } => {
            format!("sent {signal} to {}", count(*workers, "worker"))
        }
        Reply::Retrying { slots: 0 } => "no slot has failed; there is nothing to retry".into(),
        Reply::Retrying { slots } => format!("trying again to fill {}", count(*slots, "slot")),
        Reply::Stopping { shutdown } => stopping(*shutdown).into(),
        Reply::NotRunning => "refused: the supervisor is shutting down".into(),
        Reply::Upgraded { generation, workers, target, took } => {
            format!(
                "generation {generation} serves with {}, after {}",
                serves(*workers, *target),
                span(*took)
            )
        }
        Reply::UpgradeRefused { generation, error } => {
            format!("generation {generation} was not started: {}; no worker was touched", spawn_error(error))
        }
        Reply::RolledBack { generation, serving, cause, slot, failures, failure, healthy, target, took } => {
            format!(
                "{}; rolled back: generation {serving} serves with {}, after {}",
                setback(*generation, *cause, *slot, *failures, failure.as_ref()),
                serves(*healthy, *target),
                span(*took)
            )
        }
        Reply::NotRestored { generation, serving, cause, slot, failure, healthy, target } => format!(
            "{}; NOT rolled back everywhere: generation {serving} has {healthy} of {target} workers healthy, \
             and whatever else is healthy goes on serving; `status` tells what is tried again, `retry` tries at once",
            setback(*generation, *cause, *slot, None, failure.as_ref())
        ),
        Reply::Aborting { generation } => format!("taking generation {generation} back"),
        Reply::NothingToAbort => "no upgrade is under way; nothing changed".into(),
        Reply::Superseded { generation, by } => {
            format!("the upgrade to generation {generation} was superseded by the one to generation {by}")
        }
        Reply::Cancelled { generation, cause: Cancel::Aborted } => {
            format!(
                "the upgrade to generation {generation} was aborted before it began; no worker was touched"
            )
        }
        Reply::Cancelled { generation, cause: Cancel::Shutdown } => {
            format!("the upgrade to generation {generation} was given up: the supervisor is shutting down")
        }
    }
}

fn stopping(shutdown: Shutdown) -> &'static str {
    match shutdown {
        Shutdown::Graceful => {
            "shutting down gracefully: the stop signal to all workers; \
             TERM, then KILL to those still there after the grace period"
        }
        Shutdown::Fast => {
            "shutting down fast: TERM to all workers; KILL to those still there after the grace period"
        }
        Shutdown::Quick => {
            "shutting down quickly: TERM to all workers; KILL to those still there after five seconds"
        }
        Shutdown::Kill => "shutting down at once: KILL to all workers",
    }
}

fn fields(reply: &Reply) -> Object {
    match reply {
        Reply::Acked { pid }
        | Reply::AlreadyAcked { pid }
        | Reply::AckedWhileDraining { pid }
        | Reply::NoSuchWorker { pid }
        | Reply::Pinged { pid } => members([("pid", pid_value(*pid))]),
        Reply::NotYours { pid, sender } => {
            members([("pid", pid_value(*pid)), ("sender", pid_value(*sender))])
        }
        Reply::Status | Reply::NotRunning => Object::new(),
        Reply::Target { old, new } => members([("old", number(*old)), ("target", number(*new))]),
        Reply::TargetRefused { target, least, most } => {
            members([("target", number(*target)), ("least", number(*least)), ("most", number(*most))])
        }
        Reply::CanaryRefused { canary, target } => {
            members([("canary", number(*canary)), ("target", number(*target))])
        }
        Reply::Signalled { signal, count } => {
            members([("signal", text(signal.word())), ("count", number(*count))])
        }
        Reply::Retrying { slots } => members([("slots", number(*slots))]),
        Reply::Stopping { shutdown } => members([("shutdown", text(shutdown.word()))]),
        Reply::Upgraded { generation, workers, target, took } => members([
            ("outcome", text("upgraded")),
            ("generation", generation_value(*generation)),
            ("healthy", number(*workers)),
            ("target", number(*target)),
            ("took_ms", millis(*took)),
        ]),
        Reply::UpgradeRefused { generation, error } => members([
            ("outcome", text("refused")),
            ("generation", generation_value(*generation)),
            ("failure", failure_value(&Failure::Spawn(*error))),
        ]),
        Reply::RolledBack { generation, serving, cause, slot, failures, failure, healthy, target, took } => {
            members([
                ("outcome", text("rolled-back")),
                ("generation", generation_value(*generation)),
                ("serving", generation_value(*serving)),
                ("cause", text(cause.word())),
                ("slot", or_null(*slot, |slot| number(slot.0))),
                ("failures", or_null(*failures, number)),
                ("failure", or_null(failure.as_ref(), failure_value)),
                ("healthy", number(*healthy)),
                ("target", number(*target)),
                ("took_ms", millis(*took)),
            ])
        }
        Reply::NotRestored { generation, serving, cause, slot, failure, healthy, target } => members([
            ("outcome", text("not-restored")),
            ("generation", generation_value(*generation)),
            ("serving", generation_value(*serving)),
            ("cause", text(cause.word())),
            ("slot", or_null(*slot, |slot| number(slot.0))),
            ("failure", or_null(failure.as_ref(), failure_value)),
            ("healthy", number(*healthy)),
            ("target", number(*target)),
        ]),
        Reply::Superseded { generation, by } => members([
            ("outcome", text("superseded")),
            ("generation", generation_value(*generation)),
            ("by", generation_value(*by)),
        ]),
        Reply::Aborting { generation } => members([("generation", generation_value(*generation))]),
        Reply::NothingToAbort => Object::new(),
        Reply::Cancelled { generation, cause } => members([
            ("outcome", text("cancelled")),
            ("generation", generation_value(*generation)),
            ("cause", text(cause.word())),
        ]),
    }
}

fn pid_value(pid: Pid) -> Value {
    number(pid.0)
}

fn generation_value(generation: Generation) -> Value {
    number(generation.0)
}

fn millis(span: Millis) -> Value {
    number(span.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{
        event::{ExitStatus, Prospect, SpawnError, SpawnStage},
        id::{Errno, SlotId},
        reason::Cause,
        signal::Signal,
        text::Record as _,
    };

    #[test]
    fn a_roll_back_says_which_slot_failed_how_and_who_serves() {
        let rolled_back = |healthy| {
            reply(&Reply::RolledBack {
                generation: Generation(2),
                serving: Generation(1),
                cause: Cause::GaveUp,
                slot: Some(SlotId(3)),
                failures: Some(5),
                failure: Some(Failure::Exited(ExitStatus::Code(1))),
                healthy,
                target: 4,
                took: Millis(6_200),
            })
        };
        assert!(rolled_back(3).message.ends_with(
            "rolled back: generation 1 serves with 3 of 4 workers; the others have ended since and are \
             started again, after 6.2 s"
        ));
        assert_eq!(
            rolled_back(4).encode(),
            "{\"message\":\"generation 2 failed in slot 3 5 times, at last: exited with status 1; \
             rolled back: generation 1 serves with 4 healthy workers, after 6.2 s\",\"ok\":false,\
             \"cause\":\"gave-up\",\"failure\":{\"kind\":\"exited\",\"message\":\"exited with status 1\",\"status\":1},\
             \"failures\":5,\"generation\":2,\"healthy\":4,\"outcome\":\"rolled-back\",\"serving\":1,\
             \"slot\":3,\"target\":4,\"took_ms\":6200}\n"
        );
    }

    #[test]
    fn a_program_that_cannot_be_run_is_named_by_stage_and_errno() {
        let error = SpawnError { stage: SpawnStage::Exec, errno: Errno(2), prospect: Prospect::NotFound };
        let refused = reply(&Reply::UpgradeRefused { generation: Generation(2), error });
        assert!(!refused.ok);
        assert_eq!(
            refused.message,
            "generation 2 was not started: exec failed: No such file or directory (errno 2); \
             no worker was touched"
        );
    }

    #[test]
    fn a_new_target_is_told_as_old_and_new() {
        assert_eq!(reply(&Reply::Target { old: 4, new: 6 }).message, "number of workers: 4 → 6");
        assert_eq!(reply(&Reply::Target { old: 4, new: 4 }).message, "number of workers: 4, as before");
        let refused = reply(&Reply::TargetRefused { target: 1, least: 1, most: 10_000 });
        assert!(!refused.ok);
        assert_eq!(refused.message, "number of workers: 1, as before; it can be from 1 to 10000");
    }

    #[test]
    fn a_signal_that_nobody_got_is_a_failure() {
        let signalled = |count| reply(&Reply::Signalled { signal: Signal::Hup, count });
        assert!(signalled(1).ok && signalled(1).message == "sent HUP to 1 worker");
        let nobody = signalled(0);
        assert!(!nobody.ok);
        assert_eq!(nobody.message, "there is no worker to signal: HUP was sent to nobody");
    }

    #[test]
    fn a_late_ack_is_no_failure_and_a_foreign_one_is() {
        assert!(reply(&Reply::AlreadyAcked { pid: Pid(30) }).ok);
        assert!(reply(&Reply::AckedWhileDraining { pid: Pid(30) }).ok);
        let foreign = reply(&Reply::NotYours { pid: Pid(30), sender: Pid(33) });
        assert!(!foreign.ok && foreign.message.starts_with("process 33 cannot speak for worker 30"));
    }

    #[test]
    fn an_upgrade_that_came_to_nothing_says_whether_it_was_aborted_or_a_shutdown_came() {
        let said = |cause| reply(&Reply::Cancelled { generation: Generation(2), cause }).message;
        let [aborted, shutdown] = [Cancel::Aborted, Cancel::Shutdown].map(said);
        assert_eq!(aborted, "the upgrade to generation 2 was aborted before it began; no worker was touched");
        assert_eq!(shutdown, "the upgrade to generation 2 was given up: the supervisor is shutting down");
    }

    #[test]
    fn what_was_not_restored_is_counted_by_the_generation_that_is_to_serve() {
        let line = "not-restored generation=2 serving=1 cause=aborted healthy=2 target=3";
        let answer = reply(&Reply::from_line(line).unwrap());
        let counts = "generation 1 has 2 of 3 workers healthy";
        assert!(answer.message.contains(counts), "{}", answer.message);
    }

    #[test]
    fn every_answer_is_a_last_line_with_a_message() {
        let lines = [
            "acked pid=1",
            "no-such-worker pid=1",
            "pinged pid=1",
            "status",
            "signalled signal=HUP count=1",
            "retrying slots=0",
            "retrying slots=2",
            "stopping shutdown=graceful",
            "stopping shutdown=kill",
            "not-running",
            "upgraded generation=2 workers=1 target=1 took=10",
            "not-restored generation=2 serving=1 cause=died slot=1 failure=unacknowledged:107:30000 healthy=1 target=4",
            "superseded generation=2 by=3",
            "cancelled generation=2 cause=aborted",
            "cancelled generation=2 cause=shutdown",
            "aborting generation=2",
            "nothing-to-abort",
            "rolled-back generation=2 serving=1 cause=aborted healthy=4 target=4 took=10",
        ];
        for line in lines {
            let envelope = reply(&Reply::from_line(line).unwrap());
            assert!(!envelope.wait && !envelope.message.is_empty(), "{line}");
            assert!(Envelope::parse(envelope.encode().as_bytes()).is_ok(), "{line}");
        }
    }
}
