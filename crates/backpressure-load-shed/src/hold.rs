//! How long a request holds its place.

use std::fmt;

use backpressure_core::Ending;
use backpressure_http::Guarded;
use http::{Method, Request, Response, header};

use crate::guard::Guard;
use crate::judge::{ByResult, ByStatus, Judge};

/// Says how long a request holds what it has taken: [`UntilBodyEnd`] or [`UntilResponse`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold a place for a `{Req}` that is answered with a `{Res}`",
    label = "holds its place until the end of an HTTP body",
    note = "not an HTTP service? `.until_response()`"
)]
pub trait Hold<Req, Res, C> {
    /// The response with what it holds.
    type Response;

    /// Returns whether a request is to have a share of the guard: where it is not, [`enter`](Self::enter) is not called.
    fn shares(&self, _request: &Req) -> bool {
        true
    }

    /// Leaves with the request, which is about to be called, its share of the guard.
    fn enter(&self, request: &mut Req, guard: &mut Guard<C>);

    /// Has the response hold the guard, or drops that. A refusal has none.
    fn hold(&self, response: Res, guard: Option<Guard<C>>) -> Self::Response;
}

/// Holds the place until the body of the response has been sent, has failed, or is dropped. The default.
///
/// For HTTP and gRPC. A streaming response holds its place for as long as it streams; where that is not wanted, see
/// [`hold`](crate::LoadShedLayer::hold). A request that asks for an upgrade finds its place in its extensions: see
/// [`HeldPlace`](crate::HeldPlace).
#[derive(Clone, Copy, Debug, Default)]
pub struct UntilBodyEnd<J = ByStatus> {
    pub(crate) judge: J,
}

/// Holds the place until there is a response, whatever that is.
///
/// For services that speak no HTTP, and where bodies cost the server nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct UntilResponse<J = ByResult> {
    pub(crate) judge: J,
}

/// How long one request holds its place; see [`hold`](crate::LoadShedLayer::hold).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an answer has a head and a body")]
pub enum Until {
    /// Until the body of the response has been sent.
    #[default]
    BodyEnd,
    /// Until the response is there.
    Response,
}

#[diagnostic::do_not_recommend]
impl<B, D: http_body::Body, C: Send + Sync + 'static, J> Hold<Request<B>, Response<D>, C> for UntilBodyEnd<J> {
    type Response = Response<Guarded<D, Guard<C>>>;

    #[inline]
    fn shares(&self, request: &Request<B>) -> bool {
        asks_for_upgrade(request)
    }

    #[cold]
    fn enter(&self, request: &mut Request<B>, guard: &mut Guard<C>) {
        request.extensions_mut().insert(guard.share());
    }

    #[inline]
    fn hold(&self, response: Response<D>, guard: Option<Guard<C>>) -> Self::Response {
        match guard {
            Some(guard) => response.map(|body| Guarded::new(body, guard)),
            None => response.map(Guarded::unguarded),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<Req, Res, C, J> Hold<Req, Res, C> for UntilResponse<J> {
    type Response = Res;

    #[inline]
    fn shares(&self, _request: &Req) -> bool {
        false
    }

    #[inline]
    fn enter(&self, _request: &mut Req, _guard: &mut Guard<C>) {}

    #[inline]
    fn hold(&self, response: Res, _guard: Option<Guard<C>>) -> Res {
        response
    }
}

impl<Res, Err, J: Judge<Res, Err>> Judge<Res, Err> for UntilBodyEnd<J> {
    fn judge(&self, answer: Result<&Res, &Err>) -> Ending {
        self.judge.judge(answer)
    }
}

impl<Res, Err, J: Judge<Res, Err>> Judge<Res, Err> for UntilResponse<J> {
    fn judge(&self, answer: Result<&Res, &Err>) -> Ending {
        self.judge.judge(answer)
    }
}

/// RFC 9110 section 7.8; RFC 8441 section 4 has the upgrade of HTTP/2 as an extended `CONNECT`.
#[inline]
fn asks_for_upgrade<B>(request: &Request<B>) -> bool {
    *request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE)
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BodyEnd => "until the body has been sent",
            Self::Response => "until the response is there",
        })
    }
}
