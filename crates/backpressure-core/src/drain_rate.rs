//! How fast work ends while everything is full, and what a refusal may say of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::mix::Mix;
use crate::{Timestamp, nanos, nanos_to_duration};

/// Estimates how fast places become free while all are taken.
///
/// Tell it of every piece of work that [ends](Self::released) while all places are taken, and it says how long it will
/// [probably](Self::wait) take until so many more have ended: the mean of the intervals of the last 128 to 256, or of the last 5 to
/// 10 s where fewer end in that time, but of 8 at least.
/// An estimate and not a promise: it knows nothing of the work itself, and who comes back may find others before him.
///
/// The time in which not everything was full is no interval between two ends. An interval more than 16 times the mean counts
/// as 16 times the mean: a gap hardly matters, and a drain that became slower is believed after a few ends. Where the caller
/// knows that a place stayed free, [`interrupted`](Self::interrupted) makes that exact.
///
/// Memory: 6 words. Nothing is estimated until 9 pieces of work have ended; of those the longest interval is not believed.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{DrainRate, Timestamp};
///
/// let mut drain = DrainRate::new();
/// assert_eq!(drain.wait(1), None);
/// for ended in 0..20 {
///     drain.released(Timestamp::from_nanos(ended * 10_000_000));
/// }
/// assert_eq!(drain.wait(5), Some(Duration::from_millis(50)));
/// // What a refusal says: bounded, and different for those who are refused together.
/// let bounds = Duration::from_secs(1)..=Duration::from_secs(30);
/// assert!((1_000..1_500).contains(&drain.retry_after(5, bounds, 7).as_millis()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct DrainRate {
    /// When work ended last; `None` before the first end and after an interruption.
    last: Option<Timestamp>,
    /// How many intervals are remembered.
    count: u64,
    /// Their nanoseconds in all.
    total: u64,
    /// The longest of the first few, which may be a gap; 0 once there are enough to tell.
    longest: u64,
    warm: bool,
}

impl DrainRate {
    /// Makes an estimate of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a piece of work that ended at `now` while all places were taken.
    pub fn released(&mut self, now: Timestamp) {
        // Who comes late to tell, or has a clock that stepped back, adds an interval of 0 and moves nothing.
        let last = self.last.unwrap_or(now).max(now);
        if let Some(before) = self.last {
            self.add(now.nanos_since(before));
        }
        self.last = Some(last);
    }

    /// Takes note that places stay free: the time until the next end is no interval.
    pub const fn interrupted(&mut self) {
        self.last = None;
    }

    /// Returns how long it will probably take until `ahead` more pieces of work have ended, rounded up. `None` while there is no
    /// estimate.
    #[must_use]
    pub fn wait(&self, ahead: usize) -> Option<Duration> {
        // All at the same instant says nothing about how long the next one takes.
        if !self.warm || self.total == 0 {
            return None;
        }
        let ahead = u128::try_from(ahead).unwrap_or(u128::MAX);
        // warm, hence count ≥ MEMORABLE - 1.
        let nanos = ahead.saturating_mul(u128::from(self.total)).div_ceil(u128::from(self.count));
        Some(nanos_to_duration(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Returns what a refusal with `ahead` pieces of work before it should say: when they will probably have ended, within
    /// `bounds`, and then up to half as much again so that those who are refused together do not come back together.
    ///
    /// The lower bound where there is no estimate. Bounds in the wrong order are the lower one alone. See [`spread`] for `seed`.
    #[must_use]
    pub fn retry_after(&self, ahead: usize, bounds: RangeInclusive<Duration>, seed: u64) -> Duration {
        let (least, most) = bounds.into_inner();
        spread(self.wait(ahead).unwrap_or(least).min(most).max(least), seed)
    }

    fn add(&mut self, interval: u64) {
        let usual = self.total.checked_div(self.count).unwrap_or(0);
        // Until there is a mean to compare with, and where it is 0, every interval is as good as another.
        let believed = if self.warm && usual > 0 { interval.min(usual.saturating_mul(GAP)) } else { interval };
        self.count += 1;
        self.total = self.total.saturating_add(believed);
        if !self.warm {
            self.warm_up(interval);
        }
        let remembered = self.count >= MOST || (self.total >= LONGEST && self.count >= 2 * FEWEST);
        if self.warm && remembered {
            self.count /= 2;
            self.total /= 2;
        }
    }

    /// Leaves the longest of the first few intervals out: work that ended long ago, before anything was full, proves nothing.
    fn warm_up(&mut self, interval: u64) {
        self.longest = self.longest.max(interval);
        if self.count == FEWEST {
            self.count -= 1;
            self.total = self.total.saturating_sub(self.longest);
            self.warm = true;
        }
    }
}

/// Returns a time between `wait` and half as much again, the end excluded, uniformly and the same for the same `seed`.
///
/// For refusals: clients that are told the same time come back at the same time (M. Brooker, *Exponential Backoff And Jitter*,
/// AWS Architecture Blog, 2015; the IETF draft on RateLimit header fields asks servers to spread them). The seed may be a
/// counter, successive values give unrelated times. Never less than `wait`: a refusal that names an earlier time than it means is
/// refused again.
#[must_use]
pub fn spread(wait: Duration, seed: u64) -> Duration {
    let more = Mix::new(seed).below(nanos(wait) / 2);
    wait.saturating_add(nanos_to_duration(more))
}

/// So many intervals make an estimate.
const FEWEST: u64 = 8;

/// At so many intervals the older half is forgotten: an estimate over 128 exponential intervals is within 18 % in 95 of 100 cases.
const MOST: u64 = 256;

/// Or after so many nanoseconds: what was 10 s ago is another load.
const LONGEST: u64 = 10_000_000_000;

/// An interval so many times the mean is a gap: of exponential intervals 1 in 9 million is longer.
const GAP: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ends at these intervals, from the origin on.
    fn after(intervals: impl IntoIterator<Item = u64>) -> (DrainRate, Timestamp) {
        let (mut drain, mut now) = (DrainRate::new(), Timestamp::ORIGIN);
        drain.released(now);
        for interval in intervals {
            now = now.saturating_add(interval);
            drain.released(now);
        }
        (drain, now)
    }

    fn mean(drain: &DrainRate) -> u64 {
        nanos(drain.wait(1).expect("enough has ended"))
    }

    #[test]
    fn nothing_is_estimated_until_nine_have_ended() {
        let (mut drain, now) = after([10 * MS; 7]);
        assert_eq!(drain.wait(1), None);
        drain.released(now.saturating_add(10 * MS));
        assert_eq!(drain.wait(1), Some(Duration::from_millis(10)));
        assert_eq!(drain.wait(0), Some(Duration::ZERO));
        assert_eq!(drain.wait(7), Some(Duration::from_millis(70)));
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_overflows() {
        let (drain, _) = after([0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!([1, 7, 8].map(|ahead| drain.wait(ahead).map(nanos)), [Some(1), Some(1), Some(2)]);
        let (drain, _) = after([u64::MAX; 8]);
        assert_eq!(drain.wait(usize::MAX), None, "time stood still at its end");
        let (drain, _) = after([1 << 60; 12]);
        assert_eq!(drain.wait(usize::MAX), Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn ends_at_the_same_instant_count_as_ends_and_are_no_estimate_alone() {
        let (drain, _) = after([0; 1_000]);
        assert_eq!(drain.wait(1), None);
        let (drain, _) = after((0..1_000).map(|nth| if nth % 8 == 0 { 80 * MS } else { 0 }));
        assert!((9 * MS..11 * MS).contains(&mean(&drain)), "{drain:?}");
    }

    #[test]
    fn of_the_first_intervals_the_longest_may_be_a_gap_and_is_left_out() {
        let an_hour = 3_600_000 * MS;
        let (drain, _) = after([an_hour].into_iter().chain([10 * MS; 7]));
        assert_eq!(mean(&drain), 10 * MS);
    }

    #[test]
    fn a_gap_counts_as_16_intervals_and_is_forgotten() {
        let (mut drain, now) = after([10 * MS; 199]);
        let mut now = now.saturating_add(3_600_000 * MS);
        drain.released(now);
        // Of 199 intervals the first longest is left out; the gap is the 199th that counts.
        assert_eq!(mean(&drain), (10 * MS * (198 + 16)).div_ceil(199));
        for _ in 0..512 {
            now = now.saturating_add(10 * MS);
            drain.released(now);
        }
        assert!(mean(&drain) < 10 * MS * 105 / 100);
    }

    #[test]
    fn an_interruption_makes_a_gap_no_interval_at_all() {
        let (mut drain, now) = after([10 * MS; 20]);
        drain.interrupted();
        drain.released(now.saturating_add(3_600_000 * MS));
        assert_eq!(mean(&drain), 10 * MS);
    }

    #[test]
    fn a_drain_a_thousand_times_slower_is_believed_after_200_ends_and_a_faster_one_too() {
        let slower = || [MS; 300].into_iter().chain([1_000 * MS; 200]);
        let (drain, _) = after(slower());
        assert!(mean(&drain) > 900 * MS, "{drain:?}");
        let (drain, _) = after(slower().chain([MS; 200]));
        assert!(mean(&drain) < 150 * MS, "{drain:?}");
        let (drain, _) = after(slower().chain([MS; 1_000]));
        assert!(mean(&drain) < 2 * MS, "{drain:?}");
    }

    #[test]
    fn a_clock_that_steps_back_adds_nothing_and_breaks_nothing() {
        let (mut drain, now) = after([10 * MS; 20]);
        let before = mean(&drain);
        drain.released(Timestamp::ORIGIN);
        assert!(mean(&drain) <= before);
        // The time since the latest end is an interval, not the time since the step.
        drain.released(now.saturating_add(10 * MS));
        assert!((9 * MS..=10 * MS).contains(&mean(&drain)), "{drain:?}");
    }

    /// The mean of all intervals that an observer with perfect memory would take into account.
    #[test]
    fn it_agrees_with_a_plain_mean_of_the_last_192_intervals() {
        let mut random = Mix::new(0xd4a1);
        for usual in [1, 50, MS, 40 * MS] {
            let intervals: Vec<u64> = (0..5_000).map(|_| usual / 2 + random.below(usual + 1)).collect();
            for end in [200, 1_000, 5_000] {
                let (drain, _) = after(intervals[..end].iter().copied());
                let plain = intervals[end - 192..end].iter().sum::<u64>().div_ceil(192);
                assert!(mean(&drain).abs_diff(plain) <= plain / 8 + 1, "{} and {plain}", mean(&drain));
            }
        }
    }

    #[test]
    fn what_a_refusal_says_is_bounded_then_spread() {
        let seconds = Duration::from_secs;
        let within = |wait: Duration, from: u64| (seconds(from)..seconds(from) * 3 / 2).contains(&wait);
        let (drain, _) = after([1_000 * MS; 20]);
        for seed in 0..100 {
            assert!(within(drain.retry_after(5, seconds(1)..=seconds(30), seed), 5));
            assert!(within(drain.retry_after(0, seconds(1)..=seconds(30), seed), 1));
            assert!(within(drain.retry_after(90, seconds(1)..=seconds(30), seed), 30));
            assert!(within(DrainRate::new().retry_after(90, seconds(1)..=seconds(30), seed), 1));
            let (least, most) = (seconds(7), seconds(2));
            assert!(within(drain.retry_after(5, least..=most, seed), 7));
        }
    }

    #[test]
    fn a_spread_wait_is_never_shorter_and_fills_the_half_above_it() {
        let wait = Duration::from_millis(1_000);
        let spread_out: Vec<u128> = (0..10_000).map(|seed| spread(wait, seed).as_millis()).collect();
        for tenth in 0..10 {
            let (from, until) = (1_000 + tenth * 50, 1_050 + tenth * 50);
            let count = spread_out.iter().filter(|millis| (from..until).contains(*millis)).count();
            assert!((900..1_100).contains(&count), "{count} of 10 000 between {from} and {until} ms");
        }
        assert_eq!(spread(wait, 5), spread(wait, 5));
        assert_eq!(spread(Duration::ZERO, 5), Duration::ZERO);
        assert_eq!(spread(Duration::from_nanos(1), 5), Duration::from_nanos(1));
        assert_eq!(spread(Duration::MAX, 5), Duration::MAX);
    }
}
