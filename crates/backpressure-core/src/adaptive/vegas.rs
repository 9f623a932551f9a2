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
/// least 1, and the 90th percentile of the latencies:
///
/// - queue = limit × (1 − least latency / latency), rounded up;
/// - 6 lg more if the queue is at most lg, lg more if it is less than 3 lg, lg less if it is more than 6 lg or if anything was
///   [dropped](super::Ending::Dropped);
/// - lg less if more work in progress has brought no more throughput in the last 50 windows in which the limit was reached;
/// - no change while less than half of the limit is in use. A limit is at most 5 times what was in use, or what it started with.
///
/// The least latency is measured afresh after 30 to 60 windows, at three quarters of the limit for a window of work that all
/// started after the reduction.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Controller, Ending, Sample, Timestamp, Vegas};
///
/// let mut vegas = Vegas::new().initial(10).window(Duration::from_millis(1), 2);
/// for millis in [10, 11] {
///     let ended = Timestamp::from_nanos(millis * 1_000_000);
///     vegas.record(Sample { started: ended.saturating_sub(5_000_000), ended, in_flight: 10, ending: Ending::Success });
/// }
/// // Nothing took longer than the least that was seen: there is no queue at all.
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
            if self.baseline.probe_if_due() {
                self.samples.restart(window.closed);
            }
        }
    }

    fn next(&mut self, window: &Window) -> usize {
        let step = step(self.limit);
        let (lower, higher) = (self.limit.saturating_sub(step), |by| self.limit.saturating_add(by));
        let Some(latency) = window.latency.filter(|_| window.dropped == 0) else {
            return lower;
        };
        let queue = queue(self.limit, self.baseline.observe(latency), latency);
        if window.most_in_flight < self.limit.div_ceil(2) {
            return self.limit;
        }
        let is_full = window.most_in_flight >= self.limit;
        let in_vain = is_full && self.guard.as_mut().is_some_and(|guard| guard.is_in_vain(window, latency));
        let (alpha, beta) = (step * 3, step * 6);
        if queue > beta || in_vain {
            lower
        } else if queue <= step {
            higher(beta)
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
    let longer = u128::from(latency.saturating_sub(least));
    // Both factors fit 64 bits, so the product fits; and the quotient is at most the limit.
    let queue = u128::try_from(limit).unwrap_or(u128::MAX).saturating_mul(longer).div_ceil(u128::from(latency.max(1)));
    usize::try_from(queue).unwrap_or(usize::MAX)
}

/// Returns how far a limit of this size moves at once.
pub(super) fn step(limit: usize) -> usize {
    // A limit is at least 1, and ilog10 of a usize is below 20.
    usize::try_from(limit.max(1).ilog10()).unwrap_or(0).max(1)
}
