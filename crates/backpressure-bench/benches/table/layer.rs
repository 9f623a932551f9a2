//! Layers round an HTTP service that answers at once.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use backpressure_core::TokenBucket;
use backpressure_http::key;
use backpressure_rate_limit::RateLimitLayer;
use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

use crate::measure::{Work, counted};
use crate::rows::{Row, admitting, refusing};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("layer: admitted (tower_governor)", || ours(admitting()), || theirs(A_MILLISECOND, u32::MAX))
            .over(bare)
            .target(0.6)
            .instructions(0.6),
        Row::new("layer: refused (tower_governor)", || ours(refusing()), || theirs(AN_HOUR, 1)).target(0.02).instructions(1.0),
        Row::new("layer: refused (our admitted)", || ours(refusing()), || ours(admitting())).instructions(3.0),
        Row::new("layer: admitted, one limit for all (tower's RateLimit)", our_single, their_single).over(bare),
    ]
}

fn ours(bucket: TokenBucket) -> Work {
    let client = key::extension(|client: &ConnectInfo<SocketAddr>| client.0.ip());
    calls(RateLimitLayer::new(bucket).keyed(client).layer(service()))
}

fn theirs(interval: Duration, burst: u32) -> Work {
    let config = GovernorConfigBuilder::default().period(interval).burst_size(burst).finish();
    calls(GovernorLayer::new(config.expect("neither is 0")).layer(service()))
}

fn our_single() -> Work {
    calls(RateLimitLayer::new(admitting()).layer(service()))
}

fn their_single() -> Work {
    // The layer makes a timer at once and asks it only at the limit, which is not reached here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    let _entered = runtime.enter();
    calls(tower::limit::RateLimitLayer::new(u64::MAX, AN_HOUR).layer(service()))
}

fn bare() -> Work {
    calls(service())
}

/// What the layers are round.
fn service() -> impl Service<Request<()>, Response = Response<Body>, Error = Infallible, Future = Answer> + Clone {
    service_fn(|_: Request<()>| ready(Ok(Response::new(Body::empty()))))
}

type Answer = Ready<Result<Response<Body>, Infallible>>;

/// Calls the service, and drops what it answers.
fn calls<S>(mut service: S) -> Work
where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible> + 'static,
{
    on_requests(move |request| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready(), "neither layer has a queue");
        let answer = pin!(service.call(request)).poll(&mut context);
        let Poll::Ready(Ok(response)) = answer else { unreachable!("the service answers at once") };
        _ = black_box(&response);
    })
}

/// Makes work of what is done with a request; the requests are made before.
pub(crate) fn on_requests(mut operation: impl FnMut(Request<()>) + 'static) -> Work {
    Box::new(move |operations| {
        let mut elapsed = Duration::ZERO;
        for batch in (0..operations).step_by(BATCH) {
            let size = (operations - batch).min(BATCH as u64);
            let mut requests: Vec<_> = (0..size).map(|_| request()).collect();
            let start = Instant::now();
            counted(size, &mut || operation(requests.pop().expect("one for each operation")));
            elapsed += start.elapsed();
        }
        elapsed
    })
}

pub(crate) fn request() -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 4711))));
    request
}

/// Few enough requests that those not yet called stay in the cache.
const BATCH: usize = 64;
const A_MILLISECOND: Duration = Duration::from_millis(1);
const AN_HOUR: Duration = Duration::from_secs(3_600);
