//! What a keyed limiter promises of its table.
#![cfg(not(backpressure_loom))]

use backpressure_core::{FixedWindow, ManualClock, Rate, TokenBucket};
use backpressure_limiter::{KeyedLimiter, WhenFull};

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
            clock.advance(std::time::Duration::from_secs(1));
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
    assert_eq!(refused.reason, backpressure_core::Reason::TooManyKeys);
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
