//! What an algorithm decides, and what it is asked about afterwards.

use std::time::Duration;

use crate::{Timestamp, nanos_to_duration};

/// What an [`Algorithm`](crate::Algorithm) decided about one request, when, and for what cost.
///
/// An admitted decision is also the receipt with which the cost can be
/// [given back](crate::Algorithm::give_back); change `cost` to give back a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<L> {
    /// The answer.
    pub outcome: Outcome,
    /// How full the limit is: after the request where it was admitted or delayed, without it where it was refused.
    /// [`Algorithm::quota`](crate::Algorithm::quota) turns it into numbers for people.
    pub level: L,
    /// The time for which it was decided.
    pub at: Timestamp,
    /// The cost for which it was decided.
    pub cost: u64,
}

/// The answer of an algorithm, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may go on now.
    Admit,
    /// The request may go on in `by` nanoseconds, and its turn is kept.
    Delay {
        /// Nanoseconds until its turn, at least 1.
        by: u64,
    },
    /// The request is refused.
    Reject {
        /// Nanoseconds after which the same request goes on, or gets its turn, if no other came between, and not one earlier. At
        /// least 1.
        retry_after: u64,
    },
    /// The request is refused until work in progress ends, and nobody can say when that will be.
    Busy,
    /// The cost exceeds the capacity: the request is never admitted, however long it waits.
    Never,
}

impl Outcome {
    /// Returns the answer for two limits that must both agree: the one that makes the caller wait longer.
    ///
    /// A wait that nobody can tell is longer than one that is known: a time named for both must be good for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Busy, _) | (_, Self::Busy) => Self::Busy,
            (Self::Reject { retry_after: a }, Self::Reject { retry_after: b }) => Self::Reject { retry_after: a.max(b) },
            (reject @ Self::Reject { .. }, _) | (_, reject @ Self::Reject { .. }) => reject,
            (Self::Delay { by: a }, Self::Delay { by: b }) => Self::Delay { by: a.max(b) },
            (delay @ Self::Delay { .. }, _) | (_, delay @ Self::Delay { .. }) => delay,
            (Self::Admit, Self::Admit) => Self::Admit,
        }
    }

    /// Returns the nanoseconds until the request may go on: 0 if now, `None` if never or if nobody can say.
    #[must_use]
    pub const fn wait(self) -> Option<u64> {
        match self {
            Self::Admit => Some(0),
            Self::Delay { by } => Some(by),
            Self::Reject { retry_after } => Some(retry_after),
            Self::Busy | Self::Never => None,
        }
    }
}

impl<L> Decision<L> {
    /// Whether the request may go on now.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        matches!(self.outcome, Outcome::Admit)
    }
}

/// A limit as it is told to clients: how much in which window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The most that is admitted at once.
    pub limit: u64,
    /// The time in which `limit` becomes available again from nothing.
    pub window: Duration,
}

impl Policy {
    pub(crate) const fn new(limit: u64, window: u64) -> Self {
        Self { limit, window: nanos_to_duration(window) }
    }
}

/// What a client has left of a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// The policy.
    pub policy: Policy,
    /// What would be admitted now.
    pub remaining: u64,
    /// The time after which the whole limit is available again if nothing is taken. 0 if it is now.
    pub reset_after: Duration,
}

impl Quota {
    /// Returns the quota nearer to exhaustion: the one with less remaining, and of two equal ones the one that is whole again
    /// later.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        if (other.remaining, self.reset_after) < (self.remaining, other.reset_after) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_answers_the_one_that_waits_longer_stands() {
        use Outcome::{Admit, Busy, Delay, Never, Reject};
        let in_order =
            [Admit, Delay { by: 1 }, Delay { by: 9 }, Reject { retry_after: 2 }, Reject { retry_after: 8 }, Busy, Never];
        for (i, a) in in_order.iter().enumerate() {
            for (j, b) in in_order.iter().enumerate() {
                assert_eq!(a.and(*b), in_order[i.max(j)]);
            }
        }
    }

    #[test]
    fn the_tighter_quota_has_less_left_and_then_resets_later() {
        let quota = |remaining, secs| Quota {
            policy: Policy { limit: 10, window: Duration::from_secs(1) },
            remaining,
            reset_after: Duration::from_secs(secs),
        };
        assert_eq!(quota(3, 1).tighter(quota(2, 1)), quota(2, 1));
        assert_eq!(quota(2, 1).tighter(quota(3, 9)), quota(2, 1));
        assert_eq!(quota(2, 1).tighter(quota(2, 9)), quota(2, 9));
        assert_eq!(quota(2, 9).tighter(quota(2, 1)), quota(2, 9));
    }
}
