//! Real gRPC calls, and what their clients are told.

use std::net::SocketAddr;
use std::time::Duration;

use backpressure_examples::feed::{Feed, FeedClient, FeedRequest};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request};
use tonic_types::StatusExt;
use tower_backpressure::{LoadShedLayer, Until};

async fn connect(address: SocketAddr) -> FeedClient<Channel> {
    FeedClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

macro_rules! serve_feed {
    ($layer:expr) => {{
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().layer($layer).add_service(Feed::server());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        connect(address).await
    }};
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), waiting).await.expect("it does not come to that");
}

#[tokio::test]
async fn a_stream_holds_its_place_and_who_finds_none_is_told_to_come_back() {
    let layer = LoadShedLayer::new(1).named("feed");
    let handle = layer.handle();
    let mut client = serve_feed!(layer);
    let mut stream = client.stream(FeedRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let refused = client.unary(FeedRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "too much work in progress (policy \"feed\")"));
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    let pushback: u64 = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(u128::from(pushback), wait.as_nanos().div_ceil(1_000_000));
    drop(stream);
    until(|| handle.in_flight() == 0).await;
    client.unary(FeedRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_holds_its_place_until_its_response_leaves_room_for_calls() {
    let layer = LoadShedLayer::new(1);
    let until_response = layer.hold(|head| if head.uri.path().ends_with("/Stream") { Until::Response } else { Until::BodyEnd });
    let mut client = serve_feed!(until_response);
    let mut stream = client.stream(FeedRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    for _ in 0..5 {
        client.unary(FeedRequest {}).await.unwrap();
    }
}

/// tonic sends the timeout of a request as `grpc-timeout`.
#[tokio::test]
async fn a_call_waits_no_longer_than_its_timeout() {
    let layer = LoadShedLayer::new(1).queue(10).max_wait(Duration::from_secs(60));
    let handle = layer.handle();
    let mut client = serve_feed!(layer);
    let mut stream = client.stream(FeedRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let mut request = Request::new(FeedRequest {});
    request.set_timeout(Duration::from_millis(50));
    let refused = client.unary(request).await.unwrap_err();
    // The client gives up at the same time; which of the two is first is not ours to say.
    assert!(matches!(refused.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded), "{refused:?}");
    until(|| handle.waiting() == 0).await;
    assert_eq!(handle.in_flight(), 1, "the stream, and not the call that nobody waits for");
}
