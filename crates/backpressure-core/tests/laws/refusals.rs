//! Law 7: what is refused consumes nothing; and what costs nothing changes nothing.

use backpressure_core::{Algorithm, FixedWindow, Outcome, Rate, SlidingLog, Timestamp};

use crate::script::{play, scripts_with_steps_back, starts};
use crate::subjects::{Subject, for_all};

law!(a_refusal_leaves_the_state_as_it_was);
law!(a_request_that_cannot_wait_takes_nothing_unless_it_goes_on_now);
law!(a_cost_of_0_is_admitted_and_changes_nothing);
law!(a_cost_above_the_capacity_is_never_admitted);

fn a_refusal_leaves_the_state_as_it_was<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            let before = state.clone();
            let decision = setup.algorithm.decide(&mut state, request.now, request.cost);
            if let Outcome::Reject { .. } | Outcome::Never = decision.outcome {
                assert_eq!(state, before);
            }
        }
    });
}

fn a_request_that_cannot_wait_takes_nothing_unless_it_goes_on_now<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            let before = state.clone();
            let decision = setup.algorithm.admit(&mut state, request.now, request.cost);
            if decision.outcome != Outcome::Admit {
                assert_eq!(state, before);
            }
        }
    });
}

fn a_cost_of_0_is_admitted_and_changes_nothing<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            let before = state.clone();
            assert_eq!(setup.algorithm.decide(&mut state, request.now, 0).outcome, Outcome::Admit);
            setup.algorithm.take(&mut state, request.now, 0);
            assert_eq!(state, before);
            setup.algorithm.decide(&mut state, request.now, request.cost);
        }
    });
}

fn a_cost_above_the_capacity_is_never_admitted<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            for cost in [setup.facts.capacity + 1, u64::MAX] {
                assert_eq!(setup.algorithm.decide(&mut state, request.now, cost).outcome, Outcome::Never);
            }
            let decision = setup.algorithm.decide(&mut state, request.now, request.cost);
            assert_eq!(decision.outcome == Outcome::Never, request.cost > setup.facts.capacity);
        }
    });
}

#[test]
fn a_request_for_nothing_does_not_make_the_log_forget() {
    let log = SlidingLog::new(Rate::per_second(1));
    let mut state = Default::default();
    assert!(log.decide(&mut state, Timestamp::ORIGIN, 1).is_admitted());
    // Long after the unit has left the window a request asks for nothing, and then the clock steps back.
    assert!(log.decide(&mut state, Timestamp::from_nanos(2_000_000_000), 0).is_admitted());
    let refused = log.decide(&mut state, Timestamp::from_nanos(5), 1);
    assert_eq!(refused.outcome, Outcome::Reject { retry_after: 999_999_995 });
}

#[test]
fn a_request_that_no_window_holds_does_not_start_a_countdown() {
    let window = FixedWindow::new(Rate::per_second(1));
    let never = window.check(&Default::default(), Timestamp::from_nanos(5), 2);
    assert_eq!(never.outcome, Outcome::Never);
    let quota = window.quota(never.level);
    assert_eq!((quota.remaining, quota.reset_after.as_nanos()), (1, 0));
}
