//! Between which limits a controller may choose, and where it starts.

use crate::ConfigError;

/// What was set of the three. What was not set makes room for what was: the order of setting does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    initial: Option<usize>,
    min: Option<usize>,
    max: Option<usize>,
}

impl Limits {
    pub(super) const fn all(initial: usize, min: usize, max: usize) -> Self {
        Self { initial: Some(initial), min: Some(min), max: Some(max) }
    }

    pub(super) const fn with_initial(self, initial: usize) -> Self {
        Self { initial: Some(initial), ..self }
    }

    pub(super) const fn with_min(self, min: usize) -> Self {
        Self { min: Some(min), ..self }
    }

    pub(super) const fn with_max(self, max: usize) -> Self {
        Self { max: Some(max), ..self }
    }

    /// Returns these limits if they agree with each other.
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        let (initial, min, max) = (self.initial(), self.min(), self.max());
        if initial == 0 || min == 0 || max == 0 {
            return Err(ConfigError::ZeroLimit);
        }
        if min > max {
            return Err(ConfigError::LimitsCrossed { min, max });
        }
        if initial < min || initial > max {
            return Err(ConfigError::InitialOutside { initial, min, max });
        }
        Ok(self)
    }

    pub(super) fn initial(self) -> usize {
        self.initial.unwrap_or_else(|| INITIAL.min(self.max()).max(self.min()))
    }

    pub(super) fn min(self) -> usize {
        self.min.unwrap_or(MIN)
    }

    pub(super) fn max(self) -> usize {
        self.max.unwrap_or_else(|| MAX.max(self.min()).max(self.initial.unwrap_or(0)))
    }

    pub(super) fn clamp(self, limit: usize) -> usize {
        limit.min(self.max()).max(self.min())
    }

    /// Returns the most that a limit may be where no more than `in_flight` was in progress: a limit that nobody came near to has
    /// not been tried. Never below where it started.
    pub(super) fn tried(self, in_flight: usize) -> usize {
        self.clamp(in_flight.saturating_mul(MOST_TIMES_IN_FLIGHT).max(self.initial()))
    }
}

/// Writes the methods with which each controller is given its limits.
macro_rules! limits_setters {
    () => {
        /// Sets the limit to start with: 20 if not set, or the nearest that is allowed.
        ///
        /// # Panics
        ///
        /// If it is 0, or outside a least or greatest limit that was set.
        #[must_use]
        pub fn initial(self, initial: usize) -> Self {
            let limits = self.limits.with_initial(initial);
            self.within(limits).unwrap_or_else(|error| crate::config_error::misconfigured(&error))
        }

        /// Sets the least limit: 1 if not set.
        ///
        /// # Panics
        ///
        /// If it is 0, or above an initial or greatest limit that was set.
        #[must_use]
        pub fn min(self, min: usize) -> Self {
            let limits = self.limits.with_min(min);
            self.within(limits).unwrap_or_else(|error| crate::config_error::misconfigured(&error))
        }

        /// Sets the greatest limit: 1000 if not set, or as much as was set for the others.
        ///
        /// # Panics
        ///
        /// If it is 0, or below an initial or least limit that was set.
        #[must_use]
        pub fn max(self, max: usize) -> Self {
            let limits = self.limits.with_max(max);
            self.within(limits).unwrap_or_else(|error| crate::config_error::misconfigured(&error))
        }

        /// Sets all three limits to values that are not known to be good.
        ///
        /// # Errors
        ///
        /// [`ConfigError::ZeroLimit`](crate::ConfigError::ZeroLimit),
        /// [`ConfigError::LimitsCrossed`](crate::ConfigError::LimitsCrossed),
        /// [`ConfigError::InitialOutside`](crate::ConfigError::InitialOutside).
        pub fn try_limits(self, initial: usize, min: usize, max: usize) -> Result<Self, crate::ConfigError> {
            self.within(crate::adaptive::limits::Limits::all(initial, min, max))
        }
    };
}
pub(super) use limits_setters;

/// As Netflix concurrency-limits (Vegas, Gradient2, AIMD) and failsafe-go start.
const INITIAL: usize = 20;

/// As Netflix Vegas and failsafe-go.
const MIN: usize = 1;

/// As Netflix Vegas and Envoy's adaptive concurrency.
const MAX: usize = 1_000;

/// As failsafe-go's `maxLimitFactor`.
const MOST_TIMES_IN_FLIGHT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_set_makes_room_for_what_was() {
        let resolved = |limits: Limits| (limits.initial(), limits.min(), limits.max());
        let none = Limits::default();
        assert_eq!(resolved(none), (20, 1, 1_000));
        assert_eq!(resolved(none.with_max(10)), (10, 1, 10));
        assert_eq!(resolved(none.with_min(30)), (30, 30, 1_000));
        assert_eq!(resolved(none.with_min(3_000)), (3_000, 3_000, 3_000));
        assert_eq!(resolved(none.with_initial(2_000)), (2_000, 1, 2_000));
        for limits in [none, none.with_max(10), none.with_min(3_000), none.with_initial(2_000), none.with_initial(1)] {
            assert!(limits.checked().is_ok(), "{limits:?}");
        }
    }

    #[test]
    fn the_order_of_setting_does_not_matter() {
        let (initial, min, max) = (Limits::with_initial, Limits::with_min, Limits::with_max);
        let steps: [(fn(Limits, usize) -> Limits, usize); 3] = [(initial, 2_000), (min, 1_500), (max, 3_000)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut limits = Limits::default();
            for step in order {
                limits = steps[step].0(limits, steps[step].1).checked().expect("every part of what is right is right");
            }
            assert_eq!((limits.initial(), limits.min(), limits.max()), (2_000, 1_500, 3_000));
        }
    }

    #[test]
    fn limits_that_disagree_are_refused_by_name() {
        for (initial, min, max) in [(0, 1, 2), (1, 0, 2), (0, 0, 0)] {
            assert_eq!(Limits::all(initial, min, max).checked().unwrap_err(), ConfigError::ZeroLimit);
        }
        assert_eq!(Limits::all(5, 9, 3).checked().unwrap_err(), ConfigError::LimitsCrossed { min: 9, max: 3 });
        for initial in [2, 10] {
            let refused = Limits::all(initial, 3, 9).checked().unwrap_err();
            assert_eq!(refused, ConfigError::InitialOutside { initial, min: 3, max: 9 });
        }
        assert!(Limits::all(3, 3, 3).checked().is_ok());
    }

    #[test]
    fn an_untried_limit_is_5_times_what_was_in_flight_but_not_below_the_initial_one() {
        let limits = Limits::all(20, 1, 1_000);
        assert_eq!([0, 4, 5, 200, 201, usize::MAX].map(|n| limits.tried(n)), [20, 20, 25, 1_000, 1_000, 1_000]);
    }
}
