//! Answers over HTTP.

use backpressure_core::{Answer, Deadline, Reason, Rejection, Standing};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::grpc::{self, GrpcCode, GrpcCodes};
use crate::{Protocol, RateLimitFields, RespondWithBody, deadline};

/// Answers a refusal in the protocol of its caller, with header fields and an empty body.
///
/// | reason | HTTP | gRPC | when to come back |
/// |---|---|---|---|
/// | [`RateLimit`](Reason::RateLimit), [`TooManyKeys`](Reason::TooManyKeys), [`ClientConcurrency`](Reason::ClientConcurrency) | 429 | `RESOURCE_EXHAUSTED` | where it is known |
/// | [`CostExceedsLimit`](Reason::CostExceedsLimit) | 429 | `RESOURCE_EXHAUSTED` | never: waiting does not help |
/// | [`MissingKey`](Reason::MissingKey) | 400 | `INVALID_ARGUMENT` | never: the same request will not succeed |
/// | all others | 503 | `UNAVAILABLE` | where it is known |
///
/// # HTTP
///
/// The fields are `Retry-After` in whole seconds, rounded up and never 0 (RFC 9110 section 10.2.3), so that a client which obeys
/// is never early;
/// `Retry-After-Ms`, which is no standard, for clients that can do better than a second; and the quota in the form of
/// [`RateLimitFields`] where the limit counts. The [`Rejection`] itself is in the extensions of the response, for the layers
/// outside: logs, metrics, pages.
///
/// # gRPC
///
/// To a call, which its content type [tells](Protocol), an HTTP status would say nothing of this: the client would see
/// `UNAVAILABLE`. It gets HTTP 200 with the answer in the header fields (Trailers-Only): `grpc-status`; `grpc-message`, percent-encoded;
/// `grpc-retry-pushback-ms` (gRFC A6), which clients with a retry policy obey, in whole milliseconds rounded up, and -1 where
/// waiting does not help or takes more than 24 days; and with the feature `grpc` also `grpc-status-details-bin`, a
/// `google.rpc.Status` with a `RetryInfo`, exact to the nanosecond, and for a rate or a cost a `QuotaFailure` that names the
/// policy. None of the HTTP fields is there: gRPC clients do not look for them. gRPC-Web gets the same fields, which a script of
/// another origin reads where [they are exposed](Self::field_names).
///
/// # Types
///
/// Keeps the types of response and error that the service has. The body of a refusal is `Default::default()`; where the body
/// type has none (hyper's `Incoming`), or
/// clients want to read why, use [`with_body`](Self::with_body).
///
/// # Memory
///
/// A refusal makes seven small allocations: two for the values of all fields, two for the map that they are in, three for the
/// extension. It takes about 3 300
/// instructions, half of which are those of the map and the extension whatever is written.
///
/// # Examples
///
/// In a handler that asks a limiter itself:
///
/// ```
/// use backpressure_core::{Name, Reason, Rejection};
/// use backpressure_http::Respond;
/// use http::{Response, StatusCode};
/// use std::time::Duration;
///
/// let rejection = Rejection::new(Reason::RateLimit, Name::DEFAULT).retry_after(Duration::from_millis(1_200));
/// let response: Response<String> = Respond::new().refusal(rejection.clone());
/// assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert_eq!(response.headers()["retry-after"], "2");
/// assert_eq!(response.headers()["retry-after-ms"], "1200");
/// assert_eq!(response.extensions().get(), Some(&rejection));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "an answer does nothing until a layer has it"]
pub struct Respond {
    fields: RateLimitFields,
    tells: Tells,
    codes: GrpcCodes,
}

/// Who is told a quota.
#[derive(Clone, Copy, Debug, Default)]
enum Tells {
    #[default]
    Refused,
    Everyone,
}

impl Respond {
    /// Makes the default answer: [`RateLimitFields::Draft11`], on refusals only, no body.
    pub const fn new() -> Self {
        Self { fields: RateLimitFields::Draft11, tells: Tells::Refused, codes: GrpcCodes::DEFAULT }
    }

    /// Makes an answer that says in its body why: `application/problem+json`. [`RespondWithBody`] has the same settings.
    pub const fn with_body() -> RespondWithBody {
        RespondWithBody::new()
    }

    /// Sets in which form clients are told their quota. `Retry-After` and `Retry-After-Ms` are told in any case.
    pub const fn fields(mut self, fields: RateLimitFields) -> Self {
        self.fields = fields;
        self
    }

    /// Tells the quota to admitted clients too, so that they can slow down before they are refused.
    ///
    /// Costs two header fields on each response: about 2 000 instructions where the response has no other fields. A response
    /// that has one of the fields already
    /// keeps those that it has and gets none: what the service, or a limit further inside, says of itself stands.
    ///
    /// Not for responses that a shared cache may store: it would tell one client the quota of another (clients are to ignore the
    /// fields on responses from a
    /// cache, draft 11 section 7.3). Mind redirections: at `r=0` a client may wait before it follows them (section 6).
    pub const fn on_admitted(mut self) -> Self {
        self.tells = Tells::Everyone;
        self
    }

    /// Sets the gRPC code of a used up quota. `RESOURCE_EXHAUSTED` without it.
    pub const fn grpc_quota(mut self, code: GrpcCode) -> Self {
        self.codes.quota = code;
        self
    }

    /// Sets the gRPC code of overload. `UNAVAILABLE` without it, which most clients send again by themselves.
    pub const fn grpc_overload(mut self, code: GrpcCode) -> Self {
        self.codes.overload = code;
        self
    }

    /// Returns the names of all fields that this answer writes in any protocol, for `Access-Control-Expose-Headers`.
    ///
    /// A script of another origin reads those and no others (and `Content-Type`, which every script may read and which is not
    /// among them). See [Browsers](crate#browsers) for where the layer of CORS belongs.
    ///
    /// # Examples
    ///
    /// ```
    /// use backpressure_http::Respond;
    /// use tower_http::cors::{Any, CorsLayer};
    ///
    /// let answer = Respond::new().on_admitted();
    /// let cors = CorsLayer::new().allow_origin(Any).expose_headers(answer.field_names());
    /// # let _ = cors;
    /// ```
    #[must_use]
    pub fn field_names(&self) -> Vec<HeaderName> {
        self.fields.of_answers().chain(grpc::field_names()).collect()
    }

    /// Returns the HTTP response to a request that was refused, for those who ask a limiter themselves.
    #[must_use]
    pub fn refusal<C: Default>(&self, rejection: Rejection) -> Response<C> {
        self.refusal_in(Protocol::Http, rejection)
    }

    /// Returns the response in this protocol to a request that was refused, for those who ask a limiter themselves.
    #[must_use]
    pub fn refusal_in<C: Default>(&self, protocol: Protocol, rejection: Rejection) -> Response<C> {
        match protocol.content_type() {
            None => self.refusal_with(rejection, C::default(), 0),
            Some(content_type) => self.refused_call(content_type, rejection),
        }
    }

    /// Returns the answer to a call. It has no body, so that the host ends the stream with the fields.
    pub(crate) fn refused_call<C: Default>(self, content_type: HeaderValue, rejection: Rejection) -> Response<C> {
        let mut response = Response::new(C::default());
        *response.headers_mut() = self.codes.trailers_only(content_type, &rejection);
        response.extensions_mut().insert(rejection);
        response
    }

    /// Returns the HTTP refusal with this body and room for `more` header fields.
    pub(crate) fn refusal_with<C>(self, rejection: Rejection, body: C, more: usize) -> Response<C> {
        let mut response = Response::new(body);
        *response.status_mut() = status(rejection.reason);
        *response.headers_mut() = self.fields.of_refusal(&rejection, more);
        response.extensions_mut().insert(rejection);
        response
    }

    /// Adds to an admitted response what its client is to know.
    #[inline]
    pub(crate) fn tell<C>(self, standing: Option<Standing>, response: &mut Response<C>) {
        if let (Tells::Everyone, Some(standing)) = (self.tells, standing) {
            self.fields.tell(&standing, response.headers_mut());
        }
    }

    pub(crate) const fn tells_everyone(self) -> bool {
        matches!(self.tells, Tells::Everyone) && !matches!(self.fields, RateLimitFields::Off)
    }
}

#[diagnostic::do_not_recommend]
impl<B, C: Default, Err> Answer<Request<B>, Response<C>, Err> for Respond {
    type Context = Protocol;
    type Response = Response<C>;
    type Error = Err;

    #[inline]
    fn context(&self, request: &Request<B>) -> Protocol {
        request.into()
    }

    #[inline]
    fn deadline(&self, request: &Request<B>) -> Option<Deadline> {
        deadline(request.into())
    }

    fn refuse(&self, protocol: Protocol, rejection: Rejection) -> Result<Response<C>, Err> {
        Ok(self.refusal_in(protocol, rejection))
    }

    #[inline]
    fn admit(&self, _protocol: Protocol, standing: Option<Standing>, mut response: Response<C>) -> Response<C> {
        self.tell(standing, &mut response);
        response
    }

    #[inline]
    fn fail(&self, error: Err) -> Err {
        error
    }

    #[inline]
    fn wants_standing(&self) -> bool {
        self.tells_everyone()
    }
}

/// RFC 6585 section 4 for clients that ask too much, RFC 9110 section 15.6.4 for a server that can do no more.
pub(crate) const fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::RateLimit | Reason::TooManyKeys | Reason::CostExceedsLimit | Reason::ClientConcurrency => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Reason::MissingKey => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;
    use std::time::Duration;

    use http::header;

    use super::*;
    use crate::AnswerBody;
    use crate::golden::{REASONS, exceeded, head, standing};

    /// Drives the answer as a layer does.
    fn refuse(respond: Respond, rejection: Rejection) -> Response<String> {
        Answer::<Request<()>, Response<String>, Infallible>::refuse(&respond, Protocol::Http, rejection).unwrap()
    }

    fn admit(respond: Respond, response: Response<String>) -> Response<String> {
        Answer::<Request<()>, Response<String>, Infallible>::admit(&respond, Protocol::Http, Some(standing()), response)
    }

    fn wants_standing(respond: Respond) -> bool {
        Answer::<Request<()>, Response<String>, Infallible>::wants_standing(&respond)
    }

    /// RFC 6585 section 4 (status), RFC 9110 section 10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers-11 sections 3
    /// and 4 (fields) and 6
    /// (Retry-After not earlier than `t`).
    #[test]
    fn a_used_up_rate_is_answered_with_429() {
        let golden = "\
429 Too Many Requests
retry-after: 5
retry-after-ms: 4200
ratelimit-policy: \"default\";q=100;w=60
ratelimit: \"default\";r=0;t=5
";
        assert_eq!(head(&refuse(Respond::new(), exceeded())), golden);
        assert_eq!(head(&refuse(Respond::new().fields(RateLimitFields::Draft11).on_admitted(), exceeded())), golden);
    }

    /// draft-ietf-httpapi-ratelimit-headers-07 sections 3.1 and 3.5.
    #[test]
    fn draft_7_is_a_dictionary_without_the_name() {
        let golden = "\
429 Too Many Requests
retry-after: 5
retry-after-ms: 4200
ratelimit-policy: 100;w=60
ratelimit: limit=100, remaining=0, reset=5
";
        assert_eq!(head(&refuse(Respond::new().fields(RateLimitFields::Draft7), exceeded())), golden);
    }

    /// No specification: in the units of [`RateLimitFields::Legacy`], beside the `Retry-After` of RFC 9110 section 10.2.3.
    #[test]
    fn legacy_fields_are_three_integers() {
        let golden = "\
429 Too Many Requests
retry-after: 5
retry-after-ms: 4200
x-ratelimit-limit: 100
x-ratelimit-remaining: 0
x-ratelimit-reset: 5
";
        assert_eq!(head(&refuse(Respond::new().fields(RateLimitFields::Legacy), exceeded())), golden);
    }

    /// RFC 9110 section 10.2.3.
    #[test]
    fn without_fields_the_client_is_still_told_when_to_come_back() {
        let golden = "\
429 Too Many Requests
retry-after: 5
retry-after-ms: 4200
";
        assert_eq!(head(&refuse(Respond::new().fields(RateLimitFields::Off), exceeded())), golden);
    }

    /// RFC 6585 section 4: Retry-After is a MAY; here it would be a lie. `t` is the time to the whole limit.
    #[test]
    fn a_cost_above_the_limit_is_429_and_never_comes_back() {
        let mut rejection = exceeded();
        rejection.reason = Reason::CostExceedsLimit;
        let golden = "\
429 Too Many Requests
ratelimit-policy: \"default\";q=100;w=60
ratelimit: \"default\";r=0;t=31
";
        assert_eq!(head(&refuse(Respond::new(), rejection.clone())), golden);
        rejection.retry_after = None;
        assert_eq!(head(&refuse(Respond::new(), rejection)), golden);
    }

    /// RFC 9110 section 15.5.1: the same request will not succeed.
    #[test]
    fn a_missing_key_is_the_mistake_of_the_client() {
        let rejection = Rejection::new(Reason::MissingKey, "default".into());
        assert_eq!(head(&refuse(Respond::new(), rejection)), "400 Bad Request\n");
    }

    /// RFC 9110 section 15.6.4: MAY send Retry-After.
    #[test]
    fn overload_is_503_with_a_time_where_one_is_known() {
        let rejection = Rejection::new(Reason::Concurrency, "default".into());
        assert_eq!(head(&refuse(Respond::new(), rejection.clone())), "503 Service Unavailable\n");
        let golden = "503 Service Unavailable\nretry-after: 1\nretry-after-ms: 250\n";
        assert_eq!(head(&refuse(Respond::new(), rejection.retry_after(Duration::from_millis(250)))), golden);
    }

    #[test]
    fn every_reason_has_a_status() {
        let statuses: Vec<u16> = REASONS.iter().map(|reason| status(*reason).as_u16()).collect();
        assert_eq!(statuses, [429, 503, 429, 503, 503, 503, 503, 400, 503, 429, 503, 503, 429, 503]);
    }

    #[test]
    fn the_rejection_is_in_the_extensions_and_the_body_is_empty() {
        let response = refuse(Respond::new(), exceeded());
        assert_eq!(response.extensions().get(), Some(&exceeded()));
        assert_eq!(response.body(), "");
    }

    #[test]
    fn admitted_responses_are_untouched_unless_asked_for() {
        for respond in [Respond::new(), Respond::new().fields(RateLimitFields::Off).on_admitted()] {
            assert!(!wants_standing(respond));
            let response = admit(respond, Response::new("body".to_owned()));
            assert_eq!((head(&response).as_str(), response.body().as_str()), ("200 OK\n", "body"));
        }
    }

    /// draft-ietf-httpapi-ratelimit-headers-11 section 6: independently of the status code. `t` is 30.5 s, rounded up.
    #[test]
    fn admitted_clients_are_told_where_they_stand() {
        let respond = Respond::new().on_admitted();
        assert!(wants_standing(respond));
        let fields = |form| head(&admit(respond.fields(form), Response::new(String::new())));
        assert_eq!(
            fields(RateLimitFields::Draft11),
            "200 OK\nratelimit-policy: \"default\";q=100;w=60\nratelimit: \"default\";r=42;t=31\n"
        );
        assert_eq!(
            fields(RateLimitFields::Draft7),
            "200 OK\nratelimit-policy: 100;w=60\nratelimit: limit=100, remaining=42, reset=31\n"
        );
        assert_eq!(
            fields(RateLimitFields::Legacy),
            "200 OK\nx-ratelimit-limit: 100\nx-ratelimit-remaining: 42\nx-ratelimit-reset: 31\n"
        );
    }

    #[test]
    fn what_the_service_says_of_itself_stands() {
        for (form, name) in [(RateLimitFields::Draft11, "ratelimit"), (RateLimitFields::Legacy, "x-ratelimit-reset")] {
            let mut response = Response::new(String::new());
            response.headers_mut().insert(name, HeaderValue::from_static("theirs"));
            let response = admit(Respond::new().fields(form).on_admitted(), response);
            assert_eq!(head(&response), format!("200 OK\n{name}: theirs\n"));
        }
    }

    #[test]
    fn a_refusal_further_inside_keeps_its_own_fields() {
        let inner = refuse(Respond::new(), exceeded());
        let before = head(&inner);
        assert_eq!(head(&admit(Respond::new().on_admitted(), inner)), before);
    }

    /// Fetch Standard, "CORS-safelisted response-header name": a script may read `Content-Type` and `Content-Length` in any case.
    #[test]
    fn the_names_of_the_fields_are_those_that_some_answer_has() {
        for form in [RateLimitFields::Draft11, RateLimitFields::Draft7, RateLimitFields::Legacy, RateLimitFields::Off] {
            let with_body = Respond::with_body().fields(form);
            let mut written = HashSet::new();
            for protocol in [Protocol::Http, Protocol::Grpc, Protocol::GrpcWeb, Protocol::GrpcWebText] {
                for reason in REASONS {
                    let mut rejection = exceeded();
                    rejection.reason = reason;
                    let response: Response<AnswerBody<String>> = with_body.refusal_in(protocol, rejection);
                    written.extend(response.headers().keys().cloned());
                }
            }
            written.retain(|name| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH);
            for names in [Respond::new().fields(form).field_names(), with_body.field_names()] {
                assert_eq!(names.len(), written.len(), "{form:?}: each once");
                assert_eq!(HashSet::from_iter(names), written, "{form:?}");
            }
        }
    }

    #[test]
    fn errors_of_the_service_pass_through() {
        assert_eq!(Answer::<Request<()>, Response<()>, u8>::fail(&Respond::new(), 7), 7);
    }
}
