//! Gradient2: compares the latency now with its own long mean.
#![expect(clippy::float_arithmetic, reason = "exponential means; each result is clamped to a finite range")]
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a latency and a limit")]

use std::time::Duration;

use super::guard::Guard;
use super::limits::{Limits, limits_setters};
use super::samples::{Samples, Window};
use super::vegas::step;
use super::{Controller, Sample};
use crate::ConfigError;
use crate::config_error::misconfigured;

/// Shrinks the limit by as much as the latency exceeds its long mean, and otherwise tries a little more.
///
/// The algorithm of the same name of Netflix concurrency-limits. For each window of samples (1 s and 50 of them at least), with the
/// 90th percentile of the latencies as the short latency:
///
/// - the long latency is the exponential mean over 600 windows (the plain mean of the first 10); where it is more than twice the short
///   one, it forgets 5 %;
/// - gradient = tolerance × long / short, within ½ to 1; the tolerance is 1.5;
/// - a fifth of the way towards limit × gradient + 4.
///
/// What differs: **drops count** (there they are ignored, Netflix/concurrency-limits#176): the gradient is at most the share that
/// was not dropped, and nothing is added. **It does not climb for ever** under mild overload (#134): where more work in progress has
/// brought no more throughput in the last 50 windows in which the limit was reached, the limit shrinks. And the least limit
/// is 1, not 20.
///
/// The limit does not change while less than half of it is in use; it is at most 5 times what was in use, or what it started with.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Controller, Ending, Gradient2, Sample, Timestamp};
///
/// let mut gradient = Gradient2::new().initial(20).window(Duration::from_millis(1), 2);
/// for millis in 10..20 {
///     let ended = Timestamp::from_nanos(millis * 1_000_000);
///     gradient.record(Sample { started: ended.saturating_sub(5_000_000), ended, in_flight: 20, ending: Ending::Success });
/// }
/// // Five windows, in each a fifth of the way towards 4 more.
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
            return self.towards(MOST_AT_ONCE, 0.0);
        };
        let long = self.long.add(latency as f64);
        let limit = self.limit();
        if window.most_in_flight < limit.div_ceil(2) {
            return self.limit;
        }
        let is_full = window.most_in_flight >= limit;
        let in_vain = is_full && self.guard.as_mut().is_some_and(|guard| guard.is_in_vain(window, latency));
        let gradient = (self.tolerance * long / latency as f64).clamp(MOST_AT_ONCE, 1.0);
        if window.dropped > 0 {
            let succeeded = window.successes as f64 / (window.successes + window.dropped) as f64;
            self.towards(gradient.min(succeeded.max(MOST_AT_ONCE)), 0.0)
        } else if in_vain {
            self.limit - step(limit) as f64
        } else {
            self.towards(gradient, HEADROOM)
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
const MOST_AT_ONCE: f64 = 0.5;
const LONG: f64 = 600.0;
const WARM_UP: u32 = 10;
