//! The response on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::{Answer, Deadline, Reason};
use backpressure_queue::{Enter, LineError, Place};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::guard::Guard;
use crate::hold::{Hold, Until};
use crate::judge::Judge;
use crate::service::measure;
use crate::shared::{Caller, Refusal, Shared};

/// The response of a [`LoadShed`](crate::LoadShed): refused, called, or waiting to be called.
///
/// Dropping it gives back whatever the request holds: its place, its place in line, its client's share.
#[pin_project]
pub struct ResponseFuture<S, Req, A, H, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    #[pin]
    state: State<S, Req, A, C>,
    answer: A,
    hold: H,
}

#[pin_project(project = StateProjection)]
enum State<S, Req, A, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    /// Answered by the first poll: an answer kept here would make every future as large.
    Refused(Option<(A::Context, Refusal)>, Arc<Shared>),
    Calling {
        // Before the guard: the work ends, and then its place is free.
        #[pin]
        call: S::Future,
        /// Until the response is there.
        context: Option<A::Context>,
        /// As long.
        guard: Option<Guard<C>>,
        until: Until,
    },
    /// Boxed: the rare case must not make every future as large as a request.
    Waiting(Pin<Box<Parked<S, Req, A::Context, C>>>),
}

/// A request that waits for its place, and then for its service.
#[pin_project]
pub(crate) struct Parked<S, Req, X, C> {
    shared: Arc<Shared>,
    caller: Caller,
    /// The time at which the caller's deadline passes.
    deadline: Option<std::time::Instant>,
    #[pin]
    enter: Option<Enter>,
    /// Ends the wait for the service at the deadline, as `enter` ends that for the place.
    #[pin]
    timer: Option<Sleep>,
    /// There from the end of the wait until the call.
    place: Option<Place>,
    client: Option<C>,
    until: Until,
    service: S,
    /// Until the call.
    call: Option<(Req, X)>,
}

impl<S, Req, A, H, C> ResponseFuture<S, Req, A, H, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    pub(crate) fn refused(context: A::Context, refusal: Refusal, shared: Arc<Shared>, answer: A, hold: H) -> Self {
        Self { state: State::Refused(Some((context, refusal)), shared), answer, hold }
    }

    #[inline]
    pub(crate) fn calling(call: S::Future, answer: A, hold: H, context: A::Context, guard: Guard<C>, until: Until) -> Self {
        Self { state: State::Calling { call, context: Some(context), guard: Some(guard), until }, answer, hold }
    }

    pub(crate) fn waiting(parked: Parked<S, Req, A::Context, C>, answer: A, hold: H) -> Self {
        Self { state: State::Waiting(Box::pin(parked)), answer, hold }
    }
}

impl<S, Req, A, H, C> Future for ResponseFuture<S, Req, A, H, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
    H: Hold<Req, A::Response, C> + Judge<S::Response, S::Error>,
{
    type Output = Result<H::Response, A::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Refused(refused, shared) => {
                    let (context, refusal) = refused.take().expect("polled after it was ready");
                    let response = this.answer.refuse(context, shared.rejection(refusal))?;
                    return Poll::Ready(Ok(this.hold.hold(response, None)));
                }
                StateProjection::Calling { call, context, guard, until } => {
                    let response = ready!(call.poll(cx));
                    let context = context.take().expect("polled after it was ready");
                    if let Some(guard) = guard {
                        guard.responded(|| this.hold.judge(response.as_ref()));
                    }
                    // Dropped where it is: to be moved is half of what a guard costs.
                    if response.is_err() || *until == Until::Response {
                        *guard = None;
                    }
                    match response {
                        Ok(response) => {
                            let response = this.answer.admit(context, None, response);
                            return Poll::Ready(Ok(this.hold.hold(response, guard.take())));
                        }
                        Err(error) => return Poll::Ready(Err(this.answer.fail(error))),
                    }
                }
                StateProjection::Waiting(parked) => ready!(parked.as_mut().poll_call(cx, this.answer, this.hold))?,
            };
            this.state.set(next);
        }
    }
}

impl<S, Req, X, C> Parked<S, Req, X, C> {
    #[expect(clippy::too_many_arguments, reason = "all that a request has when it begins to wait")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        caller: Caller,
        enter: Enter,
        client: Option<C>,
        until: Until,
        service: S,
        request: Req,
        context: X,
    ) -> Self {
        let deadline = match caller.deadline {
            Some(Deadline::At(deadline)) => Some(deadline),
            Some(Deadline::After(left)) => Instant::now().into_std().checked_add(left),
            None => None,
        };
        let call = Some((request, context));
        Self { shared, caller, deadline, enter: Some(enter), timer: None, place: None, client, until, service, call }
    }
}

impl<S, Req, X, C> Parked<S, Req, X, C>
where
    S: Service<Req>,
{
    /// Waits for the place, then for the service, then calls it.
    fn poll_call<A, H>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        answer: &A,
        hold: &H,
    ) -> Poll<Result<State<S, Req, A, C>, A::Error>>
    where
        A: Answer<Req, S::Response, S::Error, Context = X>,
        H: Hold<Req, A::Response, C>,
    {
        let mut this = self.as_mut().project();
        if let Some(enter) = this.enter.as_mut().as_pin_mut() {
            let entered = ready!(enter.poll(cx));
            this.enter.set(None);
            match entered {
                Ok(place) => *this.place = Some(place),
                Err(error) => {
                    let refusal = refusal(this.shared, *this.caller, *this.deadline, error);
                    let (_, context) = this.call.take().expect("a request that waits has not been called");
                    // What it holds is given back now, not when its refusal has been read.
                    *this.client = None;
                    return Poll::Ready(Ok(State::Refused(Some((context, refusal)), Arc::clone(this.shared))));
                }
            }
        }
        let ready = ready!(self.as_mut().poll_service(cx));
        let this = self.project();
        let (mut request, context) = this.call.take().expect("a request that waits has not been called");
        let (place, client) = (this.place.take(), this.client.take());
        match ready {
            Ok(true) => {}
            Ok(false) => {
                drop((place, client));
                let refusal = this.shared.refuse(Reason::DeadlineTooNear, this.caller.class);
                return Poll::Ready(Ok(State::Refused(Some((context, refusal)), Arc::clone(this.shared))));
            }
            Err(error) => return Poll::Ready(Err(answer.fail(error))),
        }
        let mut guard = Guard::new(place, client, measure(this.shared));
        if hold.shares(&request) {
            hold.enter(&mut request, &mut guard);
        }
        let call = this.service.call(request);
        Poll::Ready(Ok(State::Calling { call, context: Some(context), guard: Some(guard), until: *this.until }))
    }

    /// Waits for the service, until the deadline; returns whether it is ready.
    fn poll_service(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<bool, S::Error>> {
        let mut this = self.project();
        // A place that comes when nobody waits for the answer any more is for the next.
        if this.deadline.is_some_and(|deadline| Instant::now().into_std() >= deadline) {
            return Poll::Ready(Ok(false));
        }
        if let Poll::Ready(ready) = this.service.poll_ready(cx) {
            return Poll::Ready(ready.map(|()| true));
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline.into())));
        }
        ready!(this.timer.as_mut().as_pin_mut().expect("the timer was set above").poll(cx));
        Poll::Ready(Ok(false))
    }
}

/// Makes the refusal of a request whose wait has ended without a place.
fn refusal(shared: &Shared, caller: Caller, deadline: Option<std::time::Instant>, error: LineError) -> Refusal {
    let is_late = deadline.is_some_and(|deadline| Instant::now().into_std() >= deadline);
    let reason = if error == LineError::Expired && is_late { Reason::DeadlineTooNear } else { shared.reason(error) };
    shared.refuse(reason, caller.class)
}

impl<S, Req, A, H, C> fmt::Debug for ResponseFuture<S, Req, A, H, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused(..) => "Refused",
            State::Calling { .. } => "Calling",
            State::Waiting(_) => "Waiting",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
