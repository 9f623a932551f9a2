//! Bounded concurrency that sheds, round an HTTP service that answers at once, with a body.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::error_handling::HandleErrorLayer;
use backpressure_core::{Class, Wrap};
use backpressure_load_shed::{LoadShedLayer, UntilResponse};
use backpressure_queue::Gate;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service, load_shed};
use tower_resilience_bulkhead::BulkheadLayer;

use crate::layer::{on_requests, request};
use crate::measure::{Work, at_once, work};
use crate::rows::Row;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = admitted();
    rows.extend(refused());
    rows.extend(places());
    rows
}

fn admitted() -> Vec<Row> {
    let kept_bulkhead = || in_a_runtime(|| kept(free(bulkhead())));
    let cloned_bulkhead = || in_a_runtime(|| cloned(free(bulkhead())));
    [
        Row::new("shed: admitted (tower)", || kept(free(ours(100))), || kept(free(towers(100)))).over(|| kept(Inner::Answers)),
        Row::new("shed: admitted, until the response (tower)", || kept(free(plain())), || kept(free(towers(100))))
            .over(|| kept(Inner::Answers)),
        Row::new("shed: admitted (tower-resilience)", || kept(free(ours(100))), kept_bulkhead).over(|| kept(Inner::Answers)),
        Row::new("shed: admitted, cloned (tower)", || cloned(free(ours(100))), || cloned(free(towers(100))))
            .over(|| cloned(Inner::Answers)),
        Row::new("shed: admitted, cloned (tower-resilience)", || cloned(free(ours(100))), cloned_bulkhead)
            .over(|| cloned(Inner::Answers)),
    ]
    .map(|row| row.target(0.65).instructions(0.65))
    .into()
}

/// A refusal as an error, and as a response, which is what a client sees.
fn refused() -> Vec<Row> {
    [
        Row::new("shed: refused, error (tower)", || full(failing(), kept), || full(towers(1), kept)),
        Row::new("shed: refused, error, cloned (tower)", || full(failing(), cloned), || full(towers(1), cloned)),
        Row::new("shed: refused, response, cloned (tower in axum)", || full(ours(1), cloned), || full(responding(), cloned)),
        Row::new("shed: refused, response, cloned (tower's error)", || full(ours(1), cloned), || full(towers(1), cloned)),
    ]
    .map(|row| row.over(|| on_requests(drop)).target(0.5).instructions(0.5))
    .into()
}

fn places() -> Vec<Row> {
    vec![
        Row::new("shed: a place (tokio Semaphore)", place, permit).target(0.65).instructions(0.65),
        Row::new("shed: a place, 2 threads (tokio Semaphore)", places_on_threads, permits_on_threads).target(0.65),
    ]
}

fn ours(places: usize) -> LoadShedLayer {
    LoadShedLayer::new(places)
}

/// Reads nothing of a request and holds no body, as the peers do.
fn plain() -> LoadShedLayer<Wrap, UntilResponse> {
    ours(100).until_response().answer(Wrap)
}

/// Refuses with an error, as the peers do.
fn failing() -> LoadShedLayer<Wrap> {
    ours(1).answer(Wrap)
}

/// With the limit that all services of the layer share, as ours do.
fn towers(places: usize) -> (load_shed::LoadShedLayer, GlobalConcurrencyLimitLayer) {
    (load_shed::LoadShedLayer::new(), GlobalConcurrencyLimitLayer::new(places))
}

/// What axum needs round tower's to answer instead of failing.
fn responding() -> (HandleErrorLayer<OfError, ()>, load_shed::LoadShedLayer, GlobalConcurrencyLimitLayer) {
    let (shed, limit) = towers(1);
    (HandleErrorLayer::new(unavailable), shed, limit)
}

type OfError = fn(BoxError) -> Ready<Response<Full<Bytes>>>;

fn unavailable(_: BoxError) -> Ready<Response<Full<Bytes>>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    ready(response)
}

/// Refuses by a timer of 0 s that the runtime fires in its next round, so that there is no refusal to compare ours with here.
fn bulkhead() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(100).reject_when_full().build().expect("more than 0 places")
}

/// With the timer that the bulkhead needs.
fn in_a_runtime(make: impl FnOnce() -> Work) -> Work {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    let mut work = runtime.block_on(async { make() });
    Box::new(move |operations| {
        let _entered = runtime.enter();
        work(operations)
    })
}

/// What the layers are round.
#[derive(Clone, Copy)]
enum Inner {
    Answers,
    IsStuck,
}

struct Answer(Inner);

impl Service<Request<()>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Answer {
        Answer(*self)
    }
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {
            Inner::Answers => Poll::Ready(Ok(Response::new(Full::from("hello")))),
            Inner::IsStuck => Poll::Pending,
        }
    }
}

/// The layer with all its places free.
fn free<L: Layer<Inner>>(layer: L) -> L::Service {
    layer.layer(Inner::Answers)
}

/// The layer with its only place taken, after some requests which show how long that lasts.
fn full<L>(layer: L, calls: fn(L::Service) -> Work) -> Work
where
    L: Layer<Inner, Service: Service<Request<()>, Future: 'static>>,
{
    let mut work = calls(layer.layer(Inner::Answers));
    work(20);
    let mut taken = Box::pin(called(&mut layer.layer(Inner::IsStuck), request()));
    assert!(taken.as_mut().poll(&mut context()).is_pending(), "the place was free");
    Box::new(move |operations| {
        let _ = &taken;
        work(operations)
    })
}

/// One service for all requests.
fn kept<S: Service<Request<()>> + 'static>(mut service: S) -> Work {
    on_requests(move |request| answer(&mut service, request))
}

/// A clone of the service for each request, as axum and hyper have it.
fn cloned<S: Service<Request<()>> + Clone + 'static>(service: S) -> Work {
    on_requests(move |request| answer(&mut service.clone(), request))
}

/// Through vtables, as hosts call: what is measured is the layer's code, and not how it melts into this loop.
#[inline]
fn answer<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut future = pin!(called(service, request));
    let future: Pin<&mut dyn Future<Output = _>> = black_box(future.as_mut());
    let answer = future.poll(&mut context());
    assert!(answer.is_ready(), "the service and all refusals answer at once");
    _ = black_box(&answer);
}

#[inline]
fn called<S: Service<Request<()>>>(service: &mut S, request: Request<()>) -> S::Future {
    type Host<'a, S, R> = &'a mut dyn Service<
        R,
        Response = <S as Service<R>>::Response,
        Error = <S as Service<R>>::Error,
        Future = <S as Service<R>>::Future,
    >;
    let service: Host<'_, S, Request<()>> = black_box(service);
    assert!(service.poll_ready(&mut context()).is_ready(), "no layer has a queue");
    service.call(request)
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn place() -> Work {
    let gate = Gate::new(100);
    work(move || drop(black_box(gate.try_enter(Class::Default))))
}

fn permit() -> Work {
    let semaphore = Arc::new(Semaphore::new(100));
    work(move || drop(black_box(Arc::clone(&semaphore).try_acquire_owned())))
}

fn places_on_threads() -> Work {
    let gate = Gate::new(100);
    at_once(2, move |_| {
        let gate = gate.clone();
        move || drop(black_box(gate.try_enter(Class::Default)))
    })
}

fn permits_on_threads() -> Work {
    let semaphore = Arc::new(Semaphore::new(100));
    at_once(2, move |_| {
        let semaphore = Arc::clone(&semaphore);
        move || drop(black_box(Arc::clone(&semaphore).try_acquire_owned()))
    })
}
