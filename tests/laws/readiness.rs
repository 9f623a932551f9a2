//! Law 2: admission happens in `call`; what is ready and idle, refused, or waiting reserves nothing.

use std::task::{Context, Poll, Waker};

use backpressure_tests::layers::{Boxed, Fate, Limiting, Subject, at_once, refill, request};
use backpressure_tests::{Broken, Fault, Probe};
use futures_util::FutureExt;
use futures_util::future::poll_fn;
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};

law!(ready_and_idle_services_hold_nothing);
law!(readiness_is_that_of_the_inner_service);
law!(a_request_that_is_called_at_once_uses_the_readied_service);
law!(a_request_that_is_refused_does_not_reach_the_service where it refuses);
law!(a_request_that_waits_holds_an_unready_clone_until_its_turn where it waits);
law!(a_request_that_waits_holds_no_permit_of_a_concurrency_limit_inside where it waits);
law!(a_request_that_waits_holds_no_slot_of_a_buffer_inside where it waits);

async fn ready_and_idle_services_hold_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let mut services: Vec<_> = (0..10).map(|_| subject.layer.layer(Probe::new().0)).collect();
    let mut cx = Context::from_waker(Waker::noop());
    for service in &mut services {
        assert!(service.poll_ready(&mut cx).is_ready());
        assert!(service.poll_ready(&mut cx).is_ready(), "ready stays ready");
    }
    assert_eq!(subject.room(), subject.admits);
    for service in &mut services {
        assert!(service.poll_ready(&mut cx).is_ready(), "ready stays ready at the limit too");
    }
}

async fn readiness_is_that_of_the_inner_service<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let mut cx = Context::from_waker(Waker::noop());
    for exhausted in [false, true] {
        if exhausted {
            subject.exhaust();
        }
        assert!(matches!(subject.layer.layer(Probe::new().0).poll_ready(&mut cx), Poll::Ready(Ok(()))));
        let never = Probe::new().0.with(Fault::NeverReady);
        assert!(subject.layer.layer(never).poll_ready(&mut cx).is_pending());
        let failing = Probe::new().0.with(Fault::ReadyFails);
        let Poll::Ready(ready) = subject.layer.layer(failing).poll_ready(&mut cx) else { panic!("the failure is hidden") };
        assert!(matches!(ready.as_ref().map_err(backpressure_tests::layers::Tells::fate), Err(Fate::Failed)));
    }
}

async fn a_request_that_is_called_at_once_uses_the_readied_service<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let (probe, seen) = Probe::new();
    let mut service = subject.layer.layer(probe);
    for called in 1..=subject.admits {
        // The probe panics if another clone than the readied one is called.
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        assert_eq!(seen.reserved(), 1);
        assert!(Fate::of(service.call(request()).await).is_served());
        assert_eq!((seen.reserved(), seen.called()), (0, called));
    }
}

async fn a_request_that_is_refused_does_not_reach_the_service<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let (probe, seen) = Probe::new();
    let service = subject.layer.layer(probe);
    for _ in 0..5 {
        assert!(at_once(&service).unwrap().is_refused());
    }
    assert_eq!((seen.called(), seen.reserved()), (0, 0));
}

async fn a_request_that_waits_holds_an_unready_clone_until_its_turn<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let (probe, seen) = Probe::new();
    let mut service = subject.layer.layer(probe);
    let mut waiting = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(seen.reserved(), 0, "neither the request that waits nor the service that took it reserves anything");
    refill().await;
    assert!(Fate::of(waiting.await).is_served());
    assert_eq!((seen.reserved(), seen.called()), (0, 1));
}

async fn a_request_that_waits_holds_no_permit_of_a_concurrency_limit_inside<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let inner = ConcurrencyLimit::new(Probe::new().0, 1);
    let mut beside = inner.clone();
    let mut service = subject.layer.layer(Boxed::new(inner));
    let mut waiting = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    // The only permit is free for somebody else while the request waits for its turn.
    assert!(beside.ready().now_or_never().is_some());
    drop(beside);
    refill().await;
    assert!(Fate::of(waiting.await).is_served());
}

async fn a_request_that_waits_holds_no_slot_of_a_buffer_inside<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let buffer = Buffer::new(Probe::new().0, 1);
    let mut beside = buffer.clone();
    let mut service = subject.layer.layer(Boxed::new(buffer.map_err(|_| Broken::Inner)));
    let mut waiting = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    // The only slot is free for somebody else.
    assert!(beside.ready().now_or_never().is_some());
    drop(beside);
    refill().await;
    assert!(Fate::of(waiting.await).is_served());
}
