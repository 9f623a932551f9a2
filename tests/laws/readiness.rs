//! Law 2: admission happens in `call`, and what waits or is idle reserves nothing.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_tests::Probe;
use futures_util::FutureExt;
use futures_util::future::poll_fn;
use http::{Request, Response};
use http_body_util::Empty;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{Fail, LeakyBucket, Rate, RateLimitLayer, Rejection, TokenBucket, TokioClock};

fn request() -> Request<()> {
    Request::new(())
}

#[test]
fn a_ready_but_idle_clone_takes_nothing_from_the_limit() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_day(1)));
    let mut services: Vec<_> = (0..10).map(|_| layer.layer(Probe::new().0)).collect();
    let mut cx = Context::from_waker(Waker::noop());
    for service in &mut services {
        assert!(service.poll_ready(&mut cx).is_ready());
        assert!(service.poll_ready(&mut cx).is_ready(), "ready stays ready");
    }
    assert_eq!(layer.limiter().peek().remaining, 1);
}

#[test]
fn a_request_that_is_called_at_once_uses_the_readied_service() {
    let (probe, seen) = Probe::new();
    let mut service = RateLimitLayer::new(TokenBucket::new(Rate::per_day(10))).layer(probe);
    for called in 1..=5 {
        // The probe panics if another clone than the readied one is called.
        poll_fn(|cx| service.poll_ready(cx)).now_or_never().unwrap().unwrap();
        assert_eq!(seen.reserved(), 1);
        assert_eq!(service.call(request()).now_or_never().unwrap().unwrap().status(), 200);
        assert_eq!((seen.reserved(), seen.called()), (0, called));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_holds_an_unready_clone_and_polls_it_ready_when_its_turn_comes() {
    let (probe, seen) = Probe::new();
    let layer = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1))).clock(TokioClock::default());
    let mut service = layer.layer(probe);
    service.ready().await.unwrap().call(request()).await.unwrap();

    let mut waiting = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(seen.reserved(), 0, "neither the request that waits nor the service that took it reserves anything");

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!((seen.reserved(), seen.called()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_reserves_nothing_of_an_inner_concurrency_limit() {
    let inner = service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(Empty::<&[u8]>::new())));
    let inner = ConcurrencyLimit::new(inner, 1);
    let mut beside = inner.clone();
    let mut service = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1))).clock(TokioClock::default()).layer(inner);
    service.ready().await.unwrap().call(request()).await.unwrap();

    let mut waiting = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    // The only permit is free for somebody else while the request waits for its turn.
    assert!(beside.ready().now_or_never().is_some());
    drop(beside);
    assert_eq!(waiting.await.unwrap().status(), 200);
}

#[derive(Debug)]
struct Broken(&'static str);

impl From<Rejection> for Broken {
    fn from(_: Rejection) -> Self {
        Self("refused")
    }
}

#[test]
fn overload_is_never_reported_by_readiness_and_errors_of_the_inner_service_pass() {
    let failing = tower::util::BoxCloneService::new(service_fn(async |_: u32| Err::<u32, _>(Broken("inner"))));
    let mut service = RateLimitLayer::new(TokenBucket::new(Rate::per_day(1))).answer(Fail).layer(failing);
    let mut cx = Context::from_waker(Waker::noop());
    for expected in ["inner", "refused", "refused"] {
        assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        assert_eq!(service.call(1).now_or_never().unwrap().unwrap_err().0, expected);
    }
}
