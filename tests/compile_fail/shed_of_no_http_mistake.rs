//! A layer that holds its places until the end of an HTTP body, round a service that has none: `.until_response()` is missing.

use std::io;

use tower::{Layer, Service, service_fn};
use tower_backpressure::{LoadShedLayer, Wrap};

fn serve<S: Service<u32>>(_: S) {}

fn main() {
    let layer = LoadShedLayer::new(4).answer(Wrap);
    serve(layer.layer(service_fn(async |number: u32| Ok::<u32, io::Error>(number))));
}
