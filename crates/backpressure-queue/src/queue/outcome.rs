//! What became of an item: for its sender, for its receiver, and in numbers.

use std::{fmt, iter, mem, option, slice, vec};

use super::item::{Item, Load};

/// The item is in the queue. This holds the items that it displaced, if any: iterate over it, or they are dropped with it.
///
/// One item displaced costs no allocation.
///
/// # Examples
///
/// ```
/// use backpressure_queue::{Displaced, Item, Overflow, QueueBuilder};
///
/// let (sender, _receiver) = QueueBuilder::new(1, Overflow::DropOldest).build()?;
/// assert!(sender.try_send("old").unwrap().is_empty());
///
/// let sent = sender.try_send("new").unwrap();
/// assert_eq!(sent.into_iter().collect::<Vec<_>>(), [Displaced::Evicted(Item::new("old"))]);
/// # Ok::<(), backpressure_queue::QueueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent<T>(Gone<T>);

/// No larger than an item, and so made where it goes: most often it is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gone<T> {
    Nothing,
    One(Displaced<T>),
    /// Two at least.
    Several(Vec<Displaced<T>>),
}

/// An item that had to leave the queue when another was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Displaced<T> {
    /// Evicted to make room. The receiver learns of it as [missed](Received::missed).
    Evicted(Item<T>),
    /// Replaced by a newer item of the same key. The receiver misses nothing.
    Superseded(Item<T>),
}

/// The item that was not sent, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendError<T> {
    /// The item, as it was.
    pub item: Item<T>,
    /// Why it was not sent.
    pub reason: Refused,
}

/// Why an item was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// There is no room, the policy makes none, and the sender does not wait for any.
    Full,
    /// It does not even fit into an empty queue: it is heavier than the whole bound of its class, or it is urgent and nothing is
    /// reserved. Trying again is of no use.
    TooHeavy,
    /// The deadline passed before there was room.
    Expired,
    /// The queue is closed.
    Closed,
}

/// An item from the queue, and what was lost before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received<T> {
    /// The item, as it was sent.
    pub item: Item<T>,
    /// What should have come between the item received before and this one, and was evicted, refused by a policy that drops,
    /// [marked](super::Queue::mark_missed) by its sender, or discarded. Zero for an urgent item: it stands outside of the order, so a
    /// gap is marked on the next one that is not.
    pub missed: Load,
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing is in the queue now.
    Empty,
    /// Nothing is in the queue, and nothing will be: it is closed.
    Closed,
}

/// How many items came to which end, since the queue was made.
///
/// `sent = delivered + evicted + superseded + discarded + those in the queue`, at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counts {
    /// Admitted to the queue.
    pub sent: u64,
    /// Received.
    pub delivered: u64,
    /// Evicted to make room for another.
    pub evicted: u64,
    /// Replaced by a newer one of the same key.
    pub superseded: u64,
    /// Taken out by [`discard`](crate::Queue::discard), or in the queue when its receiver was dropped.
    pub discarded: u64,
    /// Returned with a [`SendError`], for whatever reason. An item whose send was cancelled is not counted anywhere.
    pub refused: u64,
}

impl<T> Sent<T> {
    pub(super) const fn nothing_displaced() -> Self {
        Self(Gone::Nothing)
    }

    pub(super) const fn evicted(item: Item<T>) -> Self {
        Self(Gone::One(Displaced::Evicted(item)))
    }

    pub(super) fn push(&mut self, displaced: Displaced<T>) {
        self.0 = match mem::replace(&mut self.0, Gone::Nothing) {
            Gone::Nothing => Gone::One(displaced),
            Gone::One(first) => Gone::Several(vec![first, displaced]),
            Gone::Several(mut all) => {
                all.push(displaced);
                Gone::Several(all)
            }
        };
    }

    /// Returns whether nothing was displaced.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Gone::Nothing)
    }

    /// Returns the number of items displaced.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Iterates over the items displaced, in the order in which they left.
    pub fn iter(&self) -> impl Iterator<Item = &Displaced<T>> {
        self.as_slice().iter()
    }

    const fn as_slice(&self) -> &[Displaced<T>] {
        match &self.0 {
            Gone::Nothing => &[],
            Gone::One(one) => slice::from_ref(one),
            Gone::Several(all) => all.as_slice(),
        }
    }
}

impl<T> IntoIterator for Sent<T> {
    type Item = Displaced<T>;
    type IntoIter = iter::Chain<option::IntoIter<Displaced<T>>, vec::IntoIter<Displaced<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        let (first, others) = match self.0 {
            Gone::Nothing => (None, Vec::new()),
            Gone::One(one) => (Some(one), Vec::new()),
            Gone::Several(all) => (None, all),
        };
        first.into_iter().chain(others)
    }
}

impl<T> SendError<T> {
    /// Returns the value that was not sent.
    pub fn into_value(self) -> T {
        self.item.value
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue is full",
            Self::TooHeavy => "the item would not fit into an empty queue",
            Self::Expired => "the deadline passed before there was room",
            Self::Closed => "the queue is closed",
        })
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::Closed => "the queue is empty and closed",
        })
    }
}

impl std::error::Error for TryRecvError {}
