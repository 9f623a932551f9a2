//! The line: who holds the turn, who waits for it, and who is next.

use std::fmt;
use std::mem;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::slab::{Slab, Ticket};
use crate::sync::{Arc, AtomicUsize, Mutex};
use crate::{LineError, Wait};

/// Who is next when the turn is passed on. Whoever has the turn already keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// First in, first out: the oldest waiter is next. Fair: nobody is overtaken.
    #[default]
    Fifo,
    /// Last in, first out: the newest waiter is next.
    ///
    /// For a line that stays long: first in, first out, every waiter gets its turn when its deadline has almost passed; last
    /// in, first out, the newest get it in good time and the oldest expire (Maurer, "Fail at Scale", ACM Queue 13(8), 2015).
    /// Waiters without a deadline may starve.
    Lifo,
}

/// A bounded line of waiters, of whom one at a time has the [`Turn`](crate::Turn).
///
/// A line that has `capacity` waiters, the holder of the turn among them, answers newcomers [`LineError::Full`] at once. It is a
/// cheap handle: clones share one line, and a [`Wait`] or a turn keeps the line alive without it.
///
/// # Fairness
///
/// Nobody overtakes the [`Order`]: a newcomer gets the turn at once only if nobody has it and nobody waits for it.
///
/// # Memory
///
/// Nothing for a waiter that need not wait. 40 bytes for each that does, in one allocation that grows as it is used, at most
/// doubling, and stays as long as the line ever was; on a line that never has more than one waiter it is never made.
///
/// # Complexity
///
/// Joining, leaving and passing the turn on take constant time under one lock; neither a wake-up nor the drop of a waker
/// happens under it. [`close`](Self::close) wakes every waiter.
///
/// # Examples
///
/// ```
/// use backpressure_queue::{Line, LineError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LineError> {
/// let line = Line::new(1);
/// let turn = line.wait().await?;
/// assert_eq!(line.wait().await.unwrap_err(), LineError::Full);
///
/// drop(turn);
/// assert!(line.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Line {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    order: Order,
    /// What `state` counts, for those who look without the lock. Written under the lock only.
    len: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    baton: Baton,
    /// Those who wait, without the one who has the baton. Nobody waits while the baton is free.
    waiters: Slab<Waker>,
    closed: bool,
}

#[derive(Clone, Copy, Default)]
enum Baton {
    #[default]
    Free,
    /// With one who came when it was free, and needed no ticket.
    Held,
    /// With a former waiter, who was woken for it and has perhaps not been polled since.
    HeldBy(Ticket),
}

/// How a waiter stands.
pub(crate) enum Standing {
    /// In the line: its waker is woken once that is no longer so.
    Waiting(Ticket),
    /// With the baton, or with none and out of the line.
    Resolved(Result<(), LineError>),
}

impl Line {
    /// Creates a line of at most `capacity` waiters, the holder of the turn among them, in [`Order::Fifo`].
    ///
    /// With a capacity of 1 the turn is a lock that nobody waits for; with 0 everyone is refused. `usize::MAX` is legal,
    /// allocates
    /// nothing in advance, and leaves the line unbounded.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::with(capacity, Order::default())
    }

    /// Sets who is next when the turn is passed on.
    ///
    /// This makes a new line, empty and open: handles that were cloned before, and a [`Wait`] that was made before, stay with the
    /// old one.
    #[must_use]
    pub fn order(self, order: Order) -> Self {
        Self::with(self.capacity(), order)
    }

    /// Returns the number of waiters in the line, the holder of the turn among them: at most [`capacity`](Self::capacity).
    ///
    /// It reads one atomic. Who reads that a waiter has left also sees what that waiter did before.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        // Acquire: pairs with the store in `update`, so that whoever skips an empty line comes after its last turn.
        self.shared.len.load(Ordering::Acquire)
    }

    /// Returns whether nobody has the turn and nobody waits for it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the most waiters there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Waits for the turn.
    ///
    /// The line is joined when the future is first polled, not before. See [`Wait`] for deadlines and for what dropping it does.
    ///
    /// # Errors
    ///
    /// [`LineError::Full`] and [`LineError::Closed`] at the first poll; while waiting, [`LineError::Closed`], and
    /// [`LineError::Expired`] if a deadline was set.
    pub fn wait(&self) -> Wait {
        Wait::new(self.clone())
    }

    /// Closes the line, for ever: every waiter and every later one gets [`LineError::Closed`].
    ///
    /// The holder of the turn keeps it, and so does a waiter to whom it was passed on before, even if it does not know yet.
    pub fn close(&self) {
        let mut waiters = self.update(|state| {
            state.closed = true;
            mem::take(&mut state.waiters)
        });
        while let Some((_, waker)) = waiters.pop_front() {
            waker.wake();
        }
    }

    pub(crate) fn join(&self, waker: &Waker) -> Standing {
        self.update(|state| state.join(self.capacity(), waker))
    }

    /// Says how a waiter stands, and registers its waker if it has to wait on.
    pub(crate) fn ask(&self, ticket: Ticket, waker: &Waker) -> Standing {
        let (standing, replaced) = self.update(|state| state.ask(ticket, waker));
        drop(replaced);
        standing
    }

    /// Ends the wait of a waiter whose deadline has passed, unless it has been handed the baton meanwhile.
    pub(crate) fn expire(&self, ticket: Ticket) -> Result<(), LineError> {
        let (result, unused) = self.update(|state| match state.waiters.remove(ticket) {
            Some(waker) => (Err(LineError::Expired), Some(waker)),
            None => (state.answer(ticket), None),
        });
        drop(unused);
        result
    }

    /// Takes a waiter out of the line; if it has been handed the baton, that goes to the next.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let (unused, next) = self.update(|state| match state.baton {
            Baton::HeldBy(holder) if holder == ticket => (None, state.pass_on(self.shared.order)),
            _ => (state.waiters.remove(ticket), None),
        });
        drop(unused);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    /// Gives the baton that a `Turn` stood for to the next waiter.
    pub(crate) fn pass_on(&self) {
        let next = self.update(|state| state.pass_on(self.shared.order));
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn with(capacity: usize, order: Order) -> Self {
        let shared = Shared { capacity, order, len: AtomicUsize::new(0), state: Mutex::new(State::default()) };
        Self { shared: Arc::new(shared) }
    }

    /// Changes the state under the lock. A waker that comes out of it is for the caller to wake or drop, not for `change`: both
    /// run foreign code, which may drop a `Wait` of this very line.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.shared.state.lock();
        let result = change(&mut state);
        // Release: pairs with the load in `len`. Under the lock, so that the counts are published in their order.
        self.shared.len.store(state.len(), Ordering::Release);
        result
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("capacity", &self.capacity())
            .field("order", &self.shared.order)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl State {
    const fn len(&self) -> usize {
        match self.baton {
            Baton::Free => 0,
            Baton::Held | Baton::HeldBy(_) => self.waiters.len() + 1,
        }
    }

    fn join(&mut self, capacity: usize, waker: &Waker) -> Standing {
        if self.closed {
            return Standing::Resolved(Err(LineError::Closed));
        }
        if self.len() >= capacity {
            return Standing::Resolved(Err(LineError::Full));
        }
        if matches!(self.baton, Baton::Free) {
            self.baton = Baton::Held;
            return Standing::Resolved(Ok(()));
        }
        Standing::Waiting(self.waiters.push_back(waker.clone()))
    }

    fn ask(&mut self, ticket: Ticket, waker: &Waker) -> (Standing, Option<Waker>) {
        let Some(registered) = self.waiters.get_mut(ticket) else {
            return (Standing::Resolved(self.answer(ticket)), None);
        };
        let replaced = (!registered.will_wake(waker)).then(|| mem::replace(registered, waker.clone()));
        (Standing::Waiting(ticket), replaced)
    }

    /// Says why one is no longer among the waiters: it has the baton, or the line was closed.
    fn answer(&self, ticket: Ticket) -> Result<(), LineError> {
        match self.baton {
            Baton::HeldBy(holder) if holder == ticket => Ok(()),
            _ => Err(LineError::Closed),
        }
    }

    /// Hands the baton to the next waiter and returns its waker, or frees the baton.
    fn pass_on(&mut self, order: Order) -> Option<Waker> {
        let next = match order {
            Order::Fifo => self.waiters.pop_front(),
            Order::Lifo => self.waiters.pop_back(),
        };
        let Some((ticket, waker)) = next else {
            self.baton = Baton::Free;
            return None;
        };
        self.baton = Baton::HeldBy(ticket);
        Some(waker)
    }
}
