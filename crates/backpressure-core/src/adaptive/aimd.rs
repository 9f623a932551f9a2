//! Additive increase, multiplicative decrease.

use std::time::Duration;

use super::limits::{Limits, limits_setters};
use super::{Controller, Ending, Sample};
use crate::config_error::misconfigured;
use crate::{ConfigError, Timestamp, nanos};

/// Adds one to the limit for each limit's worth of successes, and gives up a tenth at a drop.
///
/// The signal is loss: a piece of work that was [dropped](Ending::Dropped), or that took longer than a [timeout](Self::timeout).
/// It knows nothing of queues until then, so it fits clients and batches, whose servers refuse when they are full, rather than
/// servers.
///
/// A limit grows only while at least half of it is in use. It shrinks once for all that was in progress when it did: what started
/// before then says nothing about the lower limit, as in TCP, where a window of data is halved once (RFC 5681).
///
/// Starts at 20, backs off to 90 % and takes 5 s for a drop, as Netflix concurrency-limits; that one adds one for each success, and
/// this for each round of them, or a thousand requests a second would add a thousand.
///
/// ```
/// use backpressure_core::{Aimd, Controller, Ending, Sample, Timestamp};
///
/// let mut aimd = Aimd::new().initial(10);
/// let mut sample = Sample { started: Timestamp::ORIGIN, ended: Timestamp::from_nanos(7), in_flight: 10, ending: Ending::Success };
/// for _ in 0..10 {
///     aimd.record(sample);
/// }
/// assert_eq!(aimd.limit(), 11);
/// sample.ending = Ending::Dropped;
/// assert_eq!(aimd.record(sample), 9);
/// assert_eq!(aimd.record(sample), 9, "it started before the limit shrank");
/// ```
#[derive(Clone, Debug)]
pub struct Aimd {
    limits: Limits,
    limit: usize,
    /// Successes since the limit changed.
    successes: usize,
    /// When the limit shrank last.
    epoch: Timestamp,
    /// Nanoseconds, at least 1.
    timeout: u64,
    /// 1 to 99.
    backoff_percent: u8,
}

impl Aimd {
    /// Starts at 20 and stays within 1 to 1000.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits::default();
        let (limit, timeout) = (limits.initial(), 5_000_000_000);
        Self { limits, limit, successes: 0, epoch: Timestamp::ORIGIN, timeout, backoff_percent: 90 }
    }

    limits_setters!();

    /// Sets from which latency on a success counts as a drop: 5 s if not set. `Duration::MAX` for never.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.try_timeout(timeout).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`timeout`](Self::timeout), from a value that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroTimeout`].
    pub fn try_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let timeout = nanos(timeout);
        if timeout == 0 { Err(ConfigError::ZeroTimeout) } else { Ok(Self { timeout, ..self }) }
    }

    /// Sets how much of the limit is kept at a drop: 90 % if not set.
    ///
    /// # Panics
    ///
    /// If it is not 1 to 99.
    #[must_use]
    pub fn backoff_percent(self, percent: u8) -> Self {
        self.try_backoff_percent(percent).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`backoff_percent`](Self::backoff_percent), from a value that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::BackoffOutside`].
    pub fn try_backoff_percent(self, percent: u8) -> Result<Self, ConfigError> {
        match percent {
            1..=99 => Ok(Self { backoff_percent: percent, ..self }),
            _ => Err(ConfigError::BackoffOutside(percent)),
        }
    }

    fn within(self, limits: Limits) -> Result<Self, ConfigError> {
        let limits = limits.checked()?;
        Ok(Self { limits, limit: limits.initial(), ..self })
    }

    fn succeeded(&mut self, in_flight: usize) {
        if in_flight < self.limit.div_ceil(2) {
            return;
        }
        self.successes = self.successes.saturating_add(1);
        if self.successes >= self.limit {
            self.successes = 0;
            self.limit = self.limits.clamp(self.limit.saturating_add(1));
        }
    }

    fn dropped(&mut self, now: Timestamp) {
        // In two parts, so that no limit overflows; rounded down, so that every limit above the least shrinks.
        let percent = usize::from(self.backoff_percent);
        let kept = self.limit / 100 * percent + self.limit % 100 * percent / 100;
        self.limit = self.limits.clamp(kept);
        self.successes = 0;
        self.epoch = now;
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl Controller for Aimd {
    fn limit(&self) -> usize {
        self.limit
    }

    fn record(&mut self, sample: Sample) -> usize {
        // An epoch ahead of the clock would ignore every drop until the clock has caught up.
        self.epoch = self.epoch.min(sample.ended);
        let in_time = sample.latency() < self.timeout;
        match sample.ending {
            Ending::Success if in_time => self.succeeded(sample.in_flight),
            Ending::Success | Ending::Dropped if sample.started >= self.epoch => self.dropped(sample.ended),
            Ending::Success | Ending::Dropped | Ending::Ignored => {}
        }
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that started and ended at these nanoseconds.
    fn sample(started: u64, ended: u64, in_flight: usize, ending: Ending) -> Sample {
        Sample { started: Timestamp::from_nanos(started), ended: Timestamp::from_nanos(ended), in_flight, ending }
    }

    fn succeed(aimd: &mut Aimd, times: usize, in_flight: usize) -> usize {
        for _ in 0..times {
            aimd.record(sample(0, 1, in_flight, Ending::Success));
        }
        aimd.limit()
    }

    #[test]
    fn a_limits_worth_of_successes_adds_one() {
        let mut aimd = Aimd::new().initial(10);
        assert_eq!([succeed(&mut aimd, 9, 10), succeed(&mut aimd, 1, 10)], [10, 11]);
        assert_eq!([succeed(&mut aimd, 10, 10), succeed(&mut aimd, 1, 10)], [11, 12]);
    }

    #[test]
    fn a_limit_that_is_not_half_used_does_not_grow() {
        let mut aimd = Aimd::new().initial(11);
        assert_eq!(succeed(&mut aimd, 1_000, 5), 11);
        assert_eq!(succeed(&mut aimd, 11, 6), 12);
    }

    #[test]
    fn what_started_before_the_limit_shrank_does_not_shrink_it_again() {
        let mut aimd = Aimd::new().initial(100);
        assert_eq!(aimd.record(sample(0, 50, 100, Ending::Dropped)), 90);
        assert_eq!(aimd.record(sample(49, 60, 100, Ending::Dropped)), 90);
        assert_eq!(aimd.record(sample(50, 61, 90, Ending::Dropped)), 81);
        // Rounded down: the least limit is reached in the end.
        assert_eq!(
            (0..).map(|nth| aimd.record(sample(100 + nth, 101 + nth, 1, Ending::Dropped))).find(|limit| *limit == 1),
            Some(1)
        );
    }

    #[test]
    fn a_success_that_took_the_timeout_is_a_drop() {
        let timeout = Duration::from_nanos(100);
        let mut aimd = Aimd::new().initial(10).timeout(timeout).backoff_percent(50);
        assert_eq!(aimd.record(sample(0, 99, 10, Ending::Success)), 10);
        assert_eq!(aimd.record(sample(0, 100, 10, Ending::Success)), 5);
        let mut patient = Aimd::new().initial(10).timeout(Duration::MAX);
        assert_eq!(patient.record(sample(0, u64::MAX - 1, 10, Ending::Success)), 10);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_make_drops_invisible() {
        let mut aimd = Aimd::new().initial(100);
        assert_eq!(aimd.record(sample(u64::MAX, u64::MAX, 100, Ending::Dropped)), 90);
        assert_eq!(
            aimd.record(sample(5, 6, 100, Ending::Dropped)),
            90,
            "it ended before the limit shrank, as far as anybody knows"
        );
        assert_eq!(aimd.record(sample(6, 7, 100, Ending::Dropped)), 81);
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let mut aimd = Aimd::new().max(usize::MAX).initial(usize::MAX);
        assert_eq!(succeed(&mut aimd, 10, usize::MAX), usize::MAX);
        let tenth = usize::MAX - aimd.record(sample(1, 1, usize::MAX, Ending::Dropped));
        assert!(tenth.abs_diff(usize::MAX / 10) < 100);
    }

    #[test]
    fn a_backoff_outside_of_1_to_99_percent_and_a_timeout_of_0_are_refused() {
        for percent in [0, 100, 255] {
            assert_eq!(Aimd::new().try_backoff_percent(percent).unwrap_err(), ConfigError::BackoffOutside(percent));
        }
        assert!(Aimd::new().try_backoff_percent(1).is_ok() && Aimd::new().try_backoff_percent(99).is_ok());
        assert_eq!(Aimd::new().try_timeout(Duration::ZERO).unwrap_err(), ConfigError::ZeroTimeout);
    }
}
