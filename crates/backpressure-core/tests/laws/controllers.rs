//! The laws of the controllers: whatever the samples say, a limit is one that was allowed, and moves for a reason.

use std::fmt::Debug;
use std::time::Duration;

use backpressure_core::{Aimd, Controller, Ending, Gradient2, Sample, Timestamp, Vegas};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::subjects::for_all;

/// Makes a test of a law for every controller.
macro_rules! controller_law {
    ($law:ident) => {
        mod $law {
            #[test]
            fn aimd() {
                super::$law::<backpressure_core::Aimd>();
            }

            #[test]
            fn vegas() {
                super::$law::<backpressure_core::Vegas>();
            }

            #[test]
            fn gradient2() {
                super::$law::<backpressure_core::Gradient2>();
            }
        }
    };
}

controller_law!(a_limit_is_always_within_its_bounds);
controller_law!(ignored_work_changes_nothing);
controller_law!(the_same_samples_make_the_same_limits);
controller_law!(a_limit_that_is_not_half_used_does_not_grow);
controller_law!(where_all_is_dropped_the_limit_falls_to_the_least);
controller_law!(no_single_latency_moves_a_limit);

fn a_limit_is_always_within_its_bounds<C: Setup>() {
    for_all((setups(), extreme_samples()), |((initial, min, max), samples)| {
        let mut controller = C::new(initial, min, max);
        // Gradient2 counts in floating point: to the last of 53 bits.
        assert!(controller.limit().abs_diff(initial) <= initial >> 52);
        for sample in samples {
            let limit = controller.record(sample);
            assert_eq!(limit, controller.limit());
            assert!((min..=max).contains(&limit), "{limit} is outside of {min} to {max}");
        }
    });
}

fn ignored_work_changes_nothing<C: Setup>() {
    for_all((setups(), plain_samples(0..2_000, 200), plain_samples(0..2_000, 200)), |((initial, min, max), samples, ignored)| {
        let (mut one, mut other) = (C::new(initial, min, max), C::new(initial, min, max));
        for (nth, sample) in samples.into_iter().enumerate() {
            if let Some(ignored) = ignored.get(nth) {
                // It ends when the sample does: the clock is no part of this.
                one.record(Sample { ending: Ending::Ignored, ended: sample.ended, ..*ignored });
            }
            assert_eq!(one.record(sample), other.record(sample));
        }
    });
}

fn the_same_samples_make_the_same_limits<C: Setup>() {
    for_all((setups(), extreme_samples()), |((initial, min, max), samples)| {
        let mut one = C::new(initial, min, max);
        let half = samples.len() / 2;
        for sample in &samples[..half] {
            one.record(*sample);
        }
        let mut other = one.clone();
        for sample in &samples[half..] {
            assert_eq!(one.record(*sample), other.record(*sample));
        }
    });
}

fn a_limit_that_is_not_half_used_does_not_grow<C: Setup>() {
    for_all(plain_samples(0..100_000, 300), |samples| {
        let mut controller = C::new(50, 1, 1_000);
        for sample in samples {
            let in_flight = sample.in_flight % controller.limit().div_ceil(2).max(2);
            // A probe of Vegas ends: that is no growth.
            assert!(controller.record(Sample { in_flight, ..sample }) <= 50);
        }
    });
}

fn where_all_is_dropped_the_limit_falls_to_the_least<C: Setup>() {
    let mut controller = C::new(1_000, 7, 1_000);
    for nth in 0..4_000 {
        let ended = Timestamp::from_nanos(nth * 1_000);
        let in_flight = controller.limit();
        controller.record(Sample { started: ended, ended, in_flight, ending: Ending::Dropped });
    }
    assert!((7..=8).contains(&controller.limit()), "{}", controller.limit());
}

fn no_single_latency_moves_a_limit<C: Setup>() {
    for_all((0..100_usize, 1..u64::MAX), |(which, latency)| {
        let limits = [5_000, latency].map(|latency| {
            let mut controller = C::new(50, 1, 1_000);
            for nth in 0..100 {
                let ended = Timestamp::from_nanos(1 << 62).saturating_add(nth * 1_000);
                let took = if usize::try_from(nth) == Ok(which) { latency.min(1 << 61) } else { 5_000 };
                controller.record(Sample { started: ended.saturating_sub(took), ended, in_flight: 50, ending: Ending::Success });
            }
            controller.limit()
        });
        assert_eq!(limits[0], limits[1]);
    });
}

/// A controller with windows short enough for a test.
trait Setup: Controller + Clone + Debug {
    fn new(initial: usize, min: usize, max: usize) -> Self;
}

impl Setup for Aimd {
    fn new(initial: usize, min: usize, max: usize) -> Self {
        // What took long is a drop by definition: not a matter of a single latency.
        Self::new().timeout(Duration::MAX).try_limits(initial, min, max).expect("setups are in order")
    }
}

impl Setup for Vegas {
    fn new(initial: usize, min: usize, max: usize) -> Self {
        Self::new().window(Duration::from_nanos(100), 10).try_limits(initial, min, max).expect("setups are in order")
    }
}

impl Setup for Gradient2 {
    fn new(initial: usize, min: usize, max: usize) -> Self {
        Self::new().window(Duration::from_nanos(100), 10).try_limits(initial, min, max).expect("setups are in order")
    }
}

/// An initial, a least and a greatest limit.
fn setups() -> BoxedStrategy<(usize, usize, usize)> {
    let limit = || prop_oneof![4 => 1..=40_usize, 1 => Just(usize::MAX), 1 => 1..=usize::MAX];
    let in_order = |mut limits: [usize; 3]| {
        limits.sort_unstable();
        (limits[1], limits[0], limits[2])
    };
    [limit(), limit(), limit()].prop_map(in_order).boxed()
}

/// Clocks that step back, no work in flight or more than there can be, no time at all or all of it.
fn extreme_samples() -> BoxedStrategy<Vec<Sample>> {
    let edge = || prop_oneof![3 => Just(0), 3 => Just(u64::MAX), 8 => 0..=2_000_u64, 2 => 0..=u64::MAX];
    let in_flight = prop_oneof![1 => Just(0), 1 => Just(usize::MAX), 4 => 0..=60_usize];
    let sample = (edge(), edge(), in_flight, endings(3)).prop_map(|(started, ended, in_flight, ending)| Sample {
        started: Timestamp::from_nanos(started),
        ended: Timestamp::from_nanos(ended),
        in_flight,
        ending,
    });
    proptest::collection::vec(sample, 0..=600).boxed()
}

/// Work that ends one after the other, and started after the origin.
fn plain_samples(latencies: std::ops::Range<u64>, most: usize) -> BoxedStrategy<Vec<Sample>> {
    let sample = (latencies, 1..=40_u64, 0..=60_usize, endings(100));
    proptest::collection::vec(sample, 0..=most)
        .prop_map(|samples| {
            let mut now = 1_000_000;
            let sample = |(latency, gap, in_flight, ending)| {
                now += gap;
                let ended = Timestamp::from_nanos(now);
                Sample { started: ended.saturating_sub(latency), ended, in_flight, ending }
            };
            samples.into_iter().map(sample).collect()
        })
        .boxed()
}

fn endings(successes: u32) -> BoxedStrategy<Ending> {
    prop_oneof![successes => Just(Ending::Success), 1 => Just(Ending::Dropped), 1 => Just(Ending::Ignored)].boxed()
}
