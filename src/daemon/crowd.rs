//! Who is connected to the control socket: who may have said something, who has been silent for how long,
//! and who has to go when somebody else needs the room.

use super::client::{Client, Purpose};
use crate::fsm::{id::ClientId, time::Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

/// How much memory clients may take together, in bytes, and how many of the longest answer beside that: who
/// asks for much is not cut off because another one has done so.
const WEIGHT_MAX: usize = 2 * 1024 * 1024;
const ANSWERS_MAX: usize = 4;

/// What must be gained by sending somebody away who says nothing, before one that speaks is.
const WORTH: usize = 4 * 1024;

/// What a client takes besides what waits in its buffers, in bytes, by experience.
const SELF: usize = 640;

/// For whom somebody is to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Others who connect.
    ForClients,
    /// Workers, and what the supervisor needs itself.
    ForWorkers,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    clients: BTreeMap<ClientId, Client>,
    /// Clients to which something is to be sent once more.
    held_up: BTreeSet<ClientId>,
    /// Clients that may have sent something.
    ready: BTreeSet<ClientId>,
    /// Clients that may have to go, by when they last said something; the number only grows.
    silent: BTreeMap<u64, ClientId>,
    spoke: BTreeMap<ClientId, u64>,
    next_turn: u64,
    next_client: ClientId,
    /// When somebody was last let in.
    now: Time,
    /// What each weighed when it was last looked at, and all together.
    weights: BTreeMap<ClientId, usize>,
    weight: usize,
    /// The longest answer so far, in bytes.
    longest: usize,
    /// How much answers and clients that have gone took, since that was last asked.
    freed: usize,
}

impl Crowd {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self {
            clients: BTreeMap::new(),
            held_up: BTreeSet::new(),
            ready: BTreeSet::new(),
            silent: BTreeMap::new(),
            spoke: BTreeMap::new(),
            next_turn: 0,
            next_client: ClientId(1),
            now: Time(0),
            weights: BTreeMap::new(),
            weight: 0,
            longest: 0,
            freed: 0,
        }
    }

    /// How many there are that have connected by themselves and may have to go. Workers' own connections do
    /// not count: there is one for each worker, and it stays.
    pub(crate) fn len(&self) -> usize {
        self.spoke.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spoke.is_empty()
    }

    /// The name of the next one to come.
    pub(crate) fn next_id(&mut self) -> ClientId {
        let id = self.next_client;
        self.next_client = ClientId(id.0 + 1);
        id
    }

    /// The same, without giving it.
    pub(crate) fn coming(&self) -> ClientId {
        self.next_client
    }

    /// Somebody has that name; those to come have others.
    pub(crate) fn follow(&mut self, id: ClientId) {
        self.next_client = self.next_client.max(ClientId(id.0.saturating_add(1)));
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    /// Time goes on; as of this moment, clients have been silent for so long.
    pub(crate) fn pass(&mut self, now: Time) {
        self.now = now;
    }

    /// One more.
    pub(crate) fn insert(&mut self, id: ClientId, mut client: Client) {
        client.since = self.now;
        self.clients.insert(id, client);
        self.heard(id);
        self.stir(id);
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    /// Somebody has just said something.
    pub(crate) fn heard(&mut self, client: ClientId) {
        if self.clients.get(&client).is_none_or(|client| client.purpose == Purpose::Reports) {
            return;
        }
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
    /// and does not read it. Other clients take the place of none that has only just connected: it may be a worker that
    /// is about to report.
    pub(crate) fn most_silent(&self, room: Room) -> Option<ClientId> {
        let find = |fits: fn(&Client) -> bool| {
            let fits =
                |client: &Client| fits(client) && (room == Room::ForWorkers || client.had_its_turn(self.now));
            let fits = |id: &&ClientId| self.clients.get(id).is_some_and(fits) && !self.ready.contains(id);
            self.silent.values().find(fits).copied()
        };
        find(Client::is_idle).or_else(|| find(|client| client.in_flight.is_none()))
    }

    /// Those to which something is to be sent once more, as of when they were weighed.
    pub(crate) fn held_up(&self) -> Vec<ClientId> {
        self.held_up.iter().copied().collect()
    }

    /// Whether there are any.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.held_up.is_empty()
    }

    /// Takes note of what a client weighs now, and of whether it is held up. To be called after whatever
    /// was said by it or to it.
    pub(crate) fn weigh(&mut self, id: ClientId) {
        if self.clients.get(&id).is_some_and(Client::is_held_up) {
            self.held_up.insert(id);
        } else {
            self.held_up.remove(&id);
        }
        let now = self.clients.get(&id).map_or(0, Client::weight);
        let before = if now == 0 { self.weights.remove(&id) } else { self.weights.insert(id, now) };
        self.weight = self.weight.saturating_sub(before.unwrap_or(0)).saturating_add(now);
    }

    /// Takes note of how long answers can be.
    pub(crate) fn answered(&mut self, length: usize) {
        self.longest = self.longest.max(length);
        self.freed = self.freed.saturating_add(length);
    }

    /// How much memory was freed since that was last asked, in bytes.
    pub(crate) fn take_freed(&mut self) -> usize {
        mem::take(&mut self.freed)
    }

    /// If all together take more memory than they may: who takes most of it. First of those who say nothing,
    /// if that is worth it; never the one who speaks.
    pub(crate) fn too_heavy(&self, speaking: ClientId) -> Option<ClientId> {
        if self.weight <= WEIGHT_MAX.saturating_add(self.longest.saturating_mul(ANSWERS_MAX)) {
            return None;
        }
        let others = self.weights.iter().filter(|(id, _)| **id != speaking);
        let rank =
            |(id, weight): &(&ClientId, &usize)| (**weight >= WORTH && !self.ready.contains(id), **weight);
        others.max_by_key(rank).map(|(id, _)| *id)
    }

    /// One less.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Client> {
        if let Some(turn) = self.spoke.remove(&id) {
            self.silent.remove(&turn);
        }
        self.calm(id);
        let client = self.clients.remove(&id);
        let weighed = self.weights.get(&id).copied().unwrap_or_default();
        self.freed = self.freed.saturating_add(SELF + weighed);
        self.weigh(id);
        client
    }
}
