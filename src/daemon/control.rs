//! The control socket: who is connected, what they ask for, where the answers go.
//!
//! Requests of one client are taken one at a time, so answers come in the order of the requests and
//! no client can pile up work. Workers may have inherited connections, over which they report and ask for
//! nothing. Nothing here knows what a request does.

use super::{
    claim::Claim,
    client::{Client, InFlight, Peer, Purpose},
    crowd::{Crowd, Room},
    door::Door,
    journal::Journal,
    kept::Kept,
    refused::{Refusal, Sent},
    reserve::{self, can_be_had, is_kept_back},
    token::FIRST_CLIENT,
};
use crate::{
    fsm::{
        id::{ClientId, Pid, RequestId},
        time::{Millis, Time},
    },
    protocol::{Envelope, Operation, ReplyTo, Request, decode},
};
use log::{debug, warn};
use mio::{Interest, Registry, Token, event::Event, net::UnixStream};
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::Shutdown,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

mod keeping;
mod reports;

/// How many clients there may be. The longest silent one makes room for the next.
const CLIENTS_MAX: usize = 1_000;

/// How many there may be in any case: also where there are hardly any descriptors, workers report.
const CLIENTS_MIN: usize = 8;

/// How long to wait before connections are taken again that could not be taken, and answers sent again that
/// could not be sent.
const PAUSE: Millis = Millis(200);

/// How many connections are taken at a time, so that a flood of them delays nothing else.
const ACCEPT_MAX: usize = 64;

/// What a client has sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request.
    Asked(Asked),
    /// What is none, or none that may be asked for over this connection.
    Garbled(Garbled),
}

/// A line that is refused before anybody looks at what it asks for.
#[derive(Debug)]
pub(crate) struct Garbled {
    pub(crate) refusal: Refusal,
    client: ClientId,
    answer: Envelope,
}

/// Something a client asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) client: ClientId,
    pub(crate) request: RequestId,
    pub(crate) peer: Peer,
    pub(crate) operation: Operation,
}

/// A connection for a worker that is to be made.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ClientId,
    ours: UnixStream,
    theirs: OwnedFd,
}

impl Connection {
    /// The worker's end.
    pub(crate) fn theirs(&self) -> BorrowedFd<'_> {
        self.theirs.as_fd()
    }
}

/// What is refused over such a connection, and where it is asked for.
const REPORTS_ONLY: &str = "over the connection that a worker inherits (EINHORN_SOCK_FD), worker:ack and \
                            worker:ping are taken and nothing else; connect to EINHORN_SOCK_PATH for that";

/// The control socket and everyone connected to it.
#[derive(Debug)]
pub(crate) struct Control {
    journal: Journal,
    door: Door,
    registry: Registry,
    crowd: Crowd,
    /// The connections that workers have inherited, by their processes.
    inherited: BTreeMap<Pid, ClientId>,
    requests: BTreeMap<RequestId, ClientId>,
    next_request: RequestId,
    /// What was reported to whoever was here before.
    reports: Vec<(Peer, Operation)>,
    /// Those that wait before this one are entrusted.
    entrusted: RequestId,
    /// Connections may be waiting that no event will tell of again.
    backlog: bool,
    /// When to look for them again, since it cannot be known whether any are there.
    accept_again: Option<Time>,
    /// What is held up is not sent again before that.
    earliest_resend: Time,
    /// For how many clients there is room: until descriptors became few, or again once half of them are gone,
    /// as many as there may be.
    room: usize,
}

impl Control {
    pub(crate) fn new(claim: Claim, registry: Registry, journal: Journal) -> io::Result<Self> {
        let door = Door::new(claim, registry.try_clone()?)?;
        Ok(Self {
            journal,
            door,
            registry,
            crowd: Crowd::new(),
            inherited: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: RequestId(1),
            reports: Vec::new(),
            entrusted: RequestId(1),
            backlog: false,
            accept_again: None,
            earliest_resend: Time(0),
            room: CLIENTS_MAX,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.door.path()
    }

    /// Puts the socket back if somebody has removed it; after a try that failed not before its pause is over.
    pub(crate) fn look(&mut self, now: Time) {
        if !self.door.is_in_place() && self.door.is_due(now) {
            self.put_back(now);
        }
    }

    /// The same whatever was tried before: somebody is about to need it.
    pub(crate) fn look_at_once(&mut self, now: Time) {
        if !self.door.is_in_place() {
            self.put_back(now);
        }
    }

    fn put_back(&mut self, now: Time) {
        // Whoever connected before that would be lost with the old listener.
        self.accept(now, true);
        self.door.mend(now);
        self.journal.keep(&self.door.kept());
    }

    /// Gives the path back. Called once, at the end.
    pub(crate) fn close(&self) {
        self.door.close();
    }

    /// When there is something to do, whatever happens: [`look`](Self::look), [`accept`](Self::accept) and
    /// [`resend`](Self::resend).
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let resend = self.crowd.is_held_up().then_some(self.earliest_resend);
        [self.door.deadline(), self.accept_again, resend].into_iter().flatten().min()
    }

    /// Sends what could not be sent for lack of memory, if the last try is long enough ago.
    pub(crate) fn resend(&mut self, now: Time) {
        if now < self.earliest_resend {
            return;
        }
        self.earliest_resend = now + PAUSE;
        for id in self.crowd.held_up() {
            if let Some(client) = self.crowd.get_mut(id) {
                client.flush();
            }
            self.weigh(id);
            // It may have been given up.
            self.crowd.stir(id);
        }
    }

    /// Whether there is work that no event will tell of.
    pub(crate) fn has_more(&self) -> bool {
        self.backlog || self.crowd.is_stirring()
    }

    /// How much memory was freed since that was last asked, in bytes; and whether nobody is there.
    pub(crate) fn take_freed(&mut self) -> (usize, bool) {
        (self.crowd.take_freed(), self.crowd.is_empty())
    }

    /// Takes new connections.
    ///
    /// If workers are to report, each is entrusted before anything of it is read: a worker says it once.
    pub(crate) fn accept(&mut self, now: Time, reports: bool) {
        self.backlog = false;
        self.accept_again = None;
        self.crowd.pass(now);
        for _ in 0..ACCEPT_MAX {
            if self.crowd.len() >= self.room && !self.make_room() {
                self.accept_again = Some(now + PAUSE);
                return;
            }
            match self.door.accept() {
                Ok(stream) => {
                    let entrusted = reports && self.journal.entrust(self.crowd.coming(), stream.as_raw_fd());
                    if is_kept_back(&stream) {
                        self.room = self.crowd.len().clamp(CLIENTS_MIN, CLIENTS_MAX);
                    }
                    let refused = self.admit(stream, entrusted);
                    // The keeper may have it, too.
                    let _ = refused.map(|stream| stream.shutdown(Shutdown::Both));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors or memory, most likely.
                    if !self.make_room() {
                        self.door.complain(&error, now);
                        // No event will tell that there is room again.
                        self.accept_again = Some(now + PAUSE);
                        return;
                    }
                }
            }
        }
        self.backlog = true;
    }

    /// Sends a client away, if one can be spared. If not, whoever wants to connect waits: until those
    /// that have just stirred had their turn, since they may be silent then, or until the next event.
    fn make_room(&mut self) -> bool {
        let made = self.send_one_away(Room::ForClients);
        self.backlog = !made && self.crowd.is_stirring();
        made
    }

    /// Sees to it that the supervisor gets the descriptors that it needs for itself: sends clients away until
    /// that many can be had. Answers whether they can.
    pub(crate) fn spare_descriptors(&mut self) -> bool {
        loop {
            if self.crowd.is_empty() || can_be_had(reserve::KEPT_BACK / 2) {
                return true;
            }
            if !self.send_one_away(Room::ForWorkers) {
                return false;
            }
        }
    }

    /// Makes a client of a connection, or hands it back.
    fn admit(&mut self, mut stream: UnixStream, entrusted: bool) -> Option<UnixStream> {
        let Some(peer) = Peer::admitted(&mut stream, "supervisor") else { return Some(stream) };
        let id = match self.watch(&mut stream) {
            Ok(id) => id,
            Err(error) => {
                warn!("control socket: a connection cannot be watched: {error}; refused");
                return Some(stream);
            }
        };
        let mut client = Client::new(stream, peer, Purpose::Requests);
        client.entrusted = entrusted;
        self.enter(id, client);
        None
    }

    /// Sees to it that events of a connection are told of, under a name of its own.
    fn watch(&mut self, stream: &mut UnixStream) -> io::Result<ClientId> {
        let id = self.crowd.next_id();
        self.watch_as(stream, id)?;
        Ok(id)
    }

    fn watch_as(&self, stream: &mut UnixStream, id: ClientId) -> io::Result<()> {
        let token = Token(usize::try_from(id.0).unwrap_or(0).saturating_add(FIRST_CLIENT));
        self.registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Closes the connection of one that can be spared.
    fn send_one_away(&mut self, room: Room) -> bool {
        let Some(client) = self.crowd.most_silent(room) else {
            return false;
        };
        debug!("control socket: client {client} has to make room");
        self.remove(client);
        true
    }

    /// Sees to it that all clients together take no more memory than they may, after one of them spoke or was
    /// spoken to.
    fn relieve(&mut self, speaking: ClientId) {
        self.weigh(speaking);
        while let Some(id) = self.crowd.too_heavy(speaking) {
            debug!("control socket: client {id} takes too much memory");
            match self.crowd.get_mut(id) {
                // Somebody is to learn that nobody waits for the answer any more.
                Some(client) if client.in_flight.is_some() => {
                    client.give_up();
                    self.weigh(id);
                    self.crowd.stir(id);
                }
                _ => self.remove(id),
            }
        }
    }

    fn remove(&mut self, id: ClientId) {
        if let Some(mut client) = self.crowd.remove(id) {
            self.journal.keep(&Kept::Left { client: id });
            if self.crowd.len() < self.room / 2 {
                self.room = CLIENTS_MAX;
            }
            if client.entrusted {
                let _ = client.stream.shutdown(Shutdown::Both);
            }
            // Closing the descriptor would do; this only spares the kernel the look-up.
            let _ = self.registry.deregister(&mut client.stream);
            if let Some(in_flight) = client.in_flight {
                self.requests.remove(&in_flight.request);
            }
            if client.purpose == Purpose::Reports {
                self.inherited.remove(&client.peer.pid);
            }
        }
    }

    /// Notes what the event loop learned of a client.
    pub(crate) fn note(&mut self, event: &Event) {
        let Some(number) = event.token().0.checked_sub(FIRST_CLIENT) else {
            return;
        };
        let id = ClientId(u64::try_from(number).unwrap_or(u64::MAX));
        let Some(client) = self.crowd.get_mut(id) else {
            return;
        };
        client.hung_up |= event.is_write_closed() || event.is_error();
        if event.is_writable() {
            client.flush();
        }
        self.weigh(id);
        self.crowd.stir(id);
    }

    /// Anybody may have sent something; no event tells.
    pub(crate) fn stir(&mut self) {
        self.crowd.stir_all();
    }

    /// The clients that may have sent something, as of now.
    pub(crate) fn ready(&self) -> Vec<ClientId> {
        self.crowd.ready()
    }

    /// What a client has sent next, if anything, and no other request of its is under way; to be
    /// [answered](Self::answer), or else [refused](Self::refuse). `None` also sees to it that the client is not
    /// asked in vain.
    pub(crate) fn next_request(&mut self, id: ClientId) -> Option<Incoming> {
        let client = self.crowd.get_mut(id)?;
        if client.in_flight.is_some() && !client.hung_up {
            self.crowd.calm(id);
            return None;
        }
        let line = client.next_line();
        let is_finished = client.is_finished();
        self.relieve(id);
        let (Some(line), Some(client)) = (line, self.crowd.get_mut(id)) else {
            self.crowd.calm(id);
            if is_finished {
                self.remove(id);
            }
            return None;
        };
        let peer = client.peer;
        let garbled = |sent, why: String, reply_to| {
            let answer = Envelope::refused(why.clone()).answering(reply_to);
            Some(Incoming::Garbled(Garbled { refusal: Refusal { peer, sent, why }, client: id, answer }))
        };
        let line = match line {
            Ok(line) => line,
            Err(overlong) => {
                // Where the next request would begin is anybody's guess.
                client.ended = true;
                return garbled(
                    Sent::endless(),
                    format!("{overlong}; closing the connection"),
                    ReplyTo::default(),
                );
            }
        };
        match decode(&line) {
            Ok(Request { reply_to, operation })
                if client.purpose == Purpose::Reports && operation.reported().is_none() =>
            {
                garbled(Sent::garbled(&line), REPORTS_ONLY.into(), reply_to)
            }
            Ok(Request { reply_to, operation }) => {
                let number = self.next_request;
                self.next_request = RequestId(number.0 + 1);
                self.journal.keep(&keeping::request(number, id, &line));
                client.in_flight = Some(keeping::in_flight(number, reply_to, line, &operation));
                self.requests.insert(number, id);
                self.crowd.heard(id);
                Some(Incoming::Asked(Asked { client: id, request: number, peer, operation }))
            }
            Err(refusal) => garbled(Sent::garbled(&line), refusal.message, refusal.reply_to),
        }
    }

    /// Tells a client that a line of its is no request.
    pub(crate) fn refuse(&mut self, garbled: &Garbled) {
        if let Some(client) = self.crowd.get_mut(garbled.client) {
            client.say(&garbled.answer.encode());
        }
    }

    /// That a report is refused, if it is a report that would be answered so.
    pub(crate) fn refusal(&self, request: RequestId, envelope: &Envelope) -> Option<Refusal> {
        let client = self.crowd.get(*self.requests.get(&request)?)?;
        let InFlight { line, reported, .. } = client.in_flight.as_ref().filter(|_| !envelope.ok)?;
        let sent = Sent::report(line, (*reported)?);
        Some(Refusal { peer: client.peer, sent, why: envelope.message.clone() })
    }

    /// Sends a line about a request; the last one unless it says `wait`.
    pub(crate) fn answer(&mut self, request: RequestId, envelope: Envelope) {
        let Some(id) = self.requests.get(&request).copied() else {
            return;
        };
        let last = !envelope.wait;
        if last {
            self.journal.keep(&Kept::Answered { request });
        } else {
            // Whoever was told that it has begun is told the end, too.
            self.entrust();
        }
        if let Some(client) = self.crowd.get_mut(id) {
            let reply_to = client.in_flight.as_ref().map(|in_flight| in_flight.reply_to.clone());
            let line = envelope.answering(reply_to.unwrap_or_default()).encode();
            client.say(&line);
            if last {
                self.journal.answered(request);
                client.in_flight = None;
            }
            // It may have sent more meanwhile, or turned out to be gone.
            self.crowd.stir(id);
            self.crowd.answered(line.len());
            self.relieve(id);
        }
        if last {
            self.requests.remove(&request);
        }
    }

    /// Whether who sent a request has read what it was answered so far; `None` if it has gone.
    pub(crate) fn awaits_more(&self, request: RequestId) -> Option<bool> {
        let client = self.crowd.get(*self.requests.get(&request)?)?;
        Some(client.has_read_all()).filter(|_| !client.hung_up)
    }

    /// Takes back the request under way of a client that has closed its end; its answer is for nobody.
    pub(crate) fn forsaken(&mut self, id: ClientId) -> bool {
        let Some(client) = self.crowd.get_mut(id).filter(|client| client.hung_up) else {
            return false;
        };
        let Some(in_flight) = client.in_flight.take() else {
            return false;
        };
        self.journal.keep(&Kept::Answered { request: in_flight.request });
        // Nothing more may come from it, and no event either: it is to be looked at once more.
        self.crowd.stir(id);
        self.requests.remove(&in_flight.request).is_some()
    }
}
