//! An inner service that watches how it is treated.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::Empty;
use tower_service::Service;

/// A service that answers at once, panics when it is called without having been polled ready, and counts who is ready and who
/// was called.
///
/// A clone is not ready, whatever it was cloned from; dropping a ready one gives its reservation back, as tower's contract wants
/// it.
#[derive(Debug, Default)]
pub struct Probe {
    seen: Arc<Seen>,
    ready: bool,
}

/// What happened to a [`Probe`] and its clones.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many of them are ready and have not been called: each would hold a reservation.
    pub reserved: AtomicUsize,
    /// How often any of them was called.
    pub called: AtomicUsize,
}

impl Probe {
    /// Makes a probe and a view of what it sees.
    #[must_use]
    pub fn new() -> (Self, Arc<Seen>) {
        let probe = Self::default();
        let seen = Arc::clone(&probe.seen);
        (probe, seen)
    }
}

impl Seen {
    /// Returns how many clones hold a reservation.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::SeqCst)
    }

    /// Returns how many calls there were.
    #[must_use]
    pub fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }
}

impl Service<Request<()>> for Probe {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.ready {
            self.ready = true;
            self.seen.reserved.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        assert!(self.ready, "called without having been polled ready");
        self.ready = false;
        self.seen.reserved.fetch_sub(1, Ordering::SeqCst);
        self.seen.called.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::default()))
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), ready: false }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.ready {
            self.seen.reserved.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
