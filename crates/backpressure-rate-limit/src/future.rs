//! The response on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_core::{Answer, Limit, Permit, Standing};
use pin_project::pin_project;
use tower_service::Service;

use crate::passing::{self, Passing};

/// The response of a [`RateLimit`](crate::RateLimit): refused, called, or waiting to be called.
///
/// Dropping it gives back whatever has not reached the inner service: the place in line, and the quota of a turn that has come
/// but
/// was not used.
#[pin_project]
pub struct ResponseFuture<S, Req, L, A>
where
    S: Service<Req>,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    #[pin]
    state: State<S, Req, L, A>,
    answer: A,
}

#[pin_project(project = StateProjection)]
enum State<S, Req, L, A>
where
    S: Service<Req>,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    /// Until it is taken by the first poll.
    Refused(Option<Result<A::Response, A::Error>>),
    Calling {
        #[pin]
        call: Passing<S::Future>,
        /// Until the response is there.
        context: Option<A::Context>,
        standing: Option<Standing>,
    },
    /// Boxed: the rare case must not make every future as large as a request.
    Waiting(Pin<Box<Parked<S, Req, L, A::Context>>>),
}

/// A request that waits for its turn, and then for its service.
#[pin_project]
pub(crate) struct Parked<S, Req, L: Limit<Req>, X> {
    #[pin]
    wait: Option<L::Wait>,
    /// There from the end of the wait until the call.
    turn: Option<L::Turn>,
    service: S,
    /// Until the call.
    call: Option<(Req, X)>,
}

impl<S, Req, L, A> ResponseFuture<S, Req, L, A>
where
    S: Service<Req>,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    pub(crate) fn refused(response: Result<A::Response, A::Error>, answer: A) -> Self {
        Self { state: State::Refused(Some(response)), answer }
    }

    #[inline]
    pub(crate) fn calling(call: Passing<S::Future>, answer: A, context: A::Context, standing: Option<Standing>) -> Self {
        Self { state: State::Calling { call, context: Some(context), standing }, answer }
    }

    pub(crate) fn waiting(parked: Parked<S, Req, L, A::Context>, answer: A) -> Self {
        Self { state: State::Waiting(Box::pin(parked)), answer }
    }
}

impl<S, Req, L, A> Future for ResponseFuture<S, Req, L, A>
where
    S: Service<Req>,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    type Output = Result<A::Response, A::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Refused(response) => {
                    return Poll::Ready(response.take().expect("polled after it was ready"));
                }
                StateProjection::Calling { call, context, standing } => {
                    let response = match ready!(call.poll(cx)) {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Err(this.answer.fail(error))),
                    };
                    let context = context.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(this.answer.admit(context, standing.take(), response)));
                }
                StateProjection::Waiting(parked) => ready!(parked.as_mut().poll_call(cx, this.answer)),
            };
            this.state.set(next);
        }
    }
}

impl<S, Req, L: Limit<Req>, X> Parked<S, Req, L, X> {
    pub(crate) const fn new(wait: L::Wait, service: S, request: Req, context: X) -> Self {
        Self { wait: Some(wait), turn: None, service, call: Some((request, context)) }
    }
}

impl<S, Req, L, X> Parked<S, Req, L, X>
where
    S: Service<Req>,
    L: Limit<Req>,
{
    /// Waits for the turn, then for the service, then calls it.
    fn poll_call<A>(self: Pin<&mut Self>, cx: &mut Context<'_>, answer: &A) -> Poll<State<S, Req, L, A>>
    where
        A: Answer<Req, S::Response, S::Error, Context = X>,
    {
        let mut this = self.project();
        if let Some(wait) = this.wait.as_mut().as_pin_mut() {
            let turn = ready!(wait.poll(cx));
            this.wait.set(None);
            match turn {
                Ok(turn) => *this.turn = Some(turn),
                Err(rejection) => {
                    let (_, context) = this.call.take().expect("a request that waits has not been called");
                    return Poll::Ready(State::Refused(Some(answer.refuse(context, rejection))));
                }
            }
        }
        if let Err(error) = ready!(this.service.poll_ready(cx)) {
            return Poll::Ready(State::Refused(Some(Err(answer.fail(error)))));
        }
        let (mut request, context) = this.call.take().expect("a request that waits has not been called");
        let turn = this.turn.take().expect("the wait has ended with a turn");
        let standing = if answer.wants_standing() { turn.standing() } else { None };
        let passed = turn.state();
        turn.settle(&mut request);
        let _inside = passing::enter(passed);
        let call = Passing::new(passed, this.service.call(request));
        Poll::Ready(State::Calling { call, context: Some(context), standing })
    }
}

impl<S, Req, L, A> fmt::Debug for ResponseFuture<S, Req, L, A>
where
    S: Service<Req>,
    L: Limit<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused(_) => "Refused",
            State::Calling { .. } => "Calling",
            State::Waiting(_) => "Waiting",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
