//! The laws under those who call: tower's own hosts, and the host that readies a service before it has a request.

use std::task::{Context, Poll, Waker};

use backpressure_tests::layers::{Boxed, Fate, Limited, Limiting, Subject, at_once, refill, request};
use backpressure_tests::{Broken, Probe};
use futures_util::FutureExt;
use futures_util::future::poll_fn;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::Constant;
use tower::ready_cache::ReadyCache;
use tower::{Service, ServiceExt};

law!(under_a_balance_one_limit_is_one);
law!(under_a_balance_a_refusal_says_nothing_of_the_others where it refuses);
law!(in_a_ready_cache_what_is_ready_holds_nothing);
law!(behind_a_buffer_refusals_are_answers_and_the_buffer_lives where it refuses);
law!(behind_a_buffer_who_waits_holds_nobody_up where it waits);
law!(in_front_of_a_buffer_one_limit_is_one);
law!(a_host_that_readies_before_it_has_a_request_holds_nothing);

/// Balance polls all of its services ready and keeps them so.
async fn under_a_balance_one_limit_is_one<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let (probe, seen) = Probe::new();
    let services = (0..3).map(|_| Constant::new(judged(subject.layer.layer(probe.clone())), 1));
    let mut balance = Balance::new(ServiceList::new::<http::Request<()>>(services));
    let mut served = 0;
    for _ in 0..10 {
        let answer = balance.ready().await.unwrap().call(request()).now_or_never();
        served += usize::from(answer.is_some_and(|fate| fate.unwrap().is_served()));
    }
    assert_eq!((served, seen.called()), (subject.admits, subject.admits));
    drop(balance);
    refill().await;
    assert_eq!((seen.reserved(), subject.room()), (0, subject.admits));
}

/// A refusal is no failure: Balance does not throw the service away.
async fn under_a_balance_a_refusal_says_nothing_of_the_others<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subjects: Vec<_> = (0..3).map(|_| make()).collect();
    let services: Vec<_> = subjects.iter().map(|subject| Constant::new(judged(subject.layer.layer(Probe::new().0)), 1)).collect();
    let mut balance = Balance::new(ServiceList::new::<http::Request<()>>(services));
    let all: usize = subjects.iter().map(|subject| subject.admits).sum();
    let mut served = 0;
    for _ in 0..1_000 {
        served += usize::from(balance.ready().await.unwrap().call(request()).await.unwrap().is_served());
    }
    // With 1 000 tries none of the three is missed, but for a chance of 3 × (2/3)^900.
    assert_eq!((served, balance.len()), (all, 3));
}

async fn in_a_ready_cache_what_is_ready_holds_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let (probe, seen) = Probe::new();
    let mut cache = ReadyCache::default();
    for service in 0..5 {
        cache.push(service, subject.layer.layer(probe.clone()));
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(cache.poll_pending(&mut cx), Poll::Ready(Ok(()))));
    assert_eq!((cache.ready_len(), seen.reserved()), (5, 5));
    let mut served = 0;
    for service in 0..5 {
        assert!(cache.check_ready(&mut cx, &service).unwrap());
        let answer = cache.call_ready(&service, request()).now_or_never();
        served += usize::from(answer.is_some_and(|answer| Fate::of(answer).is_served()));
    }
    assert_eq!(served, subject.admits);
    drop(cache);
    assert_eq!(seen.reserved(), 0);
}

/// A buffer dies of one error in `poll_ready`.
async fn behind_a_buffer_refusals_are_answers_and_the_buffer_lives<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let mut buffer = Buffer::new(judged(subject.layer.layer(Probe::new().0)), 2);
    for round in 0..2 {
        for sent in 0..subject.admits + 3 {
            let fate = buffer.ready().await.unwrap().call(request()).await.unwrap();
            assert_eq!(fate.is_served(), sent < subject.admits, "round {round}, request {sent}: {fate:?}");
        }
        refill().await;
    }
}

/// The worker of a buffer calls one request after the other: were one to wait in `poll_ready`, all would.
async fn behind_a_buffer_who_waits_holds_nobody_up<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let (probe, seen) = Probe::new();
    let mut buffer = Buffer::new(judged(subject.layer.layer(probe)), 1);
    let mut fates = Vec::new();
    for _ in 0..3 {
        fates.push(tokio::spawn(buffer.ready().await.unwrap().call(request())));
        tokio::task::yield_now().await;
    }
    // Two wait; the third went past them through the buffer, and is refused at once.
    let third = fates.pop().unwrap().await.unwrap().unwrap();
    assert!(third.is_refused());
    assert_eq!(seen.called(), 0);
    // A layer that refuses before it waits leaves the service that it did not call to the buffer, ready.
    assert!(seen.reserved() <= 1, "those who wait reserve nothing");
    refill().await;
    for waits in fates {
        assert!(waits.await.unwrap().unwrap().is_served());
    }
}

async fn in_front_of_a_buffer_one_limit_is_one<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let buffer = Buffer::new(Probe::new().0, 20);
    let inside = Boxed::new(buffer.map_err(|_closed| Broken::Inner));
    let service = subject.layer.layer(inside);
    let mut served = Vec::new();
    for _ in 0..subject.admits {
        served.push(Fate::of(service.clone().oneshot(request()).await).is_served());
    }
    assert_eq!(served, vec![true; subject.admits]);
    assert!(at_once(&service).is_none_or(|fate| fate.is_refused()));
}

/// hyper 0.14 polls the service of each connection ready and then waits for a request, for minutes on a connection that is kept
/// alive.
async fn a_host_that_readies_before_it_has_a_request_holds_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let (probe, seen) = Probe::new();
    let mut connections: Vec<_> = (0..50).map(|_| subject.layer.layer(probe.clone())).collect();
    for connection in &mut connections {
        poll_fn(|cx| connection.poll_ready(cx)).await.unwrap();
    }
    assert_eq!(seen.reserved(), 50);
    let mut served = 0;
    for _round in 0..2 {
        for connection in connections.iter_mut().step_by(7) {
            let answer = connection.call(request()).now_or_never();
            served += usize::from(answer.is_some_and(|answer| Fate::of(answer).is_served()));
            // Ready again at once, for the next request that may come.
            poll_fn(|cx| connection.poll_ready(cx)).await.unwrap();
        }
    }
    assert_eq!((served, seen.called()), (subject.admits, subject.admits));
    assert_eq!(seen.reserved(), 50);
    drop(connections);
    assert_eq!(seen.reserved(), 0);
}

/// The same service, whose response is what became of the request, for hosts that want their own type of error.
fn judged<S: Limited>(
    service: S,
) -> impl Service<http::Request<()>, Response = Fate, Error = S::Error, Future: Send + 'static> + Send + 'static {
    service.map_result(|answer| Ok(Fate::of(answer)))
}
