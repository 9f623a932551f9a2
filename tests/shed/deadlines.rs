//! Work whose deadline cannot be met is never started.

use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_backpressure::{Class, Deadline, LoadShedLayer, Reason};

use super::{call, get, now, poll, refusal, worker};

fn within(left: Duration) -> Request<Body> {
    let mut request = get("/");
    request.extensions_mut().insert(Deadline::After(left));
    request
}

fn reason<B>(response: &Response<B>) -> Option<Reason> {
    refusal(response).map(|rejection| rejection.reason)
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_refused_though_a_place_is_free() {
    let layer = LoadShedLayer::new(1);
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut at = get("/");
    at.extensions_mut().insert(Deadline::At((Instant::now() - Duration::from_millis(1)).into_std()));
    let expired_call = Request::post("/").header("grpc-timeout", "0m").body(Body::empty()).unwrap();
    for request in [within(Duration::ZERO), at, expired_call] {
        assert_eq!(reason(&now(&mut call(&service, request))), Some(Reason::DeadlineTooNear));
    }
    assert_eq!((handle.in_flight(), handle.shed().deadline_too_near, handle.overloaded()), (0, 3, false));
}

#[tokio::test(start_paused = true)]
async fn who_waits_leaves_unserved_when_its_deadline_passes() {
    let layer = LoadShedLayer::new(1).queue(9).max_wait(Duration::from_secs(60));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut first = call(&service, get("/"));
    assert!(poll(&mut first).is_pending());
    let began = Instant::now();
    let refused = call(&service, within(Duration::from_millis(70))).await;
    assert_eq!((reason(&refused), began.elapsed()), (Some(Reason::DeadlineTooNear), Duration::from_millis(70)));
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 0));
}

/// The place comes in time, its owner looks too late.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_noticed_after_the_deadline_goes_to_the_next() {
    let layer = LoadShedLayer::new(1).queue(9).max_wait(Duration::from_secs(60));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut first = call(&service, get("/"));
    let (mut late, mut next) = (call(&service, within(Duration::from_millis(70))), call(&service, get("/")));
    for request in [&mut first, &mut late, &mut next] {
        assert!(poll(request).is_pending());
    }
    drop(first);
    tokio::time::advance(Duration::from_millis(71)).await;
    assert_eq!(reason(&now(&mut late)), Some(Reason::DeadlineTooNear));
    assert!(poll(&mut next).is_pending());
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 0), "the next one works");
}

/// Ten places in use, one of them given back every 10 ms.
#[tokio::test(start_paused = true)]
async fn where_the_expected_wait_is_longer_than_what_is_left_nobody_waits_in_vain() {
    let layer = LoadShedLayer::new(1).queue(1_000).max_wait(Duration::from_secs(60));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut working = vec![call(&service, get("/"))];
    assert!(poll(&mut working[0]).is_pending());
    for _ in 0..30 {
        working.push(call(&service, get("/")));
        assert!(poll(working.last_mut().unwrap()).is_pending());
        tokio::time::advance(Duration::from_millis(10)).await;
        drop(working.remove(0));
        assert!(poll(&mut working[0]).is_pending());
    }
    let mut line: Vec<_> = (0..20).map(|_| call(&service, get("/"))).collect();
    assert!(line.iter_mut().all(|request| poll(request).is_pending()));
    // 21 are ahead, 10 ms each.
    let refused = now(&mut call(&service, within(Duration::from_millis(150))));
    assert_eq!(reason(&refused), Some(Reason::DeadlineTooNear));
    let wait = refusal(&refused).unwrap().retry_after.unwrap();
    assert!((Duration::from_secs(1)..Duration::from_millis(1_500)).contains(&wait), "{wait:?}: at least a second");
    let mut patient = call(&service, within(Duration::from_millis(300)));
    assert!(poll(&mut patient).is_pending());
    assert_eq!(handle.waiting(), 21);
}

/// A critical request used to be refused for the wait of those without a place of their own.
#[tokio::test(start_paused = true)]
async fn whose_class_has_a_place_free_is_served_though_others_wait_longer_than_it_has() {
    let layer = LoadShedLayer::new(2).queue(9).max_wait(Duration::from_secs(60)).reserve_percent(Class::Critical, 50);
    let layer = layer.class(|head| if head.uri.path() == "/critical" { Class::Critical } else { Class::Default });
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut line: Vec<_> = (0..2).map(|_| call(&service, get("/"))).collect();
    for _ in 0..30 {
        assert!(line.iter_mut().all(|request| poll(request).is_pending()));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(line.remove(0));
        line.push(call(&service, get("/")));
    }
    assert!(line.iter_mut().all(|request| poll(request).is_pending()));
    assert_eq!(reason(&now(&mut call(&service, within(Duration::from_millis(100))))), Some(Reason::DeadlineTooNear));
    let mut critical = within(Duration::from_millis(100));
    *critical.uri_mut() = "/critical".parse().unwrap();
    let mut critical = call(&service, critical);
    assert!(poll(&mut critical).is_pending());
    assert_eq!((handle.in_flight(), handle.waiting()), (2, 1), "it has begun");
}

/// Is never ready, and wakes nobody.
#[derive(Clone)]
struct Unready;

impl Service<Request<Body>> for Unready {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        panic!("called without being ready")
    }
}

/// It used to hold its place for as long as the service was not ready.
#[tokio::test(start_paused = true)]
async fn who_has_its_place_waits_for_its_service_until_its_deadline() {
    let layer = LoadShedLayer::new(1).queue(9).max_wait(Duration::from_secs(60));
    let handle = layer.handle();
    let mut first = call(&layer.layer(worker().0), get("/"));
    assert!(poll(&mut first).is_pending());
    let began = Instant::now();
    let mut waiting = Box::pin(layer.layer(Unready).call(within(Duration::from_millis(70))));
    assert!(poll(&mut waiting).is_pending());
    drop(first);
    assert!(poll(&mut waiting).is_pending());
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 0));
    let refused = waiting.await.unwrap();
    assert_eq!((reason(&refused), began.elapsed()), (Some(Reason::DeadlineTooNear), Duration::from_millis(70)));
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_more_time_than_the_longest_wait_waits_no_longer_than_that() {
    let service = LoadShedLayer::new(1).queue(9).max_wait(Duration::from_millis(70)).layer(worker().0);
    let mut first = call(&service, get("/"));
    assert!(poll(&mut first).is_pending());
    let began = Instant::now();
    let refused = call(&service, within(Duration::from_secs(60))).await;
    assert_eq!((reason(&refused), began.elapsed()), (Some(Reason::WaitedTooLong), Duration::from_millis(70)));
}
