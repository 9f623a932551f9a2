//! How inboxes are configured.

use std::fmt;
use std::sync::Arc;

use backpressure_core::TokenBucket;
use backpressure_queue::{Load, Overflow, QueueBuilder};

use super::Inbox;
use super::intake::Intake;
use super::pace::Pace;
use super::space::Space;
use crate::OutboxError;
use crate::config::{Weigh, marks};

/// Configures inboxes, and makes one for each connection. Clones share nothing that they make.
///
/// # Defaults
///
/// 50 messages, 1 MiB; the watermarks at 75 % and half of that; no rates.
#[must_use = "a builder makes nothing before it is built"]
pub struct InboxBuilder<T> {
    weigh: Arc<Weigh<T>>,
    bound: Load,
    /// `None` for the usual places.
    percent: Option<(u8, u8)>,
    message_rate: Option<TokenBucket>,
    byte_rate: Option<TokenBucket>,
}

impl<T> InboxBuilder<T> {
    pub(super) fn new(weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        let bound = Load { items: 50, weight: 1 << 20 };
        Self { weigh: Arc::new(weigh), bound, percent: None, message_rate: None, byte_rate: None }
    }

    /// Bounds how many messages wait to be handled.
    pub const fn max_messages(mut self, messages: usize) -> Self {
        self.bound.items = messages;
        self
    }

    /// Bounds how many bytes wait to be handled. A message of more ends the connection.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.bound.weight = bytes;
        self
    }

    /// Sets the watermarks, in per cent of the bounds. The high one is reached by messages or by bytes, the low one by both.
    pub const fn watermarks(mut self, high: u8, low: u8) -> Self {
        self.percent = Some((high, low));
        self
    }

    /// Bounds how fast the peer may send, in messages of any kind: also those that are answered or ignored, and its signals.
    ///
    /// A rate is a [bucket](TokenBucket) with its count as the burst.
    ///
    /// # Panics
    ///
    /// If the rate is too fast for its rounding, as [`TokenBucket::new`] says; a bucket made by [`TokenBucket::try_new`] never is.
    pub fn message_rate(mut self, rate: impl Into<TokenBucket>) -> Self {
        self.message_rate = Some(rate.into());
        self
    }

    /// Bounds how fast the peer may send, in bytes of what is for the application. Their number is known once a message is read: it
    /// may be more than the burst, and the peer then waits for as long as that takes.
    ///
    /// # Panics
    ///
    /// As [`message_rate`](Self::message_rate).
    pub fn byte_rate(mut self, rate: impl Into<TokenBucket>) -> Self {
        self.byte_rate = Some(rate.into());
        self
    }

    /// Makes the inbox of one connection, and the end of it that the connection fills.
    ///
    /// # Errors
    ///
    /// An [`OutboxError`] if the bounds leave no room, or the watermarks cross.
    pub fn build(&self) -> Result<(Inbox<T>, Intake<T>), OutboxError> {
        let Load { items, weight, .. } = self.bound;
        let queue = QueueBuilder::new(items, Overflow::Block).max_weight(weight).timed();
        let (sender, receiver) = queue.build().map_err(OutboxError::Bounds)?;
        let (message_marks, byte_marks) = marks(self.bound, self.percent)?;
        let space = Arc::new(Space::new(message_marks, byte_marks));
        let (message_pace, byte_pace) = (self.message_rate.map(Pace::new), self.byte_rate.map(Pace::new));
        let intake = Intake::new(sender, Arc::clone(&space), Arc::clone(&self.weigh), message_pace, byte_pace);
        Ok((Inbox::new(receiver, space), intake))
    }
}

impl<T> Clone for InboxBuilder<T> {
    fn clone(&self) -> Self {
        Self { weigh: Arc::clone(&self.weigh), ..*self }
    }
}

impl<T> fmt::Debug for InboxBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, message_rate, byte_rate, .. } = self;
        f.debug_struct("InboxBuilder")
            .field("bound", bound)
            .field("message_rate", message_rate)
            .field("byte_rate", byte_rate)
            .finish_non_exhaustive()
    }
}
