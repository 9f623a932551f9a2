//! Vegas: keeps a queue that is short and not empty.

use std::time::Duration;

use super::baseline::Baseline;
use super::guard::Guard;
use super::limits::{Limits, limits_setters};
use super::samples::{Samples, Window};
use super::{Controller, Sample};
use crate::ConfigError;
use crate::config_error::misconfigured;

/// Estimates how much of the work in progress only waits, from how much longer it takes than the least that was seen, and keeps
/// that small.
///
/// After the congestion control of L. Brakmo and L. Peterson, *TCP Vegas*, 1995, as Netflix concurrency-limits applies it to
/// requests. For each window of samples (1 s and 50 of them at least), with `lg` = log₁₀ of the limit, rounded down and at
/// least 1:
///
/// - latency = the mean of the lower 90 % of them, so that a few slow ones move nothing;
/// - queue = limit × (1 − least latency / latency), rounded up;
/// - α = 3 lg or a tenth of the limit, β = 6 lg or three twentieths, whichever is more;
/// - the limit rises by 6 lg if the queue is at most α / 3, or by lg if it is below α; it falls by lg if the queue is above β;
/// - it falls by as much of a tenth as was [dropped](super::Ending::Dropped), and by lg at least, if that was more than 1 in 100;
/// - it goes back to the least limit that did as well where more work in progress brought more latency but no more throughput, in up
///   to 50 windows in which the limit was what held the work back.
///
/// The least latency is measured afresh after 30 to 60 windows, or once the limit has fallen by half: at three quarters of the limit,
/// for two windows. The first of them is left out, as is the very first of all: what has ended by then is the short work.
///
/// The limit does not change while less than half of it is in use; it is at most 5 times what was in use, or what it started with.
///
/// Netflix's Vegas has no α of a tenth and no β of three twentieths (its documentation speaks of a tenth): beyond some 60 places, 3 lg is
/// less than the noise. Nor does it measure at a reduced limit: under a standing overload it takes the queue for the baseline.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Controller, Ending, Sample, Timestamp, Vegas};
///
/// let mut vegas = Vegas::new().initial(10).window(Duration::from_millis(1), 2);
/// for millis in 10..17 {
///     let ended = Timestamp::from_nanos(millis * 1_000_000);
///     vegas.record(Sample { started: ended.saturating_sub(5_000_000), ended, in_flight: 10, ending: Ending::Success });
/// }
/// // What started before the first end is left out. Of the rest, nothing took longer than the least: there is no queue at all.
/// assert_eq!(vegas.limit(), 16);
/// ```
#[derive(Clone, Debug)]
pub struct Vegas {
    limits: Limits,
    limit: usize,
    samples: Samples,
    baseline: Baseline,
    guard: Option<Guard>,
}

impl Vegas {
    /// Starts at 20 and stays within 1 to 1000.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits::default();
        let (samples, baseline, guard) = (Samples::new(), Baseline::new(), Some(Guard::new()));
        Self { limits, limit: limits.initial(), samples, baseline, guard }
    }

    limits_setters!();

    /// Sets how long a window of samples is, and how many there are in it at least: 1 s and 50 if not set.
    ///
    /// # Panics
    ///
    /// If one of them is 0.
    #[must_use]
    pub fn window(self, length: Duration, at_least: u32) -> Self {
        self.try_window(length, at_least).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`window`](Self::window), from values that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroWindow`], [`ConfigError::ZeroSamples`].
    pub fn try_window(self, length: Duration, at_least: u32) -> Result<Self, ConfigError> {
        Ok(Self { samples: self.samples.with(length, at_least)?, ..self })
    }

    /// Without the guard: to show what it is for.
    #[cfg(test)]
    pub(super) fn unguarded(self) -> Self {
        Self { guard: None, ..self }
    }

    fn within(self, limits: Limits) -> Result<Self, ConfigError> {
        let limits = limits.checked()?;
        Ok(Self { limits, limit: limits.initial(), ..self })
    }

    fn judge(&mut self, window: &Window) {
        if self.baseline.is_probing() {
            self.baseline.probed(window.latency);
            // What started during the probe met less work than there is from now on.
            self.samples.restart(window.closed);
        } else {
            self.limit = self.limits.clamp(self.next(window)).min(self.limits.tried(window.most_in_flight));
            if self.baseline.probe_if_due(self.limit) {
                self.samples.restart(window.closed);
            }
        }
    }

    fn next(&mut self, window: &Window) -> usize {
        let step = step(self.limit);
        let (lower, higher) = (|by| self.limit.saturating_sub(by), |by| self.limit.saturating_add(by));
        let Some(latency) = window.latency.filter(|_| !window.is_lossy()) else {
            return lower(share(self.limit / 10, window.dropped, window.successes.saturating_add(window.dropped)).max(step));
        };
        let queue = queue(self.limit, self.baseline.observe(latency), latency);
        if window.most_in_flight < self.limit.div_ceil(2) {
            return self.limit;
        }
        if let Some(back) = self.guard.as_mut().and_then(|guard| guard.retreat(window, latency, self.limit)) {
            return back;
        }
        // In two parts, so that no limit overflows.
        let three_twentieths = self.limit / 20 * 3 + self.limit % 20 * 3 / 20;
        let (alpha, beta) = ((step * 3).max(self.limit / 10), (step * 6).max(three_twentieths));
        if queue > beta {
            lower(step)
        } else if queue <= alpha / 3 {
            higher(step * 6)
        } else if queue < alpha {
            higher(step)
        } else {
            self.limit
        }
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new()
    }
}

impl Controller for Vegas {
    fn limit(&self) -> usize {
        // A quarter less drains what waits, and keeps three quarters of the throughput where nothing did.
        let reduced = self.limit - self.limit / 4;
        if self.baseline.is_probing() { self.limits.clamp(reduced) } else { self.limit }
    }

    fn record(&mut self, sample: Sample) -> usize {
        if let Some(window) = self.samples.record(sample) {
            self.judge(&window);
        }
        self.limit()
    }
}

/// Returns how much of the limit only waits, rounded up. `least` is at most `latency`, which is not 0.
fn queue(limit: usize, least: u64, latency: u64) -> usize {
    share(limit, latency.saturating_sub(least), latency)
}

/// Returns `part` / `whole` of a limit, rounded up.
fn share(limit: usize, part: u64, whole: u64) -> usize {
    // Both factors fit 64 bits, so the product fits; and as the part is no more than the whole, the quotient is at most the limit.
    let share = u128::try_from(limit).unwrap_or(u128::MAX).saturating_mul(u128::from(part)).div_ceil(u128::from(whole.max(1)));
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Returns how far a limit of this size moves at once.
fn step(limit: usize) -> usize {
    // A limit is at least 1, and ilog10 of a usize is below 20.
    usize::try_from(limit.max(1).ilog10()).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::adaptive::Ending;

    const MS: u64 = 1_000_000;

    /// A controller whose windows are two samples, and the time.
    struct Trial {
        vegas: Vegas,
        now: Timestamp,
    }

    impl Trial {
        fn new(initial: usize) -> Self {
            let mut vegas = Vegas::new().max(20_000).initial(initial).window(Duration::from_nanos(1), 2);
            // It has heard of work long ago.
            vegas.samples.restart(Timestamp::ORIGIN);
            Self { vegas, now: Timestamp::from_nanos(1_000_000 * MS) }
        }

        /// A window of work that took so many ms with so much in flight, and of which one in two ended so.
        fn window(&mut self, millis: u64, in_flight: usize, ending: Ending) -> usize {
            for ending in [Ending::Success, ending] {
                let started = self.now.saturating_add(1);
                self.now = started.saturating_add(millis * MS);
                self.vegas.record(Sample { started, ended: self.now, in_flight, ending });
            }
            self.vegas.limit()
        }

        fn full_window(&mut self, millis: u64) -> usize {
            let in_flight = self.vegas.limit();
            self.window(millis, in_flight, Ending::Success)
        }
    }

    #[test]
    fn without_a_queue_the_limit_rises_by_beta_as_that_of_netflix() {
        // 10 → 16 and 10000 → 10024: 6 × log₁₀.
        assert_eq!(Trial::new(10).full_window(10), 16);
        assert_eq!(Trial::new(10_000).full_window(10), 10_024);
    }

    #[test]
    fn the_queue_decides_how_the_limit_moves() {
        // Limit 100, lg 2, α 10, β 15, least latency 80 ms. Queue = 100 × (1 − 80 / latency), rounded up.
        let next = |latency: u64| {
            let mut trial = Trial::new(100);
            trial.vegas.baseline.observe(80 * MS);
            trial.full_window(latency)
        };
        assert_eq!(next(80), 112, "0");
        assert_eq!(next(82), 112, "3 = α / 3");
        assert_eq!(next(83), 102, "4");
        assert_eq!(next(87), 102, "9");
        assert_eq!(next(88), 100, "10 = α");
        assert_eq!(next(89), 100, "11");
        assert_eq!(next(94), 100, "15 = β");
        assert_eq!(next(95), 98, "16");
    }

    #[test]
    fn small_limits_have_the_alpha_and_beta_of_netflix() {
        // Limit 10, lg 1, α 3, β 6, least latency 100 ms.
        let next = |latency: u64| {
            let mut trial = Trial::new(10);
            trial.vegas.baseline.observe(100 * MS);
            trial.full_window(latency)
        };
        assert_eq!([110, 112, 130, 150, 240, 251].map(next), [16, 11, 10, 10, 10, 9]);
    }

    #[test]
    fn a_drop_in_a_window_lowers_the_limit_whatever_the_latency() {
        assert_eq!(Trial::new(10).window(10, 10, Ending::Dropped), 9);
        assert_eq!(Trial::new(10_000).window(10, 10_000, Ending::Dropped), 9_500, "half of a tenth");
        let mut least = Trial::new(1);
        assert_eq!(least.window(10, 1, Ending::Dropped), 1);
    }

    #[test]
    fn a_limit_that_is_not_half_used_stays() {
        assert_eq!(Trial::new(21).window(10, 10, Ending::Success), 21);
        assert_eq!(Trial::new(21).window(10, 11, Ending::Success), 27);
    }

    #[test]
    fn a_limit_far_above_what_is_used_comes_down_to_5_times_that() {
        let mut trial = Trial::new(20);
        trial.vegas.limit = 500;
        assert_eq!(trial.window(10, 30, Ending::Success), 150);
        trial.window(10, 1, Ending::Success);
        assert_eq!(trial.vegas.limit, 20, "where it started");
    }

    #[test]
    fn a_probe_takes_a_quarter_of_the_limit_for_a_window_and_sees_only_what_started_in_it() {
        let mut trial = Trial::new(100);
        trial.vegas.baseline.observe(100 * MS);
        // Queue 13: between α and β.
        let before = (0..60).map(|_| trial.full_window(114)).take_while(|limit| *limit == 100).count();
        assert!((29..60).contains(&before), "{before} windows");
        assert_eq!(trial.vegas.limit(), 75);
        // What is still under way from before took long.
        let ended = trial.now.saturating_add(MS);
        for _ in 0..10 {
            trial.vegas.record(Sample { started: trial.now.saturating_sub(1), ended, in_flight: 100, ending: Ending::Success });
        }
        assert!(trial.vegas.baseline.is_probing());
        assert_eq!(trial.window(90, 75, Ending::Success), 100);
        // What started during the probe met less work than there is from now on.
        for nth in 0..10 {
            let (started, ended) = (trial.now.saturating_sub(1), trial.now.saturating_add(nth));
            trial.vegas.record(Sample { started, ended, in_flight: 100, ending: Ending::Success });
        }
        assert_eq!(trial.vegas.limit(), 100);
        assert_eq!(trial.vegas.baseline.observe(u64::MAX), 90 * MS);
    }

    #[test]
    fn a_queue_is_within_the_limit_whatever_the_numbers_are() {
        assert_eq!(queue(usize::MAX, 0, u64::MAX), usize::MAX);
        assert_eq!(queue(usize::MAX, u64::MAX, 1), 0);
        assert_eq!(queue(7, 0, 0), 0);
        assert_eq!(queue(7, 0, 1), 7);
        assert_eq!(queue(100, 80, 88), 10);
    }
}
