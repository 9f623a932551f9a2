//! The service that asks before it calls.

use std::mem;
use std::task::{Context, Poll};

use backpressure_core::{Admission, Answer, Limit, Permit};
use tower_service::Service;

use crate::future::{Parked, ResponseFuture};
use crate::passing::{self, Passing};

/// Calls the inner service for what its limit admits.
///
/// Made by [`RateLimitLayer`](crate::RateLimitLayer); see the [crate docs](crate). Admission happens in `call`: a service that
/// is ready and idle
/// holds nothing.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit<S, L, A> {
    inner: S,
    limit: L,
    answer: A,
}

impl<S, L, A> RateLimit<S, L, A> {
    pub(crate) const fn new(inner: S, limit: L, answer: A) -> Self {
        Self { inner, limit, answer }
    }

    /// Returns the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, A, Req> Service<Req> for RateLimit<S, L, A>
where
    S: Service<Req> + Clone,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error> + Clone,
{
    type Response = A::Response;
    type Error = A::Error;
    type Future = ResponseFuture<S, Req, L, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), A::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.answer.fail(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let context = self.answer.context(&request);
        match self.limit.admit(&request) {
            Admission::Admitted(permit) => {
                let standing = if self.answer.wants_standing() { permit.standing() } else { None };
                let passed = permit.state();
                permit.settle(&mut request);
                let _inside = passing::enter(passed);
                let call = Passing::new(passed, self.inner.call(request));
                ResponseFuture::calling(call, self.answer.clone(), context, standing)
            }
            Admission::Rejected(rejection) => {
                let answer = self.answer.refuse(context, rejection);
                ResponseFuture::refused(answer, self.answer.clone())
            }
            Admission::Wait(wait) => {
                // What the readied service reserved must not wait with the request: a copy waits, unready, and another takes
                // the place of the readied one, which is dropped here.
                let unready = self.inner.clone();
                drop(mem::replace(&mut self.inner, unready.clone()));
                let parked = Parked::new(wait, unready, request, context);
                ResponseFuture::waiting(parked, self.answer.clone())
            }
        }
    }
}
