//! Who waits for an answer. Each request gets one, and none comes after it.

use crate::fsm::words::id::{ClientId, RequestId};
use alloc::collections::BTreeMap;

/// Requests that wait for an answer, and who sent them.
#[derive(Clone, Debug, Default)]
pub struct Requests(BTreeMap<RequestId, ClientId>);

impl Requests {
    /// Put together again.
    pub(in crate::fsm) fn from_parts(waiting: BTreeMap<RequestId, ClientId>) -> Self {
        Self(waiting)
    }

    /// All that wait.
    #[must_use]
    pub fn waiting(&self) -> &BTreeMap<RequestId, ClientId> {
        &self.0
    }

    /// Notes who waits. Returns whether that is a new request, as it must be: a name is never used twice.
    pub(super) fn expect(&mut self, request: RequestId, client: ClientId) -> bool {
        if self.0.contains_key(&request) {
            return false;
        }
        self.0.insert(request, client);
        true
    }

    /// The answer comes. Returns whether anybody waits for it.
    pub(super) fn settle(&mut self, request: RequestId) -> bool {
        self.0.remove(&request).is_some()
    }

    /// A client has left, and waits for nothing any more.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.0.retain(|_, waiting| *waiting != client);
    }

    /// Some request that waits.
    pub(super) fn first(&self) -> Option<RequestId> {
        self.0.keys().next().copied()
    }
}
