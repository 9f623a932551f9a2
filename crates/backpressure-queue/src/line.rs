//! The line: a gate with one place.

use std::fmt;

use backpressure_core::{Class, CoDel};

use crate::{Gate, Wait};

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
    /// First in, first out while the line gets empty now and then; last in, first out, and none for long, once somebody has been
    /// waiting for [`CoDel`]'s interval without a break (Maurer, as above).
    Adaptive(CoDel),
}

/// A bounded line of waiters, of whom one at a time has the [`Turn`](crate::Turn).
///
/// A line that has `capacity` waiters, the holder of the turn among them, answers newcomers [`LineError::Full`](crate::LineError::Full) at
/// once. It is a cheap handle: clones share one line, and a [`Wait`] or a turn keeps the line alive without it.
///
/// # Fairness
///
/// Nobody overtakes the [`Order`]: a newcomer gets the turn at once only if nobody has it and nobody waits for it.
///
/// # Memory
///
/// Nothing for a waiter that need not wait. 56 bytes for each that does, in one allocation that grows as it is used, at most
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
    gate: Gate,
    capacity: usize,
    order: Order,
}

impl Line {
    /// Creates a line of at most `capacity` waiters, the holder of the turn among them, in [`Order::Fifo`].
    ///
    /// With a capacity of 1 the turn is a lock that nobody waits for; with 0 everyone is refused. `usize::MAX` is legal,
    /// allocates nothing in advance, and leaves the line as long as [one can be](Gate::MOST).
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
        Self::with(self.capacity, order)
    }

    /// Returns the number of waiters in the line, the holder of the turn among them: at most [`capacity`](Self::capacity).
    ///
    /// It reads one atomic. Who reads that a waiter has left also sees what that waiter did before.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let (in_use, waiting) = self.gate.occupancy();
        in_use + waiting
    }

    /// Returns whether nobody has the turn and nobody waits for it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the most waiters there may be.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Waits for the turn.
    ///
    /// The line is joined when the future is first polled, not before. See [`Wait`] for deadlines and for what dropping it does.
    ///
    /// # Errors
    ///
    /// [`LineError::Full`](crate::LineError::Full) and [`LineError::Closed`](crate::LineError::Closed) at the first poll; while
    /// waiting, `Closed`, and [`LineError::Expired`](crate::LineError::Expired) if a deadline was set.
    pub fn wait(&self) -> Wait {
        Wait::new(self.gate.enter(Class::Default))
    }

    /// Closes the line, for ever: every waiter and every later one gets [`LineError::Closed`](crate::LineError::Closed).
    ///
    /// The holder of the turn keeps it, and so does a waiter to whom it was passed on before, even if it does not know yet.
    pub fn close(&self) {
        self.gate.close();
    }

    fn with(capacity: usize, order: Order) -> Self {
        let gate = Gate::new(capacity.min(1)).queue(capacity.saturating_sub(1)).order(order);
        Self { gate, capacity, order }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("capacity", &self.capacity)
            .field("order", &self.order)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
