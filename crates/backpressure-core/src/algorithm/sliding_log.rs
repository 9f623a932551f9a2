//! The sliding window as a log of what was admitted.

use std::collections::VecDeque;

use crate::config_error::misconfigured;
use crate::{Algorithm, ConfigError, Decision, Outcome, Policy, Quota, Rate, Timestamp};

/// At most `count` in any window, exactly: every unit that was admitted is remembered until it leaves the window.
///
/// The definition of a sliding window (half-open: a unit admitted exactly one window ago counts no more), and its price: 8 bytes
/// a unit, so **keys × limit × 8 bytes** in all and at most
/// [`SlidingLog::MAX_LIMIT`] a key. Where an estimate will do, [`SlidingWindow`](crate::SlidingWindow) needs 16 bytes a key.
///
/// The log cannot be in debt: a late charge above the limit fills it.
///
/// ```
/// use backpressure_core::{Algorithm, Outcome, Rate, SlidingLog, Timestamp};
///
/// let log = SlidingLog::new(Rate::per_second(2));
/// let mut state = Default::default();
/// for at in [0, 7] {
///     assert!(log.decide(&mut state, Timestamp::from_nanos(at), 1).is_admitted());
/// }
/// let refused = log.decide(&mut state, Timestamp::from_nanos(9), 1);
/// assert_eq!(refused.outcome, Outcome::Reject { retry_after: 999_999_991 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingLog {
    limit: u32,
    /// Nanoseconds, at most 2⁶².
    window: u64,
}

/// When each unit was admitted, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlidingLogState {
    times: VecDeque<Timestamp>,
}

/// How many units are in a log and the nanoseconds until the last one leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingLogLevel {
    used: u64,
    reset_after: u64,
}

impl SlidingLog {
    /// The largest limit: half a mebibyte a key.
    pub const MAX_LIMIT: u32 = 65_536;

    /// Makes a log of the period of `rate` that admits its count.
    ///
    /// # Panics
    ///
    /// If the count is over [`SlidingLog::MAX_LIMIT`].
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::try_new(rate).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a log from a rate that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::LogTooLong`] if the count is over [`SlidingLog::MAX_LIMIT`].
    pub const fn try_new(rate: Rate) -> Result<Self, ConfigError> {
        if rate.count() > Self::MAX_LIMIT {
            return Err(ConfigError::LogTooLong { limit: rate.count(), at_most: Self::MAX_LIMIT });
        }
        Ok(Self { limit: rate.count(), window: rate.period_nanos() })
    }

    /// Returns the index of the first unit that has not left the window.
    fn first_live(&self, state: &SlidingLogState, now: Timestamp) -> usize {
        state.times.partition_point(|at| at.saturating_add(self.window) <= now)
    }

    fn limit(&self) -> usize {
        // At most MAX_LIMIT by construction.
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

impl From<Rate> for SlidingLog {
    /// As [`SlidingLog::new`], panics included.
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

impl Algorithm for SlidingLog {
    type State = SlidingLogState;
    type Level = SlidingLogLevel;

    fn check(&self, state: &SlidingLogState, now: Timestamp, cost: u64) -> Decision<SlidingLogLevel> {
        let first = self.first_live(state, now);
        let used = state.times.len() - first;
        let leaves_in = |index: usize| state.times.get(index).map_or(0, |at| at.saturating_add(self.window).nanos_since(now));
        let used_units = u64::try_from(used).unwrap_or(u64::MAX);
        let limit = u64::from(self.limit);
        let decision =
            |outcome, used, reset_after| Decision { outcome, level: SlidingLogLevel { used, reset_after }, at: now, cost };
        let last_leaves_in = if used == 0 { 0 } else { leaves_in(state.times.len() - 1) };
        if cost == 0 {
            return decision(Outcome::Admit, used_units, last_leaves_in);
        }
        if cost > limit {
            return decision(Outcome::Never, used_units, last_leaves_in);
        }
        match used_units.saturating_add(cost).checked_sub(limit) {
            None | Some(0) => decision(Outcome::Admit, used_units + cost, self.window.max(last_leaves_in)),
            // The request fits when the last of the units that are too many has left.
            Some(too_many) => {
                let index = first + usize::try_from(too_many - 1).unwrap_or(usize::MAX);
                // A reconfigured, lower limit can leave more units than it admits: all that are too many must go.
                decision(Outcome::Reject { retry_after: leaves_in(index) }, used_units, last_leaves_in)
            }
        }
    }

    fn take(&self, state: &mut SlidingLogState, now: Timestamp, cost: u64) {
        if cost == 0 {
            return;
        }
        let times = &mut state.times;
        times.drain(..times.partition_point(|at| at.saturating_add(self.window) <= now));
        // The log stays sorted where the clock steps back: a unit counts from the newest one on.
        let at = times.back().map_or(now, |newest| now.max(*newest));
        let units = usize::try_from(cost).unwrap_or(usize::MAX).min(self.limit());
        times.drain(..(times.len() + units).saturating_sub(self.limit()).min(times.len()));
        if times.capacity() < times.len() + units {
            // Exact growth, doubled up to the limit: the bound that the docs state is the bound of the memory.
            let wanted = (times.len() + units).next_power_of_two().min(self.limit());
            times.reserve_exact(wanted - times.len());
        }
        times.extend(std::iter::repeat_n(at, units));
    }

    /// Removes the units of this taking that are still in the log.
    fn give_back(&self, state: &mut SlidingLogState, taken: &Decision<SlidingLogLevel>, _now: Timestamp) {
        let start = state.times.partition_point(|at| *at < taken.at);
        let end = state.times.partition_point(|at| *at <= taken.at);
        let units = usize::try_from(taken.cost).unwrap_or(usize::MAX).min(end - start);
        state.times.drain(start..start + units);
    }

    fn fresh_at(&self, state: &SlidingLogState) -> Timestamp {
        state.times.back().map_or(Timestamp::ORIGIN, |newest| newest.saturating_add(self.window))
    }

    fn quota(&self, level: SlidingLogLevel) -> Quota {
        let limit = u64::from(self.limit);
        Quota {
            policy: Policy::new(limit, self.window),
            remaining: limit.saturating_sub(level.used),
            reset_after: crate::nanos_to_duration(level.reset_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_needs_too_much_memory_is_refused() {
        assert!(SlidingLog::try_new(Rate::per_second(SlidingLog::MAX_LIMIT)).is_ok());
        assert_eq!(
            SlidingLog::try_new(Rate::per_second(SlidingLog::MAX_LIMIT + 1)),
            Err(ConfigError::LogTooLong { limit: 65_537, at_most: 65_536 })
        );
    }

    #[test]
    fn the_log_never_holds_more_than_its_limit_whatever_is_charged() {
        let log = SlidingLog::new(Rate::per_second(100));
        let mut state = SlidingLogState::default();
        for at in 0..10 {
            log.take(&mut state, Timestamp::from_nanos(at), 33);
            log.take(&mut state, Timestamp::from_nanos(at), u64::MAX);
            assert_eq!((state.times.len(), state.times.capacity()), (100, 100));
        }
    }
}
