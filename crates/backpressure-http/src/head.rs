//! The part of a request that is known before its body.

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// What a closure sees of an HTTP request: everything but the body.
///
/// Closures take `Head<'_>` and not `&Request<B>`, so that their argument needs no annotation and one layer value serves hosts
/// with
/// different body types. It is four references: copying it costs nothing.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by whoever tests a closure; a request has no other parts that matter here")]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What other layers and the host have said of the request: the client's address, who is signed in.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for Head<'a> {
    #[inline]
    fn from(request: &'a Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers(), extensions: request.extensions() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_request_without_its_body() {
        let mut request = Request::builder().method("PUT").uri("/a?b").header("x", "y").body(vec![0_u8]).unwrap();
        request.extensions_mut().insert(7_u32);
        let head = Head::from(&request);
        assert_eq!((head.method, head.uri.path()), (&Method::PUT, "/a"));
        assert_eq!((head.headers["x"].as_bytes(), head.extensions.get()), (&b"y"[..], Some(&7_u32)));
    }
}
