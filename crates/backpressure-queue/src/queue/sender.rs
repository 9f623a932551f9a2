//! The end that is sent to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};

use super::item::{Item, Load};
use super::outcome::{Refused, SendError, Sent};
use super::state::{Afterwards, Attempt, State, wake};
use super::{Queue, Wakes};
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
    #[pin]
    wait: Wait,
}

/// The wait for room: most items need none.
#[pin_project]
struct Wait {
    /// `Some` while the future waits for room.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
    /// `Some` while the future has to wait and has a deadline.
    #[pin]
    timer: Option<Sleep>,
}

type SendResult<T> = Result<Sent<T>, SendError<T>>;

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
        let since = self.now();
        self.push_or(&mut Some(item.into()), since, Ok, |state, item| {
            let item = taken(item);
            Self::update(state, |state, after| state.try_send(item, since, after))
        })
    }

    /// Sends an item without waiting and without waking, for a caller that holds a lock and knows the time: those who are to be
    /// woken are added to `wakes`, to be dropped without the lock.
    ///
    /// Returns what became of the item, as [`try_send`](Self::try_send) does, and what is inside then
    /// [besides what is urgent](Queue::load_besides_urgent). `since` is when it was sent, for a queue that is timed.
    #[inline]
    pub fn try_send_at(&self, item: Item<T>, since: Instant, wakes: &mut Wakes) -> (SendResult<T>, Load) {
        let since = self.timed.then_some(since);
        let mut state = self.queue.state.lock();
        if state.takes(&item) {
            wakes.add(state.push(item, since));
            return (Ok(Sent::nothing_displaced()), state.store.load());
        }
        if let Some(oldest) = state.evict_oldest_for(&item) {
            wakes.add(state.push(item, since));
            return (Ok(Sent::evicted(oldest)), state.store.load());
        }
        let mut after = Afterwards::nothing();
        let result = state.try_send(item, since, &mut after);
        let load = state.store.load();
        drop(state);
        after.leave_to(wakes);
        (result, load)
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
        Sending { sender: self, item: Some(item), wait: Wait { ticket: None, deadline, timer: None } }
    }

    /// Sends an item that needs nothing but to be pushed, as most do, or does whatever else has to be done. On this path everything
    /// is inlined, and the item is taken from where it is at the end: handed on through memory it takes twice as long.
    #[inline(always)]
    fn push_or<'i, R>(
        &self,
        item: &'i mut Option<Item<T>>,
        since: Option<Instant>,
        pushed: impl FnOnce(Sent<T>) -> R,
        otherwise: impl FnOnce(MutexGuard<'_, State<T>>, &'i mut Option<Item<T>>) -> R,
    ) -> R {
        let mut state = self.queue.state.lock();
        if let Some(item) = item.take_if(|item| state.takes(item)) {
            let receiver = state.push(item, since);
            drop(state);
            wake(receiver);
            return pushed(Sent::nothing_displaced());
        }
        if let Some(oldest) = item.as_ref().and_then(|item| state.evict_oldest_for(item))
            && let Some(item) = item.take()
        {
            let receiver = state.push(item, since);
            drop(state);
            wake(receiver);
            return pushed(Sent::evicted(oldest));
        }
        otherwise(state, item)
    }

    /// Does what is not the rule, apart from what is: there it would take the room and the registers.
    #[inline(never)]
    fn update<R>(mut state: MutexGuard<'_, State<T>>, change: impl FnOnce(&mut State<T>, &mut Afterwards) -> R) -> R {
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

impl Wait {
    /// Sends the item at somebody's expense, or waits for room, or gives up.
    #[inline(never)]
    fn poll<T>(
        self: Pin<&mut Self>,
        sender: &Sender<T>,
        state: MutexGuard<'_, State<T>>,
        kept: &mut Option<Item<T>>,
        since: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<SendResult<T>> {
        let mut this = self.project();
        let (item, ticket, waker) = (taken(kept), this.ticket.take(), context.waker());
        let (item, ticket) = match Sender::update(state, |state, after| state.send(item, since, ticket, waker, after)) {
            Attempt::Done(result) => {
                // One that outlives the wait would wake the task for nothing.
                this.timer.set(None);
                return Poll::Ready(result);
            }
            Attempt::Waiting(item, ticket) => (item, ticket),
        };
        // Kept before the timer can panic: without the ticket, dropping the future would leave it waiting for ever.
        *kept = Some(item);
        *this.ticket = Some(ticket);
        let Some(deadline) = *this.deadline else {
            return Poll::Pending;
        };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        ready!(this.timer.as_mut().as_pin_mut().expect("the timer was set above").poll(context));
        this.timer.set(None);
        let (item, ticket) = (taken(kept), this.ticket.take());
        Poll::Ready(Err(sender.queue.update(|state, after| state.refuse(item, Refused::Expired, ticket, after))))
    }
}

impl<T> Future for Sending<'_, T> {
    type Output = SendResult<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<SendResult<T>> {
        let this = self.project();
        let (sender, since) = (*this.sender, this.sender.now());
        let pushed = |sent| Poll::Ready(Ok(sent));
        sender.push_or(this.item, since, pushed, |state, item| this.wait.poll(sender, state, item, since, context))
    }
}

/// Takes the item of a future that has not resolved.
fn taken<T>(item: &mut Option<Item<T>>) -> Item<T> {
    item.take().expect("a `Sending` is not polled again after it has resolved")
}

#[pinned_drop]
impl<T> PinnedDrop for Sending<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        if self.wait.ticket.is_some() {
            self.sender.queue.update(|state, after| state.leave(self.wait.ticket, after));
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("waits", &self.wait.ticket.is_some())
            .field("deadline", &self.wait.deadline)
            .finish_non_exhaustive()
    }
}
