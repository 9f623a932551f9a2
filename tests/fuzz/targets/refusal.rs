//! A refusal of any policy, over any protocol that a client names: each field can be sent, each body can be read.
//!
//! The first line of an input is the content type of the request, the second its API key, the rest the name of the policy.

#![no_main]

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use libfuzzer_sys::Corpus;
use tower_backpressure::key::{self, Key};
use tower_backpressure::{Answer, AnswerBody, RateLimitFields, Reason, Rejection, Respond, RespondWithBody};

/// The body of the service.
type Body = Empty<&'static [u8]>;

libfuzzer_sys::fuzz_target!(|data: &[u8]| -> Corpus {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(content_type), Some(api_key), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Corpus::Reject;
    };
    let (Ok(content_type), Ok(api_key)) = (HeaderValue::from_bytes(content_type), HeaderValue::from_bytes(api_key)) else {
        return Corpus::Reject;
    };
    let name = String::from_utf8_lossy(name).into_owned();

    let mut request = Request::new(());
    // What a gRPC call is.
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("content-type", content_type);
    request.headers_mut().insert("x-api-key", api_key.clone());
    assert_eq!(key::header("x-api-key").key(&request), Some(api_key).filter(|value| !value.is_empty()));

    for reason in [Reason::RateLimit, Reason::CostExceedsLimit, Reason::MissingKey, Reason::Concurrency, Reason::QueueFull] {
        for form in [RateLimitFields::Draft11, RateLimitFields::Draft7, RateLimitFields::Legacy, RateLimitFields::Off] {
            let rejection = Rejection::new(reason, name.clone().into()).retry_after(Duration::from_millis(1_200));
            empty(Respond::new().fields(form), &request, rejection.clone());
            problem(Respond::with_body().fields(form), &request, rejection, &name);
        }
    }
    Corpus::Keep
});

fn empty(respond: Respond, request: &Request<()>, rejection: Rejection) {
    sendable(&respond.refusal::<Body>(rejection.clone()));
    sendable(&refused(&respond, request, rejection));
}

fn problem(respond: RespondWithBody, request: &Request<()>, rejection: Rejection, name: &str) {
    readable(respond.refusal(rejection.clone()), name);
    readable(refused(&respond, request, rejection), name);
}

/// Drives an answer as a layer does.
fn refused<A>(answer: &A, request: &Request<()>, rejection: Rejection) -> A::Response
where
    A: Answer<Request<()>, Response<Body>, Infallible, Error = Infallible>,
{
    let Ok(response) = answer.refuse(answer.context(request), rejection);
    response
}

/// Every field is printable ASCII, what a client waits for is a number of at least 1, and a message of gRPC can be decoded.
fn sendable<B>(response: &Response<B>) {
    for (field, value) in response.headers() {
        let value = value.to_str().unwrap_or_else(|_| panic!("{field} is not printable: {value:?}"));
        match field.as_str() {
            "retry-after" | "retry-after-ms" => assert!(value.parse::<u64>().is_ok_and(|wait| wait > 0), "{field}: {value}"),
            "grpc-status" => assert!(value.parse::<u8>().is_ok_and(|status| (1..=16).contains(&status)), "{field}: {value}"),
            "grpc-retry-pushback-ms" => assert!(value.parse::<i32>().is_ok(), "{field}: {value}"),
            "grpc-message" => assert!(decodes(value), "{field}: {value}"),
            "grpc-status-details-bin" => assert!(value.bytes().all(is_base64), "{field}: {value}"),
            _ => {}
        }
    }
    assert!([200, 400, 429, 503].contains(&response.status().as_u16()));
    let is_grpc = response.headers().contains_key("grpc-status");
    assert_eq!(response.status() == 200, is_grpc);
    assert_eq!(is_grpc, response.headers().contains_key("grpc-status-details-bin"));
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// A problem is JSON that names the policy wherever it names one, and as long as it says.
fn readable(response: Response<AnswerBody<Body>>, name: &str) {
    sendable(&response);
    let fields = response.headers().clone();
    let collected = std::pin::pin!(response.into_body().collect());
    let Poll::Ready(Ok(body)) = collected.poll(&mut Context::from_waker(Waker::noop())) else { panic!("the body waits") };
    let body = body.to_bytes();
    if let Some(length) = fields.get("content-length") {
        assert_eq!(length.to_str().ok().and_then(|length| length.parse().ok()), Some(body.len()));
    }
    if fields["content-type"] == "application/problem+json" {
        let problem: serde_json::Value = serde_json::from_slice(&body).expect("a problem is JSON");
        if let Some(policies) = problem.get("violated-policies") {
            assert_eq!(*policies, serde_json::json!([name]));
        }
    }
}

/// Whether each `%` is that of an octet, and the octets are UTF-8.
fn decodes(message: &str) -> bool {
    let mut octets = Vec::new();
    let mut rest = message.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = || std::str::from_utf8(after.get(..2)?).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escaped()) {
            (b'%', None) => return false,
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = &after[2..];
            }
            _ => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(octets).is_ok()
}
