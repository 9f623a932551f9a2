//! A limit may be reconfigured while its states live on: the promises are then those of the new configuration.

use backpressure_core::{Decision, Outcome};

use crate::promise::assert_wait_is_exact;
use crate::script::{Request, end_of, play, scripts, scripts_with_steps_back, starts, state_after};
use crate::subjects::{Setup, Subject, for_all};

law!(a_state_made_under_another_configuration_keeps_the_new_promises);
law!(a_state_made_under_another_configuration_is_new_when_the_new_one_says_so);
law!(a_receipt_of_another_configuration_makes_nothing_better_than_new);

fn a_state_made_under_another_configuration_keeps_the_new_promises<A: Subject>() {
    let histories = (scripts(20), scripts(20));
    for_all((A::setups(), A::setups(), starts(), histories), |(old, new, start, (before, after))| {
        let history = play(&old.facts, start, &before);
        let mut state = state_after(&old.algorithm, &history);
        let changed_at = end_of(start, &history).as_nanos();
        for request in play(&new.facts, changed_at, &after) {
            assert_wait_is_exact(&new.algorithm, &state, request, new.facts.waits);
            let decision = new.algorithm.decide(&mut state, request.now, request.cost);
            assert_eq!(decision.outcome == Outcome::Never, request.cost > new.facts.capacity);
            assert!(new.algorithm.quota(decision.level).remaining <= new.facts.capacity);
        }
    });
}

fn a_state_made_under_another_configuration_is_new_when_the_new_one_says_so<A: Subject>() {
    for_all((A::setups(), A::setups(), starts(), scripts_with_steps_back(30)), |(old, new, start, script)| {
        let state = state_after(&old.algorithm, &play(&old.facts, start, &script));
        let fresh_at = new.algorithm.fresh_at(&state);
        let Setup { algorithm, facts } = &new;
        let full = |at| algorithm.check(&state, at, facts.capacity);
        assert_eq!(full(fresh_at), algorithm.check(&A::State::default(), fresh_at, facts.capacity));
        if fresh_at.as_nanos() > 0 {
            let just_before = fresh_at.saturating_sub(1);
            assert_ne!(full(just_before), algorithm.check(&A::State::default(), just_before, facts.capacity));
        }
    });
}

fn a_receipt_of_another_configuration_makes_nothing_better_than_new<A: Subject>() {
    for_all((A::setups(), A::setups(), starts(), scripts_with_steps_back(30)), |(old, new, start, script)| {
        let mut state = A::State::default();
        for Request { now, cost } in play(&old.facts, start, &script) {
            let decision = old.algorithm.decide(&mut state, now, cost);
            if !matches!(decision.outcome, Outcome::Admit | Outcome::Delay { .. }) {
                continue;
            }
            let mut given_back = state.clone();
            new.algorithm.give_back(&mut given_back, &Decision { cost, ..decision }, now);
            let over = new.algorithm.check(&given_back, now, new.facts.capacity + 1);
            assert_eq!(over.outcome, Outcome::Never);
            new.algorithm.take(&mut given_back, now, new.facts.capacity);
            assert!(!new.algorithm.check(&given_back, now, 1).is_admitted());
        }
    });
}
