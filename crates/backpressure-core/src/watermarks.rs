//! When to say stop, and when to say go on.

use crate::ConfigError;
use crate::config_error::misconfigured;

/// Two marks on a depth: at the high one the producer is to pause, at the low one to resume.
///
/// One mark would make a depth that hovers round it say stop and go with every item. Between two, each crossing costs at least
/// `high - low` items in the other direction: `High` and `Low` alternate strictly, and each comes once a crossing. The high mark is
/// reached *at* its depth, and the low one too.
///
/// The marks are here and the [`Level`] is with whatever has the depth, so that thousands of queues share one pair of marks and
/// keep one byte each.
///
/// ```
/// use backpressure_core::{Crossing, Level, Watermarks};
///
/// let marks = Watermarks::of(50);
/// assert_eq!((marks.high(), marks.low()), (38, 19));
///
/// let mut level = Level::default();
/// assert_eq!(marks.update(&mut level, 37), None);
/// assert_eq!(marks.update(&mut level, 38), Some(Crossing::High));
/// // One less and one more: nothing is said again.
/// assert_eq!(marks.update(&mut level, 37), None);
/// assert_eq!(marks.update(&mut level, 38), None);
/// assert_eq!(marks.update(&mut level, 20), None);
/// assert_eq!(marks.update(&mut level, 19), Some(Crossing::Low));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watermarks {
    /// Above `low`, hence at least 1.
    high: u64,
    low: u64,
}

/// Which mark a depth has crossed last: all that [`Watermarks`] remember of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "between two marks there is no third side")]
pub enum Level {
    /// The low one, or none yet: whoever fills may fill.
    #[default]
    Low,
    /// The high one: whoever fills is to pause.
    High,
}

/// A mark that has just been crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two marks")]
pub enum Crossing {
    /// The depth has risen to the high mark: pause.
    High,
    /// The depth has fallen to the low mark: resume.
    Low,
}

impl Watermarks {
    /// The high mark where none is given, in per cent of the capacity.
    pub const DEFAULT_HIGH_PERCENT: u8 = 75;

    /// Puts the high mark at 75 % of a capacity, rounded up, and the low one at half of that, rounded down.
    ///
    /// # Panics
    ///
    /// If the capacity is 0, as [`try_percent`](Self::try_percent) returns an error.
    #[must_use]
    pub fn of(capacity: u64) -> Self {
        let marks = part(capacity, Self::DEFAULT_HIGH_PERCENT).map(|high| Self { high, low: high / 2 });
        marks.unwrap_or_else(|| misconfigured(&ConfigError::NoDepth))
    }

    /// Puts the marks at two parts of a capacity: the high one rounded up, the low one down.
    ///
    /// # Panics
    ///
    /// Where [`try_percent`](Self::try_percent) returns an error.
    #[must_use]
    pub fn percent(capacity: u64, high: u8, low: u8) -> Self {
        Self::try_percent(capacity, high, low).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`percent`](Self::percent), from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoDepth`] if the capacity is 0; [`ConfigError::MarkOutside`] if `high` is 0 or above 100;
    /// [`ConfigError::MarksCrossed`] if `low` is not below `high`.
    pub const fn try_percent(capacity: u64, high: u8, low: u8) -> Result<Self, ConfigError> {
        if high == 0 || high > 100 {
            return Err(ConfigError::MarkOutside(high));
        }
        if low >= high {
            return Err(ConfigError::MarksCrossed { high: high as u64, low: low as u64 });
        }
        match (part(capacity, high), part_below(capacity, low)) {
            // low < high in per cent, one rounded down and the other up: they stay apart.
            (Some(high), low) => Ok(Self { high, low }),
            (None, _) => Err(ConfigError::NoDepth),
        }
    }

    /// Puts the marks at two depths.
    ///
    /// # Errors
    ///
    /// [`ConfigError::MarksCrossed`] if `low` is not below `high`.
    pub const fn try_at(high: u64, low: u64) -> Result<Self, ConfigError> {
        if low >= high {
            return Err(ConfigError::MarksCrossed { high, low });
        }
        Ok(Self { high, low })
    }

    /// Returns the depth from which on the producer is to pause.
    #[must_use]
    pub const fn high(&self) -> u64 {
        self.high
    }

    /// Returns the depth down to which a paused producer is to stay so.
    #[must_use]
    pub const fn low(&self) -> u64 {
        self.low
    }

    /// Takes note of a depth, and returns the mark that it has crossed.
    #[inline]
    pub const fn update(&self, level: &mut Level, depth: u64) -> Option<Crossing> {
        match level {
            Level::Low if depth >= self.high => {
                *level = Level::High;
                Some(Crossing::High)
            }
            Level::High if depth <= self.low => {
                *level = Level::Low;
                Some(Crossing::Low)
            }
            Level::Low | Level::High => None,
        }
    }
}

/// So many per cent, rounded up; `None` of nothing.
const fn part(capacity: u64, percent: u8) -> Option<u64> {
    if capacity == 0 {
        return None;
    }
    Some(narrow((capacity as u128 * percent as u128).div_ceil(100)))
}

/// So many per cent, rounded down.
const fn part_below(capacity: u64, percent: u8) -> u64 {
    narrow(capacity as u128 * percent as u128 / 100)
}

#[expect(clippy::cast_possible_truncation, reason = "at most 100 % of a u64; TryFrom is not const")]
const fn narrow(part: u128) -> u64 {
    part as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_alternate_and_say_the_truth_for_every_walk_of_twelve_steps_round_every_pair_of_marks() {
        for (high, low) in (1..6_u64).flat_map(|high| (0..high).map(move |low| (high, low))) {
            let marks = Watermarks::try_at(high, low).unwrap();
            for walk in 0..1_u32 << 12 {
                let (mut level, mut depth, mut last) = (Level::default(), 0_u64, Crossing::Low);
                for step in 0..12 {
                    depth = if walk >> step & 1 == 1 { depth + 1 } else { depth.saturating_sub(1) };
                    let Some(crossing) = marks.update(&mut level, depth) else {
                        assert!(if last == Crossing::High { depth > low } else { depth < high });
                        continue;
                    };
                    assert_ne!(crossing, last);
                    assert_eq!(depth, if crossing == Crossing::High { high } else { low });
                    last = crossing;
                }
            }
        }
    }

    #[test]
    fn jumps_over_both_marks_are_crossings_too() {
        let marks = Watermarks::of(100);
        let mut level = Level::default();
        assert_eq!(marks.update(&mut level, u64::MAX), Some(Crossing::High));
        assert_eq!(marks.update(&mut level, 0), Some(Crossing::Low));
        assert_eq!(marks.update(&mut level, 0), None);
    }

    #[test]
    fn one_more_and_one_less_round_a_mark_say_nothing_after_the_crossing() {
        let marks = Watermarks::of(50);
        for (mark, start) in [(38, Level::Low), (19, Level::High)] {
            let mut level = start;
            let said = (0..1_000).filter_map(|turn| marks.update(&mut level, mark - 1 + turn % 3)).count();
            assert_eq!(said, 1);
        }
    }

    #[test]
    fn marks_stay_apart_and_within_the_capacity_whatever_the_rounding() {
        for capacity in (1..300).chain([u64::MAX - 1, u64::MAX]) {
            let usual = Watermarks::of(capacity);
            assert!(usual.low < usual.high && usual.high <= capacity && usual.low == usual.high / 2);
            for high in 1..=100 {
                for low in 0..high {
                    let marks = Watermarks::percent(capacity, high, low);
                    assert!(marks.low < marks.high && marks.high <= capacity);
                    assert!(u128::from(marks.high) * 100 >= u128::from(capacity) * u128::from(high));
                    assert!(u128::from(marks.low) * 100 <= u128::from(capacity) * u128::from(low));
                }
            }
        }
    }

    #[test]
    fn marks_that_cross_or_lie_outside_are_refused() {
        for high in [0, 101, 255] {
            assert_eq!(Watermarks::try_percent(50, high, 0), Err(ConfigError::MarkOutside(high)));
        }
        for (high, low) in [(75, 75), (75, 76), (1, 255)] {
            let crossed = ConfigError::MarksCrossed { high: u64::from(high), low: u64::from(low) };
            assert_eq!(Watermarks::try_percent(50, high, low), Err(crossed));
        }
        assert_eq!(Watermarks::try_at(0, 0), Err(ConfigError::MarksCrossed { high: 0, low: 0 }));
        assert_eq!(Watermarks::try_percent(0, 75, 37), Err(ConfigError::NoDepth));
    }

    #[test]
    #[should_panic(expected = "it must be at least 1")]
    fn marks_on_no_capacity_panic_in_the_constructor() {
        let _ = Watermarks::of(0);
    }
}
