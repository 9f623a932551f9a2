//! Answers: refusals as HTTP responses, rate-limit header fields and client keys.
//!
//! What a layer needs to know of HTTP: from the request [whose it is](key) and [what it costs](Read), and for the response what
//! a refused client is told
//! ([`Respond`], [`RespondWithBody`]). Most users meet it through the layers of `tower-backpressure`. Use it directly to write a
//! layer, or in a handler that asks a
//! limiter itself. Services that do not speak HTTP answer with `Fail`, `Wrap` or `answer_with` of `backpressure-core`.
//!
//! # What the caller sees
//!
//! By default an empty body and everything that a client needs in order to wait:
//!
//! ```
//! use backpressure_core::{Name, Policy, Quota, Reason, Rejection};
//! use backpressure_http::Respond;
//! use http::Response;
//! use std::time::Duration;
//!
//! // What a limiter of 100 a minute says when they are used up and the next comes in 4.2 s.
//! let policy = Policy { limit: 100, window: Duration::from_secs(60) };
//! let quota = Quota { policy, remaining: 0, reset_after: Duration::from_secs(30) };
//! let rejection = Rejection::new(Reason::RateLimit, Name::DEFAULT).retry_after(Duration::from_millis(4_200)).quota(quota);
//!
//! let response: Response<String> = Respond::new().refusal(rejection);
//! assert_eq!(wire(&response), "\
//! HTTP/1.1 429 Too Many Requests
//! retry-after: 5
//! retry-after-ms: 4200
//! ratelimit-policy: \"default\";q=100;w=60
//! ratelimit: \"default\";r=0;t=5
//! ");
//! # fn wire<B>(response: &Response<B>) -> String {
//! #     let mut text = format!("{:?} {}\n", response.version(), response.status());
//! #     for (name, value) in response.headers() {
//! #         text += &format!("{name}: {}\n", value.to_str().unwrap());
//! #     }
//! #     text
//! # }
//! ```
//!
//! Overload looks the same with 503 and without a quota. Configured, for clients that read the older fields and a body that says
//! why:
//!
//! ```
//! use backpressure_core::{Reason, Rejection};
//! use backpressure_http::{AnswerBody, RateLimitFields, Respond};
//! use http::{Response, StatusCode};
//! use http_body_util::{BodyExt, Empty};
//! # use bytes::Bytes;
//!
//! let answer = Respond::with_body().fields(RateLimitFields::Legacy).on_admitted();
//! let overloaded = Rejection::new(Reason::QueueFull, "orders".into());
//!
//! let response: Response<AnswerBody<Empty<Bytes>>> = answer.refusal(overloaded);
//! assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(response.headers()["content-type"], "application/problem+json");
//! # let body = std::pin::pin!(response.into_body().collect());
//! # let std::task::Poll::Ready(body) = body.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) else { panic!() };
//! # let body = body?.to_bytes();
//! assert_eq!(body, r##"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Temporary Reduced Capacity","status":503,"detail":"Too many requests are waiting; this one was not processed.","violated-policies":["orders"]}"##);
//! # Ok::<_, std::convert::Infallible>(())
//! ```
//!
//! Names of fields are in lower case, as HTTP/2 wants them and HTTP/1.1 allows.
//!
//! # Whose request, and at what cost
//!
//! Closures take a [`Head`], so that they need no annotations; see [`key`] for all keys.
//!
//! ```
//! use backpressure_http::key::{self, Key};
//! use backpressure_http::{Read, from_head};
//! use http::{Method, Request};
//!
//! let client = (key::header("x-api-key"), key::from_head(|head| Some(head.method.clone())));
//! let cost = from_head(|head| if head.uri.path().starts_with("/search") { 10 } else { 1 });
//!
//! let request = Request::get("/search?q=rust").header("x-api-key", "k1").body(())?;
//! assert_eq!(client.key(&request), Some(("k1".parse()?, Method::GET)));
//! assert_eq!(cost.read(&request), 10);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Hazards
//!
//! - **Caches.** A 429 must not be stored by a cache (RFC 6585 section 4), and 400 and 503 are not stored unless something says
//!   so (RFC 9110
//!   section 15.1): so no `Cache-Control` is set. Do not let a layer outside put one on every response. For admitted responses
//!   see
//!   [`on_admitted`](Respond::on_admitted).
//! - **Herds.** Who is refused at the same time by a limit that all share is told the same time, and comes back at the same
//!   time; so does everybody at the end of
//!   a fixed window (draft 11 section 8.5). The times here are exact, without jitter, because an exact time is a promise that
//!   can be tested. Clients should
//!   add a random part on top of `Retry-After`; a limit for each client, or one that slides, spreads them by itself.
//! - **Telling strangers.** The fields say how large a limit is and how much of it is left. Where it is shared, each client
//!   learns how busy the
//!   others are (draft 11 section 8.2): [`RateLimitFields::Off`] keeps that back and still tells when to come again.
//! - **Rounding.** Seconds are rounded up: who waits for `Retry-After` waits up to a second longer than necessary, which is ten
//!   times too long where the next
//!   request would be admitted after 100 ms. `Retry-After-Ms` is there for that; it is no standard, though several client
//!   libraries read it.
//! - **Invented keys.** See the [hazards of keys](key#hazards).
//!
//! ## Browsers
//!
//! A script of another origin sees the status and the body of a refusal only if the refusal carries the fields of CORS, and of
//! its other fields those alone that `Access-Control-Expose-Headers` names. So the limit goes *inside* the layer of CORS, and
//! that exposes [`Respond::field_names`]:
//!
//! ```
//! use axum::{Router, routing::get};
//! use backpressure_http::Respond;
//! use tower_http::{cors::{Any, CorsLayer}, trace::TraceLayer};
//! # let limit = tower::layer::util::Identity::new();
//!
//! let cors = CorsLayer::new().allow_origin(Any).expose_headers(Respond::new().field_names());
//! // A layer that is added later is further outside.
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(limit).layer(cors).layer(TraceLayer::new_for_http());
//! # let _ = app;
//! ```
//!
//! Preflights are then answered in front of the limit and cost nothing. With the limit outside they are counted, a refused one
//! fails whatever its fields say (Fetch Standard, "CORS-preflight fetch": the status must be ok), and the script learns of every
//! refusal only that the network failed. To skip `OPTIONS` there helps the preflights, not the refusals.
//!
//! Tracing goes outside of both, or it sees no refusal. `TraceLayer` takes a 429 for a success and a 503 for a failure; its
//! `on_response` finds the `Rejection` in the extensions.
//!
//! ## Uploads
//!
//! A refusal does not wait for the body of its request, and nobody reads that body to the end: a refused upload of any size
//! occupies a buffer of the host and nothing else. What its client sees is up to the host; under hyper 1, and so axum and tonic:
//!
//! | the request | the client | the connection |
//! |---|---|---|
//! | HTTP/1.1, a body that came together with the head | gets the refusal | stays |
//! | HTTP/1.1 with `Expect: 100-continue` | gets the refusal at once, and no `100 Continue`; it never sends the body | closes |
//! | HTTP/1.1, a body still on its way | gets the refusal if it reads while it writes, or fits into the buffers of both kernels | closes |
//! | HTTP/2 | gets the refusal, then `RST_STREAM(NO_ERROR)` (RFC 9113 section 8.1) | stays |
//!
//! The third row is a hazard. The connection closes without `Connection: close` while the client still writes, so that a client
//! that writes everything before it reads sees a broken pipe in place of the refusal, and tends to try again at once; some
//! systems drop an answer that has arrived already when the reset comes (RFC 9112 section 9.6). Of those tried on 8 MiB, curl
//! 7.88 gets the refusal, `http.client` of Python 3.11 and `fetch` of Node.js 20 do not. Where such clients upload more than a
//! few hundred kilobytes, let them speak HTTP/2 or send `Expect: 100-continue`, or put a proxy in front that buffers requests.
//! Over HTTP/2 it is the other way round: Node.js gets the refusal, and curl 7.88 reports a stream error in its place.

#[cfg(test)]
mod golden;

mod body;
mod deadline;
mod fields;
mod grpc;
mod guarded;
mod head;
mod health;
pub mod key;
mod missing_key;
mod problem;
mod protocol;
mod read;
mod respond;

pub use body::AnswerBody;
pub use deadline::deadline;
pub use fields::RateLimitFields;
pub use grpc::GrpcCode;
pub use guarded::Guarded;
pub use head::Head;
pub use health::health_check;
pub use missing_key::MissingKey;
pub use problem::RespondWithBody;
pub use protocol::Protocol;
pub use read::{Constant, FromHead, FromRequest, Read, from_head, from_request};
pub use respond::Respond;
