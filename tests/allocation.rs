//! Law 5: a request that does not wait allocates nothing; and what a layer makes can be cloned, printed, sent and shared.
//!
//! The only test that allocates is alone in its file: the allocator's counters are those of the whole process.

#![expect(clippy::panic, reason = "the helpers of tests, too, fail by panicking")]

use std::alloc::System;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use backpressure_tests::Probe;
use http::{HeaderValue, Request};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tower_backpressure::{FixedWindow, LeakyBucket, Rate, RateLimitLayer, SlidingWindow, TokenBucket, key};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls a service and polls the answer as a host does, and asserts that nothing was allocated for it.
fn allocates_nothing<S>(mut service: S)
where
    S: Service<Request<()>, Response = http::Response<http_body_util::Empty<&'static [u8]>>>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync,
    S::Future: Send,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = || {
        let mut request = Request::new(());
        request.extensions_mut().insert(IpAddr::from([192, 0, 2, 1]));
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("192.0.2.66, 203.0.113.7, ::ffff:10.0.0.2"));
        request.headers_mut().insert("forwarded", HeaderValue::from_static("for=_a, for=\"[2001:db8::\\1]:80\", for=10.0.0.2"));
        let region = Region::new(ALLOCATOR);
        assert!(service.poll_ready(&mut cx).is_ready());
        let mut answer = pin!(service.call(request));
        let Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else { panic!("the request waits") };
        let change = region.change();
        assert_eq!(answer.status(), 200);
        change.allocations + change.reallocations
    };
    // The first request of a key may allocate its part of the table.
    let _ = call();
    for _ in 0..10 {
        assert_eq!(call(), 0);
    }
}

#[test]
fn a_request_that_does_not_wait_allocates_nothing() {
    let address = || key::extension(|address: &IpAddr| *address);
    let rate = Rate::per_second(1_000_000);
    let probe = || Probe::new().0;
    allocates_nothing(RateLimitLayer::new(TokenBucket::new(rate)).layer(probe()));
    allocates_nothing(RateLimitLayer::new(SlidingWindow::new(rate)).layer(probe()));
    allocates_nothing(RateLimitLayer::new(TokenBucket::new(rate)).keyed(address()).layer(probe()));
    allocates_nothing(RateLimitLayer::new((TokenBucket::new(rate), FixedWindow::new(rate))).keyed(address()).layer(probe()));
    allocates_nothing(
        RateLimitLayer::new(TokenBucket::new(rate)).keyed(address()).queue(5).skip(|head| head.uri.path() == "*").layer(probe()),
    );
    let trust = || "192.0.2.0/24, 10.0.0.0/8".parse::<key::Trust>().unwrap();
    let client = || key::client_ip(|address: &IpAddr| *address);
    allocates_nothing(RateLimitLayer::new(TokenBucket::new(rate)).keyed(client().x_forwarded_for(trust())).layer(probe()));
    allocates_nothing(RateLimitLayer::new(TokenBucket::new(rate)).keyed(client().forwarded(trust())).layer(probe()));
    allocates_nothing(RateLimitLayer::new(TokenBucket::new(rate)).keyed(client().forwarded(key::Trust::nobody())).layer(probe()));
    // A leaky bucket that has drained before the next request: its interval is a nanosecond.
    allocates_nothing(RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1_000_000_000))).layer(probe()));
}
