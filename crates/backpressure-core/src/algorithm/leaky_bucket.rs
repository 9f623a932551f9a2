//! The leaky bucket as a queue that drains at a constant rate.

use super::token_bucket::{BucketLevel, BucketState};
use crate::config_error::misconfigured;
use crate::{Algorithm, ConfigError, Decision, Outcome, Quota, Rate, Timestamp, TokenBucket, Word};

/// A bucket that leaks at a constant rate: requests are let through evenly spaced, and those that come faster wait.
///
/// The first request goes on at once; each further one has its turn one interval (period / count, rounded up to whole
/// nanoseconds) after the one before. Where `queue` requests wait already, the next is refused.
///
/// It answers [`Outcome::Delay`]: whoever asks with [`decide`](Algorithm::decide) must wait that long; whoever cannot wait asks
/// with
/// [`admit`](Algorithm::admit) and takes a delay for a refusal. A tower layer round it waits.
///
/// ```
/// use backpressure_core::{Algorithm, LeakyBucket, Outcome, Rate, Timestamp};
///
/// let bucket = LeakyBucket::new(Rate::per_second(10)).queue(1);
/// let (mut state, now) = (Default::default(), Timestamp::ORIGIN);
/// assert_eq!(bucket.decide(&mut state, now, 1).outcome, Outcome::Admit);
/// assert_eq!(bucket.decide(&mut state, now, 1).outcome, Outcome::Delay { by: 100_000_000 });
/// assert_eq!(bucket.decide(&mut state, now, 1).outcome, Outcome::Reject { retry_after: 100_000_000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucket {
    /// Holds one request that goes on and those that wait behind it.
    bucket: TokenBucket,
}

impl LeakyBucket {
    /// Makes a bucket in which as many requests may wait as the count of the rate, so that none waits longer than a period.
    ///
    /// # Panics
    ///
    /// Where [`try_new`](Self::try_new) returns an error.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::try_new(rate, rate.count().min(u32::MAX - 1)).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Sets how many requests may wait; 0 refuses whatever does not go on at once.
    ///
    /// # Panics
    ///
    /// If `queue` is `u32::MAX` or takes over 146 years to drain.
    #[must_use]
    pub fn queue(self, queue: u32) -> Self {
        Self::of(self.bucket.interval(), queue).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a bucket from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// As [`TokenBucket::try_new`] for a burst of `queue + 1`.
    pub fn try_new(rate: Rate, queue: u32) -> Result<Self, ConfigError> {
        let interval = TokenBucket::try_new(rate, 1)?.interval();
        Self::of(interval, queue)
    }

    fn of(interval: u64, queue: u32) -> Result<Self, ConfigError> {
        let capacity = queue
            .checked_add(1)
            .ok_or(ConfigError::CapacityTooLarge { capacity: u64::from(queue) + 1, at_most: u64::from(u32::MAX) })?;
        Ok(Self { bucket: TokenBucket::of(interval, capacity)? })
    }
}

impl From<Rate> for LeakyBucket {
    /// As [`LeakyBucket::new`], panics included.
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

impl Algorithm for LeakyBucket {
    type State = BucketState;
    type Level = BucketLevel;
    const WORD: Option<Word<BucketState>> = TokenBucket::WORD;

    #[inline]
    fn check(&self, state: &BucketState, now: Timestamp, cost: u64) -> Decision<BucketLevel> {
        let decision = self.bucket.check(state, now, cost);
        match (decision.outcome, self.fresh_at(state).nanos_since(now)) {
            (Outcome::Admit, by @ 1..) if cost > 0 => Decision { outcome: Outcome::Delay { by }, ..decision },
            _ => decision,
        }
    }

    #[inline]
    fn take(&self, state: &mut BucketState, now: Timestamp, cost: u64) {
        self.bucket.take(state, now, cost);
    }

    fn give_back(&self, state: &mut BucketState, taken: &Decision<BucketLevel>, now: Timestamp) {
        self.bucket.give_back(state, taken, now);
    }

    fn fresh_at(&self, state: &BucketState) -> Timestamp {
        self.bucket.fresh_at(state)
    }

    fn quota(&self, level: BucketLevel) -> Quota {
        self.bucket.quota(level)
    }

    fn queue_capacity(&self) -> usize {
        // capacity ≥ 1 by construction; usize is at least as wide as u32 wherever tokio runs, and saturating is right elsewhere.
        usize::try_from(self.bucket.capacity() - 1).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spaced_and_the_queue_is_bounded() {
        let bucket = LeakyBucket::new(Rate::per_second(10)).queue(3);
        let mut state = BucketState::default();
        let now = Timestamp::from_nanos(7);
        let waits: Vec<_> = (0..5).map(|_| bucket.decide(&mut state, now, 1).outcome).collect();
        assert_eq!(
            waits,
            [
                Outcome::Admit,
                Outcome::Delay { by: 100_000_000 },
                Outcome::Delay { by: 200_000_000 },
                Outcome::Delay { by: 300_000_000 },
                Outcome::Reject { retry_after: 100_000_000 },
            ]
        );
    }

    #[test]
    fn a_caller_that_cannot_wait_takes_nothing() {
        let bucket = LeakyBucket::new(Rate::per_second(10)).queue(3);
        let mut state = BucketState::default();
        let now = Timestamp::ORIGIN;
        assert!(bucket.admit(&mut state, now, 1).is_admitted());
        let before = state;
        assert_eq!(bucket.admit(&mut state, now, 1).outcome, Outcome::Delay { by: 100_000_000 });
        assert_eq!(state, before);
    }

    #[test]
    fn a_queue_that_does_not_fit_is_refused() {
        assert!(LeakyBucket::try_new(Rate::per_second(10), u32::MAX).is_err());
        assert!(LeakyBucket::try_new(Rate::per_second(600_000_000), 1).is_err());
        assert_eq!(LeakyBucket::new(Rate::per_second(1)).queue(0).queue_capacity(), 0);
    }
}
