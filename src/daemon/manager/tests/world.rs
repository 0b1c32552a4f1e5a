//! A manager that listens, and a machine that has something to tell.

use super::super::{Manager, NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC, monotonic_micros};
use crate::{
    daemon::scratch::Scratch,
    fsm::{
        Supervisor,
        action::Action,
        config::{AckMode, Config},
        event::{Command, Event, EventKind, ExitStatus, Prospect, SpawnError, SpawnStage},
        id::{ClientId, Errno, Pid, RequestId},
        signal::Signal,
        time::{Millis, Time},
    },
};
use std::{ffi::OsString, io::ErrorKind, os::unix::net::UnixDatagram};

/// What a manager takes a service for, by the rules of sd_notify(3) and systemd's reading of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Activating,
    Active,
    Reloading,
    Deactivating,
}

/// A manager that listens, and checks every message.
pub(super) struct Listener {
    pub(super) socket: UnixDatagram,
    pub(super) unit: Unit,
    pub(super) status: String,
    pub(super) began: u64,
    pub(super) extensions: usize,
    pub(super) pings: usize,
}

impl Listener {
    pub(super) fn new(socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).unwrap();
        let (unit, status, began) = (Unit::Activating, String::new(), monotonic_micros());
        Self { socket, unit, status, began, extensions: 0, pings: 0 }
    }

    /// Takes all that has come, and returns it.
    pub(super) fn hear(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let message = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
                    self.take(&message);
                    all.push(message);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn take(&mut self, message: &str) {
        let lines: Vec<_> = message.split('\n').map(|line| line.split_once('=').unwrap()).collect();
        let value = |name: &str| lines.iter().find(|line| line.0 == name).map(|line| line.1);
        let states = ["READY", "RELOADING", "STOPPING"];
        assert!(lines.iter().filter(|line| states.contains(&line.0)).count() <= 1, "{message}");
        assert_eq!(value("RELOADING").is_some(), value("MONOTONIC_USEC").is_some(), "{message}");
        let before = self.unit;
        for (name, value) in &lines {
            match (*name, *value) {
                ("READY", "1") => {
                    assert!([Unit::Activating, Unit::Reloading].contains(&before), "{before:?}: {message}");
                    self.unit = Unit::Active;
                }
                ("RELOADING", "1") => {
                    assert!([Unit::Active, Unit::Reloading].contains(&before), "{before:?}: {message}");
                    self.unit = Unit::Reloading;
                }
                ("MONOTONIC_USEC", time) => {
                    let time = time.parse().unwrap();
                    assert!((self.began..=monotonic_micros()).contains(&time), "{time}");
                    self.began = time;
                }
                ("STOPPING", "1") => {
                    assert!([Unit::Activating, Unit::Active].contains(&before), "{before:?}: {message}");
                    self.unit = Unit::Deactivating;
                }
                ("STATUS", text) => {
                    assert!(!text.is_empty() && text != self.status, "{message}");
                    self.status = text.to_owned();
                }
                ("EXTEND_TIMEOUT_USEC", "30000000") => self.extensions += 1,
                ("WATCHDOG", "1") => self.pings += 1,
                _ => panic!("unknown: {message}"),
            }
        }
    }
}

/// A machine and what it tells the manager, with somebody who does what it says.
pub(super) struct World {
    pub(super) machine: Supervisor,
    pub(super) manager: Manager,
    pub(super) now: Time,
    pub(super) next: u32,
    pub(super) pids: Vec<Pid>,
    /// Whether the next program cannot be run.
    pub(super) broken: bool,
    pub(super) folder: Scratch,
}

pub(super) const CONFIG: Config = Config {
    target: 2,
    listeners: 0,
    ack: AckMode::Manual(Millis(30_000)),
    retries: 2,
    backoff: Millis(100),
    grace: Millis(30_000),
    stop_signal: None,
    max_unacked: 1,
    max_surge: 1,
    exit_on_failure: false,
};

pub(super) fn announced(socket: &str, watchdog: Option<&str>, pid: Option<&str>) -> Manager {
    let variable = |name: &str| match name {
        NOTIFY_SOCKET => Some(socket.into()),
        WATCHDOG_USEC => watchdog.map(OsString::from),
        WATCHDOG_PID => pid.map(OsString::from),
        _ => panic!("{name}"),
    };
    Manager::announced(variable, 42)
}

impl World {
    pub(super) fn new(watchdog: Option<&str>) -> (Self, Listener) {
        let folder = Scratch::new();
        let path = folder.join("notify");
        let listener = Listener::new(UnixDatagram::bind(&path).unwrap());
        let manager = announced(path.to_str().unwrap(), watchdog, None);
        let (machine, now, next) = (Supervisor::new(CONFIG), Time(0), 100);
        let mut world = Self { machine, manager, now, next, pids: Vec::new(), broken: false, folder };
        world.tell(EventKind::Start);
        (world, listener)
    }

    /// Tells the machine, and then the time, if that has come, as the loop does.
    pub(super) fn tell(&mut self, kind: EventKind) {
        let mut facts = vec![kind];
        loop {
            while let Some(kind) = facts.pop() {
                for action in self.machine.step(Event { at: self.now, kind }) {
                    facts.extend(self.perform(action));
                }
            }
            self.settle();
            if self.machine.next_deadline().is_none_or(|(time, _)| time > self.now) {
                return;
            }
            facts.push(EventKind::Woke);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are no business of the manager's")]
    pub(super) fn perform(&mut self, action: Action) -> Option<EventKind> {
        match action {
            Action::Pin { generation, .. } => {
                self.manager.upgrade_begins(self.now);
                let error =
                    SpawnError { stage: SpawnStage::Exec, errno: Errno(2), prospect: Prospect::NotFound };
                Some(if self.broken {
                    EventKind::PinFailed { generation, error }
                } else {
                    EventKind::Pinned { generation }
                })
            }
            Action::Spawn { worker, .. } => {
                self.next += 1;
                self.pids.push(Pid(self.next));
                Some(EventKind::Spawned { worker, pid: Pid(self.next) })
            }
            Action::Notice { notice } => {
                self.manager.note(&notice, "why\nit is");
                None
            }
            _ => None,
        }
    }

    pub(super) fn settle(&mut self) {
        if let Some(talk) = &mut self.manager.0 {
            talk.settle(&self.machine, self.now);
        }
    }

    /// Lets time pass, as the loop does, which sleeps until something is due.
    pub(super) fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        loop {
            let decision = self.machine.next_deadline().map(|(time, _)| time);
            let wake = decision.into_iter().chain(self.manager.due()).min().filter(|time| *time <= end);
            self.now = wake.unwrap_or(end).max(self.now);
            match decision {
                Some(time) if time <= self.now => self.tell(EventKind::Woke),
                _ => self.settle(),
            }
            if wake.is_none() {
                return;
            }
        }
    }

    /// The newest worker says that it is ready.
    pub(super) fn ack(&mut self, pid: Pid) {
        self.tell(EventKind::Acked { pid, sender: pid, group: Some(pid), request: None });
    }

    pub(super) fn gone(&mut self, pid: Pid, code: i32) {
        self.pids.retain(|other| *other != pid);
        let status = ExitStatus::Code(code);
        self.tell(EventKind::Exited { pid, status, error: None, orphans: false });
    }

    /// All who were asked to go are gone.
    pub(super) fn bury(&mut self) {
        for pid in self.pids.clone() {
            let worker = self.machine.fleet().by_pid(pid);
            if worker.is_some_and(|worker| worker.phase().tag().is_draining()) {
                self.gone(pid, 0);
            }
        }
    }

    pub(super) fn up(&mut self) {
        for pid in self.pids.clone() {
            self.ack(pid);
        }
    }

    pub(super) fn ask(&mut self, command: Command) {
        self.tell(EventKind::Requested { client: ClientId(1), request: RequestId(1), command });
    }

    pub(super) fn upgrade(&mut self) {
        self.tell(EventKind::Signalled { signal: Signal::Hup });
    }
}
