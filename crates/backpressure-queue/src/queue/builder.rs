//! How a queue is configured.

use std::fmt;

use super::item::Load;
use super::{Queue, Receiver, Sender};
use crate::Overflow;

/// Configures a queue and makes its two ends.
///
/// # Examples
///
/// ```
/// use backpressure_queue::{Load, Overflow, QueueBuilder};
///
/// // 50 items and 1 MiB in all; 4 items and 4 KiB of that are kept for what is urgent.
/// let (sender, receiver) = QueueBuilder::new(50, Overflow::DropOldest)
///     .max_weight(1 << 20)
///     .reserve(Load { items: 4, weight: 4096 })
///     .timed()
///     .build()?;
/// assert_eq!(sender.queue().capacity(), Load { items: 50, weight: 1 << 20 });
/// # drop(receiver);
/// # sender.try_send("hello").unwrap_err();
/// # Ok::<(), backpressure_queue::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder makes nothing before it is built"]
pub struct QueueBuilder {
    bound: Load,
    reserve: Load,
    overflow: Overflow,
    timed: bool,
}

/// Why a queue cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueError {
    /// The bound in items is 0: nothing could ever be sent.
    NoItems,
    /// The bound in weight is 0: only weightless items could ever be sent.
    NoWeight,
    /// The reserve leaves room for no other item, or for none that weighs anything.
    ReserveTooLarge {
        /// What was to be reserved.
        reserve: Load,
        /// The bound of which it was to be a part.
        bound: Load,
    },
}

impl QueueBuilder {
    /// Starts with a bound of so many items, no bound in weight (that is, `u64::MAX`), no reserve, and no ages.
    pub const fn new(max_items: usize, overflow: Overflow) -> Self {
        let bound = Load { items: max_items, weight: u64::MAX };
        Self { bound, reserve: Load::ZERO, overflow, timed: false }
    }

    /// Bounds what all items weigh together.
    pub const fn max_weight(mut self, weight: u64) -> Self {
        self.bound.weight = weight;
        self
    }

    /// Keeps a part of the bound for [urgent](crate::ItemClass::Urgent) items: they have this, and all others have the rest.
    ///
    /// Without it no urgent item is admitted.
    pub const fn reserve(mut self, reserve: Load) -> Self {
        self.reserve = reserve;
        self
    }

    /// Notes when each item is sent, for [`oldest_age`](crate::Queue::oldest_age).
    ///
    /// That is a reading of tokio's clock for each item: about as much as all else that sending it costs.
    pub const fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Makes the queue, and returns its ends.
    ///
    /// # Errors
    ///
    /// A [`QueueError`] if the bounds leave no room.
    pub fn build<T>(self) -> Result<(Sender<T>, Receiver<T>), QueueError> {
        let Self { bound, reserve, overflow, timed } = self;
        if bound.items == 0 {
            return Err(QueueError::NoItems);
        }
        if bound.weight == 0 {
            return Err(QueueError::NoWeight);
        }
        if reserve.items >= bound.items || reserve.weight >= bound.weight {
            return Err(QueueError::ReserveTooLarge { reserve, bound });
        }
        let queue = Queue::new(bound.without(reserve), reserve, overflow);
        Ok((Sender::new(queue.clone(), timed), Receiver::new(queue)))
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoItems => f.write_str("a queue of 0 items admits nothing: the bound must be at least 1"),
            Self::NoWeight => f.write_str("a queue of weight 0 admits nothing that weighs: the bound must be at least 1"),
            Self::ReserveTooLarge { reserve, bound } => write!(
                f,
                "a reserve of {} items and weight {} leaves no room: it must be less than the bound of {} items and weight {}",
                reserve.items, reserve.weight, bound.items, bound.weight
            ),
        }
    }
}

impl std::error::Error for QueueError {}
