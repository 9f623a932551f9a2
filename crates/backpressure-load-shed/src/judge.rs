//! What an answer says about the load.

use std::fmt;

use backpressure_core::{Ending, Reason, Rejection};
use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode};

/// Judges what an answer says about the load, for a limit that [adapts](crate::LoadShedLayer::adaptive).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a `Result<{Res}, {Err}>`",
    label = "judges the status of an HTTP response",
    note = "not an HTTP service? `.until_response()`, which judges by `Ok` and `Err`, or `.judged_by(|answer| ..)`"
)]
pub trait Judge<Res, Err> {
    /// Judges an answer.
    fn judge(&self, answer: Result<&Res, &Err>) -> Ending;
}

/// Judges an HTTP response by its status, and a gRPC response by the status in its head.
///
/// | answer | |
/// |---|---|
/// | 503, 504, 429; gRPC `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`; an error of the service | dropped: there was no capacity |
/// | a refusal by a rate limit or a bound of one client inside of this layer | ignored: there was capacity, though not for this client |
/// | any other 5xx and 4xx | ignored: it failed before it had done its work |
/// | the others | success: its latency counts |
#[derive(Clone, Copy, Debug, Default)]
pub struct ByStatus;

/// Judges by whether there is a response: an error is a drop.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByResult;

/// Judges the head of an HTTP response with a closure; errors of the service are drops. Made by
/// [`judged`](crate::LoadShedLayer::judged).
#[derive(Clone, Copy)]
pub struct ByResponseHead<F>(pub(crate) F);

/// Judges any answer with a closure. Made by [`judged_by`](crate::LoadShedLayer::judged_by).
#[derive(Clone, Copy)]
pub struct ByAnswer<F>(pub(crate) F);

/// What a closure sees of an HTTP response: everything but the body.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by whoever tests a closure; a response has no other parts that matter here")]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What the service and other layers have said of the response.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Response<B>> for ResponseHead<'a> {
    fn from(response: &'a Response<B>) -> Self {
        Self { status: response.status(), headers: response.headers(), extensions: response.extensions() }
    }
}

#[diagnostic::do_not_recommend]
impl<B, Err> Judge<Response<B>, Err> for ByStatus {
    fn judge(&self, answer: Result<&Response<B>, &Err>) -> Ending {
        match answer {
            Ok(response) => by_status(response.into()),
            Err(_) => Ending::Dropped,
        }
    }
}

#[diagnostic::do_not_recommend]
impl<Res, Err> Judge<Res, Err> for ByResult {
    fn judge(&self, answer: Result<&Res, &Err>) -> Ending {
        if answer.is_ok() { Ending::Success } else { Ending::Dropped }
    }
}

#[diagnostic::do_not_recommend]
impl<B, Err, F: Fn(ResponseHead<'_>) -> Ending> Judge<Response<B>, Err> for ByResponseHead<F> {
    fn judge(&self, answer: Result<&Response<B>, &Err>) -> Ending {
        match answer {
            Ok(response) => self.0(response.into()),
            Err(_) => Ending::Dropped,
        }
    }
}

#[diagnostic::do_not_recommend]
impl<Res, Err, F: Fn(Result<&Res, &Err>) -> Ending> Judge<Res, Err> for ByAnswer<F> {
    fn judge(&self, answer: Result<&Res, &Err>) -> Ending {
        self.0(answer)
    }
}

fn by_status(head: ResponseHead<'_>) -> Ending {
    // Whatever its status: a client that is refused for what it does itself says nothing of the load.
    if let Some(Reason::RateLimit | Reason::ClientConcurrency) = head.extensions.get().map(|it: &Rejection| it.reason) {
        return Ending::Ignored;
    }
    match head.status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Ending::Dropped,
        status if status.is_client_error() || status.is_server_error() => Ending::Ignored,
        _ => match head.headers.get("grpc-status").map(HeaderValue::as_bytes) {
            // DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE.
            Some(b"4" | b"8" | b"14") => Ending::Dropped,
            None | Some(b"0") => Ending::Success,
            Some(_) => Ending::Ignored,
        },
    }
}

impl<F> fmt::Debug for ByResponseHead<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByResponseHead").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ByAnswer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByAnswer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(response: &Response<()>) -> Ending {
        Judge::<_, ()>::judge(&ByStatus, Ok(response))
    }

    #[test]
    fn a_status_that_says_there_was_no_capacity_is_a_drop() {
        for (status, ending) in [
            (200, Ending::Success),
            (304, Ending::Success),
            (404, Ending::Ignored),
            (500, Ending::Ignored),
            (429, Ending::Dropped),
            (503, Ending::Dropped),
            (504, Ending::Dropped),
        ] {
            assert_eq!(judged(&Response::builder().status(status).body(()).unwrap()), ending, "{status}");
        }
        assert_eq!(Judge::<Response<()>, _>::judge(&ByStatus, Err(&"broken")), Ending::Dropped);
    }

    #[test]
    fn a_call_is_judged_by_its_own_status() {
        for (status, ending) in [
            ("0", Ending::Success),
            ("5", Ending::Ignored),
            ("4", Ending::Dropped),
            ("8", Ending::Dropped),
            ("14", Ending::Dropped),
        ] {
            assert_eq!(judged(&Response::builder().header("grpc-status", status).body(()).unwrap()), ending, "{status}");
        }
    }
}
