//! When requests come, and how long things take: all that is left to chance, from seeds.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep_until};

/// Draws a time from the exponential distribution with this mean: the gaps of a Poisson process, and work of unequal size.
pub(crate) fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    // 1 - u is never 0.
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}

/// Calls `arrive` as a Poisson process would, so many times a second in the long run, until `end`.
///
/// The times are added up before the timer rounds them up to its milliseconds, so that the rounding does not add up too.
pub(crate) async fn poisson(per_second: f64, end: Instant, mut rng: Rng, mut arrive: impl FnMut()) {
    let mean_gap = Duration::from_secs(1).div_f64(per_second);
    let mut due = Instant::now();
    loop {
        due += exponential(&mut rng, mean_gap);
        if due >= end {
            break;
        }
        if due > Instant::now() {
            sleep_until(due).await;
        }
        arrive();
    }
}
