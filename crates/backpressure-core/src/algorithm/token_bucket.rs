//! The token bucket, kept as the time at which it is full again.

use crate::config_error::misconfigured;
use crate::{Algorithm, ConfigError, Decision, Outcome, Policy, Quota, Rate, Timestamp, Word};

/// A bucket of tokens that refills at a constant rate; a request takes as many tokens as it costs.
///
/// Admits a burst at once and the rate in the long run: at most `burst + rate × d` in any interval d.
///
/// Kept as the generic cell rate algorithm (GCRA; ATM Forum Traffic Management 4.0, virtual scheduling): one word a key, the
/// *theoretical arrival time* at which the bucket is full again. It decides exactly as a bucket that gains one token each
/// interval, the interval being the period divided by the count, rounded **up** to whole nanoseconds: never faster than the
/// rate, and
/// at most 1 % slower (exactly the rate where the count divides the period).
///
/// ```
/// use backpressure_core::{Algorithm, Outcome, Rate, Timestamp, TokenBucket};
///
/// let bucket = TokenBucket::new(Rate::per_second(10)).burst(2);
/// let (mut state, now) = (Default::default(), Timestamp::ORIGIN);
/// assert!(bucket.decide(&mut state, now, 1).is_admitted());
/// assert!(bucket.decide(&mut state, now, 1).is_admitted());
/// assert_eq!(bucket.decide(&mut state, now, 1).outcome, Outcome::Reject { retry_after: 100_000_000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Nanoseconds in which one token is gained.
    interval: u64,
    /// Nanoseconds in which the whole bucket is gained: `burst × interval`, at most 2⁶².
    tolerance: u64,
    burst: u32,
}

/// The time at which a [`TokenBucket`] or [`LeakyBucket`](crate::LeakyBucket) is as good as new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketState {
    fresh_at: Timestamp,
}

/// The nanoseconds until a bucket is as good as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketLevel {
    pub(super) nanos: u64,
}

impl TokenBucket {
    /// Makes a bucket whose burst is the count of the rate: 100 for 100/s.
    ///
    /// # Panics
    ///
    /// Where [`try_new`](Self::try_new) returns an error: the rate is too fast for its rounding.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::try_new(rate, rate.count()).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Sets how many tokens the bucket holds: what may be taken at once after a rest.
    ///
    /// # Panics
    ///
    /// If `burst` is 0 or takes over 146 years to refill.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self::of(self.interval, burst).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a bucket from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroBurst`]; [`ConfigError::RateTooFast`] where rounding the interval up to whole nanoseconds would lose
    /// more than 1 % (never up to 10 000 000/s); [`ConfigError::CapacityTooLarge`] where refilling takes over 146 years.
    pub fn try_new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        let (count, period) = (u64::from(rate.count()), rate.period_nanos());
        let interval = period.div_ceil(count);
        // count × interval exceeds the period by less than count, so this neither overflows (2⁶² + 2³²) nor goes below 0.
        if (count * interval - period) > period / 100 {
            return Err(ConfigError::RateTooFast { rate, rounded_to: interval });
        }
        Self::of(interval, burst)
    }

    pub(super) fn of(interval: u64, burst: u32) -> Result<Self, ConfigError> {
        if burst == 0 {
            return Err(ConfigError::ZeroBurst);
        }
        match u64::from(burst).checked_mul(interval) {
            Some(tolerance) if tolerance <= crate::rate::MAX_PERIOD_NANOS => Ok(Self { interval, tolerance, burst }),
            _ => Err(ConfigError::CapacityTooLarge {
                capacity: u64::from(burst),
                at_most: crate::rate::MAX_PERIOD_NANOS / interval,
            }),
        }
    }

    pub(super) const fn interval(&self) -> u64 {
        self.interval
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.burst
    }
}

impl From<Rate> for TokenBucket {
    /// As [`TokenBucket::new`], panics included.
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

impl Algorithm for TokenBucket {
    type State = BucketState;
    type Level = BucketLevel;
    const WORD: Option<Word<BucketState>> = Some(Word {
        pack: |state| state.fresh_at.as_nanos(),
        unpack: |word| BucketState { fresh_at: Timestamp::from_nanos(word) },
    });

    #[inline]
    fn check(&self, state: &BucketState, now: Timestamp, cost: u64) -> Decision<BucketLevel> {
        let missing = state.fresh_at.nanos_since(now);
        // No overflow where it matters: a cost up to the burst takes at most the tolerance, 2⁶².
        let would_miss = missing.saturating_add(cost.saturating_mul(self.interval));
        let (outcome, nanos) = if would_miss <= self.tolerance || cost == 0 {
            (Outcome::Admit, would_miss)
        } else if cost > u64::from(self.burst) {
            (Outcome::Never, missing)
        } else {
            (Outcome::Reject { retry_after: would_miss - self.tolerance }, missing)
        };
        Decision { outcome, level: BucketLevel { nanos }, at: now, cost }
    }

    /// As the default in fewer steps: what an admitted request leaves missing is what it found missing, and its cost.
    #[inline]
    fn admit(&self, state: &mut BucketState, now: Timestamp, cost: u64) -> Decision<BucketLevel> {
        let decision = self.check(state, now, cost);
        if decision.is_admitted() && cost > 0 {
            state.fresh_at = now.saturating_add(decision.level.nanos);
        }
        decision
    }

    #[inline]
    fn take(&self, state: &mut BucketState, now: Timestamp, cost: u64) {
        if cost > 0 {
            state.fresh_at = state.fresh_at.max(now).saturating_add(cost.saturating_mul(self.interval));
        }
    }

    /// Restores what the bucket has not regained by itself since. A taking that was refilled in part gives back the rest.
    fn give_back(&self, state: &mut BucketState, taken: &Decision<BucketLevel>, now: Timestamp) {
        // Tokens come back in the order in which they were taken: this taking is regained by the time at which the bucket,
        // as it left it, is full.
        let regained_at = taken.at.saturating_add(taken.level.nanos);
        let outstanding = regained_at.nanos_since(now);
        state.fresh_at = state.fresh_at.saturating_sub(outstanding.min(taken.cost.saturating_mul(self.interval)));
    }

    fn fresh_at(&self, state: &BucketState) -> Timestamp {
        state.fresh_at
    }

    fn quota(&self, level: BucketLevel) -> Quota {
        let spare = self.tolerance.saturating_sub(level.nanos);
        Quota {
            policy: Policy::new(u64::from(self.burst), self.tolerance),
            // Rounded down: a token counts once it is there whole. Mostly it is a refusal that asks, and there is none: no
            // division then.
            remaining: if spare < self.interval { 0 } else { spare / self.interval },
            reset_after: crate::nanos_to_duration(level.nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_too_fast_for_its_rounding_is_refused_and_the_message_says_what_would_do() {
        let too_fast = Rate::per_second(600_000_000);
        let error = TokenBucket::try_new(too_fast, 1).unwrap_err();
        assert_eq!(error, ConfigError::RateTooFast { rate: too_fast, rounded_to: 2 });
        assert!(error.to_string().contains("at most 10000000/s"), "{error}");
        for exact in [1, 3, 7_000_001, 10_000_000, 50_000_000, 1_000_000_000] {
            assert!(TokenBucket::try_new(Rate::per_second(exact), 1).is_ok(), "{exact}/s");
        }
        assert!(TokenBucket::try_new(Rate::per_second(u32::MAX), 1).is_err());
        assert!(TokenBucket::try_new(Rate::per_day(u32::MAX), u32::MAX).is_ok());
    }

    #[test]
    fn a_burst_of_zero_or_of_centuries_is_refused() {
        assert_eq!(TokenBucket::try_new(Rate::per_second(1), 0), Err(ConfigError::ZeroBurst));
        assert_eq!(
            TokenBucket::try_new(Rate::per_day(1), u32::MAX),
            Err(ConfigError::CapacityTooLarge { capacity: u64::from(u32::MAX), at_most: 53_375 })
        );
    }

    #[test]
    #[should_panic(expected = "a burst of 0 would refuse for ever")]
    fn a_burst_of_zero_panics_in_the_builder() {
        let _ = TokenBucket::new(Rate::per_second(1)).burst(0);
    }

    #[test]
    fn the_quota_counts_whole_tokens_only() {
        let bucket = TokenBucket::new(Rate::per_second(10)).burst(3);
        let mut state = BucketState::default();
        let decision = bucket.decide(&mut state, Timestamp::ORIGIN, 1);
        let quota = bucket.quota(decision.level);
        assert_eq!((quota.policy.limit, quota.remaining), (3, 2));
        assert_eq!((quota.policy.window.as_millis(), quota.reset_after.as_millis()), (300, 100));
        let half_a_token_later = Timestamp::from_nanos(50_000_000);
        assert_eq!(bucket.quota(bucket.check(&state, half_a_token_later, 0).level).remaining, 2);
    }
}
