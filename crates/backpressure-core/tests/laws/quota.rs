//! A quota says what would happen: so much is admitted now and no more, and all of it after the reset.

use backpressure_core::Outcome;

use crate::script::{play, scripts, starts};
use crate::subjects::{Subject, for_all};

law!(what_remains_is_admitted_and_one_more_is_not);
law!(the_whole_limit_is_back_exactly_at_the_reset);

fn what_remains_is_admitted_and_one_more_is_not<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            let decision = setup.algorithm.decide(&mut state, request.now, request.cost);
            let remaining = setup.algorithm.quota(decision.level).remaining;
            let passes = |cost| {
                let outcome = setup.algorithm.check(&state, request.now, cost).outcome;
                matches!(outcome, Outcome::Admit | Outcome::Delay { .. })
            };
            assert!(passes(remaining), "{remaining} remain in {state:?} after {decision:?}");
            assert!(!passes(remaining + 1), "more than {remaining} remain in {state:?} after {decision:?}");
        }
    });
}

fn the_whole_limit_is_back_exactly_at_the_reset<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for request in play(&setup.facts, start, &script) {
            let decision = setup.algorithm.decide(&mut state, request.now, request.cost);
            let quota = setup.algorithm.quota(decision.level);
            assert_eq!(quota, setup.algorithm.quota(setup.algorithm.check(&state, request.now, 0).level), "asked again");
            let fresh_in = u128::from(setup.algorithm.fresh_at(&state).nanos_since(request.now));
            if setup.facts.single {
                assert_eq!(quota.reset_after.as_nanos(), fresh_in, "{state:?} after {decision:?}");
            } else {
                // The quota of a stack is that of its tightest member; another may take longer.
                assert!(quota.reset_after.as_nanos() <= fresh_in, "{state:?} after {decision:?}");
            }
        }
    });
}
