//! Tells a climb that brings nothing from one that brings throughput.
#![expect(clippy::float_arithmetic, reason = "correlations; every answer is a comparison that is false for NaN")]
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a correlation")]

use std::collections::VecDeque;

use super::samples::Window;

/// Remembers the last windows in which the limit was reached, and whether more work in progress brought more throughput in them.
///
/// Under mild overload the latency creeps up with the limit and each new latency is taken for usual: a limit that grows by some
/// headroom never stops (Netflix/concurrency-limits#134). What does stop is the throughput. The repair, with these
/// thresholds, is that of failsafe-go; the first clause is that of Uber's Cinnamon.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    points: VecDeque<Point>,
}

/// What a window came to.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// A second.
    throughput: f64,
    /// The mean.
    in_flight: f64,
    /// Nanoseconds.
    latency: f64,
}

impl Guard {
    pub(super) const fn new() -> Self {
        Self { points: VecDeque::new() }
    }

    /// Takes in a window in which the limit was reached; returns whether a higher limit would be in vain.
    pub(super) fn is_in_vain(&mut self, window: &Window, latency: u64) -> bool {
        let samples = window.successes + window.dropped;
        self.points.push_back(Point {
            throughput: window.successes as f64 / window.elapsed as f64 * 1e9,
            in_flight: window.in_flight as f64 / samples as f64,
            latency: latency as f64,
        });
        if self.points.len() > WINDOWS {
            self.points.pop_front();
        }
        self.points.len() >= FEWEST && self.says_no()
    }

    fn says_no(&self) -> bool {
        let throughput = correlation(self.points.iter().map(|point| (point.in_flight, point.throughput)));
        let latency = correlation(self.points.iter().map(|point| (point.in_flight, point.latency)));
        let latency_rises = latency > 0.5;
        throughput < 0.0 || (latency_rises && (throughput < 0.3 || self.throughput_is_flat()))
    }

    fn throughput_is_flat(&self) -> bool {
        let (mean, variance) = moments(self.points.iter().map(|point| point.throughput));
        variance.sqrt() < 0.2 * mean
    }
}

/// Returns Pearson's correlation, or 0 where one of the two does not vary.
fn correlation(pairs: impl ExactSizeIterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mean_x, variance_x) = moments(pairs.clone().map(|(x, _)| x));
    let (mean_y, variance_y) = moments(pairs.clone().map(|(_, y)| y));
    let count = pairs.len() as f64;
    let covariance = pairs.map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / count;
    let spread = variance_x.sqrt() * variance_y.sqrt();
    if spread > 0.0 && spread.is_finite() { covariance / spread } else { 0.0 }
}

/// Returns mean and variance.
fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count)
}

/// As failsafe-go and Cinnamon.
const WINDOWS: usize = 50;

/// Fewer than so many correlate by chance.
const FEWEST: usize = 10;
