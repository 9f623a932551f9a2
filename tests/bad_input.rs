//! What a configuration can get wrong fails at construction; whatever a client sends is bounded and answered, and counts for
//! nothing where it is
//! refused.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::panic::catch_unwind;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderValue, Request, Response};
use tower::ServiceExt;
use tower_backpressure::{
    ConfigError, FixedWindow, KeyedLimiter, LeakyBucket, ManualClock, MissingKey, Rate, RateLimitLayer, Reason, Rejection,
    SlidingLog, TokenBucket, key,
};

/// Returns the message with which `construct` panics.
fn message<T>(construct: impl FnOnce() -> T + std::panic::UnwindSafe) -> String {
    let payload = catch_unwind(construct).err().expect("a misconfiguration panics at construction");
    payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap()
}

#[test]
fn misconfigurations_say_what_would_be_right() {
    let second = Rate::per_second(1);
    for (panicked, says) in [
        (message(|| Rate::per_second(0)), "the count must be at least 1"),
        (message(move || TokenBucket::new(second).burst(0)), "it must be at least 1"),
        (message(|| TokenBucket::new(Rate::per_second(600_000_000))), "at most 10000000/s"),
        (message(|| LeakyBucket::new(Rate::per_second(u32::MAX))), "at most 10000000/s"),
        (message(|| TokenBucket::new(Rate::per_day(1)).burst(u32::MAX)), "at most 53375"),
        (message(|| SlidingLog::new(Rate::per_second(100_000))), "at most 65536"),
        (message(move || KeyedLimiter::<u32, _>::new(FixedWindow::new(second)).max_keys(0)), "at least 1"),
        (message(move || KeyedLimiter::<u32, _>::new(FixedWindow::new(second)).max_keys(usize::MAX)), "at most 2^40"),
        (message(|| key::header("no header")), "no header"),
        (message(|| key::Trust::hops(0)), "for none there is `Trust::nobody`"),
        (message(|| key::Prefixes::new().ipv6(0)), "1 to 128 bits"),
    ] {
        assert!(panicked.contains(says), "{panicked:?} does not say {says:?}");
    }
    assert_eq!(Rate::new(0, Duration::from_secs(1)), Err(ConfigError::ZeroCount));
    assert_eq!(Rate::new(1, Duration::ZERO), Err(ConfigError::ZeroPeriod));
    assert!(matches!(Rate::new(1, Duration::MAX), Err(ConfigError::PeriodTooLong(_))));
    assert!(matches!("100 per second".parse::<Rate>(), Err(ConfigError::UnreadableRate(text)) if text == "100 per second"));
}

async fn get_with(router: &Router, api_key: Option<HeaderValue>) -> Response<Body> {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    if let Some(api_key) = api_key {
        request.headers_mut().insert("x-api-key", api_key);
    }
    router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn header_keys_of_any_bytes_and_any_length_are_keys_like_others() {
    let layer =
        RateLimitLayer::new(FixedWindow::new(Rate::per_day(1))).keyed(key::header("x-api-key")).missing(MissingKey::Refuse);
    let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let long = |last| [&[b'k'; 65_535][..], &[last]].concat();
    let keys: Vec<Vec<u8>> = vec![b"plain".to_vec(), vec![0xff, 0xfe, 0x80], vec![0xff, 0xfe, 0x81], long(b'a'), long(b'b')];
    for key in &keys {
        let value = HeaderValue::from_bytes(key).unwrap();
        assert_eq!(get_with(&router, Some(value.clone())).await.status(), 200);
        assert_eq!(get_with(&router, Some(value)).await.status(), 429);
    }
    assert_eq!(layer.limiter().len(), keys.len());
    // No key at all, or an empty one, is refused without being counted against anybody.
    for none in [None, Some(HeaderValue::from_static(""))] {
        let refused = get_with(&router, none).await;
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.extensions().get::<Rejection>().unwrap().reason, Reason::MissingKey);
    }
    assert_eq!((layer.limiter().len(), layer.warnings().without_key), (keys.len(), 2));
}

#[tokio::test]
async fn a_cost_of_nothing_passes_uncounted_and_a_cost_above_the_limit_is_refused_for_good() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_day(10)))
        .clock(ManualClock::new())
        .cost(|head| head.uri.query().and_then(|cost| cost.parse().ok()).unwrap_or(1));
    let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let send = async |cost: &str| {
        let request = Request::get(format!("/?{cost}")).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    for _ in 0..100 {
        assert_eq!(send("0").await.status(), 200);
    }
    for impossible in ["11", &u32::MAX.to_string(), &u64::MAX.to_string()] {
        let refused = send(impossible).await;
        assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (429, None));
        assert_eq!(refused.extensions().get::<Rejection>().unwrap().reason, Reason::CostExceedsLimit);
    }
    assert_eq!(layer.limiter().peek().remaining, 10);
    assert_eq!(send("10").await.status(), 200);
    assert_eq!(send("0").await.status(), 200, "what costs nothing passes at the limit too");
    assert_eq!(send("1").await.status(), 429);
}

#[tokio::test]
async fn a_layer_that_may_wait_refuses_what_can_never_be_admitted_at_once() {
    let layer = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(2)).cost(|_| 4);
    let router = Router::new().route("/", get(async || "hello")).layer(layer);
    let refused = get_with(&router, None).await;
    assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (429, None));
}
