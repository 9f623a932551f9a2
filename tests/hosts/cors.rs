//! Where a limit goes among the layers of CORS and tracing, and what a script of another origin can read of a refusal.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use tower::ServiceExt;
use tower_backpressure::{Rate, RateLimitFields, RateLimitLayer, Reason, Rejection, Respond, TokenBucket};
use tower_http::cors::{Any, CorsLayer};
use tower_http::trace::{DefaultMakeSpan, DefaultOnRequest, HttpMakeClassifier, OnResponse, TraceLayer};
use tracing::Span;

fn one_a_day() -> RateLimitLayer<tower_backpressure::Single<TokenBucket>> {
    RateLimitLayer::new(TokenBucket::new(Rate::per_day(1)))
}

fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).expose_headers(Respond::new().field_names())
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn send(router: &Router, method: Method) -> Response<Body> {
    let request = Request::builder().method(method).uri("/").header(header::ORIGIN, "https://elsewhere.example");
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// The fields that a script of another origin may read: none, unless the response is shared with it.
fn readable(response: &Response<Body>) -> Vec<HeaderName> {
    if !response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return Vec::new();
    }
    let exposed = response.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
    exposed.split(',').map(|name| name.trim().parse().unwrap()).filter(|name| response.headers().contains_key(name)).collect()
}

#[tokio::test]
async fn a_limit_inside_cors_shares_its_refusals_with_scripts() {
    let router = hello().layer(one_a_day()).layer(cors());
    assert_eq!(send(&router, Method::GET).await.status(), 200);
    let refused = send(&router, Method::GET).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(readable(&refused), ["retry-after", "retry-after-ms", "ratelimit-policy", "ratelimit"]);
}

#[tokio::test]
async fn preflights_cost_nothing_inside_cors_and_are_never_refused() {
    let router = hello().layer(one_a_day()).layer(cors());
    for _ in 0..3 {
        assert_eq!(send(&router, Method::OPTIONS).await.status(), 200);
    }
    assert_eq!(send(&router, Method::GET).await.status(), 200);
    assert_eq!(send(&router, Method::GET).await.status(), 429);
    assert_eq!(send(&router, Method::OPTIONS).await.status(), 200);
}

#[tokio::test]
async fn a_limit_outside_cors_counts_preflights_and_hides_its_refusals() {
    let router = hello().layer(cors()).layer(one_a_day());
    assert_eq!(send(&router, Method::OPTIONS).await.status(), 200);
    for method in [Method::OPTIONS, Method::GET] {
        let refused = send(&router, method).await;
        assert_eq!((refused.status().as_u16(), readable(&refused)), (429, vec![]));
    }

    // To skip preflights makes room for the request after them; the refusal stays hidden.
    let router = hello().layer(cors()).layer(one_a_day().skip(|head| head.method == Method::OPTIONS));
    for (method, status) in [(Method::OPTIONS, 200), (Method::GET, 200), (Method::OPTIONS, 200), (Method::GET, 429)] {
        assert_eq!(send(&router, method).await.status(), status);
    }
    assert_eq!(readable(&send(&router, Method::GET).await), [] as [HeaderName; 0]);
}

#[tokio::test]
async fn a_script_reads_the_quota_of_admitted_requests_too() {
    let answer = Respond::new().fields(RateLimitFields::Legacy).on_admitted();
    let cors = CorsLayer::new().allow_origin(Any).expose_headers(answer.field_names());
    let router = hello().layer(one_a_day().answer(answer)).layer(cors);
    assert_eq!(readable(&send(&router, Method::GET).await), ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]);
}

#[tokio::test]
async fn a_script_reads_a_refusal_of_grpc_web() {
    let router = hello().layer(one_a_day()).layer(cors());
    assert_eq!(send(&router, Method::GET).await.status(), 200);
    let call = Request::post("/").header(header::CONTENT_TYPE, "application/grpc-web");
    let refused = router.oneshot(call.body(Body::empty()).unwrap()).await.unwrap();
    let read = readable(&refused);
    assert_eq!(read[..3], ["grpc-status", "grpc-message", "grpc-retry-pushback-ms"]);
    // All that was written, whichever features are on.
    let written = refused.headers().keys().filter(|name| name.as_str().starts_with("grpc-")).count();
    assert_eq!(read.len(), written);
}

/// What a trace has seen of each response: its status, and why it was refused.
type Seen = Arc<Mutex<Vec<(StatusCode, Option<Reason>)>>>;

/// A trace that notes what it sees.
fn trace(seen: Seen) -> TraceLayer<HttpMakeClassifier, DefaultMakeSpan, DefaultOnRequest, impl OnResponse<Body> + Clone> {
    TraceLayer::new_for_http().on_response(move |response: &Response<Body>, _: Duration, _: &Span| {
        let reason = response.extensions().get().map(|rejection: &Rejection| rejection.reason);
        seen.lock().unwrap().push((response.status(), reason));
    })
}

#[tokio::test]
async fn a_trace_outside_sees_refusals_and_one_inside_does_not() {
    let (inside, outside) = (Seen::default(), Seen::default());
    let router = hello().layer(trace(inside.clone())).layer(one_a_day()).layer(cors()).layer(trace(outside.clone()));
    for expected in [200, 429] {
        assert_eq!(send(&router, Method::GET).await.status(), expected);
    }
    assert_eq!(*inside.lock().unwrap(), [(StatusCode::OK, None)]);
    let refused = (StatusCode::TOO_MANY_REQUESTS, Some(Reason::RateLimit));
    assert_eq!(*outside.lock().unwrap(), [(StatusCode::OK, None), refused]);
}
