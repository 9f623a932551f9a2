//! The service that is overloaded: a few workers, and what becomes of them where too much is in progress.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower::Service;

use crate::arrivals::exponential;

/// What kind of service it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// How many requests are worked on at once; the others in progress wait for a worker, first come, first served.
    pub(crate) workers: usize,
    /// How long the work on a request takes in the mean, exponentially distributed.
    pub(crate) work: Duration,
    /// Where more than this is in progress, work takes longer in proportion: locks, caches and memory are fought over.
    pub(crate) knee: Option<usize>,
}

/// A service of that kind. Clones share the workers.
#[derive(Clone, Debug)]
pub(crate) struct Simulated {
    model: Model,
    workers: Arc<Semaphore>,
    in_progress: Arc<AtomicUsize>,
    rng: Arc<Mutex<Rng>>,
}

/// Counts a request in progress until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Model {
    /// How long this much work takes while so many requests are in progress.
    fn stretched(self, work: Duration, in_progress: usize) -> Duration {
        match self.knee {
            Some(knee) if in_progress > knee => work.mul_f64(in_progress as f64 / knee as f64),
            _ => work,
        }
    }
}

impl Simulated {
    pub(crate) fn new(model: Model, rng: Rng) -> Self {
        let (workers, in_progress) = (Semaphore::new(model.workers), AtomicUsize::new(0));
        Self { model, workers: Arc::new(workers), in_progress: Arc::new(in_progress), rng: Arc::new(Mutex::new(rng)) }
    }

    async fn work(&self) {
        let work = exponential(&mut self.rng.lock().unwrap(), self.model.work);
        sleep(self.model.stretched(work, self.in_progress.load(Ordering::Relaxed))).await;
    }
}

impl Service<Request<()>> for Simulated {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let service = self.clone();
        let counted = Counted::new(&self.in_progress);
        Box::pin(async move {
            let worker = service.workers.acquire().await.unwrap();
            service.work().await;
            drop((worker, counted));
            Ok(Response::new(Empty::new()))
        })
    }
}

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        // Relaxed, here and below: a simulation has one thread.
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
