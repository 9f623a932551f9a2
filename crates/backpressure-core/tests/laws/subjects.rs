//! The algorithms that the laws are about, and the configurations in which they are tried.

use std::fmt::Debug;
use std::time::Duration;

use backpressure_core::{Algorithm, FixedWindow, LeakyBucket, Rate, SlidingLog, SlidingWindow, TokenBucket};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::bounds::Bound;
use crate::models::{Fixed, Leaky, Log, Model, Sliding, Together, Tokens};

/// Makes a test of a law, a generic function, for every algorithm. A new algorithm joins here, with a [`Subject`] below.
macro_rules! law {
    ($law:ident) => {
        mod $law {
            use backpressure_core::{FixedWindow, LeakyBucket, SlidingLog, SlidingWindow, TokenBucket};

            law!(@of $law fixed_window FixedWindow);
            law!(@of $law sliding_window SlidingWindow);
            law!(@of $law sliding_log SlidingLog);
            law!(@of $law token_bucket TokenBucket);
            law!(@of $law leaky_bucket LeakyBucket);
            law!(@of $law stack_of_two (TokenBucket, FixedWindow));
            law!(@of $law stack_that_waits (SlidingWindow, LeakyBucket));
            law!(@of $law stack_of_three (SlidingLog, TokenBucket, SlidingWindow));
            law!(@of $law stack_of_four (FixedWindow, SlidingLog, LeakyBucket, TokenBucket));
        }
    };
    (@of $law:ident $name:ident $algorithm:ty) => {
        #[test]
        fn $name() {
            super::$law::<$algorithm>();
        }
    };
}

/// An algorithm and how to configure it at random.
pub(crate) trait Subject:
    Algorithm<State: Clone + Debug + PartialEq, Level: Debug + PartialEq> + Debug + PartialEq + 'static
{
    /// Configurations small enough for edges to meet, and a few of real size.
    fn setups() -> BoxedStrategy<Setup<Self>>;
}

/// A configured algorithm.
#[derive(Debug)]
pub(crate) struct Setup<A> {
    pub(crate) algorithm: A,
    pub(crate) facts: Facts,
}

/// What laws need to know of a configuration, taken from its numbers and not from the algorithm.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) model: Box<dyn Model>,
    /// The most that a fresh state admits at once.
    pub(crate) capacity: u64,
    /// Where interesting moments lie: the window, or the interval in which one unit comes back.
    pub(crate) period: u64,
    pub(crate) bounds: Vec<Bound>,
    /// Whether a request may be told to wait.
    pub(crate) waits: bool,
    /// Whether this is one algorithm and not a stack.
    pub(crate) single: bool,
}

/// Runs a law for values of `strategy`, the same ones each time.
pub(crate) fn for_all<S: Strategy<Value: 'static> + 'static>(strategy: S, law: impl Fn(S::Value)) {
    run(&strategy.boxed(), &law);
}

/// Not generic over the strategy and the law: there are hundreds of them, and each would be compiled with its own test runner.
fn run<V: Debug>(strategy: &BoxedStrategy<V>, law: &dyn Fn(V)) {
    let from_outside = Config::default();
    let rng_seed = match from_outside.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
    let config = Config { rng_seed, failure_persistence: None, ..from_outside };
    let outcome = TestRunner::new(config).run(strategy, |value| {
        law(value);
        Ok(())
    });
    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}

impl Subject for FixedWindow {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        windows(|count, window| {
            let bound = Bound::Fixed { limit: u64::from(count), window };
            let facts = Facts::of(Fixed::new(count, window), count, window, bound);
            Setup { algorithm: Self::new(rate(count, window)), facts }
        })
    }
}

impl Subject for SlidingWindow {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        windows(|count, window| {
            let bound = Bound::Counter { limit: u64::from(count), window };
            let facts = Facts::of(Sliding::new(count, window), count, window, bound);
            Setup { algorithm: Self::new(rate(count, window)), facts }
        })
    }
}

impl Subject for SlidingLog {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        windows(|count, window| {
            let bound = Bound::Log { limit: u64::from(count), window };
            let facts = Facts::of(Log::new(count, window), count, window, bound);
            Setup { algorithm: Self::new(rate(count, window)), facts }
        })
    }
}

impl Subject for TokenBucket {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        buckets(|rate, interval, burst| {
            let bound = Bound::Tokens { burst: u64::from(burst), interval };
            let facts = Facts::of(Tokens::new(burst, interval), burst, interval, bound);
            Setup { algorithm: Self::new(rate).burst(burst), facts }
        })
    }
}

impl Subject for LeakyBucket {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        buckets(|rate, interval, places| {
            let queue = places - 1;
            let facts = Facts::of(Leaky::new(queue, interval), places, interval, Bound::Turns { interval });
            Setup { algorithm: Self::new(rate).queue(queue), facts: Facts { waits: true, ..facts } }
        })
    }
}

impl<A: Subject, B: Subject> Subject for (A, B) {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        let together = |(a, b): (Setup<A>, Setup<B>)| Setup {
            algorithm: (a.algorithm, b.algorithm),
            facts: Facts::together([a.facts, b.facts]),
        };
        (A::setups(), B::setups()).prop_map(together).boxed()
    }
}

impl<A: Subject, B: Subject, C: Subject> Subject for (A, B, C) {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        let together = |(a, b, c): (Setup<A>, Setup<B>, Setup<C>)| Setup {
            algorithm: (a.algorithm, b.algorithm, c.algorithm),
            facts: Facts::together([a.facts, b.facts, c.facts]),
        };
        (A::setups(), B::setups(), C::setups()).prop_map(together).boxed()
    }
}

impl<A: Subject, B: Subject, C: Subject, D: Subject> Subject for (A, B, C, D) {
    fn setups() -> BoxedStrategy<Setup<Self>> {
        let together = |(a, b, c, d): (Setup<A>, Setup<B>, Setup<C>, Setup<D>)| Setup {
            algorithm: (a.algorithm, b.algorithm, c.algorithm, d.algorithm),
            facts: Facts::together([a.facts, b.facts, c.facts, d.facts]),
        };
        (A::setups(), B::setups(), C::setups(), D::setups()).prop_map(together).boxed()
    }
}

impl Facts {
    fn of(model: impl Model + 'static, capacity: u32, period: u64, bound: Bound) -> Self {
        let (model, capacity, bounds) = (Box::new(model), u64::from(capacity), vec![bound]);
        Self { model, capacity, period, bounds, waits: false, single: true }
    }

    fn together<const N: usize>(members: [Self; N]) -> Self {
        let mut members = Vec::from(members);
        Self {
            capacity: members.iter().map(|member| member.capacity).min().unwrap_or(0),
            period: members.iter().map(|member| member.period).max().unwrap_or(0),
            waits: members.iter().any(|member| member.waits),
            single: false,
            bounds: members.iter_mut().flat_map(|member| member.bounds.drain(..)).collect(),
            model: Box::new(Together::new(members.into_iter().map(|member| member.model).collect())),
        }
    }
}

/// Counts and lengths of windows: tiny ones, in which every nanosecond is an edge, and real ones.
fn windows<S: Debug + 'static>(setup: impl Fn(u32, u64) -> S + 'static) -> BoxedStrategy<S> {
    let length = prop_oneof![4 => 1..=24_u64, 4 => 25..=1_000_u64, 1 => Just(1_000_000_000), 1 => 1..=10_000_000_000_000_u64];
    (1..=9_u32, length).prop_map(move |(count, length)| setup(count, length)).boxed()
}

/// Rates, intervals and capacities of buckets: rates that divide, and those that do not but lose at most the 1 % that is allowed.
fn buckets<S: Debug + 'static>(setup: impl Fn(Rate, u64, u32) -> S + 'static) -> BoxedStrategy<S> {
    let each = prop_oneof![1..=20_u64, Just(100_000_000)];
    let dividing = (1..=9_u32, each).prop_map(|(count, each)| (count, u64::from(count) * each));
    let rounded = (1..=9_u32, 900..=3_000_u64);
    let real = (1..=1_000_u32, 1_000_000_000..=10_000_000_000_000_u64);
    (prop_oneof![3 => dividing, 3 => rounded, 1 => real], 1..=9_u32)
        .prop_map(move |((count, period), capacity)| setup(rate(count, period), rounded_up(period, count), capacity))
        .boxed()
}

fn rate(count: u32, period: u64) -> Rate {
    Rate::new(count, Duration::from_nanos(period)).expect("setups have a count and a period that are not 0")
}

fn rounded_up(period: u64, count: u32) -> u64 {
    let count = u64::from(count);
    period / count + u64::from(!period.is_multiple_of(count))
}

const SEED: u64 = 0xb0de_d000;
