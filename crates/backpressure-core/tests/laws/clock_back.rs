//! A clock that steps back lets no more through than one that had stood still since the latest time that was taken for.

use backpressure_core::{Outcome, Timestamp};

use crate::bounds::assert_bounded;
use crate::script::{Passed, Request, assert_alike, play, scripts_with_steps_back, starts};
use crate::subjects::{Subject, for_all};

law!(whoever_passes_with_the_clock_back_would_have_passed_with_it_standing_still);
law!(the_bounds_hold_on_a_clock_that_stands_still_instead_of_stepping_back);

fn whoever_passes_with_the_clock_back_would_have_passed_with_it_standing_still<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(40)), |(setup, start, script)| {
        let mut state = A::State::default();
        let mut latest = Timestamp::ORIGIN;
        for Request { now, cost } in play(&setup.facts, start, &script) {
            let held = now.max(latest);
            let mut with_clock_held = state.clone();
            let decision = setup.algorithm.decide(&mut state, now, cost);
            let would = setup.algorithm.decide(&mut with_clock_held, held, cost);
            match decision.outcome {
                Outcome::Admit => assert_eq!(would.outcome, Outcome::Admit),
                Outcome::Delay { by } => {
                    let wait = would.outcome.wait().filter(|_| !matches!(would.outcome, Outcome::Reject { .. }));
                    assert!(wait.is_some_and(|wait| held.saturating_add(wait) <= held.max(now.saturating_add(by))));
                }
                Outcome::Reject { .. } | Outcome::Busy | Outcome::Never => {}
            }
            if cost > 0 && matches!(decision.outcome, Outcome::Admit | Outcome::Delay { .. }) {
                assert_alike(&setup, &state, &with_clock_held, held);
                latest = held;
            }
        }
    });
}

fn the_bounds_hold_on_a_clock_that_stands_still_instead_of_stepping_back<A: Subject>() {
    for_all((A::setups(), starts(), scripts_with_steps_back(60)), |(setup, start, script)| {
        let mut state = A::State::default();
        let mut latest = 0;
        let mut all = Vec::new();
        for Request { now, cost } in play(&setup.facts, start, &script) {
            let outcome = setup.algorithm.decide(&mut state, now, cost).outcome;
            let (Outcome::Admit | Outcome::Delay { .. }, Some(wait)) = (outcome, outcome.wait()) else { continue };
            if cost > 0 {
                latest = now.as_nanos().max(latest);
                all.push(Passed { asked: latest, starts: latest.max(now.as_nanos() + wait), cost });
            }
        }
        assert_bounded(&setup.facts.bounds, &all, 0);
    });
}
