//! The overflow buffer: what a full one does with the next.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get as route;
use backpressure_examples::Client;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tower::buffer::BufferLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{ConfigError, Fail, LoadShedLayer, Overflow, OverflowBufferLayer, Reason, Rejection};

use super::{call, get, now, poll, refusal, worker};

/// An app whose only route is always ready and takes a second, and the number of its handlers that ran at once at the most.
fn slow() -> (Router, Arc<AtomicUsize>) {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let handler = async move || {
        seen.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        running.fetch_sub(1, Ordering::Relaxed);
        "done"
    };
    (Router::new().route("/", route(handler)), most)
}

/// Sends a hundred requests at once; returns who was served, in the order in which they came, and why the others were not.
async fn a_hundred(app: Router) -> (Vec<usize>, Vec<Reason>) {
    let calls = (0..100).map(|_| {
        let app = app.clone();
        tokio::spawn(async move {
            let answer = app.oneshot(get("/")).await.unwrap();
            let reason = refusal(&answer).map(|rejection| rejection.reason);
            answer.into_body().collect().await.unwrap();
            reason
        })
    });
    let reasons: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let served = (0..100).filter(|number| reasons[*number].is_none()).collect();
    (served, reasons.into_iter().flatten().collect())
}

#[tokio::test(start_paused = true)]
async fn two_run_two_wait_and_the_policy_decides_the_rest() {
    let (app, most) = slow();
    let newest = OverflowBufferLayer::buffer(2, 2, Overflow::DropNewest);
    let (served, refused) = a_hundred(app.layer(newest)).await;
    assert_eq!((served, most.load(Ordering::Relaxed)), (vec![0, 1, 2, 3], 2));
    assert_eq!(refused, vec![Reason::QueueFull; 96]);

    let (app, most) = slow();
    let oldest = OverflowBufferLayer::buffer(2, 2, Overflow::DropOldest);
    let (served, refused) = a_hundred(app.layer(oldest)).await;
    assert_eq!((served, most.load(Ordering::Relaxed)), (vec![0, 1, 98, 99], 2));
    assert_eq!(refused, vec![Reason::Evicted; 96]);

    let (app, most) = slow();
    let block = OverflowBufferLayer::blocking(2, 2, Duration::from_millis(10_500)).unwrap();
    let began = Instant::now();
    let (served, refused) = a_hundred(app.layer(block)).await;
    assert_eq!(
        (served, most.load(Ordering::Relaxed)),
        ((0..22).collect(), 2),
        "two a second for 10.5 s, and those that run then"
    );
    assert_eq!((refused, began.elapsed()), (vec![Reason::WaitedTooLong; 78], Duration::from_secs(11)));
}

/// The counter-example: axum's routes are always ready, so that tower's worker passes everything on and its buffer never fills.
#[tokio::test(start_paused = true)]
async fn the_buffer_of_tower_runs_all_of_them_at_once() {
    let (app, most) = slow();
    let buffered = ServiceBuilder::new().layer(BufferLayer::new(2)).service(app);
    let calls = (0..100).map(|_| tokio::spawn(buffered.clone().oneshot(get("/"))));
    assert!(join_all(calls).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(most.load(Ordering::Relaxed), 100);
}

#[tokio::test]
async fn one_buffer_is_one_across_the_connections_of_a_server() {
    let layer = OverflowBufferLayer::buffer(1, 2, Overflow::DropNewest);
    let (handle, go) = (layer.handle(), Arc::new(Semaphore::new(0)));
    let gate = Arc::clone(&go);
    let app = Router::new().route("/", route(async move || drop(gate.acquire().await))).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    // A client of its own is a connection of its own.
    let status = async || Client::new(server).get("/", "").await.unwrap().status.as_u16();
    let accepted: Vec<_> = (0..3).map(|_| tokio::spawn(async move { Client::new(server).get("/", "").await.unwrap() })).collect();
    let full = async {
        while (handle.in_flight(), handle.waiting()) != (1, 2) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), full).await.unwrap();
    for _ in 0..4 {
        assert_eq!(status().await, 503);
    }
    go.add_permits(10);
    for accepted in accepted {
        assert_eq!(accepted.await.unwrap().status, 200);
    }
}

/// Fails to be ready once, as a service whose connection was lost.
#[derive(Clone)]
struct Shaky {
    failures: Arc<AtomicUsize>,
}

impl Service<u32> for Shaky {
    type Response = u32;
    type Error = Trouble;
    type Future = std::future::Ready<Result<u32, Trouble>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        Poll::Ready(if fails { Err(Trouble) } else { Ok(()) })
    }

    fn call(&mut self, number: u32) -> Self::Future {
        std::future::ready(Ok(number))
    }
}

#[derive(Debug)]
struct Trouble;

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("trouble")
    }
}

impl std::error::Error for Trouble {}

impl From<Rejection> for Trouble {
    fn from(_: Rejection) -> Self {
        Self
    }
}

#[tokio::test]
async fn an_error_of_the_service_is_that_of_its_request_and_not_of_all_after_it() {
    let shaky = || Shaky { failures: Arc::new(AtomicUsize::new(1)) };
    let theirs = ServiceBuilder::new().layer(BufferLayer::new(4)).service(shaky());
    assert!(theirs.clone().oneshot(1).await.is_err());
    assert!(theirs.oneshot(2).await.is_err(), "the worker of tower's buffer has died of it");

    let ours = OverflowBufferLayer::buffer(1, 4, Overflow::DropNewest).until_response().answer(Fail).layer(shaky());
    assert!(ours.clone().oneshot(1).await.is_err());
    assert_eq!(ours.oneshot(2).await.unwrap(), 2);
}

#[tokio::test]
async fn a_clone_that_is_ready_and_idle_holds_no_place_in_the_buffer() {
    let mut theirs = ServiceBuilder::new().layer(BufferLayer::new(1)).service(super::quick());
    let mut idle = theirs.clone();
    idle.ready().await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(theirs.ready()).is_none(), "hangs for as long as the other is idle");

    let mut ours = OverflowBufferLayer::buffer(1, 1, Overflow::DropNewest).layer(super::quick());
    let mut idle = ours.clone();
    idle.ready().await.unwrap();
    assert_eq!(ours.ready().await.unwrap().call(get("/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_is_evicted_is_answered_at_once_in_its_own_protocol() {
    let layer = OverflowBufferLayer::buffer(1, 1, Overflow::DropOldest);
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let grpc = || Request::post("/").header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let (mut running, mut waiting, mut newest) = (call(&service, get("/")), call(&service, grpc()), call(&service, get("/")));
    assert!(poll(&mut running).is_pending() && poll(&mut waiting).is_pending() && poll(&mut newest).is_pending());
    let evicted = now(&mut waiting);
    assert_eq!((evicted.status().as_u16(), &evicted.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    assert!(evicted.headers().contains_key("grpc-retry-pushback-ms"));
    let mut last = call(&service, get("/"));
    assert!(poll(&mut last).is_pending());
    let evicted = now(&mut newest);
    assert_eq!((evicted.status().as_u16(), evicted.headers().contains_key("retry-after")), (503, true));
    assert_eq!((handle.in_flight(), handle.waiting(), handle.shed().evicted), (1, 1, 2));
    assert!(handle.overloaded());
}

fn weighing(weight: u64) -> Request<Body> {
    let mut request = get("/");
    request.extensions_mut().insert(weight);
    request
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_by_its_weight_too() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let layer = OverflowBufferLayer::buffer(1, 10, overflow)
            .max_weight(100)
            .weight(|head| head.extensions.get().copied().unwrap_or(0));
        let (handle, service) = (layer.handle(), layer.layer(worker().0));
        let mut running = call(&service, weighing(u64::MAX));
        assert!(poll(&mut running).is_pending(), "who finds a place weighs nothing");
        let mut line: Vec<_> = [60, 0, 30].into_iter().map(|weight| call(&service, weighing(weight))).collect();
        assert!(line.iter_mut().all(|request| poll(request).is_pending()));
        assert_eq!((handle.waiting(), handle.waiting_weight()), (3, 90));
        for weight in [101, u64::MAX] {
            let refused = now(&mut call(&service, weighing(weight)));
            let rejection = refusal(&refused).unwrap();
            assert_eq!((rejection.reason, rejection.retry_after), (Reason::CostExceedsLimit, None), "no waiting helps");
            assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, false));
        }
        let mut arriving = call(&service, weighing(11));
        match overflow {
            Overflow::DropOldest => {
                assert!(poll(&mut arriving).is_pending());
                assert_eq!(refusal(&now(&mut line[0])).unwrap().reason, Reason::Evicted);
                assert_eq!((handle.waiting(), handle.waiting_weight()), (3, 41));
            }
            _ => {
                assert_eq!(refusal(&now(&mut arriving)).unwrap().reason, Reason::QueueFull);
                assert_eq!((handle.waiting(), handle.waiting_weight()), (3, 90));
            }
        }
    }
}

/// Ten times as much comes as can be done, for a minute.
#[tokio::test(start_paused = true)]
async fn dropping_the_oldest_serves_younger_requests_than_dropping_the_newest() {
    async fn waits(overflow: Overflow) -> (Duration, usize) {
        let layer = OverflowBufferLayer::buffer(2, 20, overflow);
        let handle = layer.handle();
        // How long each request had waited when it was begun; 20 a second can be.
        let service = layer.layer(service_fn(async |request: Request<Body>| {
            let waited = request.extensions().get::<Instant>().unwrap().elapsed();
            sleep(Duration::from_millis(100)).await;
            // An empty body holds nothing.
            Ok::<_, Infallible>(Response::builder().extension(waited).body(Body::empty()).unwrap())
        }));
        let mut calls = Vec::new();
        for _ in 0..12_000 {
            let mut request = get("/");
            request.extensions_mut().insert(Instant::now());
            calls.push(tokio::spawn(service.clone().oneshot(request)));
            sleep(Duration::from_millis(5)).await;
            assert!(handle.in_flight() <= 2 && handle.waiting() <= 20);
        }
        let answers = join_all(calls).await.into_iter().map(|answer| answer.unwrap().unwrap());
        let mut waits: Vec<_> = answers.filter_map(|answer| answer.extensions().get::<Duration>().copied()).collect();
        waits.sort();
        (waits[waits.len() / 2], waits.len())
    }
    let (oldest, newest) = (waits(Overflow::DropOldest).await, waits(Overflow::DropNewest).await);
    assert!(oldest.1 > 1_150 && newest.1 > 1_150, "both serve all that can be: {oldest:?} {newest:?}");
    assert!(oldest.0 <= Duration::from_millis(110), "of 20 that wait the oldest came 20 × 5 ms ago: {oldest:?}");
    assert!(newest.0 >= Duration::from_millis(900), "of 20 that wait the last is begun a second later: {newest:?}");
}

#[test]
fn a_buffer_that_cannot_be_kept_is_refused_at_construction() {
    assert_eq!(LoadShedLayer::try_buffer(0, 1, Overflow::DropOldest).unwrap_err(), ConfigError::ZeroLimit);
    let too_long = LoadShedLayer::try_buffer(1, usize::MAX, Overflow::DropOldest).unwrap_err();
    assert!(matches!(too_long, ConfigError::LimitTooLarge { limit: usize::MAX, .. }));
    for endless in [LoadShedLayer::try_buffer(1, 1, Overflow::Block), LoadShedLayer::blocking(1, 1, Duration::MAX)] {
        let error = endless.unwrap_err();
        assert_eq!(error, ConfigError::BlockWithoutEnd);
        assert!(error.to_string().ends_with("say so with a longest wait"));
    }
    let block = LoadShedLayer::blocking(1, 1, Duration::from_secs(1)).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block.max_wait(Duration::MAX))).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_capacity_of_0_lets_nobody_wait_unless_it_blocks() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let service = OverflowBufferLayer::buffer(1, 0, overflow).layer(worker().0);
        let mut running = call(&service, get("/"));
        assert!(poll(&mut running).is_pending());
        assert_eq!(refusal(&now(&mut call(&service, get("/")))).unwrap().reason, Reason::Concurrency);
    }
    let service = OverflowBufferLayer::blocking(1, 0, Duration::from_secs(1)).unwrap().layer(worker().0);
    let mut running = call(&service, get("/"));
    assert!(poll(&mut running).is_pending());
    let began = Instant::now();
    let refused = call(&service, get("/")).await;
    assert_eq!((refusal(&refused).unwrap().reason, began.elapsed()), (Reason::WaitedTooLong, Duration::from_secs(1)));
}
