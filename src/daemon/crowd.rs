//! Who is connected to the control socket: who may have said something, who has been silent for how long,
//! and who has to go when somebody else needs the room.

use super::client::Client;
use crate::fsm::id::ClientId;
use std::collections::{BTreeMap, BTreeSet};

/// All clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    clients: BTreeMap<ClientId, Client>,
    /// Clients that may have sent something.
    ready: BTreeSet<ClientId>,
    /// Clients by when they last said something; the number only grows.
    silent: BTreeMap<u64, ClientId>,
    spoke: BTreeMap<ClientId, u64>,
    next_turn: u64,
    next_client: ClientId,
}

impl Crowd {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self {
            clients: BTreeMap::new(),
            ready: BTreeSet::new(),
            silent: BTreeMap::new(),
            spoke: BTreeMap::new(),
            next_turn: 0,
            next_client: ClientId(1),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The name of the next one to come.
    pub(crate) fn next_id(&mut self) -> ClientId {
        let id = self.next_client;
        self.next_client = ClientId(id.0 + 1);
        id
    }

    /// One more.
    pub(crate) fn insert(&mut self, id: ClientId, client: Client) {
        self.clients.insert(id, client);
        self.heard(id);
        self.stir(id);
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    /// Somebody has just said something.
    pub(crate) fn heard(&mut self, client: ClientId) {
        self.next_turn += 1;
        if let Some(before) = self.spoke.insert(client, self.next_turn) {
            self.silent.remove(&before);
        }
        self.silent.insert(self.next_turn, client);
    }

    /// Somebody may have said something, or is to be looked at once more.
    pub(crate) fn stir(&mut self, client: ClientId) {
        self.ready.insert(client);
    }

    pub(crate) fn stir_all(&mut self) {
        self.ready.extend(self.clients.keys());
    }

    /// Somebody has nothing more to say for now.
    pub(crate) fn calm(&mut self, client: ClientId) {
        self.ready.remove(&client);
    }

    /// Whether anybody may have said something.
    pub(crate) fn is_stirring(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Those who may have said something, as of now.
    pub(crate) fn ready(&self) -> Vec<ClientId> {
        self.ready.iter().copied().collect()
    }

    /// The one that has been silent for longest and waits for nothing; if all wait, one that has an answer
    /// and does not read it.
    pub(crate) fn most_silent(&self) -> Option<ClientId> {
        let find = |fits: fn(&Client) -> bool| {
            let fits = |id: &&ClientId| self.clients.get(id).is_some_and(fits) && !self.ready.contains(id);
            self.silent.values().find(fits).copied()
        };
        find(Client::is_idle).or_else(|| find(|client| client.in_flight.is_none()))
    }

    /// One less.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Client> {
        if let Some(turn) = self.spoke.remove(&id) {
            self.silent.remove(&turn);
        }
        self.calm(id);
        self.clients.remove(&id)
    }
}
