//! Gradient2: compares the latency now with its own long mean.
#![expect(clippy::float_arithmetic, reason = "exponential means; each result is clamped to a finite range")]
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a latency and a limit")]

use std::time::Duration;

use super::guard::Guard;
use super::limits::{Limits, limits_setters};
use super::samples::{Samples, Window};
use super::{Controller, Sample};
use crate::ConfigError;
use crate::config_error::misconfigured;

/// Shrinks the limit by as much as the latency exceeds its long mean, and otherwise tries a little more.
///
/// The algorithm of the same name of Netflix concurrency-limits. For each window of samples (1 s and 50 of them at least), with the
/// mean of the lower 90 % of the latencies as the short latency:
///
/// - the long latency is the exponential mean over 600 windows (the plain mean of the first 10); where it is more than twice the short
///   one, it forgets 5 %;
/// - gradient = tolerance × long / short, within ½ to 1; the tolerance is 1.5;
/// - the limit goes a fifth of the way towards limit × gradient + 4.
///
/// What differs. **Drops count** (there they are ignored, Netflix/concurrency-limits#176): where more than 1 in 100 was dropped, the
/// gradient is at most the share that was not, and nothing is added. **It does not climb for ever** under mild overload (#134):
/// it goes back to the least limit that did as well where more work in progress brought more latency but no more throughput, in
/// up to 50 windows in which the limit was what held the work back. And the least limit is 1, not 20.
///
/// The limit does not change while less than half of it is in use; it is at most 5 times what was in use, or what it started with.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Controller, Ending, Gradient2, Sample, Timestamp};
///
/// let mut gradient = Gradient2::new().initial(20).window(Duration::from_millis(1), 2);
/// for millis in 10..25 {
///     let ended = Timestamp::from_nanos(millis * 1_000_000);
///     gradient.record(Sample { started: ended.saturating_sub(5_000_000), ended, in_flight: 20, ending: Ending::Success });
/// }
/// // What started before the first end is left out. Then five windows, in each a fifth of the way towards 4 more.
/// assert_eq!(gradient.limit(), 24);
/// ```
#[derive(Clone, Debug)]
pub struct Gradient2 {
    limits: Limits,
    /// Finite, and within the limits.
    limit: f64,
    samples: Samples,
    long: LongMean,
    guard: Option<Guard>,
    /// At least 1.
    tolerance: f64,
}

/// An exponential mean, in nanoseconds, that begins as a plain one.
#[derive(Clone, Copy, Debug)]
struct LongMean {
    mean: f64,
    windows: u32,
}

impl Gradient2 {
    /// Starts at 20 and stays within 1 to 1000.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits::default();
        Self {
            limits,
            limit: limits.initial() as f64,
            samples: Samples::new(),
            long: LongMean { mean: 0.0, windows: 0 },
            guard: Some(Guard::new()),
            tolerance: 1.5,
        }
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

    /// Sets up to how many percent of the long latency a latency is taken for usual: 150 if not set.
    ///
    /// # Panics
    ///
    /// If it is below 100.
    #[must_use]
    pub fn tolerance_percent(self, percent: u32) -> Self {
        self.try_tolerance_percent(percent).unwrap_or_else(|error| misconfigured(&error))
    }

    /// As [`tolerance_percent`](Self::tolerance_percent), from a value that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ToleranceTooLow`].
    pub fn try_tolerance_percent(self, percent: u32) -> Result<Self, ConfigError> {
        match percent {
            100.. => Ok(Self { tolerance: f64::from(percent) / 100.0, ..self }),
            _ => Err(ConfigError::ToleranceTooLow(percent)),
        }
    }

    /// Without the guard: to show what it is for.
    #[cfg(test)]
    pub(super) fn unguarded(self) -> Self {
        Self { guard: None, ..self }
    }

    fn within(self, limits: Limits) -> Result<Self, ConfigError> {
        let limits = limits.checked()?;
        Ok(Self { limits, limit: limits.initial() as f64, ..self })
    }

    fn judge(&mut self, window: &Window) {
        let next = self.next(window).min(self.limits.tried(window.most_in_flight) as f64);
        // max first: it would take a NaN to the least limit, if there were one.
        self.limit = next.max(self.limits.min() as f64).min(self.limits.max() as f64);
    }

    fn next(&mut self, window: &Window) -> f64 {
        let Some(latency) = window.latency else {
            return self.towards(LEAST_GRADIENT, 0.0);
        };
        let limit = self.limit();
        let gradient = (self.tolerance * self.long.add(latency as f64) / latency as f64).clamp(LEAST_GRADIENT, 1.0);
        if window.is_lossy() {
            let succeeded = window.successes as f64 / (window.successes + window.dropped) as f64;
            return self.towards(gradient.min(succeeded).max(LEAST_GRADIENT), 0.0);
        }
        if window.most_in_flight < limit.div_ceil(2) {
            return self.limit;
        }
        match self.guard.as_mut().and_then(|guard| guard.retreat(window, latency, limit)) {
            Some(back) => back as f64,
            None => self.towards(gradient, HEADROOM),
        }
    }

    fn towards(&self, gradient: f64, headroom: f64) -> f64 {
        self.limit * (1.0 - SMOOTHING) + (self.limit * gradient + headroom) * SMOOTHING
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Controller for Gradient2 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is clamped")]
    fn limit(&self) -> usize {
        self.limits.clamp(self.limit as usize)
    }

    fn record(&mut self, sample: Sample) -> usize {
        if let Some(window) = self.samples.record(sample) {
            self.judge(&window);
        }
        self.limit()
    }
}

impl LongMean {
    /// Takes in the latency of a window, which is not 0, and returns the mean.
    fn add(&mut self, latency: f64) -> f64 {
        self.windows = self.windows.saturating_add(1);
        let weight = if self.windows <= WARM_UP { 1.0 / f64::from(self.windows) } else { 2.0 / (LONG + 1.0) };
        self.mean += (latency - self.mean) * weight;
        if self.mean > 2.0 * latency {
            self.mean *= 0.95;
        }
        self.mean
    }
}

/// All of these as Netflix Gradient2.
const SMOOTHING: f64 = 0.2;
const HEADROOM: f64 = 4.0;
const LEAST_GRADIENT: f64 = 0.5;
const LONG: f64 = 600.0;
const WARM_UP: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::adaptive::Ending;

    /// Takes in a window of two pieces of work that took so many ms, the second of which ended so.
    fn window(gradient: &mut Gradient2, millis: u64, in_flight: usize, ending: Ending) -> f64 {
        for (nth, ending) in [(0, Ending::Success), (1, ending)] {
            let started = Timestamp::from_nanos(1_000 + nth);
            let ended = started.saturating_add(millis * 1_000_000);
            gradient.record(Sample { started, ended, in_flight, ending });
        }
        gradient.limit
    }

    /// One that has heard of work long ago.
    fn gradient(initial: usize) -> Gradient2 {
        of_windows(2, initial)
    }

    fn of_windows(at_least: u32, initial: usize) -> Gradient2 {
        let mut gradient = Gradient2::new().initial(initial).window(Duration::from_nanos(1), at_least);
        gradient.samples.restart(Timestamp::ORIGIN);
        gradient
    }

    fn assert_close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9 * expected, "{actual} and not {expected}");
    }

    #[test]
    fn at_the_usual_latency_the_limit_goes_a_fifth_of_the_way_to_4_more() {
        let mut gradient = gradient(20);
        assert_close(window(&mut gradient, 10, 20, Ending::Success), 20.8);
        assert_close(window(&mut gradient, 10, 20, Ending::Success), 21.6);
        assert_eq!(gradient.limit(), 21);
    }

    #[test]
    fn beyond_the_tolerance_the_limit_shrinks_with_the_latency() {
        let mut gradient = gradient(100);
        window(&mut gradient, 10, 100, Ending::Success);
        gradient.limit = 100.0;
        // Long: (10 + 50) / 2 = 30. Gradient: 1.5 × 30 / 50 = 0.9.
        assert_close(window(&mut gradient, 50, 100, Ending::Success), 80.0 + 0.2 * (90.0 + 4.0));
        // Long: (60 + 1000) / 3. Gradient: 0.53.
        gradient.limit = 100.0;
        assert_close(window(&mut gradient, 1_000, 100, Ending::Success), 80.0 + 0.2 * (53.0 + 4.0));
        // Never less than half at once.
        gradient.limit = 100.0;
        assert_close(window(&mut gradient, 100_000, 100, Ending::Success), 80.0 + 0.2 * (50.0 + 4.0));
    }

    #[test]
    fn the_long_latency_forgets_faster_where_it_is_over_twice_the_short_one() {
        let mut long = LongMean { mean: 0.0, windows: 0 };
        for _ in 0..10 {
            assert_close(long.add(100.0), 100.0);
        }
        assert_close(long.add(50.0), 100.0 - 50.0 * 2.0 / 601.0);
        assert_close(long.add(40.0), (99.833_610_648_918_47 - 59.833_610_648_918_47 * 2.0 / 601.0) * 0.95);
    }

    #[test]
    fn drops_count_by_their_share_and_leave_no_headroom() {
        let mut half = gradient(100);
        assert_close(window(&mut half, 10, 100, Ending::Dropped), 90.0);
        let mut fifth = of_windows(5, 100);
        for nth in 0..5_u64 {
            let started = Timestamp::from_nanos(1_000 + nth);
            let ending = if nth == 2 { Ending::Dropped } else { Ending::Success };
            fifth.record(Sample { started, ended: started.saturating_add(5), in_flight: 1, ending });
        }
        assert_close(fifth.limit, 80.0 + 0.2 * 80.0);
    }

    #[test]
    fn where_nothing_succeeds_the_limit_falls_to_the_least() {
        let mut gradient = gradient(100);
        for nth in 0..200 {
            let now = Timestamp::from_nanos(nth);
            gradient.record(Sample { started: now, ended: now, in_flight: 100, ending: Ending::Dropped });
        }
        assert_eq!(gradient.limit(), 1);
    }

    #[test]
    fn a_limit_that_is_not_half_used_stays() {
        assert_close(window(&mut gradient(21), 10, 10, Ending::Success), 21.0);
        assert_close(window(&mut gradient(21), 10, 11, Ending::Success), 21.8);
    }

    #[test]
    fn a_limit_far_above_what_is_used_comes_down_to_5_times_that() {
        let mut gradient = gradient(20);
        gradient.limit = 500.0;
        assert_close(window(&mut gradient, 10, 30, Ending::Success), 150.0);
        assert_close(window(&mut gradient, 10, 1, Ending::Success), 20.0);
    }

    #[test]
    fn a_tolerance_below_100_percent_is_refused() {
        assert_eq!(Gradient2::new().try_tolerance_percent(99).unwrap_err(), ConfigError::ToleranceTooLow(99));
        assert!(Gradient2::new().try_tolerance_percent(100).is_ok() && Gradient2::new().try_tolerance_percent(u32::MAX).is_ok());
    }
}
