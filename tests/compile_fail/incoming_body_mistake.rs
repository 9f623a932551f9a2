//! A proxy whose response body is not `Default`: the error names `Respond::with_body`.

use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket};

/// As hyper's `Incoming`: a body that nobody can make.
struct Incoming;

/// As a host does.
fn serve<S: Service<Request<()>>>(_: S) {}

fn main() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)));
    let proxy = service_fn(async |_: Request<()>| Ok::<Response<Incoming>, std::io::Error>(Response::new(Incoming)));
    serve(layer.layer(proxy));
}
