//! Bounded concurrency that sheds, seen as its users see it.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a broken promise ends its test")]

mod adapting;
mod bad_input;
mod bodies;
mod buffer;
mod classes;
mod clients;
mod deadlines;
mod grpc;
mod handle;
mod peers;
mod queue;
mod storm;
mod upgrades;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use http::{Request, Response};
use tokio::sync::watch;
use tower::{Service, ServiceExt};
use tower_backpressure::Rejection;

/// The inner service of these tests: answers when it is let go, with this body.
#[derive(Clone, Debug)]
struct Worker {
    go: watch::Receiver<bool>,
}

/// Makes a worker, and what lets it go.
fn worker() -> (Worker, watch::Sender<bool>) {
    let (sender, go) = watch::channel(false);
    (Worker { go }, sender)
}

/// Makes a worker that answers at once.
fn quick() -> Worker {
    Worker { go: watch::channel(true).1 }
}

impl Service<Request<Body>> for Worker {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let mut go = self.go.clone();
        Box::pin(async move {
            if go.wait_for(|go| *go).await.is_err() {
                // Nobody will ever let it go.
                return std::future::pending().await;
            }
            Ok(Response::new(Body::from("done")))
        })
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// Calls a service; the future is not polled.
fn call<S, B>(service: &S, request: Request<Body>) -> Pin<Box<impl Future<Output = Response<B>> + use<S, B>>>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
{
    let service = service.clone();
    Box::pin(async move { service.oneshot(request).await.unwrap() })
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the response of a request that is answered at once.
fn now<F: Future>(future: &mut Pin<Box<F>>) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not answered at once"),
    }
}

/// Returns why a response is a refusal, if it is one.
fn refusal<B>(response: &Response<B>) -> Option<&Rejection> {
    response.extensions().get()
}
