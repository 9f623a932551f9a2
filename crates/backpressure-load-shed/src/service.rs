//! The service that calls only as much as it has places for.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use backpressure_core::{Answer, Class, Reason};
use backpressure_queue::{Enter, Place};
use tower_service::Service;

use crate::adaptive::{Adaptive, Measured};
use crate::future::{Parked, ResponseFuture};
use crate::guard::Guard;
use crate::hold::{Hold, Until};
use crate::judge::Judge;
use crate::readers::{Readers, Triage};
use crate::shared::{Caller, Shared, Start};

/// Calls the inner service for as many requests at once as it may, lets some wait, and refuses the others.
///
/// Made by [`LoadShedLayer`](crate::LoadShedLayer); see the [crate docs](crate). Places are taken in `call`: a service that is
/// ready and idle holds none.
#[derive(Clone, Debug)]
pub struct LoadShed<S, A, H, R = Readers> {
    inner: S,
    shared: Arc<Shared>,
    answer: A,
    hold: H,
    readers: R,
}

/// What becomes of a request.
enum Decision<C> {
    Call(Option<Place>, Option<C>, Option<Measured>, Until),
    Park(Caller, Enter, Option<C>, Until),
    Refuse(Reason, Class),
}

impl<S, A, H, R> LoadShed<S, A, H, R> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared>, answer: A, hold: H, readers: R) -> Self {
        Self { inner, shared, answer, hold, readers }
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

    #[inline]
    fn decide<Req>(&self, request: &Req) -> Decision<R::Client>
    where
        S: Service<Req>,
        A: Answer<Req, S::Response, S::Error>,
        R: Triage<Req>,
    {
        let (shared, readers) = (&*self.shared, &self.readers);
        if readers.passes(request) {
            return Decision::Call(None, None, None, Until::Response);
        }
        let caller = Caller { class: readers.class(request), deadline: self.answer.deadline(request) };
        let client = match readers.client(request) {
            Ok(client) => client,
            Err(reason) => return Decision::Refuse(reason, caller.class),
        };
        let until = readers.until(request);
        match shared.start(caller, || readers.weight(request)) {
            Ok(Start::Now(place)) => Decision::Call(Some(place), client, measure(shared), until),
            Ok(Start::Waits(enter)) => Decision::Park(caller, enter, client, until),
            // The client's share is given back as it is dropped.
            Err(reason) => Decision::Refuse(reason, caller.class),
        }
    }
}

pub(crate) fn measure(shared: &Shared) -> Option<Measured> {
    shared.adaptive.as_ref().map(Adaptive::measure)
}

impl<S, A, H, R, Req> Service<Req> for LoadShed<S, A, H, R>
where
    S: Service<Req> + Clone,
    A: Answer<Req, S::Response, S::Error> + Clone,
    H: Hold<Req, A::Response, R::Client> + Judge<S::Response, S::Error> + Clone,
    R: Triage<Req>,
{
    type Response = H::Response;
    type Error = A::Error;
    type Future = ResponseFuture<S, Req, A, H, R::Client>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), A::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.answer.fail(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let context = self.answer.context(&request);
        let (answer, hold) = (self.answer.clone(), self.hold.clone());
        match self.decide(&request) {
            Decision::Call(place, client, measured, until) if hold.shares(&request) => {
                let mut guard = Guard::new(place, client, measured);
                hold.enter(&mut request, &mut guard);
                ResponseFuture::calling(self.inner.call(request), answer, hold, context, guard, until)
            }
            Decision::Call(place, client, measured, until) => {
                let call = self.inner.call(request);
                // Made where it stays: a guard that is copied just after it was written waits for the store buffer.
                let guard = Guard::new(place, client, measured);
                ResponseFuture::calling(call, answer, hold, context, guard, until)
            }
            Decision::Refuse(reason, class) => {
                let refusal = self.shared.refuse(reason, class);
                ResponseFuture::refused(context, refusal, Arc::clone(&self.shared), answer, hold)
            }
            Decision::Park(caller, enter, client, until) => {
                // What the readied service reserved must not wait with the request: a copy waits, unready, and another takes
                // the place of the readied one, which is dropped here.
                let unready = self.inner.clone();
                drop(mem::replace(&mut self.inner, unready.clone()));
                let parked = Parked::new(Arc::clone(&self.shared), caller, enter, client, until, unready, request, context);
                ResponseFuture::waiting(parked, answer, hold)
            }
        }
    }
}
