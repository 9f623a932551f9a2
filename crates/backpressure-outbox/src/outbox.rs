//! The end of an outbox that messages are sent to.

use std::fmt;
use std::sync::Arc;

use backpressure_queue::{ItemClass, Overflow, SendError, Sent};

use crate::shared::Shared;
use crate::state::Why;
use crate::{Close, Numbers, OutboxBuilder};

/// The messages for one connection: bounded, in order, with numbers and an end.
///
/// Clones are handles of the same outbox. When the last of them is dropped, it is closed with [`Close::NORMAL`]: what waits is
/// still written. The [`Outlet`](crate::Outlet) is the other end.
///
/// # At the limit
///
/// What is said of the [`Queue`](backpressure_queue::Queue) holds: the bounds on messages and bytes are never exceeded, and
/// [`Overflow`] and [`ItemClass`] say what gives way. Whatever is not admitted comes back in the [`SendError`], and whatever it
/// displaced in [`Sent`].
///
/// # Memory
///
/// 312 bytes while idle, whatever is configured: 160 of its own, in one allocation, and 152 of a queue with a reserve. Messages take
/// what the queue takes for each, beside themselves. The future that writes is the task's.
pub struct Outbox<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Outbox<M> {
    /// Starts to configure outboxes, with what says how many bytes a message has: `String::len`, for one.
    pub fn builder(bytes: impl Fn(&M) -> usize + Send + Sync + 'static) -> OutboxBuilder<M> {
        OutboxBuilder::new(bytes)
    }

    pub(crate) fn new(shared: Arc<Shared<M>>) -> Self {
        shared.handle_came();
        Self { shared }
    }

    /// Sends a message that may be dropped, without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_send_as`](Self::try_send_as).
    pub fn try_send(&self, message: M) -> Result<Sent<M>, SendError<M>> {
        self.try_send_as(ItemClass::Droppable, message)
    }

    /// Sends a message of a class, without waiting.
    ///
    /// [`ItemClass::Urgent`] is for what must be ahead of all data and is never dropped: it has a room of its own, does not count as
    /// a backlog, and goes out while the peer holds the rest.
    ///
    /// # Errors
    ///
    /// The message comes back where it is not admitted, with the reason: there is no room, it would not fit into an empty outbox, or
    /// the outbox is closed. If that message makes the peer too slow, it comes back the same way; one that was admitted is discarded.
    pub fn try_send_as(&self, class: ItemClass, message: M) -> Result<Sent<M>, SendError<M>> {
        self.shared.try_send(self.shared.item(class, message))
    }

    /// Sends a message that may be dropped; under [`Overflow::Block`] it waits for room.
    ///
    /// # Errors
    ///
    /// As [`send_as`](Self::send_as).
    pub async fn send(&self, message: M) -> Result<Sent<M>, SendError<M>> {
        self.send_as(ItemClass::Droppable, message).await
    }

    /// Sends a message of a class; under [`Overflow::Block`] it waits for room.
    ///
    /// A peer may hold its data for ever: bound that with a [soft limit](OutboxBuilder::slow), which ends the outbox and so the wait.
    ///
    /// # Errors
    ///
    /// As [`try_send_as`](Self::try_send_as), but that under [`Overflow::Block`] only what is urgent is refused for lack of room.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the message along, and leaves nothing behind: it is in the outbox only once this has resolved.
    pub async fn send_as(&self, class: ItemClass, message: M) -> Result<Sent<M>, SendError<M>> {
        let result = self.shared.sender().send(self.shared.item(class, message)).await;
        self.shared.arrived(class, &result);
        result
    }

    /// Closes the outbox, for ever: nothing more is admitted, what waits is written, and then the last words.
    ///
    /// All of that has [a second](OutboxBuilder::close_within). Of several calls the first counts. What the peer holds is not written,
    /// but discarded.
    pub fn close(&self, close: Close) {
        self.shared.end(Why::Asked, close);
    }

    /// Holds back everything but what is urgent: the peer wants nothing for now.
    ///
    /// What comes meanwhile waits within the bounds, and counts for the watermarks and the limits for slow consumers.
    pub fn hold(&self) {
        self.shared.hold_for_peer(true);
    }

    /// Lets go what is [held](Self::hold).
    pub fn release(&self) {
        self.shared.hold_for_peer(false);
    }

    /// Changes what happens to a message that arrives when there is no room.
    pub fn set_overflow(&self, overflow: Overflow) {
        self.shared.queue().set_overflow(overflow);
    }

    /// Returns whether the producer is to pause: the outbox is above its watermarks.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.is_paused()
    }

    /// Returns whether nothing is admitted any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.queue().is_closed()
    }

    /// Returns whether the other end is gone, and with it the transport: the numbers are final.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    pub(crate) fn shared(&self) -> Arc<Shared<M>> {
        Arc::clone(&self.shared)
    }

    /// Returns how the connection is doing.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.shared.numbers()
    }
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<M> Drop for Outbox<M> {
    fn drop(&mut self) {
        self.shared.handle_left();
    }
}

impl<M> fmt::Debug for Outbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}
