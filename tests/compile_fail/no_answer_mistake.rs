//! A service that does not speak HTTP needs an answer of its own: the error names `Fail`, `Wrap` and `answer_with`.

use tower::{Layer, Service, service_fn};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket};

/// As a host does.
fn serve<S: Service<u32>>(_: S) {}

fn main() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)));
    let service = layer.layer(service_fn(async |request: u32| Ok::<u32, std::io::Error>(request)));
    serve(service);
}
