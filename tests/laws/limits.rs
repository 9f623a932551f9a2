//! Laws 7 to 10, as far as they can be seen through a layer. What an algorithm owes is shown in `backpressure-core`, what a table
//! of keys owes in `backpressure-limiter`.

use std::time::Duration;

use backpressure_tests::Probe;
use backpressure_tests::layers::prelude::{FixedWindow, SlidingLog, SlidingWindow, TokenBucket, an_hour, key, limit};
use backpressure_tests::layers::{Fate, Limiting, Subject, at_once, refill, request, send};
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_backpressure::Algorithm;

law!(what_is_refused_consumes_nothing);
law!(a_refusal_names_the_moment_at_which_a_retry_is_admitted where it counts and refuses);
law!(a_limit_comes_back_whole);
law!(no_hour_admits_more_than_twice_what_is_admitted_at_once where it counts and refuses);
law!(those_who_wait_go_on_in_their_order where it counts and waits);

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

/// Four hours of asking whenever it may help. (Law 9: the bound of a fixed window, which is the widest.)
async fn no_hour_admits_more_than_twice_what_is_admitted_at_once<L: Limiting>(make: impl Fn() -> Subject<L>) {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let subject = make();
    let service = subject.layer.layer(Probe::new().0);
    let mut admitted = Vec::new();
    for _ in 0..480 {
        while at_once(&service).is_some_and(|fate| fate.is_served()) {
            admitted.push(Instant::now());
        }
        tokio::time::advance(HOUR / 120).await;
    }
    let twice = 2 * subject.admits;
    assert!(admitted.len() > twice, "who comes back is admitted again");
    for window in admitted.windows(twice + 1) {
        assert!(window[twice] - window[0] >= HOUR, "{window:?}");
    }
}

/// Two may wait.
async fn those_who_wait_go_on_in_their_order<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let service = subject.layer.layer(Probe::new().0);
    let timed = async |fate: Fate| (fate.is_served(), Instant::now());
    let (first, second) = tokio::join!(send(&service).then(timed), send(&service).then(timed));
    assert!(first.0 && second.0 && first.1 <= second.1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_neither_exceeds_the_bound_nor_frees_a_client_that_is_refused() {
    flood(TokenBucket::new(an_hour(3))).await;
    flood(FixedWindow::new(an_hour(3))).await;
    flood(SlidingWindow::new(an_hour(3))).await;
    flood(SlidingLog::new(an_hour(3))).await;
    flood((TokenBucket::new(an_hour(3)), FixedWindow::new(an_hour(3)))).await;
}

async fn flood<A: Algorithm>(algorithm: A) {
    const MAX_KEYS: usize = 70;
    let layer = limit(algorithm).keyed(key::extension(|client: &u32| *client)).max_keys(MAX_KEYS);
    let limiter = layer.limiter();
    let service = layer.layer(Probe::new().0);
    let is_served = |client: u32| {
        let mut request = request();
        request.extensions_mut().insert(client);
        Fate::of(service.clone().oneshot(request).now_or_never().unwrap()).is_served()
    };
    while is_served(0) {}
    for client in 1..3_000 {
        let _ = is_served(client);
        assert!(limiter.len() <= MAX_KEYS);
        assert!(!is_served(0), "freed by client {client}");
    }
}
