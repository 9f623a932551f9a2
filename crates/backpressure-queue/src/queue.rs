//! The queue: bounded in items and in weight, with a policy for what arrives when it is full.

mod builder;
mod extra;
mod item;
mod outcome;
mod receiver;
mod sacrifice;
mod sender;
mod state;
mod store;
#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests;
mod wakes;

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

pub use self::builder::{QueueBuilder, QueueError};
pub use self::item::{Item, ItemClass, Load};
pub use self::outcome::{Counts, Displaced, Received, Refused, SendError, Sent, TryRecvError};
pub use self::receiver::Receiver;
pub use self::sender::{Sender, Sending};
use self::state::{Afterwards, State};
pub use self::wakes::Wakes;
use crate::Overflow;
use crate::sync::{Arc, Mutex};

/// A bounded queue of items, with many [`Sender`]s and one [`Receiver`]: its numbers, its policy, its end.
///
/// [`QueueBuilder`] makes one; both ends lend it. Clones are handles of the same queue, which keep its memory, but do not keep it
/// open: for whoever watches it, or ends it.
///
/// # At the limit
///
/// Neither the items nor what they weigh together ever exceed the [`capacity`](Self::capacity), not for an instant: the arriving
/// item counts, and what it displaces is gone before it is in. What gives way is said by [`Overflow`] and [`ItemClass`].
///
/// # Fairness
///
/// Items are received in the order in which they were admitted, urgent ones before all others; under [`Overflow::Block`] senders
/// are admitted in the order in which they came ([`Sending`]).
///
/// # Memory
///
/// An empty queue takes 136 bytes, in one allocation for all of its handles; nothing is allocated for items before there are any.
/// Each then takes its own size, rounded up to 8, and 40 bytes, in one allocation that grows as it is used, at most doubling, and
/// stays as long as the queue ever was, until [`shrink_to_fit`](Self::shrink_to_fit), [`discard`](Self::discard) or the end of the
/// receiver. Where others are evicted from behind durable or conflated items, it may become thrice as long. The first loss, refusal
/// or item that is not droppable takes another 240 bytes, once; a conflated item some 20 bytes more than others; a sender that waits
/// up to 64.
///
/// # Complexity
///
/// All methods but `discard` and `shrink_to_fit` take constant time under one lock, amortised; so does each eviction, except one
/// for a conflated item that is heavier than the one it replaces, which may look at all that is inside. No waker is woken or
/// dropped, and no item is dropped, under the lock.
pub struct Queue<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Queue<T> {
    fn new(limit: Load, reserve: Load, overflow: Overflow) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(limit, reserve, overflow))) }
    }

    /// Returns what is inside, as it is right now: at most the [`capacity`](Self::capacity).
    #[must_use]
    pub fn load(&self) -> Load {
        self.state.lock().store.total()
    }

    /// Returns what is inside without what is urgent: how full it is for all who have no room of their own.
    #[must_use]
    pub fn load_besides_urgent(&self) -> Load {
        self.state.lock().store.load()
    }

    /// Returns whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load().items == 0
    }

    /// Returns the most that there may be inside, the reserve for urgent items included.
    #[must_use]
    pub fn capacity(&self) -> Load {
        self.state.lock().store.capacity()
    }

    /// Returns how many items came to which end so far. The numbers are of one instant.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.lock().store.counts()
    }

    /// Returns for how long the item that has been inside for longest has been: how far the receiver is behind.
    ///
    /// `None` if nothing is inside, or the queue is not [timed](QueueBuilder::timed). A conflated item has the age of its place.
    #[must_use]
    pub fn oldest_age(&self) -> Option<Duration> {
        let oldest = self.state.lock().store.oldest();
        oldest.map(|since| Instant::now().saturating_duration_since(since))
    }

    /// Returns what happens to an item that arrives when there is no room.
    #[must_use]
    pub fn overflow(&self) -> Overflow {
        self.state.lock().overflow()
    }

    /// Changes what happens to an item that arrives when there is no room.
    ///
    /// Senders that wait notice: they wait no longer under a policy under which nobody waits, and are served by it in their
    /// order. Those who come after the change do not wait for them.
    pub fn set_overflow(&self, overflow: Overflow) {
        self.update(|state, after| state.set_overflow(overflow, after));
    }

    /// Closes the queue, for ever: nothing more is admitted, and whoever waits for room gets the item back.
    ///
    /// What is inside can still be received; after the last of it the receiver gets `None`. To end without it,
    /// [`discard`](Self::discard) it afterwards.
    pub fn close(&self) {
        self.update(State::close);
    }

    /// Returns whether the queue is closed: by [`close`](Self::close), or because its receiver or all its senders are gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed()
    }

    /// Takes out all that is inside, in the order in which it would have been received, and returns it.
    ///
    /// The queue stays open, or closed. The receiver learns of it as [missed](Received::missed); what was urgent is in
    /// [`Counts::discarded`] only.
    #[must_use = "the items are dropped with this"]
    pub fn discard(&self) -> Vec<Item<T>> {
        self.update(State::discard).into_items()
    }

    /// Has the receiver learn that an item of this weight was lost on its way here, as [missed](Received::missed): for whoever drops
    /// what was refused instead of keeping it. What a policy that drops has refused for lack of room is marked already.
    pub fn mark_missed(&self, weight: u64) {
        self.state.lock().store.mark_loss(weight);
    }

    /// Frees the memory that the queue needed when it was longer.
    ///
    /// For a queue that was long once and will be short, as one of many connections that is idle: a queue that is filled and
    /// emptied all the time had better keep it.
    pub fn shrink_to_fit(&self) {
        self.state.lock().shrink_to_fit();
    }

    /// Changes the state under the lock, and then wakes and drops whom that concerns.
    #[inline]
    fn update<R>(&self, change: impl FnOnce(&mut State<T>, &mut Afterwards) -> R) -> R {
        let mut after = Afterwards::nothing();
        let result = change(&mut self.state.lock(), &mut after);
        after.run();
        result
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Queue")
            .field("load", &state.store.total())
            .field("capacity", &state.store.capacity())
            .field("overflow", &state.overflow())
            .field("closed", &state.is_closed())
            .finish_non_exhaustive()
    }
}
