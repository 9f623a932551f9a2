//! A count per period.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{ConfigError, nanos};

/// A count per period, neither of them zero.
///
/// `Rate::per_second(100)` always means 100 requests each second, never one request each 100 seconds.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::Rate;
///
/// const LIMIT: Rate = Rate::per_minute(1000);
/// assert_eq!(LIMIT.to_string(), "1000/min");
/// assert_eq!("5/250ms".parse(), Rate::new(5, Duration::from_millis(250)));
/// assert!("0/s".parse::<Rate>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    period: u64,
}

impl Rate {
    /// The longest period, 2⁶² ns (146 years): any two periods still add up within a [`Timestamp`](crate::Timestamp).
    pub const MAX_PERIOD: Duration = Duration::from_nanos(MAX_PERIOD_NANOS);

    /// Makes a rate of `count` each `period`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroCount`], [`ConfigError::ZeroPeriod`], or [`ConfigError::PeriodTooLong`] over [`Rate::MAX_PERIOD`].
    pub const fn new(count: u32, period: Duration) -> Result<Self, ConfigError> {
        if count == 0 {
            return Err(ConfigError::ZeroCount);
        }
        if period.is_zero() {
            return Err(ConfigError::ZeroPeriod);
        }
        let nanos = nanos(period);
        if nanos > MAX_PERIOD_NANOS {
            return Err(ConfigError::PeriodTooLong(period));
        }
        Ok(Self { count, period: nanos })
    }

    /// Makes a rate of `count` each second.
    ///
    /// # Panics
    ///
    /// If `count` is 0; in a `const` this is a compile error. [`Rate::new`] and parsing return an error instead.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self::per(count, SECOND)
    }

    /// Makes a rate of `count` each minute. Panics as [`Rate::per_second`] does.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self::per(count, MINUTE)
    }

    /// Makes a rate of `count` each hour. Panics as [`Rate::per_second`] does.
    #[must_use]
    pub const fn per_hour(count: u32) -> Self {
        Self::per(count, HOUR)
    }

    /// Makes a rate of `count` each 24 hours. Panics as [`Rate::per_second`] does.
    #[must_use]
    pub const fn per_day(count: u32) -> Self {
        Self::per(count, DAY)
    }

    /// Returns the count.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns the period.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_nanos(self.period)
    }

    pub(crate) const fn period_nanos(self) -> u64 {
        self.period
    }

    const fn per(count: u32, period: u64) -> Self {
        assert!(count != 0, "a rate of 0 requests would refuse for ever: the count must be at least 1");
        Self { count, period }
    }
}

impl fmt::Display for Rate {
    /// Writes the rate in the largest unit that divides its period: `100/s`, `1000/min`, `5/250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, length) = UNITS.iter().rfind(|(_, length)| self.period.is_multiple_of(*length)).unwrap_or(&UNITS[0]);
        match self.period / length {
            1 => write!(f, "{}/{unit}", self.count),
            units => write!(f, "{}/{units}{unit}", self.count),
        }
    }
}

impl FromStr for Rate {
    type Err = ConfigError;

    /// Reads `count "/" [number] unit`, the units being `ns`, `us`, `ms`, `s`, `min`, `h` and `d`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnreadableRate`] with at most 64 characters of the text, or what [`Rate::new`] refuses.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let unreadable = || ConfigError::UnreadableRate(text.chars().take(64).collect());
        let (count, period) = text.split_once('/').ok_or_else(unreadable)?;
        let unit_at = period.find(|c: char| !c.is_ascii_digit()).ok_or_else(unreadable)?;
        let (number, unit) = period.split_at(unit_at);
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(unreadable)?;
        let units = if number.is_empty() { 1 } else { digits(number).ok_or_else(unreadable)? };
        let count = digits(count).and_then(|count| u32::try_from(count).ok()).ok_or_else(unreadable)?;
        Self::new(count, Duration::from_nanos(units.saturating_mul(*length)))
    }
}

/// Reads plain digits: `u64::from_str` alone would accept a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// From the shortest to the longest, each a multiple of the one before.
const UNITS: [(&str, u64); 7] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", SECOND), ("min", MINUTE), ("h", HOUR), ("d", DAY)];

pub(crate) const MAX_PERIOD_NANOS: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_print_and_parse_to_themselves() {
        for text in ["100/s", "1000/min", "5/250ms", "1/d", "4294967295/h", "7/90s", "3/1500us", "1/7ns", "20/2s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("120/60s".parse::<Rate>().unwrap().to_string(), "120/min");
    }

    #[test]
    fn broken_rates_are_refused_with_the_text_that_was_broken() {
        let long = format!("{}/s", "9".repeat(10_000));
        for text in [
            "",
            "/",
            "100",
            "100/",
            "/s",
            "-1/s",
            "+1/s",
            "1 /s",
            "1/ s",
            "1/S",
            "1.5/s",
            "4294967296/s",
            "1/-1s",
            "1/m",
            "1/ß",
            &long,
        ] {
            match text.parse::<Rate>() {
                Err(ConfigError::UnreadableRate(refused)) => assert!(text.starts_with(&refused) && refused.len() <= 64),
                other => panic!("{text:?} became {other:?}"),
            }
        }
        assert_eq!("0/s".parse::<Rate>(), Err(ConfigError::ZeroCount));
        assert_eq!("1/0s".parse::<Rate>(), Err(ConfigError::ZeroPeriod));
        assert!(matches!("1/99999999999999999999d".parse::<Rate>(), Err(ConfigError::UnreadableRate(_))));
        assert!(matches!("1/99999999999999d".parse::<Rate>(), Err(ConfigError::PeriodTooLong(_))));
    }

    #[test]
    #[should_panic(expected = "the count must be at least 1")]
    fn a_rate_of_zero_panics_at_construction() {
        let _ = Rate::per_second(0);
    }
}
