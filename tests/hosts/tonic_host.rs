//! tonic: refusals that a gRPC client reads as such, alone and on one port with axum.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use backpressure_examples::Client;
use backpressure_examples::feed::{Feed, FeedClient, FeedRequest, MESSAGE_BYTES};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::service::{LayerExt, Routes};
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::make::Shared;
use tower::steer::Steer;
use tower_backpressure::{FixedWindow, Protocol, Rate, RateLimitLayer, Reason, Rejection, Respond, TokenBucket, key};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn connect(address: SocketAddr) -> FeedClient<Channel> {
    FeedClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

async fn unary(client: &mut FeedClient<Channel>) -> Result<(), Status> {
    client.unary(FeedRequest {}).await.map(drop)
}

/// Serves the feed behind this layer.
macro_rules! serve_feed {
    ($layer:expr) => {{
        let (listener, address) = listener().await;
        let server = Server::builder().layer($layer).add_service(Feed::server());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        connect(address).await
    }};
}

#[tokio::test]
async fn a_refused_call_says_when_to_come_back_and_whoever_does_is_answered() {
    let ten_a_second = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10)).burst(2)).named("calls");
    let mut client = serve_feed!(ten_a_second);
    let mut refusals = 0;
    while refusals < 3 {
        let Err(refused) = unary(&mut client).await else { continue };
        refusals += 1;
        assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "rate limit exceeded (policy \"calls\")"));
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        let pushback: u64 = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(u128::from(pushback), wait.as_nanos().div_ceil(1_000_000), "the same, rounded up");
        let violation = &refused.get_details_quota_failure().unwrap().violations[0];
        assert_eq!((violation.subject.as_str(), violation.description.as_str()), ("policy:calls", "2 in 200ms"));
        // What a client has to wait is real time: this one sleeps.
        tokio::time::sleep_until(Instant::now() + wait).await;
        unary(&mut client).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_is_refused_like_a_call_and_an_admitted_one_is_endless() {
    let mut client = serve_feed!(RateLimitLayer::new(FixedWindow::new(Rate::per_day(1))));
    let mut stream = client.stream(FeedRequest {}).await.unwrap().into_inner();
    for number in 0..200 {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!((message.number, message.payload.len()), (number, MESSAGE_BYTES));
    }
    let refused = client.stream(FeedRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::from_secs(80_000));
    assert_eq!(stream.message().await.unwrap().unwrap().number, 200, "the one that was admitted goes on");
}

#[tokio::test]
async fn each_peer_has_its_own_quota_and_the_answer_with_a_body_is_the_same() {
    let peer = key::client_ip(|peer: &TcpConnectInfo| peer.remote_addr().map(|address| address.ip()));
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_day(1))).keyed(peer);
    let limiter = layer.limiter();
    let mut client = serve_feed!(layer.answer(Respond::with_body()));
    unary(&mut client).await.unwrap();
    assert_eq!(unary(&mut client).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(limiter.peek(&IpAddr::from([127, 0, 0, 1])).remaining, 0);
    assert_eq!(limiter.len(), 1);
}

#[tokio::test]
async fn one_service_of_several_keeps_its_name_under_a_layer_of_its_own() {
    let limit = RateLimitLayer::new(FixedWindow::new(Rate::per_day(1)));
    let (listener, address) = listener().await;
    // Anything that is not a layer round the server has to say which service it is: `named_layer` passes the name on.
    let routes = Routes::new(limit.named_layer(Feed::server()));
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener)));
    let mut client = connect(address).await;
    unary(&mut client).await.unwrap();
    assert_eq!(unary(&mut client).await.unwrap_err().code(), Code::ResourceExhausted);
}

/// A handler that is short of something, and answers in the protocol of its caller.
async fn overloaded(request: Request) -> axum::response::Response {
    let rejection = Rejection::new(Reason::QueueFull, "orders".into()).retry_after(Duration::from_millis(250));
    Respond::new().refusal_in((&request).into(), rejection)
}

#[tokio::test]
async fn overload_is_unavailable_and_an_http_client_of_the_same_port_sees_503() {
    let (listener, address) = listener().await;
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(overloaded)).await });
    let refused = unary(&mut connect(address).await).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "the queue is full (policy \"orders\")"));
    assert_eq!(refused.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(250)));
    assert!(refused.get_details_quota_failure().is_none());
    let reply = Client::new(address).get("/", "").await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.headers["retry-after-ms"]), (503, &"250".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_and_tonic_on_one_port_share_one_budget_through_one_layer_value() {
    const BUDGET: usize = 40;
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_day(40)));
    let rest = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let grpc = Routes::new(Feed::server()).into_axum_router().layer(layer);
    let by_content_type = |request: &Request, _: &[Router]| usize::from(Protocol::from(request) == Protocol::Grpc);
    let (listener, address) = listener().await;
    tokio::spawn(async move { axum::serve(listener, Shared::new(Steer::new([rest, grpc], by_content_type))).await });

    // In any mixture: who asks how when is as it happens.
    let mut asking = Vec::new();
    for asker in 0..8 {
        asking.push(tokio::spawn(async move {
            let (mut calls, requests) = (connect(address).await, Client::new(address));
            let mut admitted = (0, 0);
            for turn in 0..15 {
                if (turn + asker) % 3 == 0 {
                    let reply = requests.get("/", "").await.unwrap().status.as_u16();
                    assert!(matches!(reply, 200 | 429), "{reply}");
                    admitted.0 += usize::from(reply == 200);
                } else {
                    let called = unary(&mut calls).await;
                    assert!(called.as_ref().err().is_none_or(|refused| refused.code() == Code::ResourceExhausted), "{called:?}");
                    admitted.1 += usize::from(called.is_ok());
                }
            }
            admitted
        }));
    }
    let mut admitted = (0, 0);
    for asker in asking {
        let (by_http, by_grpc) = asker.await.unwrap();
        admitted = (admitted.0 + by_http, admitted.1 + by_grpc);
    }
    assert_eq!(admitted.0 + admitted.1, BUDGET, "{admitted:?}");
    assert!(admitted.0 > 0 && admitted.1 > 0, "{admitted:?}");
}
