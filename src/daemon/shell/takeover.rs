//! Going on where somebody was here before: what was left undone, what has become true meanwhile, what nobody knows any
//! more. The order is that of `fsm-spec/handover.md`.

use super::Shell;
use crate::{
    daemon::{
        called::Differences,
        control::Asked,
        events::Event,
        kept::Successor,
        pidfd::PidFd,
        process::{self, Adopted, Begun, Ticket},
        program::spawn_error,
        signals,
        succession::Benefactor,
        token::ADOPTED,
    },
    fsm::{
        action::Action,
        event::{Command, EventKind, ExitStatus, SpawnStage},
        id::{ClientId, Pid, RequestId},
        life::Life,
        signal::Signal,
        worker::Phase,
    },
    protocol::{Envelope, Operation, Request, decode, history::Asker},
};
use log::{error, info, warn};
use nix::errno::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::RawFd,
    process as this,
};

/// What whoever was here before has left, beside what the rooms have taken over.
#[derive(Debug)]
pub(crate) struct Takeover {
    /// What the last event called for, and how many of that were carried out.
    pub(crate) actions: Vec<Action>,
    pub(crate) done: usize,
    /// An event, or an action, that was left out, since it has been the end of a supervisor twice.
    pub(crate) left_out: Option<String>,
    /// What went wrong, if it was not on command.
    pub(crate) crash: Option<String>,
    /// The program that was to take over.
    pub(crate) successor: Option<Successor>,
    /// Why it could not, if another is here in its place.
    pub(crate) returned: Option<String>,
    pub(crate) version: String,
    /// The supervisor that was killed, if it was.
    pub(crate) killed: Option<Pid>,
    /// The workers that are there and no children of ours.
    pub(crate) held: BTreeMap<Pid, PidFd>,
    /// What comes of having been started, rather than executed.
    pub(crate) start: Option<Start>,
    /// In what the command line was another before.
    pub(crate) differences: Differences,
}

/// A start that takes over.
#[derive(Debug)]
pub(crate) struct Start {
    /// The keeper that has had everything until now, and waits to be told that we have begun.
    pub(crate) benefactor: Option<Benefactor>,
    /// What the service manager has, by number.
    pub(crate) stored: Vec<RawFd>,
}

impl Shell<'_> {
    pub(super) fn take_over(&mut self, before: Takeover) {
        let Takeover { actions, done, left_out, crash, successor, returned, version, killed, .. } = before;
        let Takeover { held, differences, .. } = before;
        self.happened(Event::Began { before: Some(version.clone()) });
        let spawned = self.adopt_children(held);
        // They find everybody in their place now.
        process::let_in_all_but(&signals::of_terminals());
        if let Some(crash) = &crash {
            let workers = self.children.len();
            error!(
                "the supervisor has failed: {crash}; it goes on as before, pid and workers ({workers}) are the same"
            );
        }
        if let Some(killed) = killed {
            let held = self.children.values().filter(|ticket| ticket.held().is_some()).count();
            warn!(
                "the supervisor (pid {killed}) was killed; this one (pid {}) goes on from there, with its workers ({held})",
                this::id()
            );
        }
        if let Some(what) = left_out {
            error!("what it failed at twice is left out: `{what}`");
            if actions.is_empty() {
                self.compact();
            } else {
                self.journal.performed();
            }
        }
        self.finish(actions, done);
        for (worker, pid) in spawned {
            self.tell(EventKind::Spawned { worker, pid });
        }
        self.tell_of_the_gone();
        self.ask_again();
        self.refuse_the_unknown(successor.as_ref().and_then(|successor| successor.request));
        if let Some(successor) = successor {
            self.announce(&successor, returned, &version);
        }
        if self.supervisor.life().is_running() {
            self.adapt(differences);
        }
        if let Life::Done { code } = self.supervisor.life() {
            self.code = Some(code);
        }
        let last = self.releases.history().last().cloned();
        self.manager.take_over(&self.supervisor, last.as_ref(), killed.is_some());
        if self.supervisor.unseen().next().is_some() {
            self.lookout.expect(self.clock.now());
        }
        self.leftovers.expect(self.clock.now());
        self.journal.way_back(None);
        self.compact();
    }

    /// Takes the place of a supervisor that was killed, before anything is done that whoever has had everything until now
    /// would not know of.
    pub(super) fn succeed(&mut self, start: Start) {
        let Start { benefactor, stored } = start;
        self.begins_anew = self.supervisor.life().shutdown().is_some();
        self.keeper.found(stored, benefactor);
        self.make_keeper();
    }

    /// Puts in force what the command line says otherwise than the one before.
    fn adapt(&mut self, differences: Differences) {
        let Differences { number, release, .. } = differences;
        if let Some(count) = number {
            info!("the command line says {count} workers");
            let (client, request) = (ClientId(0), RequestId(0));
            self.tell(EventKind::Requested { client, request, command: Command::SetWorkers { count } });
        }
        if release {
            info!("the command line is another in what workers run, or are given: they are replaced");
            self.releases.begin_anew();
            self.tell(EventKind::Signalled { signal: Signal::Hup });
        }
    }

    /// The processes that were made before. Returns those of which the machine does not know yet.
    fn adopt_children(&mut self, mut held: BTreeMap<Pid, PidFd>) -> Vec<(crate::fsm::id::WorkerId, Pid)> {
        let fleet = self.supervisor.fleet();
        let known = |worker, pid| match fleet.worker(worker).map(|worker| worker.phase()) {
            Some(Phase::Spawning { .. }) => true,
            Some(phase) => phase.pid() == Some(pid),
            None => false,
        };
        let mut untold = Vec::new();
        for Begun { worker, pid, mut ticket } in self.spawner.take_over(known) {
            // If it is not there any more, its end is told with that of the others.
            if let Some(process) = held.remove(&pid) {
                self.hold(pid, process, &mut ticket);
            }
            self.children.insert(pid, ticket);
            if self.supervisor.fleet().worker(worker).is_some_and(|worker| worker.phase().pid().is_none()) {
                untold.push((worker, pid));
            }
        }
        untold
    }

    /// Holds a worker that is no child of ours, if it is there.
    fn hold(&mut self, pid: Pid, process: PidFd, ticket: &mut Ticket) {
        if self.adopted.is_none() {
            self.adopted =
                self.watch_adopted().inspect_err(|error| error!("workers cannot be watched: {error}")).ok();
        }
        if let Some(adopted) = &self.adopted {
            adopted.hold(pid, process, ticket);
        }
    }

    fn watch_adopted(&self) -> io::Result<Adopted> {
        Adopted::new(self.poll.registry(), ADOPTED)
    }

    /// What was ordered and not done. Of the first of them it is not known; what is answered is asked for again.
    fn finish(&mut self, actions: Vec<Action>, done: usize) {
        for (number, action) in actions.into_iter().enumerate().skip(done) {
            let doubtful = number == done;
            let skipped = match &action {
                Action::Pin { .. } | Action::Bind { .. } | Action::Spawn { .. } => true,
                // The next one says more.
                Action::Progress { .. } => doubtful,
                // One that was noted to be under way has no request any more.
                Action::Reply { .. }
                | Action::Forget { .. }
                | Action::Signal { .. }
                | Action::Stop { .. }
                | Action::Sweep { .. }
                | Action::Notice { .. }
                | Action::Exit { .. } => false,
            };
            if !skipped {
                self.perform(action);
            }
            self.journal.performed();
        }
    }

    /// Workers that are there no more and whose end nobody has seen, and clients that are gone.
    fn tell_of_the_gone(&mut self) {
        let believed: Vec<Pid> = self.supervisor.fleet().index().pids.keys().copied().collect();
        for pid in believed {
            let ticket = self.children.get(&pid);
            if process::is_child(pid) || ticket.is_some_and(|ticket| ticket.held().is_some()) {
                continue;
            }
            let ticket = self.children.remove(&pid);
            let orphans = process::clear(pid, &self.children);
            self.lost(pid, ExitStatus::Unknown, ticket, orphans);
        }
        let waiting: BTreeSet<_> = self.supervisor.waiting().values().copied().collect();
        for client in waiting {
            if !self.control.knows(client) {
                self.tell(EventKind::ClientGone { client });
            }
        }
    }

    /// What waits for an answer.
    fn ask_again(&mut self) {
        // What was ordered since is among them.
        self.to_start.clear();
        let orders: Vec<Action> = self.supervisor.outstanding().collect();
        for order in orders {
            let fact = self.carried_out(&order).or_else(|| self.perform(order));
            if let Some(fact) = fact {
                self.tell(fact);
            }
        }
    }

    /// What an order came to, if it was carried out or cannot be.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "three orders have an answer, and one of them only later"
    )]
    fn carried_out(&mut self, order: &Action) -> Option<EventKind> {
        match *order {
            Action::Pin { generation, .. } if self.releases.has(generation) => {
                Some(EventKind::Pinned { generation })
            }
            Action::Pin { generation, request: Some(request) } if !self.remember(request) => {
                // What it was to be left with its client.
                let error = spawn_error(SpawnStage::Pin, Errno::ECANCELED);
                Some(EventKind::PinFailed { generation, error })
            }
            Action::Bind { listener } if self.sockets.is_bound(listener) => {
                Some(EventKind::Bound { listener })
            }
            _ => None,
        }
    }

    /// What an upgrade is to bring was said by the client that still waits. Answers whether it is known.
    fn remember(&mut self, request: RequestId) -> bool {
        let Some((line, peer)) = self.control.asked(request) else { return false };
        match decode(&line) {
            Ok(Request { operation: Operation::Upgrade { release, .. }, .. }) => {
                let by = Asker::Client { user: peer.user, pid: peer.pid };
                self.releases.ask(request, by, release).is_ok()
            }
            _ => false,
        }
    }

    /// Requests of which the machine knows nothing: they were lost on their way to it, or left out.
    fn refuse_the_unknown(&mut self, but: Option<RequestId>) {
        // The keeper has answered them.
        for (peer, operation) in self.control.take_reports() {
            if let Operation::Ack { pid } = operation {
                self.tell(EventKind::Acked { pid, sender: peer.pid, group: peer.group, request: None });
            }
        }
        for (request, client) in self.control.unanswered() {
            if Some(request) == but || self.supervisor.waiting().contains_key(&request) {
                continue;
            }
            let Some((line, peer)) = self.control.asked(request) else { continue };
            match decode(&line) {
                // A worker says it once, and saying it twice does no harm. Whoever reads along goes on.
                Ok(Request {
                    operation:
                        operation @ (Operation::Ack { .. } | Operation::Ping { .. } | Operation::Events(_)),
                    ..
                }) => {
                    self.serve(Asked { client, request, peer, operation });
                }
                _ => {
                    let why = "the supervisor has failed while it was at this, and is there again; nothing is known of \
                               it: ask for `status` before you ask again";
                    self.tell_client(request, Envelope::refused(why));
                }
            }
        }
    }

    /// Says who serves now.
    fn announce(&mut self, successor: &Successor, returned: Option<String>, before: &str) {
        let path = successor.path.clone().text();
        let (path, version) = (path.display(), env!("CARGO_PKG_VERSION"));
        let envelope = match returned {
            Some(why) => {
                let words = format!("{path} could not take over: {why}; version {version} goes on as before");
                warn!("{words}");
                Envelope::refused(words)
            }
            None => {
                let words = format!("einhyrningsins {version} ({path}) has taken over from version {before}");
                info!("{words}; pid and workers ({}) are the same", self.children.len());
                Envelope::done(words)
            }
        };
        if let Some(request) = successor.request {
            self.tell_client(request, envelope);
        }
    }
}
