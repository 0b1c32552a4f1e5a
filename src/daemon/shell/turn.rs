//! A turn of the loop: sleeping, and taking in what has happened, in its order.
//!
//! Whoever reported before it ended, or before its time was up, has reported: before the core is told that a
//! worker is gone of which it expects a report, or how late it is, what had come until then is heard out. It may
//! be a lot, and no event may have told of it yet, if the supervisor was paused or has been busy.

use super::{EVENTS, Shell};
use crate::{
    daemon::{
        notify::Notify,
        process::{self, Adopted, Ticket},
        token::{ADOPTED, CONTROL, LISTENERS, NOTIFY, SIGNALS, TERMINAL, WATCH},
    },
    fsm::{
        event::{EventKind, ExitStatus},
        id::{Pid, WorkerId},
        time::Millis,
        worker::PhaseTag,
    },
};
use log::{debug, error, info};
use mio::Events;
use std::{io::ErrorKind, mem, thread, time::Duration};

/// How often to look for events that the kernel does not tell of.
const DEAF: Duration = Duration::from_millis(100);

/// How long workers are started before clients have their turn: many may end together, and be replaced.
const STARTING: Millis = Millis(4);

/// What a worker takes, in bytes, by experience.
const WORKER: usize = 512;

/// How often what has come is looked through at most, before it is said that a worker is gone or late: enough for
/// as many clients as there may be, and an end for those who never stop talking.
const ROUNDS: usize = 20;

impl Shell<'_> {
    pub(super) fn sleep(&mut self, events: &mut Events) {
        self.looked = false;
        self.control.entrust();
        self.see_to_keeper();
        let (freed, calm) = self.control.take_freed();
        self.slack.add(freed);
        self.slack.settle(calm);
        self.manager.settle(&self.supervisor, &self.clock);
        let decision = self.supervisor.next_deadline().map(|(deadline, _)| deadline);
        let rooms = [
            self.leftovers.due(),
            self.lookout.due(),
            self.manager.due(),
            self.sockets.due(),
            self.trial_due(),
            self.keeper_due(),
        ];
        let wake = [decision, self.control.next_deadline()].into_iter().chain(rooms);
        let behind = self.stream();
        let timeout = if behind || !self.to_start.is_empty() || self.has_more() || self.signals.note() {
            Some(Duration::ZERO)
        } else {
            self.slack.rest();
            wake.flatten().min().map(|deadline| self.clock.until(deadline))
        };
        let failed = self.poll.poll(events, timeout).err();
        let failed = failed.filter(|error| error.kind() != ErrorKind::Interrupted);
        let was_deaf = mem::replace(&mut self.deaf, failed.is_some());
        match failed {
            Some(error) => {
                if !was_deaf {
                    error!("waiting for events: {error}; looking for them every {} ms", DEAF.as_millis());
                }
                // What has come is looked for without being told.
                thread::sleep(timeout.map_or(DEAF, |timeout| timeout.clamp(DEAF / 10, DEAF)));
            }
            None if was_deaf => info!("waiting for events works again"),
            None => {}
        }
    }

    pub(super) fn gather(&mut self, events: &mut Events) {
        self.sockets.doubt();
        self.note(events);
        if self.deaf || self.signals.have_come() {
            self.take_signals();
        }
        if self.deaf {
            self.control.look(self.clock.now());
            self.ask_everybody();
        }
        let now = self.clock.now();
        self.sockets.mend_if_due(now, !self.children.is_empty());
        // Also without an event: what was left waiting the last time gets another chance.
        let due = self.control.next_deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.control.look(now);
            self.control.resend(now);
        }
        let listen = due || self.deaf || !events.is_empty();
        self.reap(events);
        if listen || self.control.has_more() {
            self.control.accept(now, self.awaits_reports());
        }
        self.take_requests();
        self.take_notifications();
        self.look_out();
        let now = self.clock.now();
        if self.supervisor.next_deadline().is_some_and(|(deadline, _)| deadline <= now) {
            self.hear_out(events);
            self.reap(events);
            self.tell(EventKind::Woke);
        }
        self.start_workers();
        // Where starts are left the next turn begins at once. To look for one that has ended takes as long as there
        // are children.
        if self.to_start.is_empty() {
            self.reap(events);
        }
        if self.leftovers.due().is_some_and(|time| time <= now) {
            self.leftovers.look(&self.clock, &self.sockets, &self.children, self.keeper.pid());
        }
    }

    /// Whether workers are to say that they are ready.
    fn awaits_reports(&self) -> bool {
        let (first, last) = (WorkerId(0), WorkerId(u64::MAX));
        let pending = (PhaseTag::PendingAck, first)..=(PhaseTag::PendingAck, last);
        self.supervisor.fleet().index().phases.range(pending).next().is_some()
    }

    /// Whether there is something to take in that no event will tell of.
    fn has_more(&self) -> bool {
        self.control.has_more() || self.notify.as_ref().is_some_and(Notify::has_more)
    }

    /// Anybody may have said something, and no event tells.
    fn ask_everybody(&mut self) {
        self.control.stir();
        self.notify.iter_mut().for_each(Notify::stir);
    }

    fn note(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                SIGNALS | TERMINAL => self.take_signals(),
                WATCH => self.control.look(self.clock.now()),
                // Looked at in every turn.
                CONTROL | ADOPTED => {}
                LISTENERS => self.sockets.stir(self.clock.now()),
                NOTIFY => self.notify.iter_mut().for_each(Notify::stir),
                _ => self.control.note(event),
            }
        }
    }

    /// Takes in whatever has been said until now.
    #[cold]
    fn hear_out(&mut self, events: &mut Events) {
        for _ in 0..ROUNDS {
            if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
                // Then everybody is asked. What an interruption has kept back comes in the next turn.
                events.clear();
                self.ask_everybody();
            }
            let all = events.iter().count() < EVENTS;
            self.note(events);
            self.control.accept(self.clock.now(), true);
            self.take_requests();
            self.take_notifications();
            if all && !self.has_more() {
                return;
            }
        }
    }

    /// Sees to it that the control socket is where it belongs, for those who are about to need it: once a
    /// turn is enough.
    pub(super) fn look(&mut self) {
        if !mem::replace(&mut self.looked, true) {
            self.control.look_at_once(self.clock.now());
        }
    }

    pub(super) fn take_signals(&mut self) {
        for signal in self.signals.take() {
            debug!("got SIG{signal}");
            self.look();
            self.tell(EventKind::Signalled { signal });
        }
    }

    /// Starts workers that are to be started; in several turns if that takes long. The core is told of them when
    /// all have been: after a fork, each page of ours that is written to is copied first, and the core writes to
    /// many.
    pub(super) fn start_workers(&mut self) {
        let start = self.clock.now();
        let mut facts = Vec::new();
        while let Some((worker, slot, generation)) = self.to_start.pop_front() {
            facts.push(self.spawn(worker, slot, generation));
            if self.clock.now() > start + STARTING {
                break;
            }
        }
        for fact in facts {
            self.tell(fact);
        }
    }

    /// A signal is only a hint: takes in every child that has ended, ours or not.
    pub(super) fn reap(&mut self, events: &mut Events) {
        while let Some(ended) = process::ended() {
            let (pid, status) = (ended.pid, ended.status);
            if self.keeper_has_ended(pid) {
                ended.reap();
                continue;
            }
            if self
                .supervisor
                .fleet()
                .by_pid(pid)
                .is_some_and(|worker| worker.phase().tag() == PhaseTag::PendingAck)
            {
                self.hear_out(events);
            }
            self.slack.add(WORKER);
            let ticket = self.children.remove(&pid);
            let orphans = match &ticket {
                Some(_) => ended.bury(&self.children),
                None => {
                    ended.reap();
                    false
                }
            };
            self.lost(pid, status, ticket, orphans);
        }
        if let Some(adopted) = &mut self.adopted {
            for ended in adopted.ended(&self.children) {
                let (pid, status) = (ended.pid, ended.status);
                let ticket = self.children.remove(&pid);
                self.slack.add(WORKER);
                let orphans = process::clear(pid, &self.children);
                self.lost(pid, status, ticket, orphans);
            }
            if !Adopted::is_needed(&self.children) {
                self.adopted = None;
            }
        }
    }

    /// A process has ended, of which that is the ticket if it was a worker.
    pub(super) fn lost(&mut self, pid: Pid, status: ExitStatus, ticket: Option<Ticket>, orphans: bool) {
        let error = ticket.and_then(|ticket| {
            self.leftovers.expect(self.clock.now());
            self.refused.forget(pid);
            self.statuses.remove(&pid);
            self.control.disown(pid);
            self.spawner.outcome(ticket)
        });
        if error.is_some_and(|error| error.is_shortage()) {
            self.control.spare_descriptors();
        }
        self.tell(EventKind::Exited { pid, status, error, orphans });
    }
}
