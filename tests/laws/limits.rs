//! Laws 7 and 8, as far as they can be seen through a layer. What an algorithm owes is shown in `backpressure-core`, what a table
//! of keys owes in `backpressure-limiter`.

use std::time::Duration;

use backpressure_tests::Probe;
use backpressure_tests::layers::{Fate, Limiting, Subject, at_once, refill};

law!(what_is_refused_consumes_nothing);
law!(a_refusal_names_the_moment_at_which_a_retry_is_admitted where it refuses);
law!(a_limit_comes_back_whole);

async fn what_is_refused_consumes_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let service = subject.layer.layer(Probe::new().0);
    for _ in 0..10 {
        // Refused, or gone before its turn.
        assert!(at_once(&service).is_none_or(|fate| fate.is_refused()));
    }
    refill().await;
    assert_eq!(subject.room(), subject.admits);
}

/// One nanosecond earlier it is refused; and it is told the same moment again.
async fn a_refusal_names_the_moment_at_which_a_retry_is_admitted<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let service = subject.layer.layer(Probe::new().0);
    let Some(Fate::Refused(rejection)) = at_once(&service) else { panic!("not refused") };
    let wait = rejection.retry_after.expect("it comes back");
    tokio::time::advance(wait - Duration::from_nanos(1)).await;
    let Some(Fate::Refused(rejection)) = at_once(&service) else { panic!("admitted early") };
    assert_eq!(rejection.retry_after, Some(Duration::from_nanos(1)));
    tokio::time::advance(Duration::from_nanos(1)).await;
    assert!(at_once(&service).is_some_and(|fate| fate.is_served()));
}

async fn a_limit_comes_back_whole<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    for _ in 0..3 {
        assert_eq!(subject.room(), subject.admits);
        refill().await;
    }
}
