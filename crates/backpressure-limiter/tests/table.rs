//! What a keyed limiter promises of its table.
#![cfg(not(backpressure_loom))]

use std::time::Duration;

use backpressure_core::{Algorithm, FixedWindow, LeakyBucket, ManualClock, Rate, Reason, SlidingLog, SlidingWindow, TokenBucket};
use backpressure_limiter::{Coarse, KeyedLimiter, Limiter, WhenFull};

/// Ten an hour for each of at most 10 000 clients.
fn limiter() -> KeyedLimiter<(&'static str, u64), TokenBucket, ManualClock> {
    KeyedLimiter::with_clock(TokenBucket::new(Rate::per_hour(10)), ManualClock::new()).max_keys(10_000)
}

#[test]
fn keys_that_are_as_good_as_new_make_room_under_every_policy() {
    for when_full in [WhenFull::Evict, WhenFull::Share, WhenFull::Refuse, WhenFull::Admit] {
        let clock = ManualClock::new();
        let limiter = KeyedLimiter::<u64, _, _>::with_clock(FixedWindow::new(Rate::per_second(1)), clock.clone())
            .max_keys(1_000)
            .when_full(when_full);
        for generation in 0..20 {
            let served = (0..800).filter(|client| limiter.check(&(generation * 1_000 + client)).is_ok()).count();
            // Eight hundred of a thousand: a few may find their set full.
            assert!(served >= 780, "{when_full:?}, generation {generation}: {served}");
            let asked_again = (0..800).filter(|client| limiter.check(&(generation * 1_000 + client)).is_ok()).count();
            assert!(when_full == WhenFull::Admit || asked_again <= 20, "{when_full:?}: {asked_again} were admitted twice");
            clock.advance(Duration::from_secs(1));
        }
        assert!(limiter.len() <= 1_000);
    }
}

#[test]
fn a_refused_newcomer_is_told_when_a_place_is_free() {
    let clock = ManualClock::new();
    let limiter = KeyedLimiter::<u64, _, _>::with_clock(FixedWindow::new(Rate::per_second(1)), clock.clone())
        .max_keys(1)
        .when_full(WhenFull::Refuse);
    assert!(limiter.check(&1).is_ok());
    let refused = limiter.check(&2).unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyKeys);
    clock.advance(refused.retry_after.expect("a place will be free"));
    assert!(limiter.check(&2).is_ok());
}

#[test]
fn forgetting_makes_a_key_new_and_clearing_makes_all_of_them_new() {
    let limiter = limiter();
    for client in 0..100 {
        assert!(limiter.check_n(&("client", client), 10).is_ok());
        assert!(limiter.check(&("client", client)).is_err());
    }
    assert!(limiter.remove(&("client", 7)) && !limiter.remove(&("client", 7)) && !limiter.remove(&("nobody", 7)));
    assert_eq!((limiter.len(), limiter.peek(&("client", 7)).remaining), (99, 10));
    limiter.clear();
    assert!(limiter.is_empty());
    assert_eq!(limiter.peek(&("client", 8)).remaining, 10);
}

#[test]
fn a_charge_puts_its_key_in_debt_and_no_other() {
    let limiter = limiter();
    let (client, other) = (("client", 1), ("client", 2));
    limiter.charge(&client, 12);
    // Two are owed and one is asked for, at one in six minutes.
    assert_eq!(limiter.check(&client).unwrap_err().retry_after, Some(Duration::from_secs(18 * 60)));
    assert_eq!((limiter.peek(&other).remaining, limiter.len()), (10, 1), "who is charged is tracked");
}

#[test]
fn a_charge_of_a_key_without_a_place_is_shared_where_the_state_is_and_else_is_nobodys() {
    for (when_full, left) in [(WhenFull::Evict, 7), (WhenFull::Share, 7), (WhenFull::Refuse, 10), (WhenFull::Admit, 10)] {
        let limiter = limiter().max_keys(1).when_full(when_full);
        assert!(limiter.check_n(&("client", 1), 10).is_ok());
        limiter.charge(&("client", 2), 3);
        assert_eq!((limiter.len(), limiter.peek(&("client", 1)).remaining), (1, 0), "{when_full:?}");
        assert_eq!(limiter.peek(&("client", 3)).remaining, left, "{when_full:?}");
    }
}

#[test]
fn replacing_forgets_every_key_and_reconfiguring_none() {
    let limiter = limiter();
    assert!(limiter.check_n(&("client", 1), 10).is_ok());
    limiter.reconfigure(TokenBucket::new(Rate::per_hour(20)));
    assert!(limiter.check(&("client", 1)).is_err());
    limiter.clone().replace(TokenBucket::new(Rate::per_hour(20)));
    assert_eq!((limiter.peek(&("client", 1)).remaining, limiter.len()), (20, 0));
}

#[test]
fn looking_and_costing_nothing_track_nobody() {
    let limiter = limiter();
    assert_eq!(limiter.peek(&("client", 1)).remaining, 10);
    assert!(limiter.check_n(&("client", 1), 0).is_ok());
    assert!(limiter.check_n(&("client", 1), 11).is_err());
    assert!(limiter.is_empty());
}

#[test]
fn threads_that_race_over_few_keys_get_exactly_the_limit_of_each() {
    let limiter = limiter();
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let limiter = limiter.clone();
                scope.spawn(move || (0..100_000).filter(|n| limiter.check(&("client", n % 500)).is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that only counts")).sum()
    });
    assert_eq!(admitted, 500 * 10);
}

#[test]
fn under_every_algorithm_a_key_that_is_being_refused_is_not_forgotten_for_newcomers() {
    fn check<A: Algorithm>(algorithm: A) {
        let limiter = KeyedLimiter::<u64, _, _>::with_clock(algorithm, ManualClock::new()).max_keys(1);
        while limiter.check(&0).is_ok() {}
        for newcomer in 1..100 {
            let _ = limiter.check(&newcomer);
            assert!(limiter.check(&0).is_err());
        }
    }
    let rate = Rate::per_hour(3);
    check(TokenBucket::new(rate));
    check(LeakyBucket::new(rate).queue(5));
    check(FixedWindow::new(rate));
    check(SlidingWindow::new(rate));
    check(SlidingLog::new(rate));
    check((TokenBucket::new(rate), LeakyBucket::new(rate)));
}

#[test]
fn a_newcomer_that_is_refused_in_a_full_table_is_not_called_back_at_once() {
    let limiter = KeyedLimiter::<u64, _, _>::with_clock(FixedWindow::new(Rate::per_hour(1)), ManualClock::new())
        .max_keys(1_000)
        .when_full(WhenFull::Refuse);
    let full: Vec<_> =
        (0..10_000).filter_map(|key| limiter.check(&key).err()).filter(|r| r.reason == Reason::TooManyKeys).collect();
    assert!(full.len() >= 9_000);
    assert!(full.iter().all(|refused| refused.retry_after == Some(Duration::from_secs(3_600))));
}

#[test]
fn looking_at_a_key_without_a_place_shows_the_state_that_it_would_share() {
    let limiter = KeyedLimiter::<u64, _, _>::with_clock(FixedWindow::new(Rate::per_hour(1)), ManualClock::new()).max_keys(1);
    assert!(limiter.check(&1).is_ok());
    assert_eq!(limiter.peek(&2).remaining, 1);
    assert!(limiter.check(&2).is_ok());
    assert_eq!(limiter.peek(&3).remaining, 0);
    assert!(limiter.check(&3).is_err());
    limiter.clear();
    assert!(limiter.check(&1).is_ok());
    assert!(limiter.check(&2).is_ok(), "clearing forgets what they shared");
}

#[test]
fn configuring_one_thing_keeps_the_others() {
    let limiter = Limiter::new(FixedWindow::new(Rate::per_hour(1))).named("kept").keyed::<u64>();
    let limiter = limiter.when_full(WhenFull::Refuse).max_keys(7).clock(Coarse::default());
    let shown = format!("{limiter:?}");
    for kept in ["name: \"kept\"", "max_keys: 7", "when_full: Refuse"] {
        assert!(shown.contains(kept), "{shown}");
    }
}
