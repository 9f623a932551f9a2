//! Tells a climb that brings nothing from one that brings throughput.
#![expect(clippy::float_arithmetic, reason = "correlations; every answer is a comparison that is false for NaN")]
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a correlation")]

use std::collections::VecDeque;

use super::samples::Window;

/// Remembers the last windows in which the limit held the work back, and how the throughput went with the limit.
///
/// Under mild overload the latency creeps up with the limit and each new latency is taken for usual: a limit that grows by some
/// headroom never stops (Netflix/concurrency-limits#134). What does stop is the throughput.
///
/// The idea, the 50 windows and the thresholds of the correlations are those of failsafe-go and Uber's Cinnamon. They take a step down
/// for each window that says so; as most of the memory is then about what lies behind, they go far below the
/// knee before it says otherwise (in the closed loop of the tests to 18 where the knee is 40). Here the memory itself says how
/// far back: to the least limit that did as well; and then it starts afresh.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    points: VecDeque<Point>,
    /// How often in a row every limit in memory did as well as the others, up to a bound.
    boldness: usize,
}

/// What a window came to.
#[derive(Clone, Copy, Debug)]
struct Point {
    limit: usize,
    /// A second.
    throughput: f64,
    /// The mean.
    in_flight: f64,
    /// Nanoseconds.
    latency: f64,
}

impl Guard {
    pub(super) const fn new() -> Self {
        Self { points: VecDeque::new(), boldness: 0 }
    }

    /// Takes in a window; returns to which limit to go back if the climb since was in vain.
    pub(super) fn retreat(&mut self, window: &Window, latency: u64, limit: usize) -> Option<usize> {
        let samples = window.successes.saturating_add(window.dropped);
        let in_flight = window.in_flight as f64 / samples as f64;
        if in_flight < HELD_BACK * limit as f64 {
            return None;
        }
        let throughput = window.successes as f64 / window.elapsed as f64 * 1e9;
        self.points.push_back(Point { limit, throughput, in_flight, latency: latency as f64 });
        if self.points.len() > WINDOWS {
            self.points.pop_front();
        }
        if !self.can_tell() || !self.says_no() {
            return None;
        }
        let back = self.least_as_good();
        self.points.clear();
        Some(back.min(limit))
    }

    /// Whether the limits in memory differ by enough that it takes more than chance to correlate, or there are enough of them.
    fn can_tell(&self) -> bool {
        let limits = self.points.iter().map(|point| point.limit);
        let (least, most) = (limits.clone().min().unwrap_or(0), limits.max().unwrap_or(0));
        self.points.len() >= WINDOWS || (self.points.len() >= FEWEST && most - least >= most / 10)
    }

    fn says_no(&self) -> bool {
        let throughput = correlation(self.points.iter().map(|point| (point.in_flight, point.throughput)));
        let latency = correlation(self.points.iter().map(|point| (point.in_flight, point.latency)));
        throughput < FALLS || (latency > RISES && (throughput < HARDLY_RISES || self.gain() < LEAST_GAIN))
    }

    /// By how much of itself the throughput rises where the work in progress doubles, as a straight line through the points has it.
    fn gain(&self) -> f64 {
        let relative_spread = |(mean, variance): (f64, f64)| variance.sqrt() / mean;
        let correlation = correlation(self.points.iter().map(|point| (point.in_flight, point.throughput)));
        let throughput = relative_spread(moments(self.points.iter().map(|point| point.throughput)));
        let in_flight = relative_spread(moments(self.points.iter().map(|point| point.in_flight)));
        correlation * throughput / in_flight
    }

    /// Returns the least limit whose throughput was as good as the best, or less if all were: then the knee lies below.
    fn least_as_good(&mut self) -> usize {
        let points = self.points.make_contiguous();
        points.sort_by_key(|point| point.limit);
        let smooth = points.windows(NEIGHBOURS).map(|near| {
            let (throughput, _) = moments(near.iter().map(|point| point.throughput));
            (near[NEIGHBOURS / 2].limit, throughput)
        });
        let best = smooth.clone().map(|(_, throughput)| throughput).fold(0.0, f64::max);
        let first_good = smooth.enumerate().find(|(_, (_, throughput))| *throughput >= AS_GOOD * best);
        match first_good {
            Some((0, (limit, _))) => {
                self.boldness = (self.boldness + 1).min(MOST_BOLD);
                let sixteenths = self.boldness / 2;
                limit.saturating_sub((limit.saturating_mul(sixteenths) / 16).max(1))
            }
            Some((_, (limit, _))) => {
                self.boldness = 0;
                limit
            }
            // Only where there is no throughput that compares with itself.
            None => points[0].limit,
        }
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

/// Returns mean and variance, summed in two passes: one would cancel to nothing where values hardly vary.
fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count)
}

/// As failsafe-go and Cinnamon.
const WINDOWS: usize = 50;

/// Fewer correlate by chance, even where the limits differ.
const FEWEST: usize = 10;

/// The share of the limit that is in use, in the mean, where the limit holds work back. In a window in which it does not, throughput
/// and work in progress follow the load, and say nothing about the server.
const HELD_BACK: f64 = 0.75;

/// failsafe-go: a throughput that correlates less with the work in progress hardly rises, a latency that correlates more rises.
const HARDLY_RISES: f64 = 0.3;
const RISES: f64 = 0.5;

/// failsafe-go has 0 here; of 50 pairs that have nothing to do with each other, half correlate with less than 0 and 1 in 60 with
/// less than this.
const FALLS: f64 = -0.3;

/// Where twice the work brings less than so much more throughput, the rise is not worth its latency. In place of failsafe-go's
/// "varies by less than a fifth", which is true of every short climb.
const LEAST_GAIN: f64 = 0.3;

const AS_GOOD: f64 = 0.95;

/// So many windows with limits next to each other are averaged: a single one varies by some 7 %.
const NEIGHBOURS: usize = 5;

/// Each second time in a row a sixteenth more: one place, then 1, 1, 2, 2 and at last 3 sixteenths, more than ten windows of
/// Gradient2 climb at a limit of 40. Once may be chance, as limits that hardly differ do as well as each other; and a limit below the
/// knee costs throughput, one above it mostly latency. With a sixteenth at most, Gradient2 kept 0.77 of a capacity that had halved.
const MOST_BOLD: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::mix::Mix;

    /// A window of a second with so many successes.
    fn window(successes: u64, in_flight: usize) -> Window {
        let in_flight_in_all = u128::from(successes) * u128::try_from(in_flight).unwrap();
        Window {
            closed: Timestamp::ORIGIN,
            elapsed: 1_000_000_000,
            latency: None,
            successes,
            dropped: 0,
            in_flight: in_flight_in_all,
            most_in_flight: in_flight,
        }
    }

    /// Climbs by one each window from `from`, with this throughput and this latency at each limit; returns where the guard stopped
    /// it and to where it sent it back.
    fn climb(from: usize, throughput: impl Fn(usize) -> u64, latency: impl Fn(usize) -> u64) -> Option<(usize, usize)> {
        let mut guard = Guard::new();
        let mut stop = |limit| guard.retreat(&window(throughput(limit), limit), latency(limit), limit).map(|back| (limit, back));
        (from..from + 200).find_map(&mut stop)
    }

    fn flat_beyond(knee: usize) -> impl Fn(usize) -> u64 {
        move |limit| u64::try_from(limit.min(knee)).unwrap() * 50
    }

    fn rising_beyond(knee: usize) -> impl Fn(usize) -> u64 {
        move |limit| u64::try_from(limit.max(knee)).unwrap() * 1_000
    }

    #[test]
    fn a_climb_that_brings_as_much_throughput_is_not_stopped() {
        assert_eq!(climb(10, flat_beyond(1_000), rising_beyond(1_000)), None);
        assert_eq!(climb(10, flat_beyond(1_000), rising_beyond(0)), None, "nor one whose latency rises too");
    }

    #[test]
    fn a_climb_beyond_the_knee_is_sent_back_to_it() {
        let (stopped, back) = climb(20, flat_beyond(40), rising_beyond(40)).expect("it brings nothing");
        assert!(stopped <= 80, "{stopped}");
        assert!((37..=42).contains(&back), "{back}");
    }

    #[test]
    fn a_climb_that_costs_throughput_is_sent_back_to_where_it_was_best() {
        let falling = |limit: usize| 50 * u64::try_from(limit.min(80 - limit.min(80))).unwrap() + 1;
        let (stopped, back) = climb(20, falling, rising_beyond(40)).expect("it costs throughput");
        assert!(stopped <= 60, "{stopped}");
        assert!((37..=42).contains(&back), "{back}");
    }

    #[test]
    fn a_throughput_that_falls_is_enough_whatever_the_latency() {
        let falling = |limit: usize| 50 * u64::try_from(100 - limit).unwrap();
        assert!(climb(20, falling, |_| 1_000).is_some());
    }

    #[test]
    fn a_climb_too_slow_to_be_told_from_chance_is_judged_once_the_memory_is_full() {
        let (stopped, _) = climb(10_000, flat_beyond(40), rising_beyond(40)).expect("it brings nothing");
        assert_eq!(stopped, 10_000 + WINDOWS - 1);
    }

    #[test]
    fn where_all_did_as_well_the_knee_lies_below_and_each_time_further() {
        let mut guard = Guard::new();
        let mut backs = Vec::new();
        for _ in 0..7 {
            backs.push((160..260).find_map(|limit| guard.retreat(&window(1_000, limit), 10 * limit as u64, limit)).unwrap());
        }
        // The first of five windows next to each other is about the third: 162 less one, and less 1, 1, 2, 2 and 3 sixteenths.
        assert_eq!(backs, [161, 152, 152, 142, 142, 132, 132]);
    }

    #[test]
    fn what_the_limit_does_not_hold_back_says_nothing() {
        let mut guard = Guard::new();
        for limit in 40..200 {
            assert_eq!(guard.retreat(&window(1_000, limit * 3 / 4 - 1), 10 * limit as u64, limit), None);
        }
        assert!(guard.points.is_empty());
    }

    #[test]
    fn a_limit_that_stands_still_is_left_alone() {
        let mut guard = Guard::new();
        assert!((0..200).all(|nth| guard.retreat(&window(1_000 + nth % 7, 40), 10 + nth % 3, 40).is_none()));
        assert_eq!(guard.points.len(), WINDOWS);
    }

    #[test]
    fn extreme_windows_make_no_limit_above_the_one_before() {
        let mut mix = Mix::new(3);
        let mut guard = Guard::new();
        let extremes = [0, 1, 2, u64::MAX / 2, u64::MAX];
        let mut any = || extremes[usize::try_from(mix.below(5)).unwrap()];
        for _ in 0..2_000 {
            let limit = usize::try_from(any().max(1)).unwrap();
            let window = Window { elapsed: any().max(1), in_flight: u128::from(any()) * u128::from(any()), ..window(any(), 1) };
            assert!(guard.retreat(&window, any().max(1), limit).is_none_or(|back| back <= limit));
        }
    }

    /// n Σxy − Σx Σy over the root of the same of x and y: the sums are integers, and exact.
    fn naive(pairs: &VecDeque<(i128, i128)>) -> f64 {
        let sum = |of: fn(&(i128, i128)) -> i128| pairs.iter().map(of).sum::<i128>();
        let count = i128::try_from(pairs.len()).unwrap();
        let (x, y) = (sum(|pair| pair.0), sum(|pair| pair.1));
        let (xx, yy, xy) = (sum(|pair| pair.0 * pair.0), sum(|pair| pair.1 * pair.1), sum(|pair| pair.0 * pair.1));
        let (vary_x, vary_y) = (count * xx - x * x, count * yy - y * y);
        if vary_x == 0 || vary_y == 0 {
            0.0
        } else {
            (count * xy - x * y) as f64 / ((vary_x as f64).sqrt() * (vary_y as f64).sqrt())
        }
    }

    #[test]
    fn the_correlation_is_that_of_exact_sums_over_a_sliding_memory() {
        let mut mix = Mix::new(0xc0_44e1);
        let mut pairs = VecDeque::new();
        for nth in 0..2_000 {
            let x = i128::from(mix.below(40));
            let y = i128::from(mix.below(100)) + x * (nth / 500 - 1) + if nth > 1_000 { 1 << 40 } else { 0 };
            pairs.push_back((x, y));
            if pairs.len() > WINDOWS {
                pairs.pop_front();
            }
            let exact = naive(&pairs);
            let ours = correlation(pairs.iter().map(|(x, y)| (*x as f64, *y as f64)));
            assert!((exact - ours).abs() < 1e-6, "{exact} and {ours}");
        }
    }

    #[test]
    fn nothing_correlates_with_what_does_not_vary() {
        let pairs = [(1.0, 2.0), (1.0, 5.0), (1.0, 9.0)];
        assert_eq!(correlation(pairs.into_iter()), 0.0);
        assert_eq!(correlation(pairs.into_iter().map(|(x, y)| (y, x))), 0.0);
        assert_eq!(correlation([(f64::MAX, 1.0), (-f64::MAX, 2.0)].into_iter()), 0.0);
    }
}
