//! The contract with workers: what one is given, by which names it finds it, and what is kept from it.
//!
//! The names are einhorn's; `--help` tells people of them, and the [worker library](crate::worker) reads
//! them. This room knows no other, and nothing here starts anything.

use super::directory;
use crate::fsm::id::SlotId;
use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    iter,
    os::{
        fd::{BorrowedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    process,
};

/// The first descriptor a worker's sockets get; the others follow it without a gap. As
/// `SD_LISTEN_FDS_START` in sd_listen_fds(3).
pub(crate) const FIRST_FD: RawFd = 3;

/// How many sockets there are.
const FD_COUNT: &str = "EINHORN_FD_COUNT";
/// With a socket's position behind it: its descriptor.
const FD: &str = "EINHORN_FD";
/// With a socket's position behind it: the family of its address.
const FD_FAMILY: &str = "EINHORN_FD_FAMILY";
/// The absolute path of the control socket.
const SOCK_PATH: &str = "EINHORN_SOCK_PATH";
/// The descriptor of the worker's own connection to the supervisor.
const SOCK_FD: &str = "EINHORN_SOCK_FD";
/// The supervisor's process.
pub(crate) const MASTER_PID: &str = "EINHORN_MASTER_PID";
/// The number of the worker's slot.
pub(crate) const CHILD_INDEX: &str = "EINHORN_CHILD_INDEX";

/// How all names that are ours begin. Left-overs of another supervisor further up would contradict what
/// we say ourselves.
const OURS: &[u8] = b"EINHORN_";

/// Names that speak of the supervisor's own start, by systemd's conventions (sd_listen_fds(3),
/// sd_notify(3), sd_watchdog_enabled(3)). A worker that believed them would take over file descriptors
/// it was not given and report to a manager that does not expect it. Not all of `LISTEN_*`: programs
/// have settings of their own by names such as `LISTEN_ADDR`.
const NOT_FOR_WORKERS: [&str; 8] = [
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
];

/// Whether a variable of the supervisor's own environment, or of an upgrade's, is passed on to workers.
pub(crate) fn is_passed_on(name: &OsStr) -> bool {
    kept_because(name).is_none()
}

/// Why a variable is not passed on, as a clause about it; nothing if it is.
pub(crate) fn kept_because(name: &OsStr) -> Option<&'static str> {
    if name.as_bytes().starts_with(OURS) {
        Some("tells a worker of its sockets, its supervisor and its slot")
    } else if name == directory::VARIABLE {
        Some("tells a worker the directory it runs in (--chdir)")
    } else if NOT_FOR_WORKERS.iter().any(|not| name == *not) {
        Some("would make a worker take itself for what a service manager started")
    } else {
        None
    }
}

/// What one worker is given, besides what all workers of its generation get.
#[derive(Clone, Debug)]
pub(crate) struct Given<'a, Variables> {
    /// Become descriptors [`FIRST_FD`] and following, in this order: those that listen, and behind them the
    /// worker's own connection, if it has one.
    pub(crate) sockets: &'a [BorrowedFd<'a>],
    /// Added to the environment.
    pub(crate) variables: Variables,
}

/// One variable of an environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a OsStr,
    pub(crate) value: &'a OsStr,
}

impl<'a> Variable<'a> {
    pub(crate) fn new<Name, Value>(name: &'a Name, value: &'a Value) -> Self
    where
        Name: AsRef<OsStr> + ?Sized,
        Value: AsRef<OsStr> + ?Sized,
    {
        Self { name: name.as_ref(), value: value.as_ref() }
    }
}

/// How a worker can report to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reporting {
    /// At the control socket, if it may connect to that.
    AtTheSocket,
    /// There, or over a connection that it inherits.
    OverItsOwn,
}

/// What every worker finds in its environment: made once, but for the number of its slot.
#[derive(Debug)]
pub(crate) struct Variables {
    common: Vec<(String, OsString)>,
    /// The number of the slot that was asked for last; its memory serves all.
    slot: String,
}

impl Variables {
    /// For workers that get sockets of these families, in the order of their descriptors, and speak to
    /// the supervisor at `control`.
    pub(crate) fn new(families: &[&str], control: &Path, reporting: Reporting) -> Self {
        let mut common = Vec::new();
        let mut set = |name: String, value: OsString| common.push((name, value));
        set(FD_COUNT.into(), families.len().to_string().into());
        let mut numbers = FIRST_FD..;
        for ((position, family), fd) in families.iter().enumerate().zip(&mut numbers) {
            set(format!("{FD}_{position}"), fd.to_string().into());
            set(format!("{FD_FAMILY}_{position}"), family.into());
        }
        set(SOCK_PATH.into(), control.into());
        if let (Reporting::OverItsOwn, Some(fd)) = (reporting, numbers.next()) {
            set(SOCK_FD.into(), fd.to_string().into());
        }
        set(MASTER_PID.into(), process::id().to_string().into());
        Self { common, slot: String::new() }
    }

    /// Those of the worker in a slot.
    pub(crate) fn of(&mut self, slot: SlotId) -> impl Iterator<Item = Variable<'_>> {
        self.slot.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.slot, "{slot}");
        let common = self.common.iter().map(|(name, value)| Variable::new(name, value));
        common.chain(iter::once(Variable::new(CHILD_INDEX, &self.slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::daemon::COMMAND_LINE;

    fn lines(variables: &mut Variables, slot: u32) -> Vec<String> {
        let line =
            |variable: Variable<'_>| format!("{}={}", variable.name.display(), variable.value.display());
        variables.of(SlotId(slot)).map(line).collect()
    }

    #[test]
    fn a_worker_is_told_of_its_sockets_its_supervisor_and_its_slot() {
        let families = ["AF_INET", "AF_INET6"];
        let mut variables = Variables::new(&families, Path::new("/run/e.sock"), Reporting::OverItsOwn);
        let master = format!("EINHORN_MASTER_PID={}", process::id());
        let expected = [
            "EINHORN_FD_COUNT=2",
            "EINHORN_FD_0=3",
            "EINHORN_FD_FAMILY_0=AF_INET",
            "EINHORN_FD_1=4",
            "EINHORN_FD_FAMILY_1=AF_INET6",
            "EINHORN_SOCK_PATH=/run/e.sock",
            "EINHORN_SOCK_FD=5",
            &master,
            "EINHORN_CHILD_INDEX=10",
        ];
        assert_eq!(lines(&mut variables, 10), expected);
        let next = lines(&mut variables, 7);
        assert_eq!(next.last().unwrap(), "EINHORN_CHILD_INDEX=7");
        assert_eq!(next.len(), expected.len());
        let mut variables = Variables::new(&families, Path::new("/run/e.sock"), Reporting::AtTheSocket);
        assert_eq!(lines(&mut variables, 0).len(), expected.len() - 1);
    }

    #[test]
    fn what_a_worker_is_told_is_in_the_help_and_never_inherited() {
        let help = COMMAND_LINE.help();
        let mut variables = Variables::new(&["AF_INET"], Path::new("/e.sock"), Reporting::OverItsOwn);
        for Variable { name, .. } in variables.of(SlotId(0)) {
            assert!(!is_passed_on(name), "{}", name.display());
            assert!(help.contains(&format!("  {}", name.display())), "{} in:\n{help}", name.display());
        }
        assert!(!is_passed_on(OsStr::new("PWD")) && help.contains("  PWD "), "{help}");
    }
}
