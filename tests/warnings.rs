//! Misconfigurations that only a request can reveal are said once, and counted.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::Probe;
use backpressure_tests::layers::{Fate, Tower};
use futures_util::FutureExt;
use http::Request;
use tower::{Layer, ServiceExt};
use tower_backpressure::{FixedWindow, Rate, RateLimitLayer, TokenBucket, key};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts warnings.
#[derive(Clone, Default)]
struct Warned(Arc<AtomicUsize>);

impl Warned {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Subscriber for Warned {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[test]
fn a_missing_key_is_warned_of_once_for_each_limit_and_counted_each_time() {
    let warned = Warned::default();
    tracing::subscriber::with_default(warned.clone(), || {
        for limits in 1..=3 {
            let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(key::header("x-api-key"));
            for requests in 1..=5 {
                let service = layer.layer(Probe::new().0);
                assert_eq!(service.oneshot(Request::new(())).now_or_never().unwrap().unwrap().status(), 200);
                assert_eq!((warned.times(), layer.warnings().without_key), (limits, requests));
            }
        }
    });
}

#[test]
fn that_all_requests_have_one_key_is_warned_of_when_there_are_many_and_taken_back_when_a_second_comes() {
    let warned = Warned::default();
    tracing::subscriber::with_default(warned.clone(), || {
        let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(key::header("x-forwarded-by"));
        let ask = |key: &'static str| {
            let request = Request::builder().header("x-forwarded-by", key).body(()).unwrap();
            layer.layer(Probe::new().0).oneshot(request).now_or_never().unwrap().unwrap();
        };
        for _ in 1..10_000 {
            ask("the proxy");
        }
        assert_eq!((warned.times(), layer.warnings().with_one_key), (0, 0));
        for requests in 10_000..10_010 {
            ask("the proxy");
            assert_eq!((warned.times(), layer.warnings().with_one_key), (1, requests));
        }
        ask("somebody else");
        ask("the proxy");
        assert_eq!((warned.times(), layer.warnings().with_one_key), (1, 0));
    });
}

#[test]
fn a_limit_for_all_has_no_key_and_is_not_warned_of() {
    let warned = Warned::default();
    tracing::subscriber::with_default(warned.clone(), || {
        let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)));
        for _ in 0..20_000 {
            layer.layer(Probe::new().0).oneshot(Request::new(())).now_or_never().unwrap().unwrap();
        }
        assert_eq!((warned.times(), layer.warnings()), (0, tower_backpressure::Warnings::default()));
    });
}

#[test]
fn a_limit_on_the_router_and_on_a_route_is_warned_of_once_and_counted_each_time() {
    let warned = Warned::default();
    tracing::subscriber::with_default(warned.clone(), || {
        let limit = || RateLimitLayer::new(FixedWindow::new(Rate::per_day(10)));
        let (layer, between) = (limit(), limit());
        let twice = get(async || "hello").layer(layer.clone());
        let app: Router = Router::new().route("/twice", twice).route("/once", get(async || "hello"));
        let app = app.layer(between.clone()).layer(layer.clone());
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request).now_or_never().unwrap().unwrap().status().as_u16()
        };
        for times in 1..=3 {
            assert_eq!((ask("/once"), ask("/twice")), (200, 200));
            assert_eq!((warned.times(), layer.warnings().met_twice), (1, times));
        }
        assert_eq!((between.warnings().met_twice, layer.limiter().peek().remaining), (0, 1));
        // A limit that is met for the second time may refuse: that, too, is seen.
        assert_eq!((ask("/twice"), layer.warnings().met_twice), (429, 4));
    });
}

fn send(service: impl Tower, path: &str) {
    let answer = service.oneshot(Request::get(path).body(()).unwrap()).now_or_never().unwrap();
    assert!(Fate::of(answer).is_served());
}

#[test]
fn a_request_has_met_only_the_limits_that_have_counted_it() {
    let limit = || RateLimitLayer::new(FixedWindow::new(Rate::per_day(1_000)));
    let met = |layer: &RateLimitLayer<_>| layer.warnings().met_twice;

    // Each tier is a limit of its own: the one that was chosen is met again, the one that was not is met once.
    let (free, pro) = (limit(), limit());
    let tiers = free.clone().tiers(|head| head.uri.path() == "/pro").tier(true, pro.clone());
    send(tiers.layer(tiers.layer(Probe::new().0)), "/pro");
    assert_eq!((met(&free), met(&pro)), (0, 1));
    send(tiers.layer(free.layer(Probe::new().0)), "/pro");
    assert_eq!((met(&free), met(&pro)), (0, 1));
    send(tiers.layer(free.layer(Probe::new().0)), "/");
    assert_eq!((met(&free), met(&pro)), (1, 1));

    // What a limit skips, or as a shadow only decides, it has not counted.
    let skipped = limit();
    let elsewhere = skipped.clone().skip(|head| head.uri.path() == "/own");
    send(elsewhere.layer(skipped.layer(Probe::new().0)), "/own");
    assert_eq!(met(&skipped), 0);
    send(elsewhere.layer(skipped.layer(Probe::new().0)), "/");
    assert_eq!(met(&skipped), 1);

    let (shadowed, other) = (limit(), limit());
    shadowed.limiter().charge(1_000);
    let (tried_out, twice) = (shadowed.clone().shadow(), other.clone().and(shadowed.clone().shadow()));
    send(tried_out.layer(tried_out.layer(Probe::new().0)), "/");
    assert_eq!(met(&shadowed), 0);
    send(twice.layer(twice.layer(Probe::new().0)), "/");
    assert_eq!((met(&shadowed), met(&other)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_layer_directly_round_itself_is_noticed_whether_the_request_goes_on_at_once_or_waits() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1)).burst(2)).queue(9);
    let layer = layer.clock(tower_backpressure::TokioClock::default());
    let service = layer.layer(layer.layer(Probe::new().0));
    for times in 1..=3 {
        service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(layer.warnings().met_twice, times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_met_again_after_a_wait_or_a_pause_of_the_inner_service_is_noticed_too() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1)).burst(2)).queue(9);
    let layer = layer.clock(tower_backpressure::TokioClock::default());
    let (probe, seen) = Probe::new();
    let inner = layer.layer(probe);
    let slow = tower::service_fn(move |request: Request<()>| {
        let inner = inner.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            inner.oneshot(request).await
        }
    });
    let service = layer.layer(slow);
    for times in 1..=3 {
        service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!((layer.warnings().met_twice, seen.called() as u64), (times, times));
    }
}

#[test]
fn a_field_that_is_not_believed_is_warned_of_once_for_each_handle_and_counted_each_time() {
    let warned = Warned::default();
    tracing::subscriber::with_default(warned.clone(), || {
        for handles in 1..=3 {
            let proxies = key::Proxies::new("10.0.0.0/8".parse().unwrap());
            let client = key::client_ip(|peer: &IpAddr| *peer).x_forwarded_for(&proxies);
            let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(client);
            let send = |peer: [u8; 4], field: &'static str| {
                let mut request = Request::new(());
                request.extensions_mut().insert(IpAddr::from(peer));
                request.headers_mut().insert(field, http::HeaderValue::from_static("203.0.113.7"));
                let service = layer.layer(Probe::new().0);
                assert_eq!(service.oneshot(request).now_or_never().unwrap().unwrap().status(), 200);
                (warned.times(), proxies.ignored())
            };
            assert_eq!(send([10, 0, 0, 1], "x-forwarded-for"), (handles - 1, 0), "from a proxy that is trusted");
            assert_eq!(send([192, 0, 2, 1], "forwarded"), (handles - 1, 0), "a field that nobody looks at");
            for requests in 1..=5 {
                assert_eq!(send([192, 0, 2, 1], "x-forwarded-for"), (handles, requests));
            }
        }
    });
}
