//! Requests that may wait for their turn, on one thread.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use backpressure_core::Wrap;
use backpressure_load_shed::{LoadShedLayer, UntilResponse};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt};

use crate::layer::request;
use crate::measure::{Work, counted};
use crate::rows::Row;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("buffer: place free, 1 caller (tower Buffer)", || free(1, &plain(64)), || their_free(1))
            .over(|| bare(1, Inner::Answers))
            .target(0.3)
            .instructions(0.3),
        Row::new("buffer: place free, 64 callers (tower Buffer)", || free(64, &plain(64)), || their_free(64))
            .over(|| bare(64, Inner::Answers))
            .target(0.3)
            .instructions(0.3),
        Row::new("buffer: the last place, 1 caller (tower Buffer)", || free(1, &plain(1)), || their_free(1))
            .over(|| bare(1, Inner::Answers))
            .target(0.3)
            .instructions(0.3),
        Row::new("buffer: place free, 1 caller, HTTP (tower Buffer)", our_http, their_http)
            .over(bare_http)
            .target(0.3)
            .instructions(0.3),
        Row::new("buffer: waiting, 64 callers (tower Buffer + Limit)", || waiting(&plain(1)), their_limited)
            .over(|| bare(64, Inner::Yields))
            .target(0.8)
            .instructions(0.8),
        Row::new("buffer: waiting, no max_wait (tower Buffer + Limit)", || waiting(&patient()), their_limited)
            .over(|| bare(64, Inner::Yields))
            .target(0.8)
            .instructions(0.8),
        Row::new("buffer: waiting, 64 callers (tower Buffer alone)", || waiting(&plain(1)), their_unlimited)
            .over(|| bare(64, Inner::Yields))
            .instructions(0.8),
    ]
}

/// Without HTTP, as the peer.
fn plain(in_flight: usize) -> LoadShedLayer<Wrap, UntilResponse> {
    LoadShedLayer::new(in_flight).queue(CAPACITY).until_response().answer(Wrap)
}

/// Waits for as long as it takes, as the peer does: without a timer for each request.
fn patient() -> LoadShedLayer<Wrap, UntilResponse> {
    plain(1).max_wait(Duration::MAX)
}

fn free(callers: u64, layer: &LoadShedLayer<Wrap, UntilResponse>) -> Work {
    calls(callers, || (), || layer.layer(Inner::Answers))
}

fn waiting(layer: &LoadShedLayer<Wrap, UntilResponse>) -> Work {
    calls(64, || (), || layer.layer(Inner::Yields))
}

fn their_free(callers: u64) -> Work {
    calls(callers, || (), || Buffer::new(Inner::Answers, CAPACITY))
}

/// Lets one at a time into the service, as ours does.
fn their_limited() -> Work {
    calls(64, || (), || Buffer::new(ConcurrencyLimit::new(Inner::Yields, 1), CAPACITY))
}

/// Lets all into a service that is always ready: its queue is empty.
fn their_unlimited() -> Work {
    calls(64, || (), || Buffer::new(Inner::Yields, CAPACITY))
}

fn bare(callers: u64, inner: Inner) -> Work {
    calls(callers, || (), || inner)
}

fn our_http() -> Work {
    calls(1, request, || LoadShedLayer::new(64).queue(CAPACITY).layer(Http))
}

fn their_http() -> Work {
    calls(1, request, || Buffer::new(Http, CAPACITY))
}

fn bare_http() -> Work {
    calls(1, request, || Http)
}

/// Makes work of callers that call at once, each in a task and with a clone of the service.
fn calls<Req, S>(callers: u64, request: fn() -> Req, service: impl FnOnce() -> S) -> Work
where
    Req: Send + 'static,
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    let service = runtime.block_on(async { service() });
    Box::new(move |operations| {
        let start = Instant::now();
        counted(1, &mut || runtime.block_on(all(callers, operations, request, &service)));
        start.elapsed()
    })
}

/// Lets the callers call so often together.
async fn all<Req, S>(callers: u64, calls: u64, request: fn() -> Req, service: &S)
where
    Req: Send + 'static,
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let calls = calls / callers + u64::from(caller < calls % callers);
        tasks.spawn(one_after_another(calls, request, service.clone()));
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("there is room for all callers");
    }
}

async fn one_after_another<Req, S: Service<Req>>(calls: u64, request: fn() -> Req, mut service: S) {
    for _ in 0..calls {
        let answer = match service.ready().await {
            Ok(ready) => ready.call(request()).await,
            Err(error) => Err(error),
        };
        assert!(answer.is_ok(), "there is room for all callers");
    }
}

/// What the layers are round.
#[derive(Clone, Copy)]
enum Inner {
    Answers,
    /// Once while it works: others come meanwhile.
    Yields,
}

/// How often it still yields.
struct Answer(Inner);

impl Service<()> for Inner {
    type Response = ();
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Answer {
        Answer(*self)
    }
}

impl Future for Answer {
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {
            Inner::Answers => Poll::Ready(Ok(())),
            Inner::Yields => {
                self.0 = Inner::Answers;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Answers at once, with a body.
#[derive(Clone)]
struct Http;

impl Service<Request<()>> for Http {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::from("hello"))))
    }
}

/// Room for all callers.
const CAPACITY: usize = 64;
