//! Workers, as far as the loop has to do with them: starting them, looking at them, asking them to go.

use super::Shell;
use crate::{
    daemon::{
        control::Connection,
        drain::{self, Choice, Manners},
        facts,
        given::{Given, Reporting, Variables},
        kept::Kept,
        notify::Heard,
        process,
        program::{Program, spawn_error},
    },
    fsm::{
        action::Scope,
        event::{EventKind, Notification, Proof, SpawnError, SpawnStage},
        id::{Generation, Pid, SlotId, WorkerId},
        signal::Signal,
        worker::PhaseTag,
    },
    protocol::notification::Told,
};
use log::debug;
use nix::errno::Errno;
use std::{io, path::Path};

impl Shell<'_> {
    /// Looks from outside at workers that are to be seen, and tells what was.
    pub(super) fn look_out(&mut self) {
        let now = self.clock.now();
        if self.lookout.due().is_some_and(|due| due <= now) {
            let unseen: Vec<Pid> = self.supervisor.unseen().collect();
            for (pid, sight) in self.lookout.look(&self.clock, &unseen, self.sockets.descriptors()) {
                self.tell(EventKind::Seen { pid, sight });
            }
        }
    }

    pub(super) fn spawn(&mut self, worker: WorkerId, slot: SlotId, generation: Generation) -> EventKind {
        let known = self.supervisor.fleet().worker(worker);
        if known.is_none_or(|known| known.phase().tag() != PhaseTag::SpawningWanted) {
            // Taken back before it was begun.
            return EventKind::SpawnFailed { worker, error: spawn_error(SpawnStage::Fork, Errno::ECANCELED) };
        }
        let started = self.start_process(worker, slot, generation).or_else(|error| {
            // Whoever is connected and says nothing makes room for a worker.
            if error.is_shortage() && self.control.spare_descriptors() {
                return self.start_process(worker, slot, generation);
            }
            Err(error)
        });
        match started {
            Ok(pid) => EventKind::Spawned { worker, pid },
            Err(error) => EventKind::SpawnFailed { worker, error },
        }
    }

    fn start_process(
        &mut self,
        worker: WorkerId,
        slot: SlotId,
        generation: Generation,
    ) -> Result<Pid, SpawnError> {
        self.look();
        self.sockets.mend(!self.children.is_empty());
        let program = self.releases.program(generation)?;
        let connection = match self.reporting {
            Reporting::AtTheSocket => None,
            Reporting::OverItsOwn => Some(self.control.prepare().map_err(unprepared)?),
        };
        let make = || {
            let hidden = &self.options.drop_env;
            let notify = self.notify.as_ref().map(|notify| notify.name().as_os_str());
            let places = (self.control.path(), notify);
            Variables::new(&self.sockets.described(), places, self.reporting, hidden)
        };
        let variables = self.variables.get_or_insert_with(make);
        let own_pid = variables.own_pid();
        let variables = variables.of(slot, generation);
        let mut sockets = self.sockets.descriptors();
        sockets.extend(connection.as_ref().map(Connection::theirs));
        let orphaned = self
            .options
            .kill_children_on_exit
            .then(|| self.options.stop_signal.unwrap_or_else(|| drain::by_executable(program.path())));
        let child =
            self.spawner.spawn(worker, program, Given { sockets: &sockets, variables, own_pid, orphaned })?;
        if let Some(connection) = connection {
            self.control.adopt(connection, child.pid);
        }
        self.children.insert(child.pid, child.ticket);
        self.lookout.expect(self.clock.now());
        Ok(child.pid)
    }

    /// Asks a worker to go by the signal that makes its program drain.
    pub(super) fn stop(&mut self, worker: WorkerId, pid: Pid) {
        let known = self.supervisor.fleet().worker(worker);
        let program = known.and_then(|known| self.releases.program(known.generation()).ok());
        let manners = match known.and_then(|known| known.proof()) {
            Some(Proof::Acknowledged) => Manners::Einhorn,
            Some(Proof::Notified | Proof::Seen | Proof::Timer) | None => Manners::Unknown,
        };
        let Choice { signal, reason } =
            drain::choose(pid, program.map_or(Path::new(""), Program::path), manners);
        debug!("worker {worker}: pid {pid} gets SIG{signal}, {reason}");
        let number = process::number(signal) as i32;
        // One that handles it may end by it all the same: many finish what they do and then send it to themselves, so
        // that whoever waits for them sees why.
        if !facts::catches(pid, number).unwrap_or(false) {
            self.unhandled.sent(worker, signal, number);
        }
        self.send(worker, pid, signal, Scope::Awake);
    }

    /// Sends a signal.
    pub(super) fn send(&self, worker: WorkerId, pid: Pid, signal: Signal, scope: Scope) {
        if let Err(errno) = process::signal(pid, signal, scope, &self.children) {
            // It ended a moment ago, which the next SIGCHLD will tell.
            debug!("worker {worker}: SIG{signal} to pid {pid}: {errno}");
        }
    }

    /// Takes in what workers tell their manager.
    pub(super) fn take_notifications(&mut self) {
        let heard = self.notify.as_mut().map(|notify| notify.take(&self.children)).unwrap_or_default();
        for heard in heard {
            match heard {
                Heard::Told { worker, sender, told } => self.told(worker, sender, told),
                Heard::Refused(refusal) => self.refused.note(&refusal, &self.children),
            }
        }
    }

    fn told(&mut self, pid: Pid, sender: Pid, told: Told) {
        debug!("pid {pid} notifies: {told:?}");
        let Told { ready, stopping, alive, extend, status } = told;
        if let Some(status) = status {
            self.journal.keep(&Kept::Says { pid, text: status.clone() });
            self.statuses.insert(pid, status);
        }
        if let Some(by) = extend {
            self.tell(EventKind::Extended { pid, by });
        }
        // It may be a wrapper's child.
        let early = || self.options.ack.looks() && [pid, sender].into_iter().any(drain::notifies_early);
        if ready && !early() {
            self.tell(EventKind::Notified { pid, word: Notification::Ready });
        }
        if alive {
            self.tell(EventKind::Pinged { pid, sender: pid, group: Some(pid), request: None });
        }
        if stopping {
            self.tell(EventKind::Notified { pid, word: Notification::Stopping });
        }
    }
}

/// There is no connection for a worker that was to be made.
fn unprepared(error: io::Error) -> SpawnError {
    spawn_error(SpawnStage::Files, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
