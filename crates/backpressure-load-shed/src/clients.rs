//! How much one client may have in progress.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use backpressure_core::{InFlight, Reason, Timestamp};
use backpressure_http::MissingKey;
use backpressure_http::key::{Key, KeyType};
use backpressure_limiter::{KeyedLimiter, Ledger, Slot, Taken, WhenFull};

/// Bounds what each client has in progress or waiting: [`Anyone`] or [`PerClient`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` finds no client in a `{Req}`",
    label = "reads the key of a client from another type of request",
    note = "`.per_client(key::extension(..), n)`, `key::header` and `key::from_head` read an `http::Request<B>`",
    note = "for any other request use `.per_client(key::from_request(|request: &MyRequest| ..), n)`"
)]
pub trait Clients<Req> {
    /// What a request takes of its client's share. Dropping it gives it back.
    type Place;

    /// Takes a request's share, where it has one.
    ///
    /// # Errors
    ///
    /// Why the request is refused.
    fn take(&self, request: &Req) -> Result<Option<Self::Place>, Reason>;
}

/// Bounds no client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anyone;

/// Bounds each client by its key; made by [`per_client`](crate::LoadShedLayer::per_client).
#[derive(Clone)]
pub struct PerClient<K: KeyType> {
    key: K,
    limiter: Arc<KeyedLimiter<K::Key, InFlight>>,
    missing: MissingKey,
}

/// What a request has taken of its client's share.
pub struct ClientPlace<K: Hash> {
    limiter: Arc<KeyedLimiter<K, InFlight>>,
    slot: Slot,
    taken: Taken<InFlight>,
}

impl<Req> Clients<Req> for Anyone {
    type Place = ();

    #[inline]
    fn take(&self, _request: &Req) -> Result<Option<()>, Reason> {
        Ok(None)
    }
}

impl<K: KeyType<Key: Hash>> PerClient<K> {
    /// A client without a place in the table is counted by nobody: the places of all bound it still. (To share a state would not
    /// do: what is taken from a shared state is not given back.)
    pub(crate) fn new(key: K, max_in_flight: u32) -> Self {
        let limiter = KeyedLimiter::new(InFlight::new(max_in_flight)).when_full(WhenFull::Admit);
        Self { key, limiter: Arc::new(limiter), missing: MissingKey::default() }
    }

    pub(crate) fn missing(self, missing: MissingKey) -> Self {
        Self { missing, ..self }
    }
}

impl<Req, K: Key<Req> + KeyType<Key: Hash>> Clients<Req> for PerClient<K> {
    type Place = ClientPlace<K::Key>;

    fn take(&self, request: &Req) -> Result<Option<Self::Place>, Reason> {
        let slot = match (self.key.key(request), self.missing) {
            (Some(key), _) => self.limiter.slot(&key),
            (None, MissingKey::Skip) => return Ok(None),
            (None, MissingKey::Refuse) => return Err(Reason::MissingKey),
            (None, _) => Slot::KEYLESS,
        };
        // Time plays no role in what is in progress.
        match self.limiter.admit(slot, Timestamp::ORIGIN, 1) {
            Ok(taken) => Ok(Some(ClientPlace { limiter: Arc::clone(&self.limiter), slot, taken })),
            Err(_) => Err(Reason::ClientConcurrency),
        }
    }
}

impl<K: Hash> Drop for ClientPlace<K> {
    fn drop(&mut self) {
        Ledger::give_back(&*self.limiter, self.slot, &self.taken);
    }
}

impl<K: KeyType> fmt::Debug for PerClient<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerClient").field("limiter", &self.limiter).field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl<K: Hash> fmt::Debug for ClientPlace<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPlace").field("slot", &self.slot).finish_non_exhaustive()
    }
}
