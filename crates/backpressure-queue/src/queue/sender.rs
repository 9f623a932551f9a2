//! The end that is sent to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Queue;
use super::item::Item;
use super::outcome::{Refused, SendError, Sent};
use super::state::{Afterwards, Attempt, State, wake};
use crate::slab::Ticket;
use crate::sync::MutexGuard;

/// The end of a [`Queue`] that is sent to. Clones send to the same queue; when the last is dropped, the queue closes and the
/// receiver gets what is still inside.
///
/// Each way of sending tells what became of the item: it is in the queue, with what it displaced ([`Sent`]), or here it is again,
/// with the reason ([`SendError`]).
pub struct Sender<T> {
    queue: Queue<T>,
    timed: bool,
}

/// The future that [`Sender::send`] and [`Sender::send_until`] return.
///
/// # Panics
///
/// When polled again after it has resolved. With a deadline, when it has to wait outside of a tokio runtime, or in one without
/// time enabled.
///
/// # Cancel safety
///
/// The item is in the queue if, and only if, the future has resolved to [`Sent`]. Dropped before, it takes the item along and
/// leaves nothing behind; those who wait behind it move up. A second try waits at the back: in `select!` in a loop, keep one
/// future and poll it by reference.
///
/// # Fairness
///
/// Under [`Overflow::Block`](crate::Overflow::Block) senders are served in the order in which they were first polled, whatever
/// their items weigh: nobody overtakes a heavy item that waits. One that was woken because there is room, and is then neither
/// polled nor dropped, holds up those behind it.
#[must_use = "nothing is sent unless this is polled"]
#[pin_project(PinnedDrop)]
pub struct Sending<'a, T> {
    sender: &'a Sender<T>,
    /// `None` once the future has resolved.
    item: Option<Item<T>>,
    /// `Some` while the future waits for room.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
    /// `Some` while the future has to wait and has a deadline.
    #[pin]
    timer: Option<Sleep>,
}

impl<T> Sender<T> {
    pub(super) fn new(queue: Queue<T>, timed: bool) -> Self {
        queue.state.lock().sender_came();
        Self { queue, timed }
    }

    /// Returns the queue: its numbers, its policy, its end.
    #[must_use]
    pub const fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Sends an item without waiting.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`], also where there is room but others wait for it; [`Refused::TooHeavy`]; [`Refused::Closed`]. The item is
    /// returned with each.
    ///
    /// # Complexity
    ///
    /// Constant, and constant for each item that it evicts, both amortised. Nothing is allocated but room for more items.
    #[inline]
    pub fn try_send(&self, item: impl Into<Item<T>>) -> Result<Sent<T>, SendError<T>> {
        let (item, since) = (item.into(), self.now());
        self.push_or(item, since, Ok, |state, item, after| state.try_send(item, since, after))
    }

    /// Sends an item; under [`Overflow::Block`](crate::Overflow::Block) it waits for room.
    ///
    /// Under the other policies it never waits. A change of the policy ends the wait.
    ///
    /// # Errors
    ///
    /// [`Refused::TooHeavy`]; [`Refused::Closed`], also while waiting; [`Refused::Full`] under a policy that drops, and for an urgent
    /// item. The item is returned with each.
    pub fn send(&self, item: impl Into<Item<T>>) -> Sending<'_, T> {
        self.sending(item.into(), None)
    }

    /// Sends an item like [`send`](Self::send), but waits no longer than until the deadline.
    ///
    /// Room goes before the deadline: an item for which there is room when the future is polled is sent, even late. The timer
    /// is tokio's, with a resolution of 1 ms, and paused time drives it.
    ///
    /// # Errors
    ///
    /// [`Refused::Expired`], and those of [`send`](Self::send).
    pub fn send_until(&self, item: impl Into<Item<T>>, deadline: Instant) -> Sending<'_, T> {
        self.sending(item.into(), Some(deadline))
    }

    const fn sending(&self, item: Item<T>, deadline: Option<Instant>) -> Sending<'_, T> {
        Sending { sender: self, item: Some(item), ticket: None, deadline, timer: None }
    }

    /// Sends an item that needs nothing but to be pushed, as most do, or does whatever else has to be done. On this path everything
    /// is inlined: an item that is handed from function to function through memory takes twice as long.
    #[inline(always)]
    fn push_or<R>(
        &self,
        item: Item<T>,
        since: Option<Instant>,
        pushed: impl FnOnce(Sent<T>) -> R,
        otherwise: impl FnOnce(&mut State<T>, Item<T>, &mut Afterwards) -> R,
    ) -> R {
        let mut state = self.queue.state.lock();
        if state.takes(&item) {
            let receiver = state.push(item, since);
            drop(state);
            wake(receiver);
            return pushed(Sent::nothing_displaced());
        }
        if let Some(oldest) = state.evict_oldest_for(&item) {
            let receiver = state.push(item, since);
            drop(state);
            wake(receiver);
            return pushed(Sent::evicted(oldest));
        }
        Self::finish(state, |state, after| otherwise(state, item, after))
    }

    /// Does what is not the rule, apart from what is: there it would take the room and the registers.
    #[inline(never)]
    fn finish<R>(mut state: MutexGuard<'_, State<T>>, change: impl FnOnce(&mut State<T>, &mut Afterwards) -> R) -> R {
        let mut after = Afterwards::nothing();
        let result = change(&mut state, &mut after);
        drop(state);
        after.run();
        result
    }

    #[inline]
    fn now(&self) -> Option<Instant> {
        self.timed.then(Instant::now)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::new(self.queue.clone(), self.timed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.queue.update(State::sender_left);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("queue", &self.queue).field("timed", &self.timed).finish()
    }
}

impl<T> Sending<'_, T> {
    fn poll_queue(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Sent<T>, SendError<T>>> {
        let mut this = self.project();
        let queue = &this.sender.queue;
        let item = this.item.take().expect("a `Sending` is not polled again after it has resolved");
        let (since, ticket, waker) = (this.sender.now(), this.ticket.take(), context.waker());
        let attempt = this.sender.push_or(
            item,
            since,
            |sent| Attempt::Done(Ok(sent)),
            |state, item, after| state.send(item, since, ticket, waker, after),
        );
        let (item, ticket) = match attempt {
            Attempt::Done(result) => return Poll::Ready(result),
            Attempt::Waiting(item, ticket) => (item, ticket),
        };
        // Kept before the timer can panic: without the ticket, dropping the future would leave it waiting for ever.
        *this.item = Some(item);
        *this.ticket = Some(ticket);
        let Some(deadline) = *this.deadline else {
            return Poll::Pending;
        };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        ready!(this.timer.as_mut().as_pin_mut().expect("the timer was set above").poll(context));
        let (item, ticket) = (this.item.take().expect("the item was set above"), this.ticket.take());
        Poll::Ready(Err(queue.update(|state, after| state.refuse(item, Refused::Expired, ticket, after))))
    }
}

impl<T> Future for Sending<'_, T> {
    type Output = Result<Sent<T>, SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.as_mut().poll_queue(context));
        let mut timer = self.project().timer;
        if timer.is_some() {
            // One that outlives the wait would wake the task for nothing.
            timer.set(None);
        }
        Poll::Ready(result)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Sending<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        if self.ticket.is_some() {
            self.sender.queue.update(|state, after| state.leave(self.ticket, after));
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("waits", &self.ticket.is_some()).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
