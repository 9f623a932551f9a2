//! Refusals in gRPC's own words: one block of header fields without a body.

#[cfg(feature = "grpc")]
mod details;

use std::fmt::Write;

use backpressure_core::{Reason, Rejection};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The code of a refusal over gRPC.
///
/// A bare HTTP 429 or 503 would reach a client as `UNAVAILABLE`, whatever was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "no other code means that a request may be sent again later")]
pub enum GrpcCode {
    /// `RESOURCE_EXHAUSTED` (8): a quota is used up. Clients do not send the call again by themselves, unless they are told when.
    ResourceExhausted,
    /// `UNAVAILABLE` (14): the service cannot do it at the moment. Most clients send the call again, after a backoff.
    Unavailable,
}

/// Which codes refusals have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrpcCodes {
    pub(crate) quota: GrpcCode,
    pub(crate) overload: GrpcCode,
}

impl Default for GrpcCodes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl GrpcCodes {
    pub(crate) const DEFAULT: Self = Self { quota: GrpcCode::ResourceExhausted, overload: GrpcCode::Unavailable };

    const fn status(self, reason: Reason) -> u8 {
        let code = match reason {
            Reason::RateLimit | Reason::TooManyKeys | Reason::CostExceedsLimit | Reason::ClientConcurrency => self.quota,
            Reason::MissingKey => return INVALID_ARGUMENT,
            _ => self.overload,
        };
        match code {
            GrpcCode::ResourceExhausted => RESOURCE_EXHAUSTED,
            GrpcCode::Unavailable => UNAVAILABLE,
        }
    }

    /// Returns the fields of a refusal, which are a whole answer (gRPC over HTTP/2, "Responses": Trailers-Only).
    pub(crate) fn trailers_only(self, content_type: HeaderValue, rejection: &Rejection) -> HeaderMap {
        let status = self.status(rejection.reason);
        let message = message(rejection);
        let mut fields = HeaderMap::with_capacity(MOST_FIELDS);
        fields.insert(header::CONTENT_TYPE, content_type);
        fields.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
        insert(&mut fields, GRPC_MESSAGE, percent_encoded(&message));
        if let Some(pushback) = pushback(rejection) {
            fields.insert(GRPC_RETRY_PUSHBACK_MS, HeaderValue::from(pushback));
        }
        #[cfg(feature = "grpc")]
        insert(&mut fields, GRPC_STATUS_DETAILS_BIN, details::encoded(status, message, rejection));
        fields
    }
}

/// The names of the fields of an answer, without the content type.
pub(crate) fn field_names() -> impl Iterator<Item = HeaderName> {
    [
        GRPC_STATUS,
        GRPC_MESSAGE,
        GRPC_RETRY_PUSHBACK_MS,
        #[cfg(feature = "grpc")]
        GRPC_STATUS_DETAILS_BIN,
    ]
    .into_iter()
}

/// What the client is told, before it is encoded. The time is not in it: it has fields of its own.
fn message(rejection: &Rejection) -> String {
    let mut message = String::with_capacity(64 + rejection.policy.len());
    // Writing to a string does not fail.
    let _ = write!(message, "{} (policy {:?})", rejection.reason, &*rejection.policy);
    message
}

/// Milliseconds after which to send the call again, rounded up; -1 where sending it again does not help (gRFC A6, "Pushback": a
/// negative number asks the client not to retry), also for more than 24 days, which do not fit. `None` where nobody can say.
fn pushback(rejection: &Rejection) -> Option<i32> {
    match rejection.reason {
        Reason::CostExceedsLimit | Reason::MissingKey => Some(-1),
        _ => rejection.retry_after_millis().map(|millis| i32::try_from(millis).unwrap_or(-1)),
    }
}

/// gRPC over HTTP/2, "Responses": `Percent-Byte-Unencoded` is `%x20-%x24 / %x26-%x7E`, everything else is written `%XX`.
fn percent_encoded(text: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]),
            _ => encoded.push(byte),
        }
    }
    encoded
}

/// Printable ASCII is always a value.
fn insert(fields: &mut HeaderMap, name: HeaderName, value: Vec<u8>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        fields.insert(name, value);
    }
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
#[cfg(feature = "grpc")]
const GRPC_STATUS_DETAILS_BIN: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The five above and the content type, with room for one more.
const MOST_FIELDS: usize = 6;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backpressure_core::Name;
    use http::Response;
    use proptest::prelude::*;

    use super::*;
    use crate::golden::{REASONS, exceeded, head};
    use crate::{Protocol, Respond};

    fn answer(respond: Respond, protocol: Protocol, rejection: Rejection) -> Response<String> {
        respond.refusal_in(protocol, rejection)
    }

    /// The fields, without those of the feature `grpc`.
    fn fields(respond: Respond, rejection: Rejection) -> String {
        let mut response = answer(respond, Protocol::Grpc, rejection);
        assert_eq!(response.headers_mut().remove("grpc-status-details-bin").is_some(), cfg!(feature = "grpc"));
        head(&response)
    }

    /// gRPC over HTTP/2, "Responses": `Trailers-Only → HTTP-Status Content-Type Trailers`; statuscodes.md: `RESOURCE_EXHAUSTED` for
    /// a quota; gRFC A6, "Pushback".
    #[test]
    fn a_used_up_rate_is_resource_exhausted_with_pushback() {
        let golden = "\
200 OK
content-type: application/grpc
grpc-status: 8
grpc-message: rate limit exceeded (policy \"default\")
grpc-retry-pushback-ms: 4200
";
        assert_eq!(fields(Respond::new(), exceeded()), golden);
        assert_eq!(fields(Respond::new().on_admitted(), exceeded()), golden);
        let response = answer(Respond::new(), Protocol::Grpc, exceeded());
        assert_eq!((response.body().as_str(), response.extensions().get()), ("", Some(&exceeded())));
    }

    /// statuscodes.md: `UNAVAILABLE`, "most likely a transient condition, which can be corrected by retrying with a backoff".
    #[test]
    fn overload_is_unavailable_with_pushback_where_the_time_is_known() {
        let overload = Rejection::new(Reason::Concurrency, "orders".into());
        let golden = "\
200 OK
content-type: application/grpc
grpc-status: 14
grpc-message: too much work in progress (policy \"orders\")
";
        assert_eq!(fields(Respond::new(), overload.clone()), golden);
        let golden = format!("{golden}grpc-retry-pushback-ms: 250\n");
        assert_eq!(fields(Respond::new(), overload.retry_after(Duration::from_millis(250))), golden);
    }

    /// statuscodes.md: `INVALID_ARGUMENT`, "regardless of the state of the system"; gRFC A6: negative, do not retry.
    #[test]
    fn what_will_never_succeed_is_not_to_be_sent_again() {
        let golden = "\
200 OK
content-type: application/grpc
grpc-status: 3
grpc-message: the request has no key to limit it by (policy \"default\")
grpc-retry-pushback-ms: -1
";
        assert_eq!(fields(Respond::new(), Rejection::new(Reason::MissingKey, Name::DEFAULT)), golden);
        let mut costly = exceeded();
        costly.reason = Reason::CostExceedsLimit;
        let golden = "\
200 OK
content-type: application/grpc
grpc-status: 8
grpc-message: the request costs more than the limit ever admits (policy \"default\")
grpc-retry-pushback-ms: -1
";
        assert_eq!(fields(Respond::new(), costly), golden);
    }

    /// gRPC-Web, "Protocol differences": trailers-only responses are those of gRPC, under the content type of gRPC-Web.
    #[test]
    fn grpc_web_gets_the_same_fields_under_its_own_content_type() {
        let grpc = head(&answer(Respond::new(), Protocol::Grpc, exceeded()));
        for (protocol, content_type) in
            [(Protocol::GrpcWeb, "application/grpc-web"), (Protocol::GrpcWebText, "application/grpc-web-text")]
        {
            let expected = grpc.replace("application/grpc", content_type);
            assert_eq!(head(&answer(Respond::new(), protocol, exceeded())), expected);
        }
    }

    #[test]
    fn both_codes_can_be_changed() {
        let swapped = Respond::new().grpc_quota(GrpcCode::Unavailable).grpc_overload(GrpcCode::ResourceExhausted);
        for (plain, changed) in [("8", "14"), ("14", "8"), ("3", "3")] {
            for reason in REASONS {
                let rejection = Rejection::new(reason, Name::DEFAULT);
                let status = |respond| answer(respond, Protocol::Grpc, rejection.clone()).headers()["grpc-status"].clone();
                if status(Respond::new()) == plain {
                    assert_eq!(status(swapped), changed, "{reason}");
                }
            }
        }
        let codes: Vec<u8> = REASONS.iter().map(|reason| GrpcCodes::DEFAULT.status(*reason)).collect();
        assert_eq!(codes, [8, 14, 8, 14, 14, 14, 14, 3, 14, 8, 14, 14, 8, 14]);
    }

    #[test]
    fn a_wait_is_rounded_up_and_one_that_does_not_fit_is_no_wait() {
        let pushback = |wait| pushback(&exceeded().retry_after(wait));
        for (wait, expected) in [
            (Duration::from_nanos(1), 1),
            (Duration::from_nanos(1_000_001), 2),
            (Duration::from_millis(2_147_483_647), i32::MAX),
            (Duration::from_millis(2_147_483_648), -1),
            (Duration::MAX, -1),
        ] {
            assert_eq!(pushback(wait), Some(expected), "{wait:?}");
        }
    }

    /// Decodes as the specification says of `grpc-message`.
    fn decoded(value: &[u8]) -> String {
        let mut bytes = Vec::new();
        let mut rest = value;
        while let Some((first, after)) = rest.split_first() {
            assert!(matches!(first, b' '..=b'~'), "{first} may not stand in a field");
            if *first == b'%' {
                let (hex, after) = after.split_at(2);
                bytes.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
                rest = after;
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(percent_encoded("100 % ~ ü\n\u{7f}"), b"100 %25 ~ %C3%BC%0A%7F");
    }

    proptest! {
        #[test]
        fn whatever_a_policy_is_called_the_message_can_be_read(name: String) {
            let rejection = Rejection::new(Reason::RateLimit, name.into());
            let response = answer(Respond::new(), Protocol::Grpc, rejection.clone());
            prop_assert_eq!(decoded(response.headers()["grpc-message"].as_bytes()), message(&rejection));
        }
    }
}
