//! What clients ask for, and what they are answered.

use super::Shell;
use crate::{
    cli::ServiceName,
    daemon::{
        control::{Asked, Incoming},
        kept::{Kept, Level},
        log as logging, process,
    },
    fsm::{
        action::Reply,
        event::{Command, EventKind},
        id::{ClientId, RequestId},
        time::Time,
    },
    protocol::{
        Envelope, Operation, answer, command,
        history::{self, Asker},
        state, status,
    },
};
use log::{LevelFilter, debug, warn};
use std::process as this;

/// How many requests of one client are taken before the next client's turn.
const TURN: usize = 16;

impl Shell<'_> {
    pub(super) fn take_requests(&mut self) {
        for client in self.control.ready() {
            self.take_requests_of(client);
        }
    }

    // Requests take four pages of the stack to read, which a turn without any does not touch.
    #[inline(never)]
    fn take_requests_of(&mut self, client: ClientId) {
        for _ in 0..TURN {
            let Some(incoming) = self.control.next_request(client) else {
                break;
            };
            match incoming {
                Incoming::Asked(asked) => self.serve(asked),
                Incoming::Garbled(garbled) => {
                    self.refused.note(&garbled.refusal, &self.children);
                    self.control.refuse(&garbled);
                }
            }
            if self.control.forsaken(client) {
                self.tell(EventKind::ClientGone { client });
            }
        }
        if self.control.forsaken(client) {
            self.tell(EventKind::ClientGone { client });
        }
    }

    pub(super) fn serve(&mut self, asked: Asked) {
        let Asked { client, request, peer, operation } = asked;
        let answer = match operation {
            Operation::Ack { pid } => {
                let (sender, group, request) = (peer.pid, peer.group, Some(request));
                return self.tell(EventKind::Acked { pid, sender, group, request });
            }
            Operation::Ping { pid, request_id } => {
                debug!("ping of pid {pid}: {}", request_id.unwrap_or_default());
                let (sender, group, request) = (peer.pid, peer.group, Some(request));
                return self.tell(EventKind::Pinged { pid, sender, group, request });
            }
            Operation::Machine(command) => {
                return self.tell(EventKind::Requested { client, request, command });
            }
            Operation::Scale(change) => {
                // Nothing can come between the look at the number and the command.
                let count = change.applied_to(self.supervisor.fleet().target());
                let command = Command::SetWorkers { count };
                return self.tell(EventKind::Requested { client, request, command });
            }
            Operation::Upgrade { upgrade: command, release } => {
                let by = Asker::Client { user: peer.user, pid: peer.pid };
                match self.releases.ask(request, by, release) {
                    Ok(()) => {
                        self.tell(EventKind::Requested { client, request, command });
                        // Refused before anything was captured, if it is still there.
                        return self.releases.retract(request);
                    }
                    Err(why) => {
                        warn!("process {} asked for an upgrade, which is refused: {why}", peer.pid);
                        Envelope::refused(why)
                    }
                }
            }
            Operation::State => state::state(&self.supervisor.status()),
            Operation::Config => {
                let fleet = self.supervisor.fleet();
                state::config(self.options.in_effect(fleet.config(), fleet.target()))
            }
            Operation::Events(wanted) => return self.read_along(request, wanted),
            Operation::History => history::envelope(self.releases.history()),
            Operation::Ehlo { user } => Envelope::done(format!(
                "Hello {}, this is einhyrningsins {} (pid {}{}); `help` lists the commands",
                user.unwrap_or_else(|| "there".into()),
                env!("CARGO_PKG_VERSION"),
                this::id(),
                self.options.command_name.as_ref().map(|name| format!(", {name}")).unwrap_or_default()
            )),
            Operation::Help { command } => {
                let one = command.and_then(command::find).map(command::Entry::help);
                Envelope::done(one.unwrap_or_else(command::help))
            }
            Operation::Version => Envelope::done(concat!("einhyrningsins ", env!("CARGO_PKG_VERSION"))),
            Operation::Reexec { path } => match self.try_successor(request, path) {
                Ok(()) => return,
                Err(why) => {
                    warn!(
                        "process {} asked for another program to take over, which is refused: {why}",
                        peer.pid
                    );
                    Envelope::refused(why)
                }
            },
            Operation::Louder => self.change_level(logging::louder(self.level)),
            Operation::Quieter => self.change_level(logging::quieter(self.level)),
        };
        self.tell_client(request, answer);
    }

    fn change_level(&mut self, level: LevelFilter) -> Envelope {
        let same = if level == self.level { ", as before" } else { "" };
        self.level = level;
        self.journal.keep(&Kept::Level { level: Level::of(level) });
        logging::set_level(level);
        Envelope::done(format!("log level: {}{same}", level.as_str()))
    }

    /// Whoever is told what the core decided finds it in the trace.
    pub(super) fn tell_client(&mut self, request: RequestId, envelope: Envelope) {
        self.record();
        if let Some(refusal) = self.control.refusal(request, &envelope) {
            self.refused.note(&refusal, &self.children);
        }
        self.control.answer(request, envelope);
    }

    /// The core's answer, with what only the shell knows: what it was that could not be run.
    pub(super) fn answer(&self, reply: &Reply) -> Envelope {
        let mut envelope = answer::reply(reply);
        if let Reply::UpgradeRefused { generation, .. } = reply
            && let Some(path) = self.releases.unrunnable(*generation)
        {
            envelope.message = format!("{path}: {}", envelope.message);
        }
        envelope.message.push_str(&self.releases.behind_answer(reply));
        envelope
    }

    pub(super) fn about(&self) -> status::About<'_> {
        status::About {
            pid: this::id(),
            name: self.options.command_name.as_ref().map(ServiceName::as_str),
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.clock.now().since(Time(0)),
            sockets: self.sockets.listening(),
            stopped: process::stopped(&self.children),
            statuses: &self.statuses,
            totals: &self.totals,
        }
    }
}
