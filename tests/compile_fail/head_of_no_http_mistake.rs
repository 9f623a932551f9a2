//! A key read from the head of a request that has none: the error names `key::from_request`.

use tower::{Layer, Service, service_fn};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, Wrap, key};

/// As a host does.
fn serve<S: Service<u32>>(_: S) {}

fn main() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(key::header("x-api-key")).answer(Wrap);
    let service = layer.layer(service_fn(async |request: u32| Ok::<u32, std::io::Error>(request)));
    serve(service);
}
