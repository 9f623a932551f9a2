//! Reading a value from a request: what it costs, whether a limit concerns it.

use std::fmt;

use http::Request;

use crate::Head;

/// Reads a `T` from a request.
///
/// Not implemented for closures, because a closure over a [`Head`] and one over a whole request could not be told apart: wrap
/// them with
/// [`from_head`] or [`from_request`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not read a `{T}` from a `{Req}`",
    label = "reads from another type of request, or is not a reader",
    note = "`.cost(|head| ..)` and `.skip(|head| ..)` (`from_head`) read the head of an `http::Request<B>`",
    note = "`.cost_of(|request: &MyRequest| ..)` and `.skip_where(|request: &MyRequest| ..)` (`from_request`) read any request"
)]
pub trait Read<Req, T> {
    /// Reads the value.
    fn read(&self, request: &Req) -> T;
}

/// Reads the same value from every request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it is its value")]
pub struct Constant<T>(pub T);

impl<Req, T: Clone> Read<Req, T> for Constant<T> {
    #[inline]
    fn read(&self, _request: &Req) -> T {
        self.0.clone()
    }
}

/// Reads from the head of an HTTP request, whatever its body; made by [`from_head`].
#[derive(Clone, Copy)]
pub struct FromHead<F>(F);

/// Makes a reader of HTTP requests.
///
/// ```
/// use backpressure_http::{Read, from_head};
/// use http::{Method, Request};
///
/// let cost = from_head(|head| if head.method == Method::GET { 1 } else { 5 });
/// assert_eq!(cost.read(&Request::get("/").body(())?), 1);
/// assert_eq!(cost.read(&Request::post("/").body("any body")?), 5);
/// # Ok::<_, http::Error>(())
/// ```
///
/// It reads nothing else:
///
/// ```compile_fail,E0277
/// # use backpressure_http::{Read, from_head};
/// fn limit_text(cost: impl Read<&'static str, usize>) {}
/// limit_text(from_head(|head| head.headers.len()));
/// ```
pub const fn from_head<T, F: Fn(Head<'_>) -> T>(read: F) -> FromHead<F> {
    FromHead(read)
}

impl<B, T, F: Fn(Head<'_>) -> T> Read<Request<B>, T> for FromHead<F> {
    #[inline]
    fn read(&self, request: &Request<B>) -> T {
        self.0(request.into())
    }
}

impl<F> fmt::Debug for FromHead<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromHead").finish_non_exhaustive()
    }
}

/// Reads from a request of any type; made by [`from_request`].
#[derive(Clone, Copy)]
pub struct FromRequest<F>(F);

/// Makes a reader of requests of one type, which the closure has to name.
///
/// ```
/// use backpressure_http::{Read, from_request};
///
/// let cost = from_request(|rows: &Vec<u8>| rows.len());
/// assert_eq!(cost.read(&vec![0; 3]), 3);
/// ```
pub const fn from_request<Req, T, F: Fn(&Req) -> T>(read: F) -> FromRequest<F> {
    FromRequest(read)
}

impl<Req, T, F: Fn(&Req) -> T> Read<Req, T> for FromRequest<F> {
    #[inline]
    fn read(&self, request: &Req) -> T {
        self.0(request)
    }
}

impl<F> fmt::Debug for FromRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromRequest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reader_serves_every_body_type() {
        let path_len = from_head(|head| head.uri.path().len());
        assert_eq!(path_len.read(&Request::get("/ab").body(()).unwrap()), 3);
        assert_eq!(path_len.read(&Request::get("/abc").body(String::new()).unwrap()), 4);
    }

    #[test]
    fn a_constant_does_not_look_at_the_request() {
        assert_eq!(Read::<u32, u64>::read(&Constant(3), &9), 3);
        assert_eq!(Read::<(), String>::read(&Constant("free".to_owned()), &()), "free");
    }

    #[test]
    fn readers_print_without_their_closure() {
        assert_eq!(format!("{:?}", from_head(|_| 1)), "FromHead { .. }");
        assert_eq!(format!("{:?}", from_request(|_: &()| 1)), "FromRequest { .. }");
    }
}
