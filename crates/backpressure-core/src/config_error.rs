//! What a configuration can get wrong, and what would be right.

use std::fmt;
use std::time::Duration;

use crate::Rate;

/// A configuration that cannot be kept as it is written.
///
/// Each variant carries the value that was refused; the message says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The rate admits 0 requests: it would refuse for ever.
    ZeroCount,
    /// The period of the rate is 0.
    ZeroPeriod,
    /// The period of the rate is longer than [`Rate::MAX_PERIOD`].
    PeriodTooLong(Duration),
    /// The text is not a rate.
    UnreadableRate(String),
    /// The burst is 0: it would refuse for ever.
    ZeroBurst,
    /// The interval between two requests, rounded up to whole nanoseconds, makes the rate more than 1 % slower than it says.
    RateTooFast {
        /// The rate that was asked for.
        rate: Rate,
        /// The interval in nanoseconds to which it would be rounded.
        rounded_to: u64,
    },
    /// Refilling the capacity from empty takes longer than [`Rate::MAX_PERIOD`].
    CapacityTooLarge {
        /// The capacity that was asked for.
        capacity: u64,
        /// The largest capacity for this rate.
        at_most: u64,
    },
    /// A sliding log remembers every request of its window, and this limit is more than it may.
    LogTooLong {
        /// The limit that was asked for.
        limit: u32,
        /// The largest limit.
        at_most: u32,
    },
    /// The number of requests that may be in progress is 0: it would refuse for ever.
    ZeroLimit,
    /// The number of requests that may be in progress is more than can be counted.
    LimitTooLarge {
        /// The limit that was asked for.
        limit: usize,
        /// The largest limit.
        at_most: usize,
    },
    /// A buffer whose callers wait for room, for who knows how long.
    BlockWithoutEnd,
    /// The least limit of a controller is above its greatest.
    LimitsCrossed {
        /// The least limit.
        min: usize,
        /// The greatest limit.
        max: usize,
    },
    /// The limit with which a controller starts is not one that it may set.
    InitialOutside {
        /// The limit to start with.
        initial: usize,
        /// The least limit.
        min: usize,
        /// The greatest limit.
        max: usize,
    },
    /// The percentage of a limit that is kept after a drop is not between 0 and 100.
    BackoffOutside(u8),
    /// The percentage of the usual latency that is still taken for usual is below 100.
    ToleranceTooLow(u32),
    /// A window of samples has no length.
    ZeroWindow,
    /// A window of samples may be judged before it has any.
    ZeroSamples,
    /// The latency from which a success counts as a drop is 0: everything would.
    ZeroTimeout,
    /// The patience with a queue that stands is 0, or longer than with one that does not.
    PatienceCrossed {
        /// How long a request may wait in a queue that stands.
        target: Duration,
        /// How long it may wait otherwise, and after how long without being empty a queue stands.
        interval: Duration,
    },
    /// The capacity to be marked is 0.
    NoDepth,
    /// The high mark, in per cent of the capacity, is 0 or above 100: it would be reached by nothing, or never.
    MarkOutside(u8),
    /// The low mark is not below the high one.
    MarksCrossed {
        /// The high mark.
        high: u64,
        /// The low mark.
        low: u64,
    },
    /// A soft limit has no patience.
    ZeroPatience,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCount => f.write_str("a rate of 0 requests would refuse for ever: the count must be at least 1"),
            Self::ZeroPeriod => f.write_str("a rate needs a period of at least 1 ns"),
            Self::PeriodTooLong(period) => {
                write!(f, "a period of {period:?} is too long: at most {:?}", Rate::MAX_PERIOD)
            }
            Self::UnreadableRate(text) => write!(
                f,
                "{text:?} is not a rate: write a count, a slash and a period, as in \"100/s\", \"1000/min\" or \"5/250ms\" \
                 (units: ns, us, ms, s, min, h, d)"
            ),
            Self::ZeroBurst => f.write_str("a burst of 0 would refuse for ever: it must be at least 1"),
            Self::RateTooFast { rate, rounded_to } => write!(
                f,
                "{rate} is too fast to be kept to within 1 %: the interval between two requests would be rounded to {rounded_to} ns; \
                 use a rate that divides its period or at most 10000000/s, or let one request stand for several through its cost"
            ),
            Self::CapacityTooLarge { capacity, at_most } => {
                write!(f, "a capacity of {capacity} takes over 146 years to refill at this rate: at most {at_most}")
            }
            Self::LogTooLong { limit, at_most } => write!(
                f,
                "a sliding log of {limit} requests a key needs too much memory: at most {at_most}; a sliding window needs 16 bytes"
            ),
            Self::ZeroLimit => f.write_str("a limit of 0 requests in progress would refuse for ever: it must be at least 1"),
            Self::LimitTooLarge { limit, at_most } => {
                write!(f, "a limit of {limit} requests in progress cannot be counted: at most {at_most}")
            }
            Self::BlockWithoutEnd => f.write_str(
                "a buffer that blocks has no bound on how many wait, so it needs one on how long: say so with a longest wait",
            ),
            Self::LimitsCrossed { min, max } => {
                write!(f, "the least limit, {min}, is above the greatest, {max}: it must be at least 1 and at most {max}")
            }
            Self::InitialOutside { initial, min, max } => {
                write!(f, "a limit that starts at {initial} but stays within {min} to {max}: start within them")
            }
            Self::BackoffOutside(percent) => {
                write!(f, "a backoff to {percent} % of the limit: it must be 1 to 99 %, where 90 % gives up a tenth at a drop")
            }
            Self::ToleranceTooLow(percent) => {
                write!(
                    f,
                    "a tolerance of {percent} % of the usual latency takes the usual for overload: it must be at least 100 %"
                )
            }
            Self::ZeroWindow => f.write_str("a window of samples needs a length of at least 1 ns; 1 s is usual"),
            Self::ZeroSamples => f.write_str("a window of samples needs at least 1 of them; 50 are usual"),
            Self::ZeroTimeout => f.write_str("a timeout of 0 would take every success for a drop: it must be at least 1 ns"),
            Self::PatienceCrossed { target, interval } => write!(
                f,
                "a patience of {target:?} with a standing queue and {interval:?} otherwise: the first must be at least 1 ns \
                 and at most the second; 5 ms and 100 ms are usual"
            ),
            Self::NoDepth => f.write_str("a capacity of 0 has no marks: it must be at least 1"),
            Self::MarkOutside(percent) => {
                write!(f, "a high mark at {percent} % of the capacity: it must be 1 to 100 %, where 75 % is usual")
            }
            Self::MarksCrossed { high, low } => {
                write!(f, "a low mark at {low} is not below the high one at {high}: half of it is usual")
            }
            Self::ZeroPatience => f.write_str("a soft limit with a patience of 0 is a hard one: it must be at least 1 ns"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Ends a construction that cannot be right, with the message that says what would be.
#[expect(clippy::panic, reason = "constructors are the one place where the library panics, as each documents")]
pub(crate) fn misconfigured<T>(error: &ConfigError) -> T {
    panic!("{error}")
}
