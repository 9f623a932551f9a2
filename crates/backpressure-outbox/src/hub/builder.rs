//! How hubs are configured.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Hub;
use super::letter::Letter;
use super::shared::HubShared;
use crate::Outbox;

/// Configures a hub.
///
/// # Defaults
///
/// 64 MiB for all messages together; 100 topics for each member.
#[must_use = "a builder makes nothing before it is built"]
pub struct HubBuilder<K, M> {
    weigh: Arc<dyn Fn(&M) -> usize + Send + Sync>,
    max_bytes: u64,
    max_topics: usize,
    topics: PhantomData<fn() -> K>,
}

/// Why a hub cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubError {
    /// A budget of 0 bytes has room for no message.
    NoBytes,
    /// A member that may have no topic gets no message.
    NoTopics,
}

impl<K, M> HubBuilder<K, M> {
    pub(super) fn new(weigh: Arc<dyn Fn(&M) -> usize + Send + Sync>) -> Self {
        Self { weigh, max_bytes: 64 << 20, max_topics: 100, topics: PhantomData }
    }

    /// Bounds the bytes of all messages that wait anywhere, each counted once, however many outboxes it waits in.
    ///
    /// Beside them each outbox takes [its own memory](Outbox), and some 72 bytes for each message that waits in it.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Bounds how many topics a member may subscribe to: strangers name them.
    pub const fn max_topics(mut self, topics: usize) -> Self {
        self.max_topics = topics;
        self
    }

    /// Makes the hub.
    ///
    /// # Errors
    ///
    /// A [`HubError`] where a bound is 0.
    pub fn build(self) -> Result<Hub<K, M>, HubError>
    where
        M: 'static,
    {
        let Self { weigh, max_bytes, max_topics, topics: _ } = self;
        if max_bytes == 0 {
            return Err(HubError::NoBytes);
        }
        if max_topics == 0 {
            return Err(HubError::NoTopics);
        }
        let of_letters = Arc::clone(&weigh);
        let outbox = Outbox::builder(move |letter: &Letter<M>| of_letters(letter));
        Ok(Hub { outbox, shared: Arc::new(HubShared::new(weigh, max_bytes, max_topics)) })
    }
}

impl<K, M> fmt::Debug for HubBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_bytes, max_topics, .. } = self;
        f.debug_struct("HubBuilder").field("max_bytes", max_bytes).field("max_topics", max_topics).finish_non_exhaustive()
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBytes => "a hub of 0 bytes has room for no message: the bound must be at least 1",
            Self::NoTopics => "a member of 0 topics gets no message: the bound must be at least 1",
        })
    }
}

impl std::error::Error for HubError {}
