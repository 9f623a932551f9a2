//! One connection of a hub.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use super::letter::Letter;
use super::shared::HubShared;
use crate::shared::Seat;
use crate::sync::Mutex;
use crate::{Outbox, Pause};

/// Tells the members of one hub apart. No two of them ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(super) u64);

/// A connection that has [joined](crate::Hub::join) a hub: what it has subscribed to, and its outbox.
///
/// It is a handle. Dropping it changes nothing: the connection is a member until it ends, which the
/// [`Outlet`](crate::Outlet) decides, or somebody [closes](Outbox::close) its outbox, or the hub [drains](crate::Hub::drain) or is
/// dropped. A member that ends leaves all topics at once, before its transport is closed.
pub struct Member<K, M> {
    id: MemberId,
    outbox: Outbox<Letter<M>>,
    hub: Weak<HubShared<K, M>>,
}

/// Why a topic was not subscribed to. The topic comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError<K> {
    /// The member has as many topics as [it may](crate::HubBuilder::max_topics).
    TooMany {
        /// The topic that would have been one more.
        topic: K,
        /// How many it may have.
        at_most: usize,
    },
    /// The connection has ended or begun to, or its hub is gone.
    Left {
        /// The topic.
        topic: K,
    },
}

impl<K, M> Member<K, M> {
    pub(super) const fn new(id: MemberId, outbox: Outbox<Letter<M>>, hub: Weak<HubShared<K, M>>) -> Self {
        Self { id, outbox, hub }
    }

    /// Returns what tells this member from all others of its hub.
    #[must_use]
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// Returns the outbox: for what concerns this member only. A [`Letter`] for it is made by [`Hub::letter`](crate::Hub::letter), or
    /// from a message where it need not count for the hub.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox<Letter<M>> {
        &self.outbox
    }
}

impl<K: Hash + Eq + Clone, M> Member<K, M> {
    /// Subscribes to a topic: what is published to it from now on is sent to this member. Returns whether it had not before.
    ///
    /// # Errors
    ///
    /// A [`SubscribeError`] with the topic. Topics that strangers name are bounded in number by this, and in size by whoever makes
    /// them.
    pub fn subscribe(&self, topic: K) -> Result<bool, SubscribeError<K>> {
        match self.hub.upgrade() {
            Some(hub) => hub.subscribe(self.id, topic),
            None => Err(SubscribeError::Left { topic }),
        }
    }

    /// Takes back a subscription: what is published from now on is not sent any more, and what waits in the outbox stays there.
    /// Returns whether there was one.
    pub fn unsubscribe<Q>(&self, topic: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.hub.upgrade().is_some_and(|hub| hub.unsubscribe(self.id, topic))
    }

    /// Returns the topics of this member, in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<K> {
        self.hub.upgrade().map_or_else(Vec::new, |hub| hub.topics_of(self.id))
    }
}

impl<K, M> Clone for Member<K, M> {
    fn clone(&self) -> Self {
        Self { id: self.id, outbox: self.outbox.clone(), hub: Weak::clone(&self.hub) }
    }
}

impl<K, M> fmt::Debug for Member<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("id", &self.id).field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<K> fmt::Display for SubscribeError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { at_most, .. } => write!(f, "the member has {at_most} topics, and may have no more"),
            Self::Left { .. } => f.write_str("the member has left the hub"),
        }
    }
}

impl<K: fmt::Debug> std::error::Error for SubscribeError<K> {}

/// The place of a connection in its hub, kept by the connection.
pub(super) struct HubSeat<K, M> {
    pub(super) id: MemberId,
    pub(super) hub: Weak<HubShared<K, M>>,
    /// Taken when the transport is gone.
    pub(super) presence: Mutex<Option<Pause>>,
}

impl<K, M> Seat for HubSeat<K, M>
where
    K: Hash + Eq + Clone + Send + Sync,
    M: Send + Sync,
{
    fn leave(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.leave(self.id);
        }
    }

    fn left(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.forget(self.id);
        }
        let presence: Option<Pause> = self.presence.lock().take();
        drop(presence);
    }
}

impl<K, M> HubSeat<K, M> {
    pub(super) fn new(id: MemberId, hub: &Arc<HubShared<K, M>>) -> Self {
        Self { id, hub: Arc::downgrade(hub), presence: Mutex::new(Some(hub.present.pause())) }
    }
}
