//! Misconfigurations that only a request can reveal are said once, and counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backpressure_tests::Probe;
use futures_util::FutureExt;
use http::Request;
use tower::{Layer, ServiceExt};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
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
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for limits in 1..=3 {
            let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(key::header("x-api-key"));
            for requests in 1..=5 {
                let service = layer.layer(Probe::new().0);
                assert_eq!(service.oneshot(Request::new(())).now_or_never().unwrap().unwrap().status(), 200);
                assert_eq!((warnings.0.load(Ordering::SeqCst), layer.requests_without_key()), (limits, requests));
            }
        }
    });
}

#[test]
fn a_field_that_is_not_believed_is_warned_of_once_for_each_handle_and_counted_each_time() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
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
                (warnings.0.load(Ordering::SeqCst), proxies.ignored())
            };
            assert_eq!(send([10, 0, 0, 1], "x-forwarded-for"), (handles - 1, 0), "from a proxy that is trusted");
            assert_eq!(send([192, 0, 2, 1], "forwarded"), (handles - 1, 0), "a field that nobody looks at");
            for requests in 1..=5 {
                assert_eq!(send([192, 0, 2, 1], "x-forwarded-for"), (handles, requests));
            }
        }
    });
}
