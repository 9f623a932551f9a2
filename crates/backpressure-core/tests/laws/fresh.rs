//! A state is as good as new from `fresh_at` on, and not before.

use backpressure_core::{Decision, Outcome, Quota, Timestamp};

use crate::script::{end_of, play, scripts, scripts_with_steps_back, starts, state_after, telling_costs, telling_times};
use crate::subjects::{Setup, Subject, for_all};

law!(from_fresh_at_on_every_decision_is_that_on_a_new_state);
law!(a_nanosecond_before_fresh_at_something_still_counts);
law!(a_state_that_was_never_taken_from_is_fresh);

fn from_fresh_at_on_every_decision_is_that_on_a_new_state<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let state = state_after(&setup.algorithm, &play(&setup.facts, start, &script));
        for at in telling_times(&setup.facts, setup.algorithm.fresh_at(&state)) {
            assert!(is_new(&setup, &state, at), "{state:?} at {at:?}");
        }
    });
}

fn a_nanosecond_before_fresh_at_something_still_counts<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(30)), |(setup, start, script)| {
        let state = state_after(&setup.algorithm, &play(&setup.facts, start, &script));
        let fresh_at = setup.algorithm.fresh_at(&state);
        if fresh_at > Timestamp::ORIGIN {
            let just_before = fresh_at.saturating_sub(1);
            assert!(!is_new(&setup, &state, just_before), "{state:?} at {just_before:?}");
        }
    });
}

fn a_state_that_was_never_taken_from_is_fresh<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30)), |(setup, start, script)| {
        let requests = play(&setup.facts, start, &script);
        let state = A::State::default();
        assert_eq!(setup.algorithm.fresh_at(&state), Timestamp::ORIGIN);
        let now = end_of(start, &requests);
        let quota = setup.algorithm.quota(setup.algorithm.check(&state, now, 0).level);
        assert_eq!((quota.remaining, quota.policy.limit), (setup.facts.capacity, setup.facts.capacity));
        assert!(quota.reset_after.is_zero());
        assert_eq!(setup.algorithm.check(&state, now, setup.facts.capacity).outcome, Outcome::Admit);
    });
}

/// Whether no request can tell `state` from a new one at this time.
///
/// One algorithm must show it to its clients, in an outcome or a quota; the tightest member of a stack can hide another that is
/// not new.
fn is_new<A: Subject>(setup: &Setup<A>, state: &A::State, at: Timestamp) -> bool {
    let shown = |decision: Decision<A::Level>| -> (Outcome, Quota) { (decision.outcome, setup.algorithm.quota(decision.level)) };
    telling_costs(setup.facts.capacity).into_iter().all(|cost| {
        let decided = setup.algorithm.check(state, at, cost);
        let on_new = setup.algorithm.check(&A::State::default(), at, cost);
        let same = decided == on_new;
        if setup.facts.single {
            assert_eq!(same, shown(decided) == shown(on_new), "a level changed that nobody can see");
        }
        same
    })
}
