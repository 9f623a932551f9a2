//! axum: the layer is applied once a route, once a method and, under `axum::serve(listener, router)`, once a connection.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use backpressure_examples::Client;
use http::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_backpressure::{
    FixedWindow, LeakyBucket, MissingKey, Rate, RateLimitLayer, Reason, Rejection, TokenBucket, TokioClock, key,
};

/// One request a day for everybody.
fn one_a_day() -> TokenBucket {
    TokenBucket::new(Rate::per_day(1))
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn status(router: &Router, method: Method, path: &str) -> StatusCode {
    send(router, Request::builder().method(method).uri(path)).await.status()
}

async fn send(router: &Router, request: http::request::Builder) -> Response<Body> {
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_limit_of_one_stays_one_across_connections() {
    let router = Router::new().route("/", get(async || "hello")).layer(RateLimitLayer::new(one_a_day()));
    let server = serve(router).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        // A client of its own: a connection of its own.
        statuses.push(Client::new(server).get("/", "").await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 429, 429]);
}

#[tokio::test]
async fn a_limit_of_one_stays_one_across_routes_and_methods() {
    let hello = get(async || "hello").post(async || "hello");
    let whole = Router::new().route("/a", hello.clone()).route("/b", hello.clone()).layer(RateLimitLayer::new(one_a_day()));
    assert_eq!(status(&whole, Method::GET, "/a").await, 200);
    for (method, path) in [(Method::POST, "/a"), (Method::GET, "/b"), (Method::POST, "/b"), (Method::GET, "/missing")] {
        assert_eq!(status(&whole, method.clone(), path).await, 429, "{method} {path}");
    }

    let layer = RateLimitLayer::new(one_a_day());
    let each = Router::new().route("/a", hello.clone().layer(layer.clone())).route("/b", hello.layer(layer));
    assert_eq!(status(&each, Method::POST, "/b").await, 200);
    for (method, path) in [(Method::GET, "/b"), (Method::GET, "/a"), (Method::POST, "/a")] {
        assert_eq!(status(&each, method.clone(), path).await, 429, "{method} {path}");
    }
}

#[tokio::test]
async fn each_peer_has_its_own_limit_with_connect_info_and_all_share_one_without() {
    let per_peer = || RateLimitLayer::new(one_a_day()).keyed(key::extension(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()));
    let layer = per_peer();
    let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let from = |last| Request::get("/").extension(ConnectInfo(SocketAddr::from(([10, 0, 0, last], 1))));
    assert_eq!(send(&router, from(1)).await.status(), 200);
    assert_eq!(send(&router, from(2)).await.status(), 200);
    assert_eq!(send(&router, from(1)).await.status(), 429);
    assert_eq!((layer.limiter().len(), layer.warnings().without_key), (2, 0));

    for (missing, statuses) in
        [(MissingKey::Share, [200, 429, 429]), (MissingKey::Refuse, [400, 400, 400]), (MissingKey::Skip, [200, 200, 200])]
    {
        let layer = per_peer().missing(missing);
        let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
        for expected in statuses {
            assert_eq!(status(&router, Method::GET, "/").await, expected, "{missing:?}");
        }
        assert_eq!(layer.warnings().without_key, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn paused_time_drives_the_whole_stack() {
    let per_minute = FixedWindow::new(Rate::per_minute(2));
    let router =
        Router::new().route("/", get(async || "hello")).layer(RateLimitLayer::new(per_minute).clock(TokioClock::default()));
    for _ in 0..3 {
        assert_eq!(status(&router, Method::GET, "/").await, 200);
        assert_eq!(status(&router, Method::GET, "/").await, 200);
        let refused = send(&router, Request::get("/")).await;
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"60".parse().unwrap()));
        let rejection = refused.extensions().get::<Rejection>().unwrap();
        assert_eq!((rejection.reason, rejection.retry_after), (Reason::RateLimit, Some(Duration::from_secs(60))));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(status(&router, Method::GET, "/").await, 429);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaky_bucket_paces_a_route_and_refuses_who_finds_the_queue_full() {
    let leaky = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(10)).queue(3)).clock(TokioClock::default());
    let router = Router::new().route("/", get(async || "hello")).layer(leaky);
    let began = tokio::time::Instant::now();
    let sent: Vec<_> = (0..6)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { (status(&router, Method::GET, "/").await.as_u16(), began.elapsed().as_millis()) })
        })
        .collect();
    let mut answers = Vec::new();
    for request in sent {
        answers.push(request.await.unwrap());
    }
    assert_eq!(answers, [(200, 0), (200, 100), (200, 200), (200, 300), (429, 0), (429, 0)]);
}

#[tokio::test]
async fn health_checks_and_preflights_pass_at_the_limit_and_are_not_counted() {
    let layer =
        RateLimitLayer::new(one_a_day()).skip(|head| head.method == Method::OPTIONS).skip(|head| head.uri.path() == "/health");
    let router = Router::new().route("/", get(async || "hello")).route("/health", get(async || "well")).layer(layer);
    for _ in 0..3 {
        assert_eq!(status(&router, Method::GET, "/health").await, 200);
        assert_eq!(status(&router, Method::OPTIONS, "/").await, 405);
    }
    assert_eq!(status(&router, Method::GET, "/").await, 200);
    assert_eq!(status(&router, Method::GET, "/").await, 429);
    assert_eq!(status(&router, Method::GET, "/health").await, 200);
}

#[tokio::test]
async fn two_layers_share_a_budget_through_one_limiter() {
    let first = RateLimitLayer::new(TokenBucket::new(Rate::per_day(3)));
    let second = RateLimitLayer::over(first.limiter());
    let router =
        Router::new().route("/a", get(async || "hello").layer(first.clone())).route("/b", get(async || "hello").layer(second));
    for (path, expected) in [("/a", 200), ("/b", 200), ("/a", 200), ("/b", 429), ("/a", 429)] {
        assert_eq!(status(&router, Method::GET, path).await, expected);
    }
    first.limiter().reconfigure(TokenBucket::new(Rate::per_day(3)).burst(4));
    assert_eq!(status(&router, Method::GET, "/b").await, 200);
}

#[tokio::test]
async fn a_layer_wraps_the_whole_router_too() {
    let router = Router::new().route("/", get(async || "hello"));
    let service = RateLimitLayer::new(one_a_day()).layer(router);
    for expected in [200, 429] {
        let answer = service.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected);
    }
}
