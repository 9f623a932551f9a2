//! Law 8: a wait that was named is exact. A lone caller that waits so long goes on; one that comes a nanosecond early does not.

use backpressure_core::{Algorithm, FixedWindow, Outcome, Rate, SlidingLog, SlidingWindow, Timestamp, TokenBucket};
use proptest::prelude::*;

use crate::script::{Request, play, scripts, scripts_with_steps_back, starts, state_after};
use crate::subjects::{Subject, for_all};

law!(a_lone_retry_goes_on_exactly_when_it_was_told_to_come_back);
law!(the_promise_holds_while_the_clock_has_stepped_back);

fn a_lone_retry_goes_on_exactly_when_it_was_told_to_come_back<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            assert_wait_is_exact(&setup.algorithm, &state, request, setup.facts.waits);
            setup.algorithm.decide(&mut state, request.now, request.cost);
        }
    });
}

fn the_promise_holds_while_the_clock_has_stepped_back<A: Subject>() {
    let early = prop_oneof![0..40_u64, 0..1_u64 << 40];
    for_all((A::setups(), starts(), scripts_with_steps_back(30), early), |(setup, start, script, early)| {
        let history = play(&setup.facts, start, &script);
        let state = state_after(&setup.algorithm, &history);
        for request in &history {
            assert_wait_is_exact(&setup.algorithm, &state, *request, setup.facts.waits);
            let before = Request { now: request.now.saturating_sub(early), ..*request };
            assert_wait_is_exact(&setup.algorithm, &state, before, setup.facts.waits);
        }
    });
}

/// Asserts the promise that is made for `request`, whatever it is, and that it is made again on the way.
pub(crate) fn assert_wait_is_exact<A: Subject>(algorithm: &A, state: &A::State, request: Request, waits: bool) {
    let Request { now, cost } = request;
    let outcome_in = |wait: u64| algorithm.check(state, now.saturating_add(wait), cost).outcome;
    match outcome_in(0) {
        Outcome::Reject { retry_after } => {
            assert!(retry_after >= 1, "a refusal promises this very moment");
            // Where requests wait, the promise is a place in the queue.
            let goes_on = outcome_in(retry_after);
            assert!(matches!(goes_on, Outcome::Admit) || waits && matches!(goes_on, Outcome::Delay { .. }), "{goes_on:?}");
            for left in [1, retry_after.div_ceil(2)] {
                assert_eq!(outcome_in(retry_after - left), Outcome::Reject { retry_after: left });
            }
        }
        Outcome::Delay { by } => {
            assert!(waits && by >= 1, "a delay of {by}");
            assert_eq!(outcome_in(by), Outcome::Admit);
            for left in [1, by.div_ceil(2)] {
                assert_eq!(outcome_in(by - left), Outcome::Delay { by: left });
            }
        }
        Outcome::Busy => panic!("a rate can always say when"),
        Outcome::Admit | Outcome::Never => {}
    }
}

#[test]
fn the_promises_of_a_real_rate_are_exact_too() {
    let rate = Rate::per_minute(1_000_003);
    let log = SlidingLog::new(Rate::per_hour(7));
    let algorithm = (TokenBucket::new(rate).burst(17), FixedWindow::new(rate), SlidingWindow::new(rate), log);
    let mut state = Default::default();
    for step in 0..2_000_u64 {
        let request = Request { now: Timestamp::from_nanos(step * 1_234_567_891), cost: step % 8 };
        assert_wait_is_exact(&algorithm, &state, request, false);
        algorithm.decide(&mut state, request.now, request.cost);
    }
}
