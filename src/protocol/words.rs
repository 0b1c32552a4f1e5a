//! The words for what happened to a process: the same in replies, in `status` and in the log.

use super::json::{integer, members, number, or_null, text};
use crate::fsm::{
    event::{ExitStatus, Proof, SpawnError, SpawnStage},
    id::{Errno, Generation, SlotId},
    reason::{Cause, Failure},
    time::Millis,
};
use miniserde::json::Value;
use std::{fs::FileType, io, os::unix::fs::FileTypeExt as _};

/// How a start failed, such as `exited with status 1`.
#[must_use]
pub fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Spawn(error) => spawn_error(error),
        Failure::Exited(status) => exit_status(*status),
        Failure::Left => "said that it was stopping".into(),
        Failure::Unacknowledged { pid, age } => {
            format!("was not ready in time (pid {pid}, after {})", span(*age))
        }
    }
}

/// Why a generation was taken back.
#[must_use]
pub fn setback(
    generation: Generation,
    cause: Cause,
    slot: Option<SlotId>,
    failures: Option<u32>,
    last: Option<&Failure>,
) -> String {
    let place = slot.map(|slot| format!(" in slot {slot}")).unwrap_or_default();
    let how = last.map(|why| format!(": {}", failure(why))).unwrap_or_default();
    let often = failures.map(|failures| format!(" {}", times(failures))).unwrap_or_default();
    match cause {
        Cause::GaveUp => format!("generation {generation} failed{place}{often}, at last{how}"),
        Cause::Died => format!("a worker of generation {generation}{place} ended on trial{how}"),
        Cause::TimedOut => {
            format!(
                "the upgrade to generation {generation} has taken as long as it may, and lacks a worker{place}{how}"
            )
        }
        Cause::Aborted => format!("the upgrade to generation {generation} was aborted"),
    }
}

/// How a worker was found healthy.
#[must_use]
pub fn found(proof: Proof) -> &'static str {
    match proof {
        Proof::Acknowledged => "it has said so",
        Proof::Notified => "it has notified",
        Proof::Seen => "it accepts connections",
        Proof::Timer => "it has stayed alive",
    }
}

/// How a process ended, such as `killed by SIGSEGV (signal 11)`.
#[must_use]
pub fn exit_status(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with status {code}"),
        ExitStatus::Signal(number) => match signal_name(number) {
            Some(name) => format!("killed by {name} (signal {number})"),
            None => format!("killed by signal {number}"),
        },
        ExitStatus::Unknown => "ended, and nobody saw how".to_owned(),
    }
}

/// Why a process did not become the program, such as
/// `exec failed: No such file or directory (errno 2)`.
#[must_use]
pub fn spawn_error(error: &SpawnError) -> String {
    let stage = match error.stage {
        SpawnStage::Pin => "finding the program",
        SpawnStage::Fork => "fork",
        SpawnStage::Setpgid => "making its process group",
        SpawnStage::Signals => "resetting its signals",
        SpawnStage::Files => "handing over the sockets",
        SpawnStage::Chdir => "changing to its directory",
        SpawnStage::Exec => "exec",
    };
    format!("{stage} failed: {}", errno(error.errno))
}

/// An error number, such as `No such file or directory (errno 2)`.
#[must_use]
pub fn errno(Errno(number): Errno) -> String {
    let words = io::Error::from_raw_os_error(number).to_string();
    // The standard library's own way to give the number differs from everybody else's.
    let words = words.strip_suffix(&format!(" (os error {number})")).unwrap_or(&words);
    format!("{words} (errno {number})")
}

/// What the system said, in the same form, or what the standard library said before asking it.
#[must_use]
pub fn io_error(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| errno(Errno(number)))
}

/// What kind of file that is, such as `a directory`.
#[must_use]
pub fn file_kind(kind: FileType) -> &'static str {
    let kinds = [
        (kind.is_dir(), "a directory"),
        (kind.is_symlink(), "a symbolic link"),
        (kind.is_fifo(), "a named pipe"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (kind.is_socket(), "a socket"),
    ];
    kinds.iter().find(|(is_one, _)| *is_one).map_or("a regular file", |(_, name)| name)
}

/// A span of time to two figures' worth, such as `350 ms`, `3.2 s`, `2 min 5 s`, `4 d 3 h`.
#[must_use]
pub fn span(Millis(ms): Millis) -> String {
    let (secs, mins, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (days, hours, mins, secs) {
        (0, 0, 0, 0) => format!("{ms} ms"),
        (0, 0, 0, _) => format!("{secs}.{} s", ms % 1_000 / 100),
        (0, 0, _, _) => format!("{mins} min {} s", secs % 60),
        (0, _, _, _) => format!("{hours} h {} min", mins % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// What a socket is called, to go behind its address; nothing if it has no name.
#[must_use]
pub fn called(name: Option<&str>) -> String {
    name.map(|name| format!(" ({name})")).unwrap_or_default()
}

/// A number of things, such as `1 worker` or `3 workers`.
#[must_use]
pub fn count(number: u32, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A number of times, such as `once` or `3 times`.
#[must_use]
pub fn times(number: u32) -> String {
    match number {
        1 => "once".into(),
        2 => "twice".into(),
        _ => format!("{number} times"),
    }
}

/// The name of a signal that processes die of, by its number on this system.
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    // These have the same number everywhere that programs run today …
    let common = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => "",
    };
    // … and these on Linux (signal(7)), except on the architectures that have numbers of their own.
    let linux = cfg!(all(
        target_os = "linux",
        not(any(
            target_arch = "mips",
            target_arch = "mips64",
            target_arch = "sparc",
            target_arch = "sparc64"
        ))
    ));
    let name = match number {
        7 if linux => "SIGBUS",
        10 if linux => "SIGUSR1",
        12 if linux => "SIGUSR2",
        24 if linux => "SIGXCPU",
        25 if linux => "SIGXFSZ",
        31 if linux => "SIGSYS",
        _ => common,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// [`failure`] for programs.
pub(crate) fn failure_value(failure: &Failure) -> Value {
    let words = text(&self::failure(failure));
    Value::Object(match failure {
        Failure::Spawn(error) => members([
            ("kind", text("spawn")),
            ("message", words),
            ("stage", text(error.stage.word())),
            ("errno", integer(error.errno.0)),
        ]),
        Failure::Exited(ExitStatus::Code(code)) => {
            members([("kind", text("exited")), ("message", words), ("status", integer(*code))])
        }
        Failure::Exited(ExitStatus::Signal(number)) => {
            members([("kind", text("killed")), ("message", words), ("signal", integer(*number))])
        }
        Failure::Exited(ExitStatus::Unknown) => members([("kind", text("unknown")), ("message", words)]),
        Failure::Left => members([("kind", text("left")), ("message", words)]),
        Failure::Unacknowledged { pid, age } => members([
            ("kind", text("unacknowledged")),
            ("message", words),
            ("pid", number(pid.0)),
            ("age_ms", number(age.0)),
        ]),
    })
}

/// [`exit_status`] for programs; null if there was none.
pub(crate) fn exit_value(status: Option<ExitStatus>) -> Value {
    or_null(status, |status| failure_value(&Failure::Exited(status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::{event::Prospect, id::Pid};

    #[test]
    fn failures_say_what_stage_which_status_and_which_errno() {
        let spawn = |stage, errno| {
            failure(&Failure::Spawn(SpawnError { stage, errno: Errno(errno), prospect: Prospect::Passing }))
        };
        assert_eq!(spawn(SpawnStage::Exec, 2), "exec failed: No such file or directory (errno 2)");
        assert_eq!(
            spawn(SpawnStage::Fork, 11),
            "fork failed: ".to_owned() + &errno(Errno(11)),
            "the words for an errno are the system's"
        );
        assert_eq!(failure(&Failure::Exited(ExitStatus::Code(1))), "exited with status 1");
        assert_eq!(failure(&Failure::Exited(ExitStatus::Signal(11))), "killed by SIGSEGV (signal 11)");
        assert_eq!(failure(&Failure::Exited(ExitStatus::Signal(63))), "killed by signal 63");
        let hangs = Failure::Unacknowledged { pid: Pid(4_711), age: Millis(30_020) };
        assert_eq!(failure(&hangs), "was not ready in time (pid 4711, after 30.0 s)");
    }

    #[test]
    fn every_errno_has_words() {
        for number in [-1, 0, 1, 2, 13, 4_095, i32::MAX, i32::MIN] {
            assert!(errno(Errno(number)).ends_with(&format!(" (errno {number})")));
        }
    }

    #[test]
    fn spans_have_the_unit_that_fits_them() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_299, "3.2 s"),
            (125_000, "2 min 5 s"),
            (10_920_000, "3 h 2 min"),
            (356_400_000, "4 d 3 h"),
        ];
        for (ms, words) in cases {
            assert_eq!(span(Millis(ms)), words);
        }
    }
}
