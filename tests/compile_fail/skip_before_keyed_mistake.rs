//! `skip` wraps the limit, so what configures it comes before: the error shows the `Skip` that is in the way.

use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};

fn main() {
    let _ = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).skip(|head| head.uri.path() == "/health").keyed(key::global());
}
