//! Misconfiguration fails at construction, with what would be right; what a client sends is answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use tower::Layer;
use tower_backpressure::{Class, ConfigError, Gate, LoadShedLayer, key};

use super::{call, get, now, poll, quick, refusal, worker};

fn message(misconfigured: impl FnOnce() -> LoadShedLayer) -> String {
    let panic = catch_unwind(AssertUnwindSafe(misconfigured)).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[test]
fn a_limit_that_cannot_be_kept_is_refused_at_construction() {
    assert_eq!(LoadShedLayer::try_new(0).unwrap_err(), ConfigError::ZeroLimit);
    assert_eq!(
        message(|| LoadShedLayer::new(0)),
        "a limit of 0 requests in progress would refuse for ever: it must be at least 1"
    );
    let most = Gate::MOST;
    assert!(LoadShedLayer::try_new(most).is_ok());
    assert_eq!(LoadShedLayer::try_new(most + 1).unwrap_err(), ConfigError::LimitTooLarge { limit: most + 1, at_most: most });
    assert!(message(|| LoadShedLayer::new(usize::MAX)).ends_with("at most 2097151"));
}

#[test]
fn a_queue_longer_than_memory_allows_is_refused_at_construction() {
    let message = message(|| LoadShedLayer::new(1).queue(usize::MAX));
    assert!(message.ends_with("needs too much memory: at most 2097151"), "{message}");
}

#[test]
fn shares_of_the_whole_or_more_are_refused_at_construction() {
    let message = message(|| LoadShedLayer::new(10).reserve_percent(Class::Critical, 60).reserve_percent(Class::Default, 40));
    assert!(message.contains("100 % of the places are reserved: less than 100 % must be"), "{message}");
}

#[test]
fn an_empty_range_of_retry_times_is_refused_at_construction() {
    let message = message(|| LoadShedLayer::new(1).retry_after(Duration::from_secs(9)..=Duration::from_secs(1)));
    assert_eq!(message, "the least Retry-After, 9s, is more than the most, 1s");
}

#[test]
fn a_client_bound_of_0_is_refused_at_construction() {
    assert!(catch_unwind(|| LoadShedLayer::new(1).per_client(key::header("x"), 0)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_longest_wait_of_0_is_not_to_wait_and_the_longest_of_all_has_no_end() {
    let layer = LoadShedLayer::new(1).queue(5).max_wait(Duration::ZERO);
    let service = layer.layer(worker().0);
    let mut first = call(&service, get("/"));
    assert!(poll(&mut first).is_pending());
    assert!(refusal(&now(&mut call(&service, get("/")))).is_some());

    let layer = LoadShedLayer::new(1).queue(5).max_wait(Duration::MAX);
    let service = layer.layer(worker().0);
    let mut requests: Vec<_> = (0..2).map(|_| call(&service, get("/"))).collect();
    assert!(requests.iter_mut().all(|request| poll(request).is_pending()));
    tokio::time::advance(Duration::from_secs(1_000_000_000)).await;
    assert!(poll(&mut requests[1]).is_pending());
}

#[tokio::test]
async fn a_timeout_that_is_none_is_no_deadline() {
    let layer = LoadShedLayer::new(1);
    let service = layer.layer(quick());
    for timeout in ["", "soon", "1", "-1S", "999999999S", "99999999H", "1S, 2S", "\u{fffd}"] {
        let mut request = Request::post("/").header("content-type", "application/grpc").body(Body::empty()).unwrap();
        request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_bytes(timeout.as_bytes()).unwrap());
        assert!(refusal(&now(&mut call(&service, request))).is_none(), "{timeout:?}");
    }
}
