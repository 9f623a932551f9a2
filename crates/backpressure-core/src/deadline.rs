//! Until when an answer is of use to a caller.

use std::time::{Duration, Instant};

/// Until when an answer is of use to its caller.
///
/// A request whose turn would come later than that is refused at once: nobody waits for its answer. Put into the extensions of an
/// HTTP request by whoever knows; a gRPC call says it in `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a time is relative or it is not")]
pub enum Deadline {
    /// So long after the request has arrived.
    After(Duration),
    /// At this time. Where tokio's time is paused: `tokio::time::Instant::into_std`.
    At(Instant),
}

impl Deadline {
    /// Returns how much time is left, for a request that has arrived `now`: 0 where the deadline has passed.
    #[must_use]
    pub fn left(self, now: Instant) -> Duration {
        match self {
            Self::After(left) => left,
            Self::At(deadline) => deadline.saturating_duration_since(now),
        }
    }

    /// Returns the earlier of two, for a request that has arrived `now`.
    #[must_use]
    pub fn sooner(self, other: Self, now: Instant) -> Self {
        if other.left(now) < self.left(now) { other } else { self }
    }
}

impl From<Instant> for Deadline {
    fn from(deadline: Instant) -> Self {
        Self::At(deadline)
    }
}
