//! Random histories: when requests come and what they cost, crowded where decisions change.

use backpressure_core::{Outcome, Timestamp};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

use crate::subjects::{Facts, Setup, Subject};

/// Requests of a history, told in periods and capacities so that one history fits every configuration.
pub(crate) type Script = Vec<Step>;

/// When a request comes, counted from the one before, and what it costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    gap: Gap,
    cost: Cost,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Sixteenths of a period.
    sixteenths: u64,
    /// Times so many nanoseconds as refill the whole capacity of a bucket.
    rests: u64,
    early: u64,
    late: u64,
    back: bool,
}

#[derive(Clone, Copy, Debug)]
enum Cost {
    Plain(u64),
    /// So many thirds of the capacity, rounded down.
    Thirds(u64),
    /// Above the capacity by so much.
    Above(u64),
}

/// A request at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) now: Timestamp,
    pub(crate) cost: u64,
}

/// What was admitted or delayed: when it was asked for, when it goes on, and how much it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) asked: u64,
    pub(crate) starts: u64,
    pub(crate) cost: u64,
}

/// Histories in which time stands still or goes on.
pub(crate) fn scripts(longest: usize) -> BoxedStrategy<Script> {
    proptest::collection::vec(step(Just(false)), 0..=longest).boxed()
}

/// Histories in which the clock steps back now and then.
pub(crate) fn scripts_with_steps_back(longest: usize) -> BoxedStrategy<Script> {
    proptest::collection::vec(step(proptest::bool::weighted(0.25)), 0..=longest).boxed()
}

/// Starts of histories: the origin of the clock, just after it, and later.
pub(crate) fn starts() -> BoxedStrategy<u64> {
    prop_oneof![Just(0), 0..50_u64, 0..1_u64 << 60].boxed()
}

/// Returns the requests of `script` under a configuration, the first one a step after `start`.
pub(crate) fn play(facts: &Facts, start: u64, script: &Script) -> Vec<Request> {
    let mut now = start;
    let request = |step: &Step| {
        now = step.gap.after(now, facts.period, facts.capacity);
        Request { now: Timestamp::from_nanos(now), cost: step.cost.of(facts.capacity) }
    };
    script.iter().map(request).collect()
}

/// Decides about all `requests` and returns the state that they leave.
pub(crate) fn state_after<A: Subject>(algorithm: &A, requests: &[Request]) -> A::State {
    let mut state = A::State::default();
    for request in requests {
        algorithm.decide(&mut state, request.now, request.cost);
    }
    state
}

/// Returns the time of the last request.
pub(crate) fn end_of(start: u64, requests: &[Request]) -> Timestamp {
    requests.last().map_or(Timestamp::from_nanos(start), |last| last.now)
}

/// The costs at which decisions change.
pub(crate) fn telling_costs(capacity: u64) -> Vec<u64> {
    let mut costs = vec![0, 1, 2, capacity / 2, capacity - 1, capacity, capacity + 1, u64::MAX];
    costs.dedup();
    costs
}

/// The times from `now` on at which decisions change, as far as anybody can say who does not look into the state.
pub(crate) fn telling_times(facts: &Facts, now: Timestamp) -> Vec<Timestamp> {
    let (period, capacity) = (facts.period, facts.capacity);
    let half = period / 2;
    [0, 1, half, period - 1, period, period + 1, 2 * period - 1, 2 * period, capacity * period - 1, capacity * period]
        .map(|later| now.saturating_add(later))
        .to_vec()
}

/// Asserts that two states decide alike, levels included, at `now` and later.
pub(crate) fn assert_alike<A: Subject>(setup: &Setup<A>, one: &A::State, other: &A::State, now: Timestamp) {
    for at in telling_times(&setup.facts, now) {
        for cost in telling_costs(setup.facts.capacity) {
            let decisions = [one, other].map(|state| setup.algorithm.check(state, at, cost));
            assert_eq!(decisions[0], decisions[1], "{one:?} and {other:?} differ for {cost} at {at:?}");
        }
    }
}

/// Returns what passed, if it did. A request for nothing always passes and is no part of any count.
pub(crate) fn passed(request: Request, outcome: Outcome) -> Option<Passed> {
    let asked = request.now.as_nanos();
    if request.cost == 0 {
        return None;
    }
    match outcome {
        Outcome::Admit => Some(Passed { asked, starts: asked, cost: request.cost }),
        Outcome::Delay { by } => Some(Passed { asked, starts: asked + by, cost: request.cost }),
        Outcome::Reject { .. } | Outcome::Busy | Outcome::Never => None,
    }
}

impl Gap {
    fn after(self, now: u64, period: u64, capacity: u64) -> u64 {
        let far = (period * self.sixteenths / 16 + self.late + self.rests * period * capacity).saturating_sub(self.early);
        if self.back { now.saturating_sub(far) } else { now + far }
    }
}

impl Cost {
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Plain(cost) => cost,
            Self::Thirds(thirds) => capacity * thirds / 3,
            Self::Above(by) => capacity.saturating_add(by),
        }
    }
}

fn step(back: impl Strategy<Value = bool>) -> impl Strategy<Value = Step> {
    (gap(back), cost()).prop_map(|(gap, cost)| Step { gap, cost })
}

/// A gap is none, or some sixteenths of a period, or a whole one give or take two nanoseconds, or a long rest.
fn gap(back: impl Strategy<Value = bool>) -> impl Strategy<Value = Gap> {
    let sixteenths = prop_oneof![6 => Just(0), 4 => Just(16), 2 => Just(32), 4 => 1..16_u64, 2 => 17..=64_u64];
    let jitter = || prop_oneof![3 => Just(0), 1 => 0..=2_u64];
    let rests = prop_oneof![15 => Just(0), 1 => Just(1)];
    (sixteenths, rests, jitter(), jitter(), back).prop_map(|(sixteenths, rests, early, late, back)| Gap {
        sixteenths,
        rests,
        early,
        late,
        back,
    })
}

fn cost() -> impl Strategy<Value = Cost> {
    prop_oneof![
        10 => Just(Cost::Plain(1)),
        4 => (2..=4_u64).prop_map(Cost::Plain),
        4 => (1..=3_u64).prop_map(Cost::Thirds),
        1 => Just(Cost::Plain(0)),
        1 => prop_oneof![Just(Cost::Above(1)), Just(Cost::Above(u64::MAX))],
    ]
}
