//! How fast a peer may send, and when it is to be told.

use backpressure_core::{Algorithm, Level, Outcome, Timestamp, TokenBucket};

/// A token bucket that is charged with what has been read already, and says when to read on.
///
/// Empty is its high watermark and half full its low one: a peer at its rate is told to pause once and not with each message.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    bucket: TokenBucket,
    state: <TokenBucket as Algorithm>::State,
    half: u64,
    level: Level,
}

impl Pace {
    pub(super) fn new(bucket: TokenBucket) -> Self {
        let state = Default::default();
        let burst = bucket.quota(bucket.check(&state, Timestamp::ORIGIN, 0).level).policy.limit;
        Self { bucket, state, half: burst.div_ceil(2), level: Level::Low }
    }

    /// Counts what was read, which may put the bucket in debt.
    pub(super) fn charge(&mut self, now: Timestamp, cost: u64) {
        self.bucket.take(&mut self.state, now, cost);
    }

    /// Returns when the next message may be read: `now` or earlier if at once.
    pub(super) fn next_at(&mut self, now: Timestamp) -> Timestamp {
        let at = self.at(now, 1);
        if at > now {
            self.level = Level::High;
        }
        at
    }

    /// Returns when the peer is to be told to resume, if it is not before `now`.
    pub(super) fn resumes_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.level == Level::Low {
            return None;
        }
        let at = self.at(now, self.half);
        if at > now {
            return Some(at);
        }
        self.level = Level::Low;
        None
    }

    fn at(&self, now: Timestamp, cost: u64) -> Timestamp {
        match self.bucket.check(&self.state, now, cost).outcome {
            Outcome::Reject { retry_after } => now.saturating_add(retry_after),
            // The cost is within the burst, so it is not too much for ever.
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use backpressure_core::Rate;

    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn it_pauses_when_empty_and_resumes_when_half_full_and_never_lets_more_than_burst_and_rate_pass() {
        let mut pace = Pace::new(TokenBucket::new(Rate::per_second(100)).burst(10));
        for _ in 0..10 {
            assert_eq!(pace.next_at(at(0)), at(0));
            pace.charge(at(0), 1);
        }
        assert_eq!(pace.resumes_at(at(0)), None);
        assert_eq!(pace.next_at(at(0)), at(10));
        assert_eq!(pace.resumes_at(at(0)), Some(at(50)));
        // Read on at the rate, it stays paused.
        for turn in 1..=20 {
            assert!(pace.next_at(at(turn * 10)) <= at(turn * 10));
            pace.charge(at(turn * 10), 1);
            assert!(pace.resumes_at(at(turn * 10)).is_some());
        }
        assert_eq!(pace.resumes_at(at(249)), Some(at(250)));
        assert_eq!(pace.resumes_at(at(250)), None);
        assert_eq!(pace.next_at(at(250)), at(250));
        assert_eq!(pace.level, Level::Low);
    }

    #[test]
    fn one_that_costs_more_than_the_burst_is_a_debt() {
        let mut pace = Pace::new(TokenBucket::new(Rate::per_second(1_000)).burst(1));
        pace.charge(at(0), 5_000);
        assert_eq!(pace.next_at(at(0)), at(5_000));
        assert_eq!(pace.resumes_at(at(0)), Some(at(5_000)));
    }
}
