//! The contract with workers: what one is given, by which names it finds it, and what is kept from it.
//!
//! The names are those of einhorn, of systemd (sd_listen_fds(3)) and of Server::Starter, so that programs
//! written for any of them find their sockets; `--help` tells people of them, and the [worker
//! library](crate::worker) reads einhorn's. This room knows no other, and nothing here starts anything.

use super::{directory, journal::HANDOVER};
use crate::{
    cli::bind::UNKNOWN,
    fsm::{
        id::{Generation, SlotId},
        signal::Signal,
    },
};
use std::{
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
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
/// The descriptors, separated by spaces, for clients of early einhorns.
const FDS: &str = "EINHORN_FDS";
/// The absolute path of the control socket.
const SOCK_PATH: &str = "EINHORN_SOCK_PATH";
/// The descriptor of the worker's own connection to the supervisor.
const SOCK_FD: &str = "EINHORN_SOCK_FD";
/// The supervisor's process.
pub(crate) const MASTER_PID: &str = "EINHORN_MASTER_PID";
/// The number of the worker's slot.
pub(crate) const CHILD_INDEX: &str = "EINHORN_CHILD_INDEX";

/// How many sockets there are, from [`FIRST_FD`] on.
pub(super) const LISTEN_FDS: &str = "LISTEN_FDS";
/// What they are called, separated by colons.
pub(super) const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// The worker's own process, without which it does not take `LISTEN_FDS` to be meant for it. Only the
/// worker itself knows the number, so this is [written there](super::process).
pub(super) const LISTEN_PID: &str = "LISTEN_PID";

/// Where it can notify its manager, sd_notify(3).
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Where each socket listens, and its descriptor.
const STARTER_PORT: &str = "SERVER_STARTER_PORT";
/// The number of the generation.
const STARTER_GENERATION: &str = "SERVER_STARTER_GENERATION";

/// Names of other conventions than einhorn's that are ours as well.
const OURS_TOO: [&str; 6] =
    [LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID, NOTIFY_SOCKET, STARTER_PORT, STARTER_GENERATION];

/// How all other names that are ours begin. Left-overs of another supervisor further up would contradict what
/// we say ourselves.
const OURS: &[u8] = b"EINHORN_";

/// Names that speak of the supervisor's own start, by systemd's conventions (sd_listen_fds(3),
/// sd_notify(3), sd_watchdog_enabled(3)). A worker that believed them would take over file descriptors
/// it was not given and report to a manager that does not expect it. Not all of `LISTEN_*`: programs
/// have settings of their own by names such as `LISTEN_ADDR`.
const NOT_FOR_WORKERS: [&str; 4] = ["LISTEN_PIDFDID", "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE"];

/// Whether a variable of the supervisor's own environment, or of an upgrade's, is passed on to workers.
pub(crate) fn is_passed_on(name: &OsStr) -> bool {
    kept_because(name).is_none()
}

/// Why a variable is not passed on, as a clause about it; nothing if it is.
pub(crate) fn kept_because(name: &OsStr) -> Option<&'static str> {
    if name.as_bytes().starts_with(OURS) || OURS_TOO.iter().any(|ours| name == *ours) {
        Some("tells a worker of its sockets, its supervisor and its slot")
    } else if name == directory::VARIABLE {
        Some("tells a worker the directory it runs in (--chdir)")
    } else if name == HANDOVER {
        Some("tells the next supervisor of this one")
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
    /// Whether its own pid is added too, as `LISTEN_PID`.
    pub(crate) own_pid: OwnPid,
    /// What the kernel sends it if the supervisor ends before it, if anything.
    pub(crate) orphaned: Option<Signal>,
}

/// Whether a worker finds its own pid in its environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnPid {
    /// It does, as `LISTEN_PID`.
    Told,
    /// It has nothing to take over, or `--drop-env-var` hides the variable.
    Untold,
}

/// A socket, as workers are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// The family of its address.
    pub(crate) family: &'static str,
    /// What it was called, if anything.
    pub(crate) name: Option<String>,
    /// Where it listens in the words of Server::Starter, if those have any for it.
    pub(crate) starter: Option<String>,
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

/// What every worker finds in its environment: made once, but for the numbers of its slot and generation.
#[derive(Debug)]
pub(crate) struct Variables {
    common: Vec<(String, OsString)>,
    /// The numbers that were asked for last; their memory serves all.
    slot: Option<String>,
    generation: Option<String>,
    own_pid: OwnPid,
}

impl Variables {
    /// For workers that get these sockets, in the order of their descriptors, and speak to the supervisor at
    /// `control`, or `notify` it. None of those that are `hidden` is among them.
    pub(crate) fn new(
        sockets: &[Described],
        (control, notify): (&Path, Option<&OsStr>),
        reporting: Reporting,
        hidden: &[OsString],
    ) -> Self {
        let shown = |name: &str| !hidden.iter().any(|hidden| hidden == name);
        let mut common = Vec::new();
        let mut set = |name: String, value: OsString| {
            if shown(&name) {
                common.push((name, value));
            }
        };
        set(FD_COUNT.into(), sockets.len().to_string().into());
        let mut numbers = FIRST_FD..;
        for ((position, socket), fd) in sockets.iter().enumerate().zip(&mut numbers) {
            set(format!("{FD}_{position}"), fd.to_string().into());
            set(format!("{FD_FAMILY}_{position}"), socket.family.into());
        }
        let fds: Vec<_> = (FIRST_FD..).take(sockets.len()).map(|fd| fd.to_string()).collect();
        set(FDS.into(), fds.join(" ").into());
        set(SOCK_PATH.into(), control.into());
        if let (Reporting::OverItsOwn, Some(fd)) = (reporting, numbers.next()) {
            set(SOCK_FD.into(), fd.to_string().into());
        }
        set(MASTER_PID.into(), process::id().to_string().into());
        if let Some(notify) = notify {
            set(NOTIFY_SOCKET.into(), notify.into());
        }
        let any = !sockets.is_empty();
        if any {
            set(LISTEN_FDS.into(), sockets.len().to_string().into());
            set(LISTEN_FDNAMES.into(), names(sockets).into());
            set(STARTER_PORT.into(), starter(sockets).into());
        }
        let number = |name, wanted| (wanted && shown(name)).then(String::new);
        Self {
            common,
            slot: number(CHILD_INDEX, true),
            generation: number(STARTER_GENERATION, any),
            own_pid: if any && shown(LISTEN_PID) { OwnPid::Told } else { OwnPid::Untold },
        }
    }

    /// Those of the worker in a slot.
    pub(crate) fn of(
        &mut self,
        slot: SlotId,
        generation: Generation,
    ) -> impl Iterator<Item = Variable<'_>> + use<'_> {
        write(&mut self.generation, generation);
        write(&mut self.slot, slot);
        let slot = self.slot.as_ref().map(|value| Variable::new(CHILD_INDEX, value));
        let generation = self.generation.as_ref().map(|value| Variable::new(STARTER_GENERATION, value));
        let common = self.common.iter().map(|(name, value)| Variable::new(name, value));
        common.chain(generation).chain(slot)
    }

    /// Whether these workers find their own pid as well.
    pub(crate) fn own_pid(&self) -> OwnPid {
        self.own_pid
    }
}

fn write(text: &mut Option<String>, number: impl fmt::Display) {
    if let Some(text) = text {
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "{number}");
    }
}

/// What the sockets are called, as in sd_listen_fds_with_names(3).
fn names(sockets: &[Described]) -> String {
    let names: Vec<_> = sockets.iter().map(|socket| socket.name.as_deref().unwrap_or(UNKNOWN)).collect();
    names.join(":")
}

/// Where they listen and their descriptors, as Server::Starter says it.
fn starter(sockets: &[Described]) -> String {
    let entry = |(socket, fd): (&Described, RawFd)| Some(format!("{}={fd}", socket.starter.as_ref()?));
    let entries: Vec<_> = sockets.iter().zip(FIRST_FD..).filter_map(entry).collect();
    entries.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::daemon::COMMAND_LINE;

    fn lines(variables: &mut Variables, slot: u32) -> Vec<String> {
        let line =
            |variable: Variable<'_>| format!("{}={}", variable.name.display(), variable.value.display());
        variables.of(SlotId(slot), Generation(12)).map(line).collect()
    }

    fn sockets() -> [Described; 2] {
        [("AF_INET", None, "8080"), ("AF_INET6", Some("web"), "[::1]:8080")].map(|(family, name, starter)| {
            Described { family, name: name.map(str::to_owned), starter: Some(starter.into()) }
        })
    }

    fn made(sockets: &[Described], reporting: Reporting, hidden: &[&str]) -> Variables {
        let hidden: Vec<_> = hidden.iter().map(OsString::from).collect();
        Variables::new(sockets, (Path::new("/run/e.sock"), Some(OsStr::new("@5"))), reporting, &hidden)
    }

    #[test]
    fn a_worker_is_told_of_its_sockets_its_supervisor_and_its_slot_in_every_convention() {
        let mut variables = made(&sockets(), Reporting::OverItsOwn, &[]);
        let master = format!("EINHORN_MASTER_PID={}", process::id());
        let expected = [
            "EINHORN_FD_COUNT=2",
            "EINHORN_FD_0=3",
            "EINHORN_FD_FAMILY_0=AF_INET",
            "EINHORN_FD_1=4",
            "EINHORN_FD_FAMILY_1=AF_INET6",
            "EINHORN_FDS=3 4",
            "EINHORN_SOCK_PATH=/run/e.sock",
            "EINHORN_SOCK_FD=5",
            &master,
            "NOTIFY_SOCKET=@5",
            "LISTEN_FDS=2",
            "LISTEN_FDNAMES=unknown:web",
            "SERVER_STARTER_PORT=8080=3;[::1]:8080=4",
            "SERVER_STARTER_GENERATION=12",
            "EINHORN_CHILD_INDEX=10",
        ];
        assert_eq!(lines(&mut variables, 10), expected);
        assert_eq!(variables.own_pid(), OwnPid::Told);
        let next = lines(&mut variables, 7);
        assert_eq!(next.last().unwrap(), "EINHORN_CHILD_INDEX=7");
        assert_eq!(next.len(), expected.len());
        let mut variables = made(&sockets(), Reporting::AtTheSocket, &[]);
        assert_eq!(lines(&mut variables, 0).len(), expected.len() - 1);
    }

    #[test]
    fn what_is_hidden_is_not_told_and_without_sockets_nobody_is_told_of_any() {
        let hidden = ["LISTEN_PID", "LISTEN_FDNAMES", "SERVER_STARTER_GENERATION", "EINHORN_CHILD_INDEX"];
        let mut variables = made(&sockets(), Reporting::AtTheSocket, &hidden);
        assert_eq!(variables.own_pid(), OwnPid::Untold);
        let all = lines(&mut variables, 0);
        assert!(!all.iter().any(|line| hidden.iter().any(|hidden| line.starts_with(hidden))), "{all:?}");
        assert_eq!(all.len(), 11);
        let mut variables = made(&[], Reporting::AtTheSocket, &[]);
        assert_eq!(variables.own_pid(), OwnPid::Untold);
        let einhorn = |line: &String| line.starts_with("EINHORN_") || line == "NOTIFY_SOCKET=@5";
        assert!(lines(&mut variables, 0).iter().all(einhorn));
    }

    #[test]
    fn what_starter_has_no_words_for_is_left_out_there() {
        let [one, two] = sockets();
        let sockets = [one.clone(), Described { starter: None, ..two }, one];
        let all = lines(&mut made(&sockets, Reporting::AtTheSocket, &[]), 0);
        assert!(all.contains(&"SERVER_STARTER_PORT=8080=3;8080=5".into()), "{all:?}");
    }

    #[test]
    fn what_a_worker_is_told_is_in_the_help_and_never_inherited() {
        let help = COMMAND_LINE.help();
        let mut variables = made(&sockets()[..1], Reporting::OverItsOwn, &[]);
        let names = variables.of(SlotId(0), Generation(1)).map(|variable| variable.name);
        for name in names.chain([OsStr::new(LISTEN_PID)]) {
            assert!(!is_passed_on(name), "{}", name.display());
            assert!(help.contains(&format!("  {}", name.display())), "{} in:\n{help}", name.display());
        }
        assert!(!is_passed_on(OsStr::new("PWD")) && help.contains("  PWD "), "{help}");
    }
}
