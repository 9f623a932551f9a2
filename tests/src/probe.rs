//! An inner service that watches how it is treated, and fails where it is told to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::Full;
use tower_backpressure::Rejection;
use tower_service::Service;

/// What a [`Probe`] answers with: a body that has something to send, so that whoever holds something until its end is seen.
pub type Body = Full<&'static [u8]>;

/// A service that answers at once, panics when it is called without having been polled ready, and counts who is ready, who was
/// called and who has not been answered.
///
/// A clone is not ready, whatever it was cloned from; dropping a ready one gives its reservation back, as tower's contract wants
/// it.
#[derive(Debug, Default)]
pub struct Probe {
    seen: Arc<Seen>,
    ready: bool,
    fault: Option<Fault>,
    /// How many polls are [`Pending`](Poll::Pending) before it is ready, and again before it answers.
    slow: usize,
    /// How many of those are behind it on the way to its next readiness.
    waited: usize,
}

/// Where a [`Probe`] does not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a service can fail in no other place")]
pub enum Fault {
    /// It is never ready, and wakes nobody.
    NeverReady,
    /// `poll_ready` fails.
    ReadyFails,
    /// `poll_ready` panics.
    ReadyPanics,
    /// `call` panics.
    CallPanics,
    /// The response is an error.
    ResponseFails,
    /// The future of the response panics.
    ResponsePanics,
}

/// What happened to a [`Probe`] and its clones.
#[derive(Debug, Default)]
pub struct Seen {
    reserved: AtomicUsize,
    called: AtomicUsize,
    in_progress: AtomicUsize,
}

/// How a [`Probe`] fails; and what a refusal becomes where it is answered by an error of the service's own type.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "tests match on it")]
pub enum Broken {
    /// The service failed.
    Inner,
    /// The service was not called.
    Refused(Rejection),
}

impl Probe {
    /// Makes a probe and a view of what it sees.
    #[must_use]
    pub fn new() -> (Self, Arc<Seen>) {
        let probe = Self::default();
        let seen = Arc::clone(&probe.seen);
        (probe, seen)
    }

    /// Makes it fail in one place.
    #[must_use]
    pub const fn with(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Makes it need this many polls more to be ready, and this many more to answer.
    #[must_use]
    pub const fn slow(mut self, polls: usize) -> Self {
        self.slow = polls;
        self
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

impl Seen {
    /// Returns how many clones are ready and have not been called: each would hold a reservation.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::SeqCst)
    }

    /// Returns how many calls there were.
    #[must_use]
    pub fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }

    /// Returns how many response futures are alive.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.in_progress.load(Ordering::SeqCst)
    }
}

impl Service<Request<()>> for Probe {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        assert!(!self.is(Fault::ReadyPanics), "the inner service panics in poll_ready");
        if self.is(Fault::NeverReady) {
            return Poll::Pending;
        }
        if self.is(Fault::ReadyFails) {
            return Poll::Ready(Err(Broken::Inner));
        }
        if self.waited < self.slow {
            self.waited += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.ready {
            self.ready = true;
            self.seen.reserved.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Answering {
        assert!(self.ready, "called without having been polled ready");
        self.ready = false;
        self.waited = 0;
        self.seen.reserved.fetch_sub(1, Ordering::SeqCst);
        self.seen.called.fetch_add(1, Ordering::SeqCst);
        assert!(!self.is(Fault::CallPanics), "the inner service panics in call");
        self.seen.in_progress.fetch_add(1, Ordering::SeqCst);
        Answering { seen: Arc::clone(&self.seen), fault: self.fault, polls_left: self.slow }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), ready: false, fault: self.fault, slow: self.slow, waited: 0 }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.ready {
            self.seen.reserved.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The response of a [`Probe`] on its way.
#[derive(Debug)]
pub struct Answering {
    seen: Arc<Seen>,
    fault: Option<Fault>,
    polls_left: usize,
}

impl Future for Answering {
    type Output = Result<Response<Body>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left > 0 {
            self.polls_left -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        assert!(self.fault != Some(Fault::ResponsePanics), "the inner service panics in its future");
        Poll::Ready(match self.fault {
            Some(Fault::ResponseFails) => Err(Broken::Inner),
            _ => Ok(Response::new(Body::from(&b"served"[..]))),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.seen.in_progress.fetch_sub(1, Ordering::SeqCst);
    }
}

impl From<Rejection> for Broken {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner => f.write_str("the inner service failed"),
            Self::Refused(rejection) => rejection.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}
