//! `Fail` with an error that cannot be made from a rejection: the error names `Wrap`.

use tower::{Layer, Service, service_fn};
use tower_backpressure::{Fail, Rate, RateLimitLayer, TokenBucket};

/// As a host does.
fn serve<S: Service<u32>>(_: S) {}

fn main() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).answer(Fail);
    let service = layer.layer(service_fn(async |request: u32| Ok::<u32, std::io::Error>(request)));
    serve(service);
}
