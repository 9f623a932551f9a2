//! What becomes of an item that finds the queue full.

/// What a full queue does with an item that arrives.
///
/// "Newest" means the arriving item, not the newest of those inside: some libraries use the same name for the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Evicts as many of the oldest items as the arriving one needs room for, and admits it. The sender never waits.
    ///
    /// For live data: the reader gets what is fresh. Only items that are worth no more than the arriving one are evicted (see
    /// [`Class`](crate::Class)); where that would not make room enough, nothing is evicted and the arriving one is refused.
    DropOldest,
    /// Refuses the arriving item. The sender never waits.
    ///
    /// For work that is worthless unless it is done in order, or whose sender can be told to slow down.
    DropNewest,
    /// Makes the sender wait until there is room; a sender that does not wait is refused. Nothing is ever evicted.
    ///
    /// For data that must all arrive, from senders that can afford to be slowed down by their slowest reader.
    Block,
}
