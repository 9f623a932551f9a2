//! Whatever the numbers are, nothing panics or overflows, and every answer is one of those that are allowed.

use std::time::Duration;

use backpressure_core::{
    Algorithm, Decision, FixedWindow, LeakyBucket, Outcome, Quota, Rate, SlidingLog, SlidingWindow, Timestamp, TokenBucket, nanos,
};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::script::{play, scripts_with_steps_back, starts, state_after};
use crate::subjects::{Subject, for_all};

law!(every_answer_to_extreme_numbers_is_a_possible_one);
law!(a_state_fits_its_word_and_a_new_one_is_0);

fn every_answer_to_extreme_numbers_is_a_possible_one<A: Extreme>() {
    for_all((A::extremes(), calls()), |((algorithm, capacity), calls)| {
        let mut state = A::State::default();
        let mut receipts = Vec::new();
        for call in calls {
            match call {
                Call::Decide(now, cost) => {
                    let before = state.clone();
                    let decision = algorithm.decide(&mut state, now, cost);
                    assert_possible(decision, algorithm.quota(decision.level), capacity);
                    assert!(cost > 0 && decision.outcome != Outcome::Never || state == before);
                    receipts.push(decision);
                }
                Call::Charge(now, cost) => algorithm.take(&mut state, now, cost),
                Call::GiveBack(now, which, cost) => {
                    if let Some(taken) = receipts.get(which % receipts.len().max(1)) {
                        algorithm.give_back(&mut state, &Decision { cost, ..*taken }, now);
                    }
                }
            }
            let fresh_at = algorithm.fresh_at(&state);
            assert_eq!(algorithm.check(&state, fresh_at, capacity).outcome, Outcome::Admit);
        }
    });
}

fn assert_possible<L: Copy>(decision: Decision<L>, quota: Quota, capacity: u64) {
    let cost = decision.cost;
    match decision.outcome {
        Outcome::Admit => assert!(cost <= capacity),
        Outcome::Delay { by: wait } | Outcome::Reject { retry_after: wait } => assert!(wait > 0 && cost > 0 && cost <= capacity),
        Outcome::Busy => panic!("a rate can always say when"),
        Outcome::Never => assert!(cost > capacity),
    }
    assert_eq!(cost > capacity, decision.outcome == Outcome::Never);
    assert!(quota.remaining <= quota.policy.limit && quota.policy.limit >= capacity);
}

fn a_state_fits_its_word_and_a_new_one_is_0<A: Subject>() {
    let Some(word) = A::WORD else { return };
    assert_eq!((word.pack)(&A::State::default()), 0);
    assert_eq!((word.unpack)(0), A::State::default());
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let state = state_after(&setup.algorithm, &play(&setup.facts, start, &script));
        assert_eq!((word.unpack)((word.pack)(&state)), state);
    });
    for_all((A::setups(), edges(), edges()), |(setup, now, cost)| {
        let mut state = A::State::default();
        setup.algorithm.take(&mut state, Timestamp::from_nanos(now), cost);
        assert_eq!((word.unpack)((word.pack)(&state)), state);
    });
}

#[test]
fn both_buckets_fit_a_word() {
    assert!(TokenBucket::WORD.is_some() && LeakyBucket::WORD.is_some());
}

#[test]
fn the_largest_limits_admit_their_capacity_and_then_refuse() {
    let day = Rate::per_day(u32::MAX);
    let all = u64::from(u32::MAX);
    let now = Timestamp::from_nanos(3);
    fn full_after<A: Algorithm>(algorithm: A, now: Timestamp, all: u64) -> Outcome {
        let mut state = A::State::default();
        assert!(algorithm.admit(&mut state, now, all).is_admitted());
        algorithm.check(&state, now, 1).outcome
    }
    let a_day = 86_400_000_000_000;
    assert_eq!(full_after(FixedWindow::new(day), now, all), Outcome::Reject { retry_after: a_day });
    assert!(matches!(full_after(SlidingWindow::new(day), now, all), Outcome::Reject { retry_after } if retry_after > a_day));
    assert_eq!(full_after(TokenBucket::new(day), now, all), Outcome::Reject { retry_after: 20_117 });
    let log = SlidingLog::new(Rate::per_day(SlidingLog::MAX_LIMIT));
    assert_eq!(full_after(log, now, u64::from(SlidingLog::MAX_LIMIT)), Outcome::Reject { retry_after: a_day });
}

/// An algorithm configured with the largest and smallest numbers that it takes.
trait Extreme: Subject {
    /// Configurations and their capacities.
    fn extremes() -> BoxedStrategy<(Self, u64)>;
}

impl Extreme for FixedWindow {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        rates(u32::MAX).prop_map(|rate| (Self::new(rate), u64::from(rate.count()))).boxed()
    }
}

impl Extreme for SlidingWindow {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        rates(u32::MAX).prop_map(|rate| (Self::new(rate), u64::from(rate.count()))).boxed()
    }
}

impl Extreme for SlidingLog {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        // The largest log is tried by name: half a mebibyte a state is too much for every case.
        rates(100).prop_map(|rate| (Self::new(rate), u64::from(rate.count()))).boxed()
    }
}

impl Extreme for TokenBucket {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        let of = |(rate, burst)| Self::try_new(rate, burst).ok().map(|bucket| (bucket, u64::from(burst)));
        (rates(u32::MAX), counts(u32::MAX)).prop_filter_map("too fast or too large", of).boxed()
    }
}

impl Extreme for LeakyBucket {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        let of = |(rate, queue)| Self::try_new(rate, queue).ok().map(|bucket| (bucket, u64::from(queue) + 1));
        (rates(u32::MAX), counts(u32::MAX)).prop_filter_map("too fast or too large", of).boxed()
    }
}

impl<A: Extreme, B: Extreme> Extreme for (A, B) {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        (A::extremes(), B::extremes()).prop_map(|((a, most), (b, other))| ((a, b), most.min(other))).boxed()
    }
}

impl<A: Extreme, B: Extreme, C: Extreme> Extreme for (A, B, C) {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        let flat = |(((a, b), most), (c, other)): (((A, B), u64), (C, u64))| ((a, b, c), most.min(other));
        (<(A, B)>::extremes(), C::extremes()).prop_map(flat).boxed()
    }
}

impl<A: Extreme, B: Extreme, C: Extreme, D: Extreme> Extreme for (A, B, C, D) {
    fn extremes() -> BoxedStrategy<(Self, u64)> {
        let flat = |(((a, b, c), most), (d, other)): (((A, B, C), u64), (D, u64))| ((a, b, c, d), most.min(other));
        (<(A, B, C)>::extremes(), D::extremes()).prop_map(flat).boxed()
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Decide(Timestamp, u64),
    Charge(Timestamp, u64),
    /// The time, which of the decisions so far, refused ones too, and how much of it.
    GiveBack(Timestamp, usize, u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let at = || edges().prop_map(Timestamp::from_nanos);
    let call = prop_oneof![
        6 => (at(), edges()).prop_map(|(now, cost)| Call::Decide(now, cost)),
        2 => (at(), edges()).prop_map(|(now, cost)| Call::Charge(now, cost)),
        2 => (at(), 0..30_usize, edges()).prop_map(|(now, which, cost)| Call::GiveBack(now, which, cost)),
    ];
    proptest::collection::vec(call, 0..=30)
}

/// Numbers beside the powers of two at which integers end, and small ones.
fn edges() -> impl Strategy<Value = u64> {
    let beside = (prop_oneof![Just(31), Just(32), Just(61), Just(62), Just(63), 0..64_u32], 0..=2_u64);
    prop_oneof![
        4 => Just(0),
        4 => Just(u64::MAX),
        4 => 0..=4_u64,
        4 => 0..=u64::MAX,
        8 => beside.prop_map(|(bits, off)| (1_u64 << bits).wrapping_add(off).wrapping_sub(1)),
        2 => (0..=4_u64).prop_map(|off| u64::MAX - off),
    ]
}

fn counts(most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(1), 2 => Just(most), 2 => 1..=9_u32, 1 => 1..=most]
}

fn rates(most: u32) -> impl Strategy<Value = Rate> {
    let longest = nanos(Rate::MAX_PERIOD);
    let period = prop_oneof![Just(1), Just(longest), 1..=9_u64, 1..=longest, Just(1_000_000_000), Just(86_400_000_000_000)];
    (counts(most), period).prop_map(|(count, period)| {
        Rate::new(count, Duration::from_nanos(period)).expect("a count that is not 0 and a period up to the longest")
    })
}
