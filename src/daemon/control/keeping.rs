//! What is kept of clients for whoever takes over, and taking it over.

use super::{
    super::{
        client::{Client, InFlight, Peer, Purpose},
        kept::{Bytes, Held, HeldClient, Kept, Store},
    },
    Control,
};
use crate::{
    fsm::id::{ClientId, RequestId},
    protocol::{Operation, ReplyTo, Request, decode},
};
use log::debug;
use mio::net::UnixStream;
use std::{
    io, mem,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net,
    },
};

/// Whether it waits for an answer that comes to an end, and is to come to it.
fn waits(client: &Client) -> bool {
    client.in_flight.as_ref().is_some_and(|in_flight| !in_flight.streams)
}

/// What is kept of a request.
pub(super) fn request(request: RequestId, client: ClientId, line: &[u8]) -> Kept {
    Kept::Request { request, client, line: Bytes(line.to_vec()) }
}

/// A request that is under way from now on.
pub(super) fn in_flight(
    request: RequestId,
    reply_to: ReplyTo,
    line: Vec<u8>,
    operation: &Operation,
) -> InFlight {
    let streams = matches!(operation, Operation::Events(_));
    InFlight { request, reply_to, line, reported: operation.reported(), streams }
}

fn kept(id: ClientId, client: &Client) -> Kept {
    let Peer { pid, user, group } = client.peer;
    let (fd, reports) = (client.stream.as_raw_fd(), client.purpose == Purpose::Reports);
    Kept::Client { client: id, held: HeldClient { fd, pid, user, group, reports } }
}

impl Control {
    /// One more, that is watched already.
    pub(super) fn enter(&mut self, id: ClientId, mut client: Client) {
        self.journal.keep(&kept(id, &client));
        if client.purpose == Purpose::Reports {
            client.entrusted = true;
            self.inherited.insert(client.peer.pid, id);
        }
        self.crowd.insert(id, client);
    }

    /// Takes note of what a client weighs, and of whether a crash would lose anything of it.
    pub(super) fn weigh(&mut self, id: ClientId) {
        self.crowd.weigh(id);
        if let Some(client) = self.crowd.get_mut(id)
            && client.noted != client.is_cut()
        {
            client.noted = !client.noted;
            self.journal.keep(&Kept::Cut { client: id, cut: client.noted });
        }
    }

    /// All that is kept here; with what has passed between clients and us only in part if that `lasts`: if nothing passes
    /// any more before somebody takes over.
    pub(crate) fn keep(&self, put: &mut dyn FnMut(&Kept), lasts: bool) {
        put(&self.door.kept());
        put(&Kept::Next { client: self.crowd.coming(), request: self.next_request });
        for (id, client) in self.crowd.all() {
            put(&kept(id, client));
            if let Some(InFlight { request: number, line, .. }) = &client.in_flight {
                put(&request(*number, id, line));
            }
            if client.is_cut() && lasts {
                put(&Kept::Buffers { client: id, buffers: client.buffers() });
            } else if client.is_cut() {
                put(&Kept::Cut { client: id, cut: true });
            }
        }
    }

    /// Takes clients over. Those of which something was lost are let go: they see the connection end.
    ///
    /// # Errors
    /// If one cannot be watched.
    pub(crate) fn take_over(&mut self, held: &Held, store: &mut Store) -> Result<(), String> {
        for (id, client) in &held.clients {
            let peer = Peer { pid: client.pid, user: client.user, group: client.group };
            // The machine is told of those that are gone.
            let Ok(stream) = store.take(client.fd) else {
                let lines = held.requests.values().filter(|(of, _)| of == id);
                let reports = lines.filter_map(|(_, line)| decode(line).ok()).map(|asked| asked.operation);
                self.reports
                    .extend(reports.filter(|it| it.reported().is_some()).map(|report| (peer, report)));
                continue;
            };
            if held.cut.contains(id) || held.doubtful.is_some_and(|(_, client)| client == *id) {
                debug!("control socket: client {id} is let go, since something of it was lost");
                continue;
            }
            let stream = UnixStream::from_std(net::UnixStream::from(stream));
            let purpose = if client.reports { Purpose::Reports } else { Purpose::Requests };
            let mut one = Client::new(stream, peer, purpose);
            one.adopt(held.buffers.get(id).cloned().unwrap_or_default());
            self.crowd.follow(*id);
            self.watch_as(&mut one.stream, *id)
                .map_err(|error: io::Error| format!("client {id}: {error}"))?;
            for (request, (_, line)) in held.requests.iter().filter(|(_, (of, _))| of == id) {
                // One that could be read could be refused only, and was answered at once.
                let Ok(Request { reply_to, operation }) = decode(line) else { continue };
                one.in_flight = Some(in_flight(*request, reply_to, line.clone(), &operation));
                self.requests.insert(*request, *id);
            }
            one.flush();
            self.enter(*id, one);
            self.weigh(*id);
        }
        self.crowd.follow(ClientId(held.next.0.saturating_sub(1)));
        self.next_request = self.next_request.max(RequestId(held.next.1));
        // Somebody may have connected meanwhile.
        self.backlog = true;
        Ok(())
    }

    /// What was reported by those who have no connection any more, and of which nobody knows whether it was heard.
    pub(crate) fn take_reports(&mut self) -> Vec<(Peer, Operation)> {
        mem::take(&mut self.reports)
    }

    /// Sees to it that those who wait have their answer also if the supervisor is killed.
    pub(crate) fn entrust(&mut self) {
        if self.entrusted >= self.next_request {
            return;
        }
        let waiting: Vec<ClientId> =
            self.requests.range(self.entrusted..).map(|(_, client)| *client).collect();
        self.entrusted = self.next_request;
        for id in waiting {
            if let Some(client) = self.crowd.get_mut(id).filter(|client| waits(client)) {
                client.entrusted |= self.journal.entrust(id, client.stream.as_raw_fd());
            }
        }
    }

    /// All who wait, or have waited. Whoever has their connections from here on has to be told if one ends.
    pub(crate) fn entrust_all(&mut self) -> Vec<(ClientId, RawFd)> {
        let all = self.crowd.all().filter(|(_, client)| waits(client) || client.entrusted);
        let all: Vec<_> = all.map(|(id, client)| (id, client.stream.as_raw_fd())).collect();
        for (id, _) in &all {
            if let Some(client) = self.crowd.get_mut(*id) {
                client.entrusted = true;
            }
        }
        all
    }

    /// The requests that have no answer yet, and who sent them.
    pub(crate) fn unanswered(&self) -> Vec<(RequestId, ClientId)> {
        self.requests.iter().map(|(request, client)| (*request, *client)).collect()
    }

    /// The line of a request that has no answer yet, and who sent it.
    pub(crate) fn asked(&self, request: RequestId) -> Option<(Vec<u8>, Peer)> {
        let client = self.crowd.get(*self.requests.get(&request)?)?;
        Some((client.in_flight.as_ref()?.line.clone(), client.peer))
    }

    /// Whether somebody is connected.
    pub(crate) fn knows(&self, client: ClientId) -> bool {
        self.crowd.get(client).is_some()
    }
}
