//! What is given back is as if it had not been taken, as far as it still counts; and it never makes room for more.

use backpressure_core::{Decision, Outcome, Timestamp};
use proptest::prelude::*;

use crate::bounds::assert_bounded;
use crate::script::{
    Passed, Request, assert_alike, end_of, passed, play, scripts, scripts_with_steps_back, starts, state_after, telling_costs,
};
use crate::subjects::{Subject, for_all};

law!(what_is_given_back_at_once_is_as_if_never_taken);
law!(what_is_given_back_in_part_is_as_if_the_rest_had_been_asked_for);
law!(what_no_longer_counts_gives_nothing_back);
law!(the_bounds_hold_for_what_is_not_given_back);
law!(giving_back_more_than_was_taken_makes_a_state_new_and_no_better);

fn what_is_given_back_at_once_is_as_if_never_taken<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30)), |(setup, start, script)| {
        let mut state = A::State::default();
        for Request { now, cost } in play(&setup.facts, start, &script) {
            let before = state.clone();
            let decision = setup.algorithm.decide(&mut state, now, cost);
            if went_on(decision) {
                let mut restored = state.clone();
                setup.algorithm.give_back(&mut restored, &decision, now);
                assert_alike(&setup, &restored, &before, now);
            }
        }
    });
}

fn what_is_given_back_in_part_is_as_if_the_rest_had_been_asked_for<A: Subject>() {
    for_all((A::setups(), starts(), scripts(30), 0..=9_u64), |(setup, start, script, kept)| {
        let mut state = A::State::default();
        for Request { now, cost } in play(&setup.facts, start, &script) {
            let mut with_the_rest = state.clone();
            let decision = setup.algorithm.decide(&mut state, now, cost);
            if went_on(decision) && kept <= cost {
                let mut restored = state.clone();
                setup.algorithm.give_back(&mut restored, &Decision { cost: cost - kept, ..decision }, now);
                setup.algorithm.take(&mut with_the_rest, now, kept);
                assert_alike(&setup, &restored, &with_the_rest, now);
            }
        }
    });
}

fn what_no_longer_counts_gives_nothing_back<A: Subject>() {
    let later = (scripts(20), scripts(20));
    for_all((A::setups(), starts(), later, 0..3_u64), |(setup, start, (before, after), late)| {
        let history = play(&setup.facts, start, &before);
        let mut state = state_after(&setup.algorithm, &history);
        let now = end_of(start, &history);
        let taken = setup.algorithm.decide(&mut state, now, 1);
        if !went_on(taken) {
            return;
        }
        let gone_at = setup.algorithm.fresh_at(&state).as_nanos() + late;
        let history = play(&setup.facts, gone_at, &after);
        for request in &history {
            setup.algorithm.decide(&mut state, request.now, request.cost);
        }
        let untouched = state.clone();
        let now = end_of(gone_at, &history);
        setup.algorithm.give_back(&mut state, &taken, now);
        assert_alike(&setup, &state, &untouched, now);
    });
}

/// Buckets are exact only where the last to take is the first to give back: the tokens of a taking in the middle are regained
/// sooner than it knows, and it may give back as many again. So the law allows them what was given back, once.
fn the_bounds_hold_for_what_is_not_given_back<A: Subject>() {
    let returns = proptest::collection::vec((0..60_usize, 0..60_usize, 1..=9_u64), 0..=40);
    for_all((A::setups(), starts(), scripts(60), returns), |(setup, start, script, returns)| {
        let mut state = A::State::default();
        let mut all: Vec<Passed> = Vec::new();
        let mut receipts: Vec<Option<Decision<A::Level>>> = Vec::new();
        let mut returned = 0;
        for (step, request) in play(&setup.facts, start, &script).into_iter().enumerate() {
            let decision = setup.algorithm.decide(&mut state, request.now, request.cost);
            if let Some(request) = passed(request, decision.outcome) {
                all.push(request);
                receipts.push(Some(decision));
            }
            for (_, which, most) in returns.iter().filter(|(when, ..)| *when == step) {
                let Some(receipt) = receipts.get_mut(*which).and_then(Option::take) else { continue };
                let cost = receipt.cost.min(*most);
                setup.algorithm.give_back(&mut state, &Decision { cost, ..receipt }, request.now);
                all[*which].cost -= cost;
                returned += cost;
            }
        }
        assert_bounded(&setup.facts.bounds, &all, returned);
    });
}

fn giving_back_more_than_was_taken_makes_a_state_new_and_no_better<A: Subject>() {
    let more = prop_oneof![Just(u64::MAX), 1..100_u64];
    for_all((A::setups(), starts(), scripts_with_steps_back(30), more), |(setup, start, script, more)| {
        let mut state = A::State::default();
        for Request { now, cost } in play(&setup.facts, start, &script) {
            let decision = setup.algorithm.decide(&mut state, now, cost);
            if went_on(decision) {
                let mut given_back = state.clone();
                for _ in 0..3 {
                    setup.algorithm.give_back(&mut given_back, &Decision { cost: more, ..decision }, now);
                }
                assert_no_better_than_new(&setup.algorithm, &given_back, now, setup.facts.capacity);
            }
        }
    });
}

fn assert_no_better_than_new<A: Subject>(algorithm: &A, state: &A::State, now: Timestamp, capacity: u64) {
    for first in telling_costs(capacity) {
        let mut one = state.clone();
        let mut new = A::State::default();
        let decided = algorithm.decide(&mut one, now, first);
        let on_new = algorithm.decide(&mut new, now, first);
        assert!(no_sooner(decided.outcome, on_new.outcome), "{decided:?} is better than {on_new:?}");
        if went_on(decided) {
            for second in telling_costs(capacity) {
                let decided = algorithm.check(&one, now, second);
                let on_new = algorithm.check(&new, now, second);
                assert!(no_sooner(decided.outcome, on_new.outcome), "{decided:?} is better than {on_new:?} after {first}");
            }
        }
    }
}

/// Whether a request for which `one` was decided goes on no sooner than one for which `other` was.
///
/// A refusal may name an earlier time than a new state would: the window that it waits for began before.
fn no_sooner(one: Outcome, other: Outcome) -> bool {
    match (one, other) {
        (Outcome::Delay { by: one }, Outcome::Delay { by: other }) => one >= other,
        (Outcome::Admit | Outcome::Delay { .. }, _) => other == Outcome::Admit,
        (Outcome::Never, _) | (_, Outcome::Never) => one == other,
        (Outcome::Reject { .. } | Outcome::Busy, _) => true,
    }
}

fn went_on<L: Copy>(decision: Decision<L>) -> bool {
    matches!(decision.outcome, Outcome::Admit | Outcome::Delay { .. })
}
