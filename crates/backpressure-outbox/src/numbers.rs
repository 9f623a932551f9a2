//! The numbers of one connection.

use std::time::Duration;

/// How one connection is doing, at one instant.
///
/// `sent = messages + written + in_flight + evicted + superseded + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Numbers {
    /// How many messages wait, what is urgent included.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For how long the first of them has waited.
    pub oldest: Option<Duration>,
    /// Whether the producer is told to pause.
    pub paused: bool,
    /// For how long it has been told to, in all.
    pub paused_for: Duration,
    /// Whether the peer wants nothing for now.
    pub held_by_peer: bool,
    /// Whether the outbox admits nothing any more.
    pub closed: bool,
    /// Messages that were admitted.
    pub sent: u64,
    /// Messages that the transport has taken and flushed.
    pub written: u64,
    /// Messages that left the outbox and are not known to be flushed. After the end these are uncertain: the peer has got each of
    /// them or not.
    pub in_flight: u64,
    /// Messages that were lost, by what happened to them.
    pub dropped: Dropped,
    /// How often the transport was written to and flushed.
    pub writes: u64,
    /// For how long the transport made a write wait on average, from when it first took no more until all of the write was flushed:
    /// 0 for one that it took at once.
    pub write_mean: Duration,
    /// For how long it made the longest write wait.
    pub write_max: Duration,
}

/// How many messages a connection has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Gave up their place to a newer one.
    pub evicted: u64,
    /// Replaced by a newer one of the same key: the peer misses nothing.
    pub superseded: u64,
    /// Went back to the sender.
    pub refused: u64,
    /// Were in the outbox when it ended.
    pub discarded: u64,
}

impl Dropped {
    /// Returns how many the peer misses.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.evicted.saturating_add(self.refused).saturating_add(self.discarded)
    }
}
