//! When a consumer that falls behind has fallen too far behind.

use std::time::Duration;

use crate::config_error::misconfigured;
use crate::{ConfigError, Timestamp, nanos};

/// How far a consumer may be behind: a hard limit, above which something is done now, and a soft one, above which it may stay for
/// a while.
///
/// Each limit is on messages, on bytes or on both, and is exceeded by what is *more* than it in either. The message that arrives
/// counts: tell [`update`](Self::update) the [`Depth`] with it, whether it finds room or not. A consumer that comes back to the soft
/// limit, even for an instant, has the whole time again.
///
/// Nothing here waits. A producer that falls silent hides a consumer that has stalled, so whoever keeps the [`Lag`] also looks at
/// [`deadline`](Self::deadline) and calls [`overdue`](Self::overdue) then.
///
/// Hard, soft and seconds are how Redis bounds its clients (`client-output-buffer-limit`, redis.conf).
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Depth, Exceeded, Lag, SlowConsumer, Timestamp};
///
/// let slow = SlowConsumer::new().hard(Depth::messages(50)).soft(Depth::messages(40), Duration::from_secs(3));
/// let mut lag = Lag::default();
/// let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
///
/// assert_eq!(slow.update(&mut lag, Depth::messages(41), at(0)), None);
/// // Nothing arrives any more: a timer asks.
/// assert_eq!(slow.deadline(&lag), Some(at(3_000).saturating_add(1)));
/// assert_eq!(slow.overdue(&lag, at(3_000)), None);
/// assert_eq!(slow.overdue(&lag, at(3_001)), Some(Exceeded::Soft));
///
/// // Back at the limit, it has the whole time again; above the hard one, none.
/// assert_eq!(slow.update(&mut lag, Depth::messages(40), at(3_002)), None);
/// assert_eq!(slow.deadline(&lag), None);
/// assert_eq!(slow.update(&mut lag, Depth::messages(51), at(3_003)), Some(Exceeded::Hard));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowConsumer {
    hard: Depth,
    soft: Depth,
    /// Nanoseconds.
    patience: u64,
}

/// How much waits for a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "what waits has a number and a size")]
pub struct Depth {
    /// How many messages.
    pub messages: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// Since when a consumer has been above its soft limit: all that a [`SlowConsumer`] remembers of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    since: Option<Timestamp>,
}

/// The limit that a consumer has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exceeded {
    /// The hard one, now.
    Hard,
    /// The soft one, for longer than it may.
    Soft,
    /// A budget that it shares with others, of whom it was the one with the most. No [`SlowConsumer`] says so.
    Budget,
}

impl SlowConsumer {
    /// Makes limits that nobody exceeds.
    #[must_use]
    pub const fn new() -> Self {
        Self { hard: Depth::MAX, soft: Depth::MAX, patience: u64::MAX }
    }

    /// Sets the limit above which a consumer is too slow at once.
    #[must_use]
    pub const fn hard(mut self, limit: Depth) -> Self {
        self.hard = limit;
        self
    }

    /// Sets the limit above which a consumer is too slow once it has been there for longer than `patience` without a break.
    ///
    /// # Panics
    ///
    /// Where [`try_soft`](Self::try_soft) returns an error.
    #[must_use]
    pub fn soft(self, limit: Depth, patience: Duration) -> Self {
        self.try_soft(limit, patience).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`soft`](Self::soft), from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroPatience`]: a soft limit without patience is a hard one.
    pub const fn try_soft(mut self, limit: Depth, patience: Duration) -> Result<Self, ConfigError> {
        if patience.is_zero() {
            return Err(ConfigError::ZeroPatience);
        }
        self.soft = limit;
        self.patience = nanos(patience);
        Ok(self)
    }

    /// Returns the depth up to which nobody is slow, however long it lasts: the lower of the two limits, each in its own measure.
    #[must_use]
    pub fn least(&self) -> Depth {
        Depth { messages: self.soft.messages.min(self.hard.messages), bytes: self.soft.bytes.min(self.hard.bytes) }
    }

    /// Takes note of how much waits now, the message that arrives included, and returns the limit that is exceeded.
    ///
    /// A clock that steps back makes a consumer no slower.
    #[inline]
    pub fn update(&self, lag: &mut Lag, depth: Depth, now: Timestamp) -> Option<Exceeded> {
        if !depth.exceeds(self.soft) {
            lag.since = None;
        } else if lag.since.is_none() {
            lag.since = Some(now);
        }
        if depth.exceeds(self.hard) { Some(Exceeded::Hard) } else { self.overdue(lag, now) }
    }

    /// Returns the limit that is exceeded at `now` if nothing has happened since the last [`update`](Self::update).
    #[must_use]
    pub fn overdue(&self, lag: &Lag, now: Timestamp) -> Option<Exceeded> {
        let since = lag.since?;
        (now.nanos_since(since) > self.patience).then_some(Exceeded::Soft)
    }

    /// Returns from when on a consumer is too slow if nothing happens until then; `None` while it is within its soft limit.
    #[must_use]
    pub fn deadline(&self, lag: &Lag) -> Option<Timestamp> {
        lag.since.map(|since| since.saturating_add(self.patience).saturating_add(1))
    }
}

impl Default for SlowConsumer {
    fn default() -> Self {
        Self::new()
    }
}

impl Depth {
    /// More than there can be: a limit that bounds nothing.
    pub const MAX: Self = Self { messages: u64::MAX, bytes: u64::MAX };

    /// A limit of so many messages, whatever their size.
    #[must_use]
    pub const fn messages(messages: u64) -> Self {
        Self { messages, bytes: u64::MAX }
    }

    /// A limit of so many bytes, in however many messages.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self { messages: u64::MAX, bytes }
    }

    const fn exceeds(self, limit: Self) -> bool {
        self.messages > limit.messages || self.bytes > limit.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{RngSeed, TestRunner};

    use super::*;

    const fn depth(messages: u64, bytes: u64) -> Depth {
        Depth { messages, bytes }
    }

    const fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    /// Looks for the longest stretch above the soft limit that reaches up to the end of the history.
    fn by_history(slow: &SlowConsumer, history: &[(u64, Depth)], now: u64) -> Option<Exceeded> {
        let &(_, last) = history.last()?;
        if last.messages > slow.hard.messages || last.bytes > slow.hard.bytes {
            return Some(Exceeded::Hard);
        }
        let within = |depth: &Depth| depth.messages <= slow.soft.messages && depth.bytes <= slow.soft.bytes;
        let first = history.iter().rposition(|(_, depth)| within(depth)).map_or(0, |index| index + 1);
        let &(since, _) = history.get(first)?;
        (now - since > slow.patience).then_some(Exceeded::Soft)
    }

    #[test]
    fn it_acts_exactly_when_the_history_says_so_and_the_deadline_is_the_first_such_instant() {
        let steps = prop::collection::vec((0..8_u64, 0..8_u64, 0..8_u64), 0..60);
        let config = ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(6), failure_persistence: None, ..Default::default() };
        TestRunner::new(config)
            .run(&(0..8_u64, 0..8_u64, 1..12_u64, steps), |(messages, bytes, patience, steps)| {
                let slow = SlowConsumer::new().hard(depth(6, 6)).soft(depth(messages, bytes), Duration::from_nanos(patience));
                let (mut lag, mut now, mut history) = (Lag::default(), 0, Vec::new());
                for (later, messages, bytes) in steps {
                    now += later;
                    history.push((now, depth(messages, bytes)));
                    let exceeded = slow.update(&mut lag, depth(messages, bytes), at(now));
                    prop_assert_eq!(exceeded, by_history(&slow, &history, now));
                    if let Some(deadline) = slow.deadline(&lag) {
                        prop_assert_eq!(slow.overdue(&lag, deadline), Some(Exceeded::Soft));
                        prop_assert_eq!(slow.overdue(&lag, deadline.saturating_sub(1)), None);
                    }
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn either_messages_or_bytes_are_enough_and_the_limit_itself_is_not() {
        let slow = SlowConsumer::new().hard(depth(3, 100));
        for (depth, exceeded) in
            [(depth(3, 100), None), (depth(4, 0), Some(Exceeded::Hard)), (depth(0, 101), Some(Exceeded::Hard))]
        {
            assert_eq!(slow.update(&mut Lag::default(), depth, at(0)), exceeded);
        }
    }

    #[test]
    fn an_instant_at_the_soft_limit_begins_its_time_anew() {
        let slow = SlowConsumer::new().soft(Depth::bytes(10), Duration::from_nanos(5));
        let mut lag = Lag::default();
        for now in 0..100 {
            let bytes = if now % 5 == 0 { 10 } else { 11 };
            assert_eq!(slow.update(&mut lag, depth(1, bytes), at(now)), None);
        }
    }

    #[test]
    fn a_clock_that_steps_back_makes_nobody_slow_and_the_last_representable_time_panics_nowhere() {
        let slow = SlowConsumer::new().soft(Depth::messages(1), Duration::MAX);
        let mut lag = Lag::default();
        assert_eq!(slow.update(&mut lag, depth(2, 0), at(9)), None);
        assert_eq!(slow.update(&mut lag, depth(2, 0), at(0)), None);
        assert_eq!(slow.overdue(&lag, Timestamp::MAX), None);
        assert_eq!(slow.deadline(&lag), Some(Timestamp::MAX));
    }

    #[test]
    fn without_limits_nobody_is_slow() {
        let (slow, mut lag) = (SlowConsumer::default(), Lag::default());
        assert_eq!(slow.update(&mut lag, Depth::MAX, Timestamp::MAX), None);
        assert_eq!(slow.deadline(&lag), None);
    }

    #[test]
    #[should_panic(expected = "a patience of 0")]
    fn a_soft_limit_without_patience_panics_in_the_constructor() {
        let _ = SlowConsumer::new().soft(Depth::messages(1), Duration::ZERO);
    }
}
