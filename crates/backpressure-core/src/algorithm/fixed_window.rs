//! The fixed window.

use crate::{Algorithm, Decision, Outcome, Policy, Quota, Rate, Timestamp};

/// At most `count` in each window; the window of a key opens with its first request and the next one with the first after it.
///
/// The cheapest limit to explain, and the loosest: two windows that meet let up to twice the count through in an instant. A
/// [`SlidingWindow`](crate::SlidingWindow) does not.
///
/// Memory: 16 bytes a key.
///
/// ```
/// use backpressure_core::{Algorithm, FixedWindow, Outcome, Rate, Timestamp};
///
/// let window = FixedWindow::new(Rate::per_second(1));
/// let mut state = Default::default();
/// assert!(window.decide(&mut state, Timestamp::from_nanos(5), 1).is_admitted());
/// let refused = window.decide(&mut state, Timestamp::from_nanos(8), 1);
/// assert_eq!(refused.outcome, Outcome::Reject { retry_after: 999_999_997 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedWindow {
    limit: u32,
    /// Nanoseconds, at most 2⁶².
    window: u64,
}

/// The window of a key and what was admitted in it. A count of 0 is no window at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedWindowState {
    opened: Timestamp,
    count: u32,
}

/// What is used of a window and the nanoseconds until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedWindowLevel {
    used: u64,
    reset_after: u64,
}

impl FixedWindow {
    /// Makes a window of the period of `rate` that admits its count. Every rate will do.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { limit: rate.count(), window: rate.period_nanos() }
    }

    /// Returns what counts at `now`: nothing of a window that is over.
    fn current(&self, state: &FixedWindowState, now: Timestamp) -> FixedWindowState {
        if state.count > 0 && now < self.fresh_at(state) { *state } else { FixedWindowState { opened: now, count: 0 } }
    }
}

impl From<Rate> for FixedWindow {
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

impl Algorithm for FixedWindow {
    type State = FixedWindowState;
    type Level = FixedWindowLevel;

    #[inline]
    fn check(&self, state: &FixedWindowState, now: Timestamp, cost: u64) -> Decision<FixedWindowLevel> {
        let current = self.current(state, now);
        let used = u64::from(current.count);
        let end = current.opened.saturating_add(self.window);
        let would_use = used.saturating_add(cost);
        let (outcome, used) = if would_use <= u64::from(self.limit) || cost == 0 {
            (Outcome::Admit, would_use)
        } else if cost > u64::from(self.limit) {
            (Outcome::Never, used)
        } else {
            (Outcome::Reject { retry_after: end.nanos_since(now) }, used)
        };
        // A window that nobody has opened has nothing to reset.
        let left = if used == 0 { 0 } else { end.nanos_since(now) };
        Decision { outcome, level: FixedWindowLevel { used, reset_after: left }, at: now, cost }
    }

    #[inline]
    fn take(&self, state: &mut FixedWindowState, now: Timestamp, cost: u64) {
        if cost > 0 {
            *state = self.current(state, now);
            state.count = state.count.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
        }
    }

    /// Restores what was taken in the window that is still open.
    fn give_back(&self, state: &mut FixedWindowState, taken: &Decision<FixedWindowLevel>, now: Timestamp) {
        if taken.at >= state.opened && now < self.fresh_at(state) {
            state.count = state.count.saturating_sub(u32::try_from(taken.cost).unwrap_or(u32::MAX));
        }
    }

    fn fresh_at(&self, state: &FixedWindowState) -> Timestamp {
        if state.count == 0 { Timestamp::ORIGIN } else { state.opened.saturating_add(self.window) }
    }

    fn quota(&self, level: FixedWindowLevel) -> Quota {
        let limit = u64::from(self.limit);
        Quota {
            policy: Policy::new(limit, self.window),
            remaining: limit.saturating_sub(level.used),
            reset_after: crate::nanos_to_duration(level.reset_after),
        }
    }
}
