//! A stack takes from all its members or from none, and answers for the one that makes its caller wait longest.

use backpressure_core::{
    Algorithm, Decision, FixedWindow, LeakyBucket, Outcome, Rate, SlidingLog, SlidingWindow, Timestamp, TokenBucket,
};

use crate::script::{Request, play, scripts, scripts_with_steps_back, starts};
use crate::subjects::{Setup, Subject, for_all};

type Stack = (SlidingLog, TokenBucket, LeakyBucket, FixedWindow);

#[test]
fn every_member_is_taken_from_or_none_is() {
    for_all((Stack::setups(), starts(), scripts_with_steps_back(40)), |(stack, start, script)| {
        let (mut state, mut apart) = (<Stack as Algorithm>::State::default(), <Stack as Algorithm>::State::default());
        for request in play(&stack.facts, start, &script) {
            let alone = asked_apart(&stack.algorithm, &apart, request);
            let together = stack.algorithm.decide(&mut state, request.now, request.cost);
            assert_eq!(together.outcome, longest(&alone), "{alone:?}");
            if alone.iter().all(|outcome| matches!(outcome, Outcome::Admit | Outcome::Delay { .. })) {
                take_apart(&stack.algorithm, &mut apart, request);
            }
            assert_eq!(state, apart, "{request:?}");
        }
    });
}

#[test]
fn what_a_stack_gives_back_every_member_gets_back() {
    for_all((Stack::setups(), starts(), scripts(20), 0..50_u64), |(stack, start, script, later)| {
        let mut state = <Stack as Algorithm>::State::default();
        for Request { now, cost } in play(&stack.facts, start, &script) {
            let taken = stack.algorithm.decide(&mut state, now, cost);
            if !matches!(taken.outcome, Outcome::Admit | Outcome::Delay { .. }) {
                continue;
            }
            let (mut given_back, mut apart) = (state.clone(), state.clone());
            let now = now.saturating_add(later);
            stack.algorithm.give_back(&mut given_back, &taken, now);
            let (log, tokens, leaky, fixed) = stack.algorithm;
            log.give_back(&mut apart.0, &receipt(&taken, taken.level.0), now);
            tokens.give_back(&mut apart.1, &receipt(&taken, taken.level.1), now);
            leaky.give_back(&mut apart.2, &receipt(&taken, taken.level.2), now);
            fixed.give_back(&mut apart.3, &receipt(&taken, taken.level.3), now);
            assert_eq!(given_back, apart);
        }
    });
}

#[test]
fn a_stack_shows_the_quota_of_its_tightest_member() {
    for_all((Stack::setups(), starts(), scripts(30)), |(stack, start, script)| {
        let (log, tokens, leaky, fixed) = stack.algorithm;
        let mut state = <Stack as Algorithm>::State::default();
        for Request { now, cost } in play(&stack.facts, start, &script) {
            let level = stack.algorithm.decide(&mut state, now, cost).level;
            let all = [log.quota(level.0), tokens.quota(level.1), leaky.quota(level.2), fixed.quota(level.3)];
            let shown = stack.algorithm.quota(level);
            assert!(all.contains(&shown));
            for quota in all {
                assert!(shown.remaining <= quota.remaining);
                assert!(shown.remaining < quota.remaining || shown.reset_after >= quota.reset_after);
            }
        }
    });
}

#[test]
fn a_refusal_shows_what_its_members_have_left_and_not_what_they_would_have() {
    let stack = (TokenBucket::new(Rate::per_second(1)), FixedWindow::new(Rate::per_second(5)));
    let mut state = Default::default();
    let now = Timestamp::from_nanos(7);
    assert!(stack.decide(&mut state, now, 1).is_admitted());
    let refused = stack.decide(&mut state, now, 1);
    assert_eq!(refused.outcome, Outcome::Reject { retry_after: 1_000_000_000 });
    // The window would have admitted what the bucket refused; four of its five are left all the same.
    assert_eq!(stack.1.quota(refused.level.1).remaining, 4);
}

#[test]
fn a_stack_is_new_when_its_last_member_is_and_as_many_wait_as_its_longest_queue_holds() {
    type Pair = (LeakyBucket, (SlidingWindow, LeakyBucket));
    for_all((Pair::setups(), starts(), scripts(20)), |(pair, start, script)| {
        let Setup { algorithm, facts } = pair;
        let mut state = <Pair as Algorithm>::State::default();
        for Request { now, cost } in play(&facts, start, &script) {
            algorithm.decide(&mut state, now, cost);
            let (outer, (window, inner)) = algorithm;
            let members = [outer.fresh_at(&state.0), window.fresh_at(&state.1.0), inner.fresh_at(&state.1.1)];
            assert_eq!(Some(algorithm.fresh_at(&state)), members.into_iter().max());
            assert_eq!(algorithm.queue_capacity(), outer.queue_capacity().max(inner.queue_capacity()));
        }
    });
}

fn asked_apart(stack: &Stack, states: &<Stack as Algorithm>::State, Request { now, cost }: Request) -> [Outcome; 4] {
    [
        stack.0.check(&states.0, now, cost).outcome,
        stack.1.check(&states.1, now, cost).outcome,
        stack.2.check(&states.2, now, cost).outcome,
        stack.3.check(&states.3, now, cost).outcome,
    ]
}

fn take_apart(stack: &Stack, states: &mut <Stack as Algorithm>::State, Request { now, cost }: Request) {
    stack.0.take(&mut states.0, now, cost);
    stack.1.take(&mut states.1, now, cost);
    stack.2.take(&mut states.2, now, cost);
    stack.3.take(&mut states.3, now, cost);
}

fn receipt<L, M>(taken: &Decision<L>, level: M) -> Decision<M> {
    Decision { outcome: taken.outcome, level, at: taken.at, cost: taken.cost }
}

/// Never before any refusal, a refusal before any delay, and of the same kind the longest.
fn longest(all: &[Outcome]) -> Outcome {
    let refusal =
        all.iter().filter_map(|outcome| if let Outcome::Reject { retry_after } = outcome { Some(*retry_after) } else { None });
    let delay = all.iter().filter_map(|outcome| if let Outcome::Delay { by } = outcome { Some(*by) } else { None });
    if all.contains(&Outcome::Never) {
        return Outcome::Never;
    }
    let refused = refusal.max().map(|retry_after| Outcome::Reject { retry_after });
    refused.or(delay.max().map(|by| Outcome::Delay { by })).unwrap_or(Outcome::Admit)
}
