//! Two limits as one: both agree, or nothing is taken.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::{Admission, Limit, Permit, Rejection, Standing, StateId};
use pin_project::pin_project;

/// A limit that admits what two limits admit, which may have different keys; made by
/// [`RateLimitLayer::and`](crate::RateLimitLayer::and).
///
/// The first is asked first, and what it refuses the second never counts. What the second refuses is given back to the first.
/// A refusal names the longer wait of the two: a caller that comes back then is admitted, if nobody else took what it was told
/// of. In a race a taking that is about to be given back may refuse somebody early; it never admits too much.
///
/// A request that waits for one of them has taken from the other what it admitted at once, and gives it back if it leaves.
#[derive(Clone, Copy, Debug)]
pub struct And<A, B> {
    first: A,
    second: B,
}

impl<A, B> And<A, B> {
    pub(crate) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<Req, A: Limit<Req>, B: Limit<Req>> Limit<Req> for And<A, B> {
    type Permit<'a>
        = Both<A::Permit<'a>, B::Permit<'a>>
    where
        Self: 'a;
    type Turn = Both<A::Turn, B::Turn>;
    type Wait = BothTurns<A::Wait, A::Turn, B::Wait, B::Turn>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait> {
        let (first, second) = match self.first.admit(request) {
            Admission::Rejected(rejection) => return Admission::Rejected(self.longer(rejection, request)),
            Admission::Admitted(first) => match self.second.admit(request) {
                // Dropping what the first admitted gives it back.
                Admission::Rejected(rejection) => return Admission::Rejected(rejection),
                Admission::Admitted(second) => return Admission::Admitted(Both { first, second }),
                Admission::Wait(second) => (Side::There(first.hold()), Side::Waits(second)),
            },
            Admission::Wait(first) => match self.second.admit(request) {
                Admission::Rejected(rejection) => return Admission::Rejected(rejection),
                Admission::Admitted(second) => (Side::Waits(first), Side::There(second.hold())),
                Admission::Wait(second) => (Side::Waits(first), Side::Waits(second)),
            },
        };
        Admission::Wait(BothTurns { first, second })
    }

    fn refusal(&self, request: &Req) -> Option<Rejection> {
        match self.first.refusal(request) {
            Some(rejection) => Some(self.longer(rejection, request)),
            None => self.second.refusal(request),
        }
    }
}

impl<A, B> And<A, B> {
    /// Asks the second limit too where the first has refused.
    #[cold]
    fn longer<Req>(&self, rejection: Rejection, request: &Req) -> Rejection
    where
        B: Limit<Req>,
    {
        match self.second.refusal(request) {
            Some(other) => rejection.or_longer(other),
            None => rejection,
        }
    }
}

/// What a request has taken from two limits.
#[derive(Debug)]
pub struct Both<P, Q> {
    first: P,
    second: Q,
}

impl<Req, P: Permit<Req>, Q: Permit<Req>> Permit<Req> for Both<P, Q> {
    type Held = Both<P::Held, Q::Held>;

    fn standing(&self) -> Option<Standing> {
        match (self.first.standing(), self.second.standing()) {
            (Some(first), Some(second)) => Some(first.tighter(second)),
            (one, other) => one.or(other),
        }
    }

    /// That of the first which counts stands for both.
    #[inline]
    fn state(&self) -> Option<StateId> {
        self.first.state().or_else(|| self.second.state())
    }

    #[inline]
    fn settle(self, request: &mut Req) {
        self.first.settle(request);
        self.second.settle(request);
    }

    fn hold(self) -> Self::Held {
        Both { first: self.first.hold(), second: self.second.hold() }
    }
}

/// The wait of a request for one limit or for both at the same time.
///
/// Dropping it leaves the lines and gives back what has been taken.
#[pin_project]
#[derive(Debug)]
#[must_use = "a wait that is not polled is not in line"]
pub struct BothTurns<V, P, W, Q> {
    #[pin]
    first: Side<V, P>,
    #[pin]
    second: Side<W, Q>,
}

#[pin_project(project = SideProjection, project_replace = SideTaken)]
#[derive(Debug)]
enum Side<W, P> {
    Waits(#[pin] W),
    There(P),
    Gone,
}

impl<V, P, W, Q> Future for BothTurns<V, P, W, Q>
where
    V: Future<Output = Result<P, Rejection>>,
    W: Future<Output = Result<Q, Rejection>>,
{
    type Output = Result<Both<P, Q>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Both are polled, so that the request is in both lines from the start.
        let refused = match (this.first.as_mut().poll(cx), this.second.as_mut().poll(cx)) {
            (Err(first), Err(second)) => first.or_longer(second),
            (Err(rejection), Ok(_)) | (Ok(_), Err(rejection)) => rejection,
            (Ok(false), _) | (_, Ok(false)) => return Poll::Pending,
            (Ok(true), Ok(true)) => {
                let both = this.first.as_mut().take().zip(this.second.as_mut().take());
                let (first, second) = both.expect("both are there, and ready once");
                return Poll::Ready(Ok(Both { first, second }));
            }
        };
        // The wait is over now, not when this future is dropped.
        this.first.set(Side::Gone);
        this.second.set(Side::Gone);
        Poll::Ready(Err(refused))
    }
}

impl<P, W: Future<Output = Result<P, Rejection>>> Side<W, P> {
    /// Returns whether it is there.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Result<bool, Rejection> {
        let SideProjection::Waits(wait) = self.as_mut().project() else { return Ok(true) };
        match wait.poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(rejection)) => Err(rejection),
            Poll::Ready(Ok(turn)) => {
                self.set(Self::There(turn));
                Ok(true)
            }
        }
    }

    fn take(self: Pin<&mut Self>) -> Option<P> {
        match self.project_replace(Self::Gone) {
            SideTaken::There(turn) => Some(turn),
            SideTaken::Waits(_) | SideTaken::Gone => None,
        }
    }
}
