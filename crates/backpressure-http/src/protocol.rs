//! In which protocol a caller reads its answer.

use http::{HeaderMap, HeaderValue, Request, header};

use crate::Head;

/// In which protocol a caller reads its answer; told by the content type of its request.
///
/// | content type | |
/// |---|---|
/// | `application/grpc`, `application/grpc+proto`, `application/grpc;…` | [`Grpc`](Self::Grpc) |
/// | `application/grpc-web`, with the same endings | [`GrpcWeb`](Self::GrpcWeb) |
/// | `application/grpc-web-text`, with the same endings | [`GrpcWebText`](Self::GrpcWebText) |
/// | anything else, none, or several | [`Http`](Self::Http) |
///
/// Case does not matter (RFC 9110 section 8.3.1). A call is always a `POST` (gRPC over HTTP/2, "Requests"); every other method
/// is HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP: the status says it.
    #[default]
    Http,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, which browsers speak over any HTTP.
    GrpcWeb,
    /// gRPC-Web in base64.
    GrpcWebText,
}

impl Protocol {
    /// Returns the protocol of a request.
    #[inline]
    #[must_use]
    pub fn of(head: Head<'_>) -> Self {
        // What is most often asked is no call, and knows so before the fields are searched.
        if *head.method == http::Method::POST { Self::of_call(head.headers) } else { Self::Http }
    }

    fn of_call(headers: &HeaderMap) -> Self {
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        match (types.next(), types.next()) {
            (Some(one), None) => Self::of_content_type(one.as_bytes()),
            _ => Self::Http,
        }
    }

    fn of_content_type(content_type: &[u8]) -> Self {
        let is = |name: &HeaderValue| {
            let name = name.as_bytes();
            content_type.split_at_checked(name.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(name) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
            })
        };
        [Self::Grpc, Self::GrpcWeb, Self::GrpcWebText]
            .into_iter()
            .find(|protocol| protocol.content_type().is_some_and(|name| is(&name)))
            .unwrap_or_default()
    }

    /// Returns the content type of an answer in a protocol that is a kind of gRPC.
    pub(crate) const fn content_type(self) -> Option<HeaderValue> {
        match self {
            Self::Http => None,
            Self::Grpc => Some(HeaderValue::from_static("application/grpc")),
            Self::GrpcWeb => Some(HeaderValue::from_static("application/grpc-web")),
            Self::GrpcWebText => Some(HeaderValue::from_static("application/grpc-web-text")),
        }
    }
}

impl<B> From<&Request<B>> for Protocol {
    #[inline]
    fn from(request: &Request<B>) -> Self {
        Self::of(request.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(method: &str, content_types: &[&[u8]]) -> Protocol {
        let mut request = Request::builder().method(method).body(()).unwrap();
        for content_type in content_types {
            request.headers_mut().append(header::CONTENT_TYPE, HeaderValue::from_bytes(content_type).unwrap());
        }
        (&request).into()
    }

    /// gRPC over HTTP/2, "Requests": `"content-type" "application/grpc" [("+proto" / "+json" / {custom})]`.
    #[test]
    fn a_call_is_told_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("application/grpc+json", Protocol::Grpc),
            ("application/grpc;charset=utf-8", Protocol::Grpc),
            ("Application/gRPC ; x=y", Protocol::Grpc),
            ("application/grpc-web", Protocol::GrpcWeb),
            ("application/grpc-web+proto", Protocol::GrpcWeb),
            ("application/grpc-web-text", Protocol::GrpcWebText),
            ("application/grpc-web-text+proto", Protocol::GrpcWebText),
            ("application/grpc-web-texts", Protocol::Http),
            ("application/grpcs", Protocol::Http),
            ("application/grp", Protocol::Http),
            ("application/json", Protocol::Http),
            (" application/grpc", Protocol::Http),
            ("text/plain, application/grpc", Protocol::Http),
            ("", Protocol::Http),
        ] {
            assert_eq!(protocol("POST", &[content_type.as_bytes()]), expected, "{content_type}");
        }
    }

    #[test]
    fn whatever_else_a_client_sends_is_http() {
        assert_eq!(protocol("GET", &[b"application/grpc"]), Protocol::Http);
        assert_eq!(protocol("POST", &[]), Protocol::Http);
        assert_eq!(protocol("POST", &[b"application/grpc", b"application/grpc"]), Protocol::Http);
        assert_eq!(protocol("POST", &[b"application/grpc\xff"]), Protocol::Http);
        assert_eq!(protocol("POST", &[&[0xff; 65_536]]), Protocol::Http);
    }
}
