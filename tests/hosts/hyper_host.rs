//! hyper without a framework: `TowerToHyperService` clones the stack for each request, bodies are `Incoming`.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_backpressure::{Rate, RateLimitLayer, Respond, Single, TokenBucket, key};

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge; each request has the address of its peer in its extensions.
async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let with_peer = move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer.ip());
                request
            };
            let service = TowerToHyperService::new(ServiceBuilder::new().map_request(with_peer).service(service.clone()));
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection of HTTP/1.1.
async fn h1<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static>(server: SocketAddr) -> http1::SendRequest<B> {
    let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let (send, connection) = http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    send
}

/// A connection of HTTP/2 with prior knowledge.
async fn h2(server: SocketAddr) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let (send, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    send
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://localhost/").header("host", "localhost").body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

fn one_a_day() -> RateLimitLayer<Single<TokenBucket>> {
    RateLimitLayer::new(TokenBucket::new(Rate::per_day(1)))
}

#[tokio::test]
async fn a_peer_has_one_limit_over_all_its_connections_and_protocols() {
    let layer = one_a_day().keyed(key::extension(|peer: &IpAddr| *peer));
    let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
    let server = serve(layer.layer(hello)).await;

    let mut first = h1(server).await;
    let admitted = first.send_request(get()).await.unwrap();
    assert_eq!((admitted.status(), text(admitted).await.as_str()), (StatusCode::OK, "hello"));
    for _ in 0..2 {
        let refused = first.send_request(get()).await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
        assert_eq!(text(refused).await, "");
    }
    assert_eq!(h1(server).await.send_request(get()).await.unwrap().status(), 429);
    let mut multiplexed = h2(server).await;
    let (one, other) = tokio::join!(multiplexed.clone().send_request(get()), multiplexed.send_request(get()));
    assert_eq!([one.unwrap().status(), other.unwrap().status()], [429, 429]);
    assert_eq!(layer.limiter().len(), 1);

    // All of 127/8 is this machine there.
    if cfg!(target_os = "linux") {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
        let stream = TokioIo::new(socket.connect(server).await.unwrap());
        let (mut other, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(other.send_request(get()).await.unwrap().status(), 200);
        assert_eq!(layer.limiter().len(), 2);
    }
}

/// Forwards a request, body and all, over a connection of its own.
async fn forward(upstream: SocketAddr, request: Request<Incoming>) -> Result<Response<Incoming>, hyper::Error> {
    let (_, body) = request.into_parts();
    h1(upstream).await.send_request(Request::get("/").header("host", "localhost").body(body).unwrap()).await
}

#[tokio::test]
async fn a_proxy_whose_bodies_are_incoming_refuses_with_a_body_of_its_own() {
    let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
    let behind = RateLimitLayer::new(TokenBucket::new(Rate::per_day(2)));
    let upstream = serve(behind.layer(hello)).await;

    for over in [Version::HTTP_11, Version::HTTP_2] {
        let limit = one_a_day().named("proxy").answer(Respond::with_body());
        let proxy = serve(limit.layer(service_fn(move |request| forward(upstream, request)))).await;
        let (mut http1, mut http2) = (h1(proxy).await, h2(proxy).await);
        let mut send = async || match over {
            Version::HTTP_2 => http2.send_request(get()).await.unwrap(),
            _ => http1.send_request(get()).await.unwrap(),
        };

        let admitted = send().await;
        assert_eq!((admitted.status(), admitted.version()), (StatusCode::OK, over));
        assert_eq!(text(admitted).await, "hello");
        let refused = send().await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        let length = refused.headers()["content-length"].to_str().unwrap().to_owned();
        let body = text(refused).await;
        assert_eq!(body.len().to_string(), length);
        assert!(body.contains(r#""violated-policies":["proxy"]"#), "{body}");
    }
    // The two that were admitted, and no more.
    assert_eq!(behind.limiter().peek().remaining, 0);
}

#[tokio::test]
async fn a_body_streams_through_the_limit_of_a_proxy_frame_by_frame() {
    let (sender, frames) = mpsc::channel::<&'static str>(1);
    let frames = Arc::new(Mutex::new(Some(frames)));
    let upstream = serve(service_fn(move |_: Request<Incoming>| {
        let frames = frames.lock().unwrap().take().unwrap();
        let body = stream::unfold(frames, async |mut frames| {
            let frame = frames.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(frame))), frames))
        });
        std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(body))))
    }))
    .await;
    let limit = one_a_day().answer(Respond::with_body().on_admitted());
    let proxy = serve(limit.layer(service_fn(move |request| forward(upstream, request)))).await;

    let response = timeout(PATIENCE, h2(proxy).await.send_request(get())).await.unwrap().unwrap();
    assert!(response.headers().contains_key("ratelimit"));
    let mut body = response.into_body();
    // Each frame is there before the next is sent.
    for sent in ["one", "two", "three"] {
        sender.send(sent).await.unwrap();
        let frame = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), sent);
    }
    drop(sender);
    assert_eq!(timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes(), "");
}

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);
