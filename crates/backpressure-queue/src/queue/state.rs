//! What is under the lock: the items, and who waits for what.

use std::task::Waker;

use tokio::time::Instant;

use super::Wakes;
use super::item::{Item, ItemClass, Load};
use super::outcome::{Refused, SendError, Sent};
use super::store::{Discarded, Store};
use crate::Overflow;
use crate::slab::{Slab, Ticket};

pub(super) struct State<T> {
    pub(super) store: Store<T>,
    /// `Some` while the receiver waits for an item.
    receiver: Option<Waker>,
    /// Those who wait for room, in the order in which they came. Only the first ever looks for room, once it is woken.
    waiting: Option<Box<Slab<Waiting>>>,
    senders: u32,
    overflow: Overflow,
    closed: bool,
}

/// A sender that waits for room. The item itself is in its future.
pub(super) struct Waiting {
    class: ItemClass,
    weight: u64,
    /// `None` once it has been woken, until it is polled again.
    waker: Option<Waker>,
}

/// How far an attempt to send has got.
pub(super) enum Attempt<T> {
    Done(Result<Sent<T>, SendError<T>>),
    Waiting(Item<T>, Ticket),
}

/// What is to be done once the lock is released: wakers run foreign code, which may use this very queue.
#[must_use]
pub(super) struct Afterwards {
    receiver: Option<Waker>,
    sender: Option<Waker>,
    /// All who waited when the queue was closed.
    closed: Option<Box<Slab<Waiting>>>,
    /// To be dropped, not woken.
    unused: Option<Waker>,
}

impl<T> State<T> {
    pub(super) fn new(limit: Load, reserve: Load, overflow: Overflow) -> Self {
        Self { store: Store::new(limit, reserve), receiver: None, waiting: None, senders: 0, overflow, closed: false }
    }

    pub(super) const fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) const fn sender_came(&mut self) {
        self.senders += 1;
    }

    pub(super) fn sender_left(&mut self, after: &mut Afterwards) {
        self.senders -= 1;
        if self.senders == 0 {
            self.close(after);
        }
    }

    /// Whether the item needs nothing but to be [pushed](Self::push): by far the most do.
    #[inline]
    pub(super) fn takes(&self, item: &Item<T>) -> bool {
        !self.closed && !self.has_waiting() && self.store.takes(item)
    }

    /// Evicts the oldest item if that is all it takes for a droppable item to be [pushed](Self::push): what happens most in a
    /// queue that drops its oldest and is full.
    #[inline(always)]
    pub(super) fn evict_oldest_for(&mut self, item: &Item<T>) -> Option<Item<T>> {
        let calm = !self.closed && !self.has_waiting() && self.overflow == Overflow::DropOldest;
        if calm && self.store.takes_for_oldest(item) { self.store.evict_oldest() } else { None }
    }

    /// Pushes a droppable item for which there is room, and returns the receiver to wake.
    #[inline(always)]
    pub(super) fn push(&mut self, item: Item<T>, since: Option<Instant>) -> Option<Waker> {
        self.store.push(item.droppable(), since);
        // Not written to where nobody waits: the unlocking waits for all that was.
        if self.receiver.is_some() { self.receiver.take() } else { None }
    }

    /// Sends an item at once, or not at all.
    #[inline]
    pub(super) fn try_send(
        &mut self,
        item: Item<T>,
        since: Option<Instant>,
        after: &mut Afterwards,
    ) -> Result<Sent<T>, SendError<T>> {
        self.attempt(item, since, None, after).map_err(|(item, reason)| self.refuse(item, reason, None, after))
    }

    /// Sends an item, or joins or stays among those who wait, who are known by their tickets.
    pub(super) fn send(
        &mut self,
        item: Item<T>,
        since: Option<Instant>,
        ticket: Option<Ticket>,
        waker: &Waker,
        after: &mut Afterwards,
    ) -> Attempt<T> {
        let (item, reason) = match self.attempt(item, since, ticket, after) {
            Ok(sent) => return Attempt::Done(Ok(sent)),
            Err(refused) => refused,
        };
        let waits = self.overflow == Overflow::Block || ticket.is_some_and(|ticket| !self.is_first(ticket));
        if reason == Refused::Full && item.class != ItemClass::Urgent && waits {
            let ticket = self.wait(&item, ticket, waker, after);
            return Attempt::Waiting(item, ticket);
        }
        Attempt::Done(Err(self.refuse(item, reason, ticket, after)))
    }

    /// Returns an item to its sender, who no longer waits.
    pub(super) fn refuse(
        &mut self,
        item: Item<T>,
        reason: Refused,
        ticket: Option<Ticket>,
        after: &mut Afterwards,
    ) -> SendError<T> {
        self.leave(ticket, after);
        self.store.count_refusal();
        SendError { item, reason }
    }

    /// Takes a sender out of those who wait, if it is one, and wakes the first of them if its time has come.
    #[inline]
    pub(super) fn leave(&mut self, ticket: Option<Ticket>, after: &mut Afterwards) {
        if let (Some(waiting), Some(ticket)) = (&mut self.waiting, ticket) {
            after.unused = waiting.remove(ticket).and_then(|left| left.waker);
        }
        after.sender = self.call_first();
    }

    /// Has the receiver woken by the next item, or by the end. Returns the waker that was to be woken before.
    pub(super) fn await_item(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.receiver {
            Some(registered) if registered.will_wake(waker) => None,
            _ => self.receiver.replace(waker.clone()),
        }
    }

    pub(super) const fn await_no_item(&mut self) -> Option<Waker> {
        self.receiver.take()
    }

    pub(super) fn set_overflow(&mut self, overflow: Overflow, after: &mut Afterwards) {
        self.overflow = overflow;
        after.sender = self.call_first();
    }

    pub(super) fn close(&mut self, after: &mut Afterwards) {
        self.closed = true;
        after.receiver = self.receiver.take();
        after.closed = self.waiting.take();
    }

    pub(super) fn discard(&mut self, after: &mut Afterwards) -> Discarded<T> {
        let discarded = self.store.discard();
        after.sender = self.call_first();
        discarded
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.store.shrink_to_fit();
        if !self.has_waiting() {
            self.waiting = None;
        }
    }

    #[inline]
    fn attempt(
        &mut self,
        item: Item<T>,
        since: Option<Instant>,
        ticket: Option<Ticket>,
        after: &mut Afterwards,
    ) -> Result<Sent<T>, (Item<T>, Refused)> {
        if self.closed {
            return Err((item, Refused::Closed));
        }
        if self.must_wait(&item, ticket) {
            return Err((item, Refused::Full));
        }
        let sent = self.store.offer(item, since, self.overflow)?;
        after.receiver = self.receiver.take();
        self.leave(ticket, after);
        Ok(sent)
    }

    /// Whether an item would overtake those who wait, if there was room for it.
    #[inline]
    fn must_wait(&mut self, item: &Item<T>, ticket: Option<Ticket>) -> bool {
        let behind_others = match ticket {
            Some(ticket) => !self.is_first(ticket),
            None => self.overflow == Overflow::Block && self.has_waiting(),
        };
        behind_others
            && item.class != ItemClass::Urgent
            && !self.store.is_too_heavy(item)
            && !self.store.needs_no_room(item.class, item.weight)
    }

    fn is_first(&mut self, ticket: Ticket) -> bool {
        let first = self.waiting.as_mut().and_then(|waiting| waiting.front_mut());
        first.is_some_and(|(first, _)| first == ticket)
    }

    fn wait(&mut self, item: &Item<T>, ticket: Option<Ticket>, waker: &Waker, after: &mut Afterwards) -> Ticket {
        let waiting = self.waiting.get_or_insert_default();
        if let Some(ticket) = ticket
            && let Some(Waiting { waker: registered, .. }) = waiting.get_mut(ticket)
        {
            if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                after.unused = registered.replace(waker.clone());
            }
            return ticket;
        }
        waiting.push_back(Waiting { class: item.class, weight: item.weight, waker: Some(waker.clone()) })
    }

    /// Returns the waker of the first of those who wait, unless it has been woken, if it would find room or need not wait any more.
    #[inline]
    pub(super) fn call_first(&mut self) -> Option<Waker> {
        let (_, first) = self.waiting.as_mut()?.front_mut()?;
        let called = self.overflow != Overflow::Block || self.store.fits(first.class, first.weight);
        if called { first.waker.take() } else { None }
    }

    #[inline]
    fn has_waiting(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.len() > 0)
    }
}

impl Afterwards {
    pub(super) const fn nothing() -> Self {
        Self { receiver: None, sender: None, closed: None, unused: None }
    }

    /// Leaves it to somebody else to wake, who holds a lock. To send without waiting neither closes the queue nor forgets a waker.
    pub(super) fn leave_to(self, wakes: &mut Wakes) {
        wakes.add(self.receiver);
        wakes.add(self.sender);
    }

    /// Wakes and drops, without the lock.
    #[inline]
    pub(super) fn run(self) {
        wake(self.receiver);
        wake(self.sender);
        if let Some(mut closed) = self.closed {
            while let Some((_, waiting)) = closed.pop_front() {
                wake(waiting.waker);
            }
        }
    }
}

#[inline]
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
