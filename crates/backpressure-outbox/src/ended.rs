//! How a connection has ended.

use std::fmt;

use backpressure_core::Exceeded;

/// How a connection has ended.
///
/// The transport is gone by then. What was not delivered is in the [`Numbers`](crate::Numbers), which stay readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended<E> {
    /// [Closed](crate::Outbox::close) by this side, or its last [`Outbox`](crate::Outbox) was dropped.
    Closed,
    /// Closed by this side, but the transport did not take all of it in the [time](crate::OutboxBuilder::close_within) it had.
    CutOff,
    /// The peer has closed.
    ByPeer,
    /// The peer exceeded a limit for slow consumers.
    Slow(Exceeded),
    /// The peer gave no sign of life for so many heartbeats.
    Silent {
        /// How many heartbeats.
        missed: u32,
    },
    /// The transport has failed.
    Transport(E),
}

impl<E> fmt::Display for Ended<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by this side"),
            Self::CutOff => f.write_str("closed by this side, before everything was written"),
            Self::ByPeer => f.write_str("closed by the peer"),
            Self::Slow(Exceeded::Hard) => f.write_str("the peer is too far behind"),
            Self::Slow(Exceeded::Budget) => f.write_str("the peer was the furthest behind of those who share a budget"),
            Self::Slow(_) => f.write_str("the peer has been behind for too long"),
            Self::Silent { missed } => write!(f, "the peer has missed {missed} heartbeats"),
            Self::Transport(_) => f.write_str("the transport has failed"),
        }
    }
}
