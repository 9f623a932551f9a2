//! Law 4: a refusal and a failure are told apart, and what the inner service says passes.

use std::time::Duration;

use backpressure_tests::layers::{Fate, Limiting, Subject, at_once, send};
use backpressure_tests::{Fault, Probe};
use tower_backpressure::Reason;

law!(a_refusal_says_why_and_when_to_come_again where it counts and refuses);
law!(who_finds_the_queue_full_is_refused_with_a_reason where it counts and waits);
law!(errors_of_the_inner_service_pass);
law!(a_refusal_breaks_nothing where it refuses);

async fn a_refusal_says_why_and_when_to_come_again<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let Some(Fate::Refused(rejection)) = at_once(&subject.layer.layer(Probe::new().0)) else { panic!("not refused") };
    assert_eq!(rejection.reason, Reason::RateLimit);
    assert!(rejection.retry_after.is_some_and(|wait| wait > Duration::from_secs(60)), "{rejection:?}");
}

async fn who_finds_the_queue_full_is_refused_with_a_reason<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let service = subject.layer.layer(Probe::new().0);
    let (first, second) = (send(&service), send(&service));
    let third = async {
        tokio::task::yield_now().await;
        let Some(Fate::Refused(rejection)) = at_once(&service) else { panic!("two are waiting") };
        rejection
    };
    let (first, second, rejection) = tokio::join!(first, second, third);
    assert!(first.is_served() && second.is_served());
    assert!(rejection.retry_after.is_some(), "{rejection:?}");
}

async fn errors_of_the_inner_service_pass<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for fault in [Fault::ReadyFails, Fault::ResponseFails] {
        let subject = make();
        let service = subject.layer.layer(Probe::new().0.with(fault));
        assert!(matches!(at_once(&service), Some(Fate::Failed)), "{fault:?}");
    }
}

/// A layer that reports a refusal as its own failure is discarded by some hosts, and dies in others.
async fn a_refusal_breaks_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let service = subject.layer.layer(Probe::new().0);
    subject.exhaust();
    for _ in 0..3 {
        assert!(at_once(&service).unwrap().is_refused());
    }
    backpressure_tests::layers::refill().await;
    assert!(at_once(&service).unwrap().is_served());
}
