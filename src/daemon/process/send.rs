//! Signals to processes and groups.

use super::{super::facts, errno, known};
use crate::fsm::{
    action::Scope,
    id::{Errno, Pid},
    signal::Signal,
};
use log::debug;
use nix::{errno::Errno as Sys, sys::signal, unistd};
use std::ffi::c_int;

/// Sends a signal to a worker or its group.
pub(crate) fn signal(pid: Pid, signal: Signal, scope: Scope) -> Result<(), Errno> {
    let pid = target(pid).map_err(errno)?;
    match scope {
        Scope::Process => signal::kill(pid, number(signal)),
        Scope::Handler if handles(pid, signal) => signal::kill(pid, number(signal)),
        Scope::Handler => Ok(()),
        Scope::Awake => signal::kill(pid, number(signal)).and_then(|()| wake(pid)),
        Scope::Group => signal::killpg(pid, number(signal)),
    }
    .map_err(errno)
}

/// Continues a worker that is stopped: it takes nothing in before it goes on. One that is not may have a
/// meaning of its own for CONT, and is spared it.
fn wake(pid: unistd::Pid) -> Result<(), Sys> {
    match facts::is_stopped(known(pid)) {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => signal::kill(pid, signal::SIGCONT),
    }
}

/// Whether a worker would survive a signal that most programs end by.
fn handles(pid: unistd::Pid, signal: Signal) -> bool {
    facts::catches(known(pid), number(signal) as c_int)
        .inspect_err(|error| debug!("pid {pid}: it is not known whether it handles SIG{signal}: {error}"))
        .unwrap_or(false)
}

/// Whether any process is left in the group that `pid` leads or led.
pub(crate) fn group_alive(pid: Pid) -> bool {
    match target(pid).and_then(|pid| signal::killpg(pid, None)) {
        Ok(()) | Err(Sys::EPERM) => true,
        Err(_) => false,
    }
}

/// The process group of any process, if that exists and we may know.
pub(crate) fn group_of(pid: Pid) -> Option<Pid> {
    let pid = i32::try_from(pid.0).ok().filter(|raw| *raw > 0)?;
    unistd::getpgid(Some(unistd::Pid::from_raw(pid))).ok().map(known)
}

/// A process that can be one of ours. To kill(2), 0 is our own group and, as a group, 1 is everybody.
fn target(pid: Pid) -> Result<unistd::Pid, Sys> {
    match i32::try_from(pid.0) {
        Ok(raw) if raw > 1 => Ok(unistd::Pid::from_raw(raw)),
        _ => Err(Sys::ESRCH),
    }
}

/// The system's number for a signal.
pub(crate) fn number(signal: Signal) -> signal::Signal {
    match signal {
        Signal::Hup => signal::SIGHUP,
        Signal::Int => signal::SIGINT,
        Signal::Quit => signal::SIGQUIT,
        Signal::Usr1 => signal::SIGUSR1,
        Signal::Usr2 => signal::SIGUSR2,
        Signal::Term => signal::SIGTERM,
        Signal::Kill => signal::SIGKILL,
        Signal::Stop => signal::SIGSTOP,
        Signal::Tstp => signal::SIGTSTP,
        Signal::Cont => signal::SIGCONT,
        Signal::Ttin => signal::SIGTTIN,
        Signal::Ttou => signal::SIGTTOU,
        Signal::Winch => signal::SIGWINCH,
        Signal::Alrm => signal::SIGALRM,
        Signal::Abrt => signal::SIGABRT,
        Signal::Pipe => signal::SIGPIPE,
    }
}
