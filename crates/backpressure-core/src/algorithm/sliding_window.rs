//! The sliding window as two counters.

use crate::{Algorithm, Decision, Outcome, Policy, Quota, Rate, Timestamp};

/// At most `count` in any window, estimated from two counters: that of the current window, and that of the previous one
/// weighted by the part of it that the sliding window still covers.
///
/// Admits a request of cost n at e nanoseconds into a window of w while `previous × (w − e) / w + current + n ≤ count`. In any
/// interval
/// d ≤ w it admits at most `count × (1 + d / w)`: without the fixed window's jump at the edge, in the same 16 bytes a key. A
/// [`SlidingLog`](crate::SlidingLog) admits exactly `count` and pays with memory. Refused requests count for nothing, so a
/// client that keeps asking is not locked out.
///
/// ```
/// use backpressure_core::{Algorithm, Outcome, Rate, SlidingWindow, Timestamp};
///
/// let window = SlidingWindow::new(Rate::per_second(4));
/// let mut state = Default::default();
/// for _ in 0..4 {
///     assert!(window.decide(&mut state, Timestamp::ORIGIN, 1).is_admitted());
/// }
/// // A quarter into the next window three of the four still count.
/// let refused = window.decide(&mut state, Timestamp::ORIGIN, 1);
/// assert_eq!(refused.outcome, Outcome::Reject { retry_after: 1_250_000_000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    limit: u32,
    /// Nanoseconds, at most 2⁶².
    window: u64,
}

/// The current window of a key and what was admitted in it and in the one before. Both counts 0 is no window at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlidingWindowState {
    opened: Timestamp,
    previous: u32,
    current: u32,
}

/// The two counts of a sliding window and how far it has slid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindowLevel {
    previous: u32,
    /// Wider than the state's: a check counts the request too.
    current: u64,
    /// Nanoseconds until the previous window is out of sight.
    left: u64,
}

impl SlidingWindow {
    /// Makes a window of the period of `rate` that admits its count. Every rate will do.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { limit: rate.count(), window: rate.period_nanos() }
    }

    /// Returns the state as it is at `now`, the window moved on.
    fn at(&self, state: &SlidingWindowState, now: Timestamp) -> SlidingWindowState {
        if now >= self.fresh_at(state) {
            return SlidingWindowState { opened: now, previous: 0, current: 0 };
        }
        let end = state.opened.saturating_add(self.window);
        if now < end { *state } else { SlidingWindowState { opened: end, previous: state.current, current: 0 } }
    }

    /// Returns the nanoseconds from `now` until a request of `cost` ≤ limit fits, given that it does not fit now.
    ///
    /// Solves the admission rule for e, rounding up: in this window if the current count leaves room once enough of the previous
    /// has
    /// slid out, else in the next, where the current count is the previous one.
    fn retry_after(&self, state: &SlidingWindowState, now: Timestamp, cost: u64) -> u64 {
        let room = u64::from(self.limit) - cost;
        let current = u64::from(state.current);
        let fits_at = if current <= room {
            state.opened.saturating_add(self.slid_enough(room - current, state.previous))
        } else {
            state.opened.saturating_add(self.window).saturating_add(self.slid_enough(room, state.current))
        };
        fits_at.nanos_since(now)
    }

    /// Returns the smallest e for which `count × (window − e) / window ≤ room`. `count` is not 0: something stands in the way.
    fn slid_enough(&self, room: u64, count: u32) -> u64 {
        let still_covered = u128::from(room) * u128::from(self.window) / u128::from(count.max(1));
        self.window - u64::try_from(still_covered).unwrap_or(u64::MAX).min(self.window)
    }

    /// What the previous window still counts, times the window: the admission rule without its division.
    fn weight(&self, previous: u32, left: u64) -> u128 {
        u128::from(previous) * u128::from(left)
    }
}

impl From<Rate> for SlidingWindow {
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

impl Algorithm for SlidingWindow {
    type State = SlidingWindowState;
    type Level = SlidingWindowLevel;

    fn check(&self, state: &SlidingWindowState, now: Timestamp, cost: u64) -> Decision<SlidingWindowLevel> {
        let state = self.at(state, now);
        let left = self.window - now.nanos_since(state.opened).min(self.window);
        let (limit, current) = (u64::from(self.limit), u64::from(state.current));
        let would_count = current.saturating_add(cost);
        let scaled = |count: u64| u128::from(count) * u128::from(self.window);
        let fits = self.weight(state.previous, left) + scaled(would_count) <= scaled(limit);
        let (outcome, current) = if fits || cost == 0 {
            (Outcome::Admit, would_count)
        } else if cost > limit {
            (Outcome::Never, current)
        } else {
            (Outcome::Reject { retry_after: self.retry_after(&state, now, cost) }, current)
        };
        Decision { outcome, level: SlidingWindowLevel { previous: state.previous, current, left }, at: now, cost }
    }

    fn take(&self, state: &mut SlidingWindowState, now: Timestamp, cost: u64) {
        if cost > 0 {
            *state = self.at(state, now);
            state.current = state.current.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
        }
    }

    /// Restores what was taken in the current window or the previous one.
    fn give_back(&self, state: &mut SlidingWindowState, taken: &Decision<SlidingWindowLevel>, _now: Timestamp) {
        let cost = u32::try_from(taken.cost).unwrap_or(u32::MAX);
        if taken.at >= state.opened {
            state.current = state.current.saturating_sub(cost);
        } else if taken.at.saturating_add(self.window) >= state.opened {
            state.previous = state.previous.saturating_sub(cost);
        }
    }

    fn fresh_at(&self, state: &SlidingWindowState) -> Timestamp {
        let end = state.opened.saturating_add(self.window);
        match (state.previous, state.current) {
            (0, 0) => Timestamp::ORIGIN,
            (_, 0) => end,
            _ => end.saturating_add(self.window),
        }
    }

    fn quota(&self, level: SlidingWindowLevel) -> Quota {
        let limit = u64::from(self.limit);
        // Rounded up: what counts in part is not available whole.
        let previous = self.weight(level.previous, level.left).div_ceil(u128::from(self.window));
        let used = u64::try_from(previous).unwrap_or(u64::MAX).saturating_add(level.current);
        let reset_after = match (level.previous, level.current) {
            (0, 0) => 0,
            (_, 0) => level.left,
            _ => level.left.saturating_add(self.window),
        };
        Quota {
            policy: Policy::new(limit, self.window),
            remaining: limit.saturating_sub(used),
            reset_after: crate::nanos_to_duration(reset_after),
        }
    }
}
