//! Answers over HTTP that say why in their body.

use backpressure_core::{Answer, Deadline, Reason, Rejection, Standing};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};

use crate::fields::push_integer;
use crate::grpc::GrpcCode;
use crate::respond::status;
use crate::{AnswerBody, Protocol, RateLimitFields, Respond, deadline};

/// Answers as [`Respond`] does, with a body that says why: `application/problem+json` (RFC 9457).
///
/// The service may have any body, also one that is not `Default` (hyper's `Incoming` in a proxy); that of the layer is
/// [`AnswerBody`].
///
/// | member | value |
/// |---|---|
/// | `type` | `https://iana.org/assignments/http-problem-types#quota-exceeded` for a rate or a cost, `…#temporary-reduced-capacity` for every 503 (draft-ietf-httpapi-ratelimit-headers-11 section 5), else `about:blank` |
/// | `title` | that of the type; for `about:blank` the phrase of the status |
/// | `status` | as in the status line |
/// | `detail` | a sentence for people |
/// | `violated-policies` | the name of the policy that refused, with the two types that define it |
/// | `retry-after-ms` | as in `Retry-After-Ms`, for scripts that may read the body but not the fields |
///
/// Names are written as they are, where the header fields have `?` for other characters than printable ASCII.
///
/// # Examples
///
/// ```
/// use backpressure_core::{Reason, Rejection};
/// use backpressure_http::{AnswerBody, RateLimitFields, Respond};
/// use http::Response;
///
/// struct NoDefault;
///
/// let answer = Respond::with_body().fields(RateLimitFields::Legacy);
/// let response: Response<AnswerBody<NoDefault>> = answer.refusal(Rejection::new(Reason::Concurrency, "orders".into()));
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "an answer does nothing until a layer has it"]
pub struct RespondWithBody {
    respond: Respond,
}

impl RespondWithBody {
    pub(crate) const fn new() -> Self {
        Self { respond: Respond::new() }
    }

    /// Sets in which form clients are told their quota: see [`Respond::fields`].
    pub const fn fields(mut self, fields: RateLimitFields) -> Self {
        self.respond = self.respond.fields(fields);
        self
    }

    /// Tells the quota to admitted clients too: see [`Respond::on_admitted`].
    pub const fn on_admitted(mut self) -> Self {
        self.respond = self.respond.on_admitted();
        self
    }

    /// Sets the gRPC code of a used up quota: see [`Respond::grpc_quota`].
    pub const fn grpc_quota(mut self, code: GrpcCode) -> Self {
        self.respond = self.respond.grpc_quota(code);
        self
    }

    /// Sets the gRPC code of overload: see [`Respond::grpc_overload`].
    pub const fn grpc_overload(mut self, code: GrpcCode) -> Self {
        self.respond = self.respond.grpc_overload(code);
        self
    }

    /// Returns the names of all fields that this answer writes, for `Access-Control-Expose-Headers`: see
    /// [`Respond::field_names`].
    #[must_use]
    pub fn field_names(&self) -> Vec<HeaderName> {
        self.respond.field_names()
    }

    /// Returns the response in this protocol to a request that was refused, for those who ask a limiter themselves. A call has
    /// an answer without a body, as [`Respond`] gives it.
    #[must_use]
    pub fn refusal_in<C>(&self, protocol: Protocol, rejection: Rejection) -> Response<AnswerBody<C>> {
        match protocol.content_type() {
            None => self.refusal(rejection),
            Some(content_type) => self.respond.refused_call(content_type, rejection),
        }
    }

    /// Returns the HTTP response to a request that was refused, for those who ask a limiter themselves.
    #[must_use]
    pub fn refusal<C>(&self, rejection: Rejection) -> Response<AnswerBody<C>> {
        let body = problem(&rejection);
        let length = HeaderValue::from(body.len());
        let mut response = self.respond.refusal_with(rejection, AnswerBody::own(body), 2);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        response
    }
}

/// Keeps the settings.
impl From<Respond> for RespondWithBody {
    fn from(respond: Respond) -> Self {
        Self { respond }
    }
}

#[diagnostic::do_not_recommend]
impl<B, C, Err> Answer<Request<B>, Response<C>, Err> for RespondWithBody {
    type Context = Protocol;
    type Response = Response<AnswerBody<C>>;
    type Error = Err;

    #[inline]
    fn context(&self, request: &Request<B>) -> Protocol {
        request.into()
    }

    #[inline]
    fn deadline(&self, request: &Request<B>) -> Option<Deadline> {
        deadline(request.into())
    }

    fn refuse(&self, protocol: Protocol, rejection: Rejection) -> Result<Self::Response, Err> {
        Ok(self.refusal_in(protocol, rejection))
    }

    #[inline]
    fn admit(&self, _protocol: Protocol, standing: Option<Standing>, mut response: Response<C>) -> Self::Response {
        self.respond.tell(standing, &mut response);
        response.map(AnswerBody::inner)
    }

    #[inline]
    fn fail(&self, error: Err) -> Err {
        error
    }

    #[inline]
    fn wants_standing(&self) -> bool {
        self.respond.tells_everyone()
    }
}

/// Writes the problem as JSON.
fn problem(rejection: &Rejection) -> Bytes {
    let status = status(rejection.reason);
    let kind = Type::of(rejection.reason);
    let mut json = Vec::with_capacity(384 + rejection.policy.len());
    for part in ["{\"type\":\"", kind.uri(), "\",\"title\":\""] {
        json.extend_from_slice(part.as_bytes());
    }
    json.extend_from_slice(kind.title().or(status.canonical_reason()).unwrap_or_default().as_bytes());
    json.extend_from_slice(b"\",\"status\":");
    push_integer(&mut json, status.as_u16().into());
    for part in [",\"detail\":\"", detail(rejection.reason), "\""] {
        json.extend_from_slice(part.as_bytes());
    }
    if kind.names_policies() {
        json.extend_from_slice(b",\"violated-policies\":[");
        push_json_string(&mut json, &rejection.policy);
        json.push(b']');
    }
    if let Some(millis) = rejection.retry_after_millis().filter(|_| rejection.reason != Reason::CostExceedsLimit) {
        json.extend_from_slice(b",\"retry-after-ms\":");
        push_integer(&mut json, millis);
    }
    json.push(b'}');
    json.into()
}

/// A string as RFC 8259 section 7 wants it: quotes, backslashes and control characters escaped, the rest as UTF-8.
fn push_json_string(json: &mut Vec<u8>, string: &str) {
    json.push(b'"');
    for byte in string.bytes() {
        match byte {
            b'"' | b'\\' => json.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                json.extend_from_slice(b"\\u00");
                json.extend([byte >> 4, byte & 0xf].map(|nibble| HEX[usize::from(nibble)]));
            }
            _ => json.push(byte),
        }
    }
    json.push(b'"');
}

const HEX: [u8; 16] = *b"0123456789abcdef";

/// The type of a problem.
#[derive(Clone, Copy)]
enum Type {
    /// draft-ietf-httpapi-ratelimit-headers-11 section 5.1.
    QuotaExceeded,
    /// Section 5.2.
    TemporaryReducedCapacity,
    /// RFC 9457 section 4.2.1: nothing beyond the status code.
    Blank,
}

impl Type {
    const fn of(reason: Reason) -> Self {
        match reason {
            Reason::RateLimit | Reason::CostExceedsLimit | Reason::ClientConcurrency => Self::QuotaExceeded,
            Reason::MissingKey | Reason::TooManyKeys => Self::Blank,
            _ => Self::TemporaryReducedCapacity,
        }
    }

    const fn uri(self) -> &'static str {
        match self {
            Self::QuotaExceeded => "https://iana.org/assignments/http-problem-types#quota-exceeded",
            Self::TemporaryReducedCapacity => "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            Self::Blank => "about:blank",
        }
    }

    /// As it is to be registered (draft 11 section 10.2).
    const fn title(self) -> Option<&'static str> {
        match self {
            Self::QuotaExceeded => Some("Quota Exceeded"),
            Self::TemporaryReducedCapacity => Some("Temporary Reduced Capacity"),
            Self::Blank => None,
        }
    }

    const fn names_policies(self) -> bool {
        !matches!(self, Self::Blank)
    }
}

/// A sentence for people (RFC 9457 section 3.1.4: what helps the client to correct the problem). It needs no escape.
const fn detail(reason: Reason) -> &'static str {
    match reason {
        Reason::ClientConcurrency => "Too many requests of this client are in progress; this one was not processed.",
        Reason::Concurrency => "Too many requests are in progress; this one was not processed.",
        Reason::CostExceedsLimit => "This request asks for more than the limit ever admits; sending it again does not help.",
        Reason::DeadlineTooNear => "The turn of the request would have come after its deadline; it was not processed.",
        Reason::Draining => "The server is about to stop and takes no new requests.",
        Reason::Evicted => "A newer request took the place in the queue; this one was not processed.",
        Reason::MemoryPressure => "The server is short of memory; the request was not processed.",
        Reason::MissingKey => "The request does not say whose it is, and such requests are refused.",
        Reason::QueueFull => "Too many requests are waiting; this one was not processed.",
        Reason::RateLimit => "The quota is used up; the request was not processed.",
        Reason::SlowConsumer => "The answer was read too slowly.",
        Reason::StoreUnavailable => "The limit cannot be checked at the moment; the request was not processed.",
        Reason::TooManyKeys => "Too many clients are active; the request was not processed.",
        Reason::WaitedTooLong => "The request waited longer than it may; it was not processed.",
        _ => "The server cannot take the request at the moment; it was not processed.",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use backpressure_core::Name;
    use http_body::Body;
    use http_body_util::{BodyExt, Full};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::golden::{REASONS, exceeded, head, ready, standing};

    /// A body without a `Default`.
    type Inner = Full<Bytes>;

    /// Drives the answer as a layer does, and returns everything that goes over the wire.
    fn refuse(respond: RespondWithBody, rejection: Rejection) -> String {
        let response = Answer::<Request<()>, Response<Inner>, Infallible>::refuse(&respond, Protocol::Http, rejection).unwrap();
        let length = response.body().size_hint().exact().unwrap();
        let mut wire = head(&response);
        let body = ready(response.into_body().collect()).unwrap().to_bytes();
        assert_eq!(u64::try_from(body.len()).unwrap(), length);
        wire.push('\n');
        wire.push_str(std::str::from_utf8(&body).unwrap());
        wire
    }

    /// RFC 6585 section 4: the response SHOULD explain the condition; RFC 9457 section 3;
    /// draft-ietf-httpapi-ratelimit-headers-11 section 5.1.
    #[test]
    fn a_used_up_rate_is_a_quota_exceeded() {
        let golden = "\
429 Too Many Requests
retry-after: 5
retry-after-ms: 4200
ratelimit-policy: \"default\";q=100;w=60
ratelimit: \"default\";r=0;t=5
content-type: application/problem+json
content-length: 229

{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\"title\":\"Quota Exceeded\",\"status\":429,\
\"detail\":\"The quota is used up; the request was not processed.\",\"violated-policies\":[\"default\"],\"retry-after-ms\":4200}";
        assert_eq!(refuse(Respond::with_body(), exceeded()), golden);
    }

    /// Draft 11 section 5.2; RFC 9110 section 15.6.4.
    #[test]
    fn overload_is_a_temporary_reduced_capacity() {
        let golden = "\
503 Service Unavailable
content-type: application/problem+json
content-length: 240

{\"type\":\"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity\",\"title\":\"Temporary Reduced Capacity\",\
\"status\":503,\"detail\":\"Too many requests are in progress; this one was not processed.\",\"violated-policies\":[\"orders\"]}";
        assert_eq!(refuse(Respond::with_body(), Rejection::new(Reason::Concurrency, "orders".into())), golden);
    }

    /// RFC 9457 section 4.2.1: the title of `about:blank` is the phrase of the status.
    #[test]
    fn a_missing_key_says_nothing_beyond_its_status() {
        let golden = "\
400 Bad Request
content-type: application/problem+json
content-length: 137

{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"The request does not say whose it is, and such requests are refused.\"}";
        assert_eq!(refuse(Respond::with_body(), Rejection::new(Reason::MissingKey, Name::DEFAULT)), golden);
    }

    /// Draft 11 section 5.1: the requests of the client exceed a policy. No member says when again.
    #[test]
    fn a_cost_above_the_limit_has_no_time_to_come_back() {
        let mut rejection = exceeded();
        rejection.reason = Reason::CostExceedsLimit;
        let golden = "\
429 Too Many Requests
content-type: application/problem+json
content-length: 241

{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\"title\":\"Quota Exceeded\",\"status\":429,\
\"detail\":\"This request asks for more than the limit ever admits; sending it again does not help.\",\"violated-policies\":[\"default\"]}";
        assert_eq!(refuse(Respond::with_body().fields(RateLimitFields::Off), rejection), golden);
    }

    #[test]
    fn every_reason_is_a_problem_whose_status_is_that_of_the_response() {
        for reason in REASONS {
            let json: Value = serde_json::from_slice(&problem(&Rejection::new(reason, Name::DEFAULT))).unwrap();
            assert_eq!(json["status"], status(reason).as_u16(), "{reason}");
            assert_eq!(json["type"] == "about:blank", json.get("violated-policies").is_none(), "{reason}");
            assert!(json["detail"].as_str().unwrap().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn settings_survive_the_change_to_a_body() {
        let plain = Respond::new().fields(RateLimitFields::Draft7).on_admitted();
        let built = Respond::with_body().fields(RateLimitFields::Draft7).on_admitted();
        for answer in [plain.into(), built] {
            assert!(Answer::<Request<()>, Response<Inner>, Infallible>::wants_standing(&answer));
            assert!(refuse(answer, exceeded()).contains("\nratelimit: limit=100, remaining=0, reset=5\n"));
        }
    }

    #[test]
    fn admitted_bodies_pass_with_the_fields_of_the_plain_answer() {
        let answer = Respond::with_body().on_admitted();
        let inner = Response::new(Full::new(Bytes::from("hello")));
        let response =
            Answer::<Request<()>, Response<Inner>, Infallible>::admit(&answer, Protocol::Http, Some(standing()), inner);
        assert_eq!(head(&response), "200 OK\nratelimit-policy: \"default\";q=100;w=60\nratelimit: \"default\";r=42;t=31\n");
        assert_eq!(ready(response.into_body().collect()).unwrap().to_bytes(), "hello");
    }

    proptest! {
        #[test]
        fn whatever_a_policy_is_called_the_body_is_json_that_says_so(name: String, wait: Option<u64>) {
            let mut rejection = Rejection::new(Reason::RateLimit, Name::from(name.clone()));
            rejection.retry_after = wait.map(Duration::from_nanos);
            let json: Value = serde_json::from_slice(&problem(&rejection)).unwrap();
            prop_assert_eq!(&json["violated-policies"], &Value::from(vec![name]));
            prop_assert_eq!(json["retry-after-ms"].as_u64(), rejection.retry_after_millis());
        }
    }
}
