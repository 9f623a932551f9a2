//! A limit on what is in progress, for one key.

use std::time::Duration;

use crate::config_error::misconfigured;
use crate::{Algorithm, ConfigError, Decision, Outcome, Policy, Quota, Timestamp, Word};

/// At most `limit` in progress at once.
///
/// Time plays no role: what was taken stays taken until it is [given back](Algorithm::give_back), whole, by the decision that took
/// it. So a refusal is [`Outcome::Busy`], which names no time: nobody knows when work ends. Whoever watches it end can
/// estimate (see [`DrainRate`](crate::DrainRate)).
///
/// For whoever gives back when the work has ended, as a layer that sheds does for each client. A limit by rate does not: it takes
/// what a call costs for good, and under this algorithm would never admit again.
///
/// A count other than 0 is never [fresh](Algorithm::fresh_at): a table that forgets only what is as good as new never forgets a
/// key with work in progress. Such a table must not forget others either, so give it room for the keys that may be busy at once.
///
/// Memory: 8 bytes a key.
///
/// ```
/// use backpressure_core::{Algorithm, InFlight, Outcome, Timestamp};
///
/// let limit = InFlight::new(1);
/// let (mut client, now) = (Default::default(), Timestamp::ORIGIN);
/// let first = limit.admit(&mut client, now, 1);
/// assert!(first.is_admitted());
/// assert_eq!(limit.admit(&mut client, now, 1).outcome, Outcome::Busy);
/// limit.give_back(&mut client, &first, now);
/// assert!(limit.admit(&mut client, now, 1).is_admitted());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    limit: u32,
}

/// What is in progress for one key.
///
/// Wider than the limit, so that charges above it are given back in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightState {
    count: u64,
}

/// How much is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLevel {
    count: u64,
}

impl InFlight {
    /// Makes a limit on what is in progress at once.
    ///
    /// # Panics
    ///
    /// If `limit` is 0.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self::try_new(limit).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a limit from a number that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroLimit`].
    pub const fn try_new(limit: u32) -> Result<Self, ConfigError> {
        if limit == 0 { Err(ConfigError::ZeroLimit) } else { Ok(Self { limit }) }
    }
}

impl Algorithm for InFlight {
    type State = InFlightState;
    type Level = InFlightLevel;
    const WORD: Option<Word<InFlightState>> =
        Some(Word { pack: |state| state.count, unpack: |word| InFlightState { count: word } });

    #[inline]
    fn check(&self, state: &InFlightState, now: Timestamp, cost: u64) -> Decision<InFlightLevel> {
        let limit = u64::from(self.limit);
        let would_be = state.count.saturating_add(cost);
        let (outcome, count) = if would_be <= limit || cost == 0 {
            (Outcome::Admit, would_be)
        } else if cost > limit {
            (Outcome::Never, state.count)
        } else {
            (Outcome::Busy, state.count)
        };
        Decision { outcome, level: InFlightLevel { count }, at: now, cost }
    }

    #[inline]
    fn take(&self, state: &mut InFlightState, _now: Timestamp, cost: u64) {
        state.count = state.count.saturating_add(cost);
    }

    /// Takes the cost out of the count, whenever that is: work in progress does not expire.
    #[inline]
    fn give_back(&self, state: &mut InFlightState, taken: &Decision<InFlightLevel>, _now: Timestamp) {
        state.count = state.count.saturating_sub(taken.cost);
    }

    /// Now where nothing is in progress, and otherwise at no time that can be told.
    fn fresh_at(&self, state: &InFlightState) -> Timestamp {
        if state.count == 0 { Timestamp::ORIGIN } else { Timestamp::MAX }
    }

    /// What may be started now. The window and the time until all is available again are 0: no time brings anything back.
    fn quota(&self, level: InFlightLevel) -> Quota {
        let limit = u64::from(self.limit);
        Quota { policy: Policy::new(limit, 0), remaining: limit.saturating_sub(level.count), reset_after: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rate, TokenBucket};

    const LATER: Timestamp = Timestamp::from_nanos(1 << 50);

    #[test]
    fn it_admits_up_to_its_limit_and_what_ends_makes_room_for_as_much() {
        let limit = InFlight::new(5);
        let mut state = InFlightState::default();
        let three = limit.admit(&mut state, Timestamp::ORIGIN, 3);
        let two = limit.admit(&mut state, Timestamp::ORIGIN, 2);
        assert!(three.is_admitted() && two.is_admitted());
        assert_eq!(limit.admit(&mut state, LATER, 1).outcome, Outcome::Busy);
        limit.give_back(&mut state, &two, LATER);
        assert_eq!(limit.admit(&mut state, LATER, 3).outcome, Outcome::Busy);
        assert!(limit.check(&state, LATER, 2).is_admitted());
        limit.give_back(&mut state, &three, LATER);
        assert_eq!(state, InFlightState::default());
    }

    #[test]
    fn a_cost_above_the_limit_never_fits_and_a_cost_of_0_always_does() {
        let limit = InFlight::new(2);
        let mut state = InFlightState::default();
        assert_eq!(limit.admit(&mut state, LATER, 3).outcome, Outcome::Never);
        assert!(limit.admit(&mut state, LATER, 2).is_admitted());
        assert!(limit.admit(&mut state, LATER, 0).is_admitted());
        assert_eq!(limit.admit(&mut state, LATER, u64::MAX).outcome, Outcome::Never);
        assert_eq!(state, InFlightState { count: 2 });
    }

    #[test]
    fn a_key_with_work_in_progress_is_never_fresh() {
        let limit = InFlight::new(2);
        let mut state = InFlightState::default();
        assert_eq!(limit.fresh_at(&state), Timestamp::ORIGIN);
        let taken = limit.admit(&mut state, Timestamp::ORIGIN, 1);
        assert_eq!(limit.fresh_at(&state), Timestamp::MAX);
        limit.give_back(&mut state, &taken, Timestamp::ORIGIN);
        assert_eq!(limit.fresh_at(&state), Timestamp::ORIGIN);
    }

    #[test]
    fn a_charge_beyond_the_limit_is_a_debt_and_giving_back_too_much_makes_no_credit() {
        let limit = InFlight::new(2);
        let mut state = InFlightState::default();
        let one = limit.admit(&mut state, LATER, 1);
        limit.take(&mut state, LATER, 10);
        assert_eq!(limit.check(&state, LATER, 1).outcome, Outcome::Busy);
        assert_eq!(limit.quota(limit.check(&state, LATER, 1).level).remaining, 0);
        limit.give_back(&mut state, &Decision { cost: 10, ..one }, LATER);
        assert_eq!(state, InFlightState { count: 1 });
        limit.give_back(&mut state, &Decision { cost: 9, ..one }, LATER);
        assert_eq!(state, InFlightState::default());
    }

    #[test]
    fn the_level_of_an_admission_counts_it_and_that_of_a_refusal_does_not() {
        let limit = InFlight::new(3);
        let mut state = InFlightState::default();
        let remaining = |decision: Decision<InFlightLevel>| limit.quota(decision.level).remaining;
        assert_eq!(remaining(limit.admit(&mut state, LATER, 2)), 1);
        assert_eq!(remaining(limit.admit(&mut state, LATER, 2)), 1);
        assert_eq!(remaining(limit.admit(&mut state, LATER, 4)), 1);
    }

    #[test]
    fn a_stack_with_a_rate_refuses_without_a_time_where_only_work_in_progress_is_in_the_way() {
        let both = (InFlight::new(1), TokenBucket::new(Rate::per_second(10)).burst(2));
        let mut state = Default::default();
        let first = both.admit(&mut state, Timestamp::ORIGIN, 1);
        assert_eq!(both.admit(&mut state, Timestamp::ORIGIN, 1).outcome, Outcome::Busy);
        both.give_back(&mut state, &first, Timestamp::ORIGIN);
        assert!(both.admit(&mut state, Timestamp::ORIGIN, 1).is_admitted());
        assert_eq!(both.fresh_at(&state), Timestamp::MAX);
    }

    #[test]
    fn the_count_is_its_own_word() {
        let word = InFlight::WORD.unwrap();
        for count in [0, 1, u64::MAX] {
            assert_eq!((word.pack)(&InFlightState { count }), count);
            assert_eq!((word.unpack)(count), InFlightState { count });
        }
    }

    #[test]
    fn a_limit_of_0_is_refused() {
        assert_eq!(InFlight::try_new(0), Err(ConfigError::ZeroLimit));
    }

    #[test]
    #[should_panic(expected = "it must be at least 1")]
    fn a_limit_of_0_panics_in_the_constructor() {
        let _ = InFlight::new(0);
    }
}
