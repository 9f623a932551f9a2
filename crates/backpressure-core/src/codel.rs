//! How long a queue may keep somebody waiting.

use std::time::Duration;

use crate::config_error::misconfigured;
use crate::{ConfigError, Timestamp, nanos, nanos_to_duration};

/// Tells a queue that absorbs a burst from one that stands, and how long a request may wait in each.
///
/// A queue that has been empty within the last `interval` is doing its work, and a request may wait in it for `interval`. One that
/// has not been empty for that long holds up everybody who passes through it and gains nothing for anyone: there a request
/// may wait for `target`, and the newest had better go first.
///
/// "Controlled delay" as B. Maurer, *Fail at Scale*, ACM Queue 13(8), 2015, applies it to servers: 5 ms and 100 ms. The signal,
/// and the figures, come from K. Nichols and V. Jacobson, *Controlling Queue Delay*, ACM Queue 10(5), 2012.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{CoDel, Timestamp};
///
/// let codel = CoDel::new();
/// let not_empty_since = Some(Timestamp::from_nanos(7_000_000));
/// let soon = Timestamp::from_nanos(106_999_999);
/// assert_eq!(codel.patience(not_empty_since, soon), Duration::from_millis(100));
/// let standing = Timestamp::from_nanos(107_000_000);
/// assert_eq!(codel.patience(not_empty_since, standing), Duration::from_millis(5));
/// assert_eq!(codel.patience(None, standing), Duration::from_millis(100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoDel {
    /// Nanoseconds, at least 1 and at most `interval`.
    target: u64,
    interval: u64,
}

impl CoDel {
    /// A target of 5 ms and an interval of 100 ms, as in *Fail at Scale*.
    #[must_use]
    pub const fn new() -> Self {
        Self { target: 5_000_000, interval: 100_000_000 }
    }

    /// Sets how long a request may wait in a queue that stands, and how long in one that does not; the latter is also the time
    /// after which a queue stands that has not been empty.
    ///
    /// # Panics
    ///
    /// Where [`try_with`](Self::try_with) returns an error.
    #[must_use]
    pub fn with(target: Duration, interval: Duration) -> Self {
        Self::try_with(target, interval).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`with`](Self::with), from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PatienceCrossed`] if `target` is 0 or longer than `interval`.
    pub const fn try_with(target: Duration, interval: Duration) -> Result<Self, ConfigError> {
        let codel = Self { target: nanos(target), interval: nanos(interval) };
        if codel.target == 0 || codel.target > codel.interval {
            return Err(ConfigError::PatienceCrossed { target, interval });
        }
        Ok(codel)
    }

    /// Whether a queue that has not been empty `since` then (`None`: it is empty) stands at `now`.
    #[must_use]
    pub const fn is_standing(&self, since: Option<Timestamp>, now: Timestamp) -> bool {
        match since {
            Some(since) => now.nanos_since(since) >= self.interval,
            None => false,
        }
    }

    /// Returns how long a request may have waited at `now` in a queue that has not been empty `since` then.
    #[must_use]
    pub const fn patience(&self, since: Option<Timestamp>, now: Timestamp) -> Duration {
        nanos_to_duration(if self.is_standing(since, now) { self.target } else { self.interval })
    }
}

impl Default for CoDel {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_stands_from_the_interval_on_and_not_a_nanosecond_earlier() {
        let codel = CoDel::with(Duration::from_nanos(3), Duration::from_nanos(10));
        let since = Some(Timestamp::from_nanos(5));
        for (now, standing) in [(5, false), (14, false), (15, true), (u64::MAX, true)] {
            let now = Timestamp::from_nanos(now);
            assert_eq!(codel.is_standing(since, now), standing);
            assert_eq!(codel.patience(since, now), Duration::from_nanos(if standing { 3 } else { 10 }));
            assert!(!codel.is_standing(None, now));
        }
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_queue_stand() {
        assert!(!CoDel::new().is_standing(Some(Timestamp::MAX), Timestamp::ORIGIN));
    }

    #[test]
    fn the_defaults_are_those_of_the_article() {
        assert_eq!(CoDel::default(), CoDel::with(Duration::from_millis(5), Duration::from_millis(100)));
    }

    #[test]
    fn a_target_of_0_or_above_the_interval_is_refused() {
        let ms = Duration::from_millis;
        for (target, interval) in [(ms(0), ms(100)), (ms(0), ms(0)), (ms(101), ms(100))] {
            assert_eq!(CoDel::try_with(target, interval), Err(ConfigError::PatienceCrossed { target, interval }));
        }
        assert!(CoDel::try_with(ms(100), ms(100)).is_ok());
        assert!(CoDel::try_with(ms(1), Duration::MAX).is_ok());
    }

    #[test]
    #[should_panic(expected = "5 ms and 100 ms are usual")]
    fn a_crossed_patience_panics_in_the_constructor() {
        let _ = CoDel::with(Duration::from_secs(1), Duration::from_millis(1));
    }
}
