//! Law 6: every way in which a request can end gives back what it held, exactly once.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{LeakyBucket, Rate, RateLimitLayer, TokenBucket, TokioClock};

type Answer = Response<Empty<&'static [u8]>>;

fn request() -> Request<()> {
    Request::new(())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_after_any_poll_leaves_the_line_and_the_quota_as_they_were() {
    for polls in 0..=6 {
        let layer = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(2)).clock(TokioClock::default());
        let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Answer::default())));
        let began = tokio::time::Instant::now();
        service.clone().oneshot(request()).await.unwrap();

        // Polled each 300 ms; its turn is due after a second, so the fifth poll finds it.
        let answered = {
            let mut leaving = pin!(service.clone().oneshot(request()));
            let mut answered = false;
            for _ in 0..polls {
                answered = leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                if answered {
                    break;
                }
                tokio::time::advance(Duration::from_millis(300)).await;
            }
            answered
        };
        assert_eq!(answered, polls >= 5);

        // Whoever left before its turn was never there: both that come now may wait, and the first has the turn of the one
        // that left. Whoever was served has used its turn, at most 2 ms before it came for it.
        let left = began.elapsed().as_millis();
        let served = async || service.clone().oneshot(request()).await.map(|_| began.elapsed().as_millis()).unwrap();
        let first = if answered { 2_198 } else { left.max(1_000) };
        assert_eq!(tokio::join!(served(), served()), (first, first + 1_000), "after {polls} polls");
    }
}

/// An inner service that is never ready.
#[derive(Clone)]
struct Never;

impl Service<Request<()>> for Never {
    type Response = Answer;
    type Error = Infallible;
    type Future = std::future::Pending<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_came_but_was_not_used_is_given_back() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1))).queue(5).clock(TokioClock::default());
    let limiter = layer.limiter();
    assert!(limiter.check().is_ok());
    let mut service = layer.layer(Never);
    let mut waiting = Box::pin(service.call(request()));
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The turn comes and is taken; the service is not ready.
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(limiter.peek().remaining, 0);
    drop(waiting);
    assert_eq!(limiter.peek().remaining, 1);
}

#[tokio::test]
async fn a_call_that_panics_is_counted_once_and_breaks_nothing() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_day(3)));
    let panics =
        service_fn(|_: Request<()>| -> std::future::Ready<Result<Answer, Infallible>> { panic!("the inner service panics") });
    let mut service = layer.layer(panics);
    assert!(AssertUnwindSafe(async { service.ready().await.unwrap().call(request()).await }).catch_unwind().await.is_err());
    assert_eq!(layer.limiter().peek().remaining, 2);
    let echo = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Answer::default()));
    assert_eq!(layer.layer(echo).oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(layer.limiter().peek().remaining, 1);
}
