//! The end that is received from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::item::{Item, Load};
use super::outcome::{Received, TryRecvError};
use super::state::{State, wake};
use super::{Queue, Wakes};
use crate::sync::MutexGuard;

/// The end of a [`Queue`] that is received from: there is one. It is a [`Stream`] of what [`recv`](Self::recv) returns.
///
/// Dropping it closes the queue, and drops what is inside.
pub struct Receiver<T> {
    queue: Queue<T>,
}

/// The future of [`Receiver::recv`].
struct Recv<'a, T> {
    receiver: &'a mut Receiver<T>,
    /// Whether the queue holds the waker of this future.
    waits: bool,
}

impl<T> Receiver<T> {
    pub(super) const fn new(queue: Queue<T>) -> Self {
        Self { queue }
    }

    /// Returns the queue: its numbers, its policy, its end.
    #[must_use]
    pub const fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Receives the next item, and what was lost before it. Waits while the queue is empty; `None` once it is also closed.
    ///
    /// Urgent items come first, then the others in the order in which they were sent. A queue that never runs empty never makes
    /// this wait: a loop of it should yield now and then, or do something that does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: an item is taken out only when it resolves.
    pub fn recv(&mut self) -> impl Future<Output = Option<Received<T>>> {
        Recv { receiver: self, waits: false }
    }

    /// Receives the next item, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`]; [`TryRecvError::Closed`] once the queue is also closed.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Received<T>, TryRecvError> {
        self.take_or(Ok, |state| {
            let reason = if state.is_closed() { TryRecvError::Closed } else { TryRecvError::Empty };
            (Err(reason), None)
        })
    }

    /// Receives the next item, if there is one now, without waking, for a caller that holds a lock: who is to be woken is added to
    /// `wakes`, to be dropped without the lock.
    ///
    /// Returns the item, as [`try_recv`](Self::try_recv) does, and what is inside then
    /// [besides what is urgent](Queue::load_besides_urgent).
    #[inline]
    pub fn try_recv_with(&mut self, wakes: &mut Wakes) -> (Result<Received<T>, TryRecvError>, Load) {
        let mut state = self.queue.state.lock();
        let item = state.store.pop_plain().map(|item| Received { item, missed: Load::ZERO });
        let Some(received) = item.or_else(|| state.store.pop()) else {
            let reason = if state.is_closed() { TryRecvError::Closed } else { TryRecvError::Empty };
            return (Err(reason), state.store.load());
        };
        wakes.add(state.call_first());
        (Ok(received), state.store.load())
    }

    /// Receives the next urgent item, if there is one now: for a receiver that holds back all others for a while.
    ///
    /// Nothing is marked as missed before it, as with any urgent item.
    #[inline]
    pub fn try_recv_urgent(&mut self) -> Option<Item<T>> {
        self.queue.state.lock().store.pop_urgent()
    }

    /// Polls for the next item, as [`recv`](Self::recv) does.
    ///
    /// While it is pending, the waker of the last poll is kept, and woken by the next item or the end.
    #[inline]
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Received<T>>> {
        let ready = |received| Poll::Ready(Some(received));
        self.take_or(ready, |state| match state.is_closed() {
            true => (Poll::Ready(None), None),
            false => (Poll::Pending, state.await_item(context.waker())),
        })
    }

    /// Returns what was lost after the item received last and before the next, or before the end if there is none.
    ///
    /// The next item brings it as [`Received::missed`]; after the last one it is only here.
    #[must_use]
    pub fn missed(&self) -> Load {
        self.queue.state.lock().store.missed()
    }

    /// Takes out the next item, or does what is to be done without one. Inlined where nothing else has to be done, as the other end:
    /// an item that is handed from function to function through memory takes twice as long.
    #[inline(always)]
    fn take_or<R>(
        &mut self,
        taken: impl FnOnce(Received<T>) -> R,
        otherwise: impl FnOnce(&mut State<T>) -> (R, Option<Waker>),
    ) -> R {
        let mut state = self.queue.state.lock();
        if let Some(item) = state.store.pop_plain() {
            let sender = state.call_first();
            drop(state);
            wake(sender);
            return taken(Received { item, missed: Load::ZERO });
        }
        Self::take_marked_or(state, taken, otherwise)
    }

    /// Takes out the next item, whatever it is, or does what is to be done without one. The waker that comes out of that is dropped
    /// without the lock.
    #[inline(never)]
    fn take_marked_or<R>(
        mut state: MutexGuard<'_, State<T>>,
        taken: impl FnOnce(Received<T>) -> R,
        otherwise: impl FnOnce(&mut State<T>) -> (R, Option<Waker>),
    ) -> R {
        let Some(received) = state.store.pop() else {
            let (result, unused) = otherwise(&mut state);
            drop(state);
            drop(unused);
            return result;
        };
        let sender = state.call_first();
        drop(state);
        wake(sender);
        taken(received)
    }
}

impl<T> Stream for Receiver<T> {
    type Item = Received<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received<T>>> {
        self.poll_recv(context)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let discarded = self.queue.update(|state, after| {
            state.close(after);
            state.discard(after)
        });
        drop(discarded);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("queue", &self.queue).finish()
    }
}

impl<T> Future for Recv<'_, T> {
    type Output = Option<Received<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received<T>>> {
        let polled = self.receiver.poll_recv(context);
        self.waits = polled.is_pending();
        polled
    }
}

impl<T> Drop for Recv<'_, T> {
    fn drop(&mut self) {
        if self.waits {
            let unused = self.receiver.queue.update(|state, _| state.await_no_item());
            drop(unused);
        }
    }
}
