//! What holds a place: the body, the head, or nothing.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_examples::Client;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::{Layer, ServiceExt};
use tower_backpressure::{LoadShedHandle, LoadShedLayer, Until};

use super::{call, get as request, now, poll, quick};

/// A body that never ends.
fn endless() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
}

#[tokio::test]
async fn two_streaming_responses_are_never_both_admitted_at_a_limit_of_1() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let app: Router = Router::new().route("/", get(async || endless())).layer(layer);
    let streaming = app.clone().oneshot(request("/")).await.unwrap();
    assert_eq!(streaming.status(), 200);
    assert_eq!(app.clone().oneshot(request("/")).await.unwrap().status(), 503);
    assert_eq!(handle.in_flight(), 1);
    drop(streaming);
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(app.oneshot(request("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_frees_its_place_with_its_last_byte() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let response = now(&mut call(&layer.layer(quick()), request("/")));
    assert_eq!(handle.in_flight(), 1);
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "done");
    assert_eq!(handle.in_flight(), 0, "though the body is still there");
    drop(body);
    assert_eq!(handle.in_flight(), 0, "given back once");
}

#[tokio::test]
async fn held_until_the_response_a_stream_holds_nothing() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let app: Router = Router::new().route("/", get(async || endless())).layer(layer.until_response());
    let _first = app.clone().oneshot(request("/")).await.unwrap();
    let second = app.oneshot(request("/")).await.unwrap();
    assert_eq!((second.status().as_u16(), handle.in_flight()), (200, 0));
}

#[tokio::test]
async fn each_request_can_say_how_long_it_holds_its_place() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let layer = layer.hold(|head| if head.uri.path() == "/events" { Until::Response } else { Until::BodyEnd });
    let app: Router = Router::new().fallback(async || endless()).layer(layer);
    let _events = app.clone().oneshot(request("/events")).await.unwrap();
    assert_eq!(handle.in_flight(), 0);
    let _download = app.oneshot(request("/download")).await.unwrap();
    assert_eq!(handle.in_flight(), 1);
}

#[tokio::test]
async fn a_request_that_has_waited_holds_its_place_as_long_as_any_other() {
    let layer = LoadShedLayer::new(1).queue(1);
    let handle = layer.handle();
    let service = layer.hold(|head| if head.uri.path() == "/events" { Until::Response } else { Until::BodyEnd }).layer(quick());
    for (path, in_flight) in [("/events", 0), ("/download", 1)] {
        let before = now(&mut call(&service, request("/")));
        let mut waiting = call(&service, request(path));
        assert!(poll(&mut waiting).is_pending());
        drop(before);
        let _response = now(&mut waiting);
        assert_eq!(handle.in_flight(), in_flight, "{path}");
    }
}

#[tokio::test]
async fn what_passes_uncounted_is_answered_at_full_overload() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let app: Router = Router::new()
        .fallback(async || endless())
        .layer(layer.skip(tower_backpressure::health_check).skip(|head| head.uri.path() == "/metrics"));
    let _busy = app.clone().oneshot(request("/")).await.unwrap();
    for _ in 0..100 {
        assert_eq!(app.clone().oneshot(request("/orders")).await.unwrap().status(), 503);
        for path in ["/healthz", "/metrics"] {
            assert_eq!(app.clone().oneshot(request(path)).await.unwrap().status(), 200);
        }
        let check = Request::post("/grpc.health.v1.Health/Check").body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(check).await.unwrap().status(), 200);
    }
    assert_eq!((handle.in_flight(), handle.shed().total()), (1, 100), "they are in no count");
}

/// Serves answers of all kinds over a real connection.
async fn serve() -> (std::net::SocketAddr, LoadShedHandle) {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/204", get(async || StatusCode::NO_CONTENT))
        .route("/304", get(async || (StatusCode::NOT_MODIFIED, "a body that is not sent")))
        .route("/empty", get(async || ""))
        .route("/endless", get(async || endless()))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, handle)
}

/// Waits until the host has dropped what it sent: it does so soon after, not before, the client has read it.
async fn idle(handle: &LoadShedHandle) {
    let freed = async {
        while handle.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.expect("the place is not given back");
}

#[tokio::test]
async fn answers_without_a_body_free_their_places_though_the_connection_stays() {
    let (address, handle) = serve().await;
    let client = Client::new(address);
    for (method, path, status) in [
        ("HEAD", "/", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("GET", "/empty", 200),
        ("HEAD", "/endless", 200),
        ("GET", "/", 200),
    ] {
        let reply = client.send(Request::builder().method(method).uri(path), Bytes::new()).await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{method} {path}");
        idle(&handle).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_place_of_its_stream() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address, handle) = serve().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!((&head, handle.in_flight()), (b"HTTP/1.1 200", 1));
    assert_eq!(Client::new(address).get("/", "").await.unwrap().status, 503);
    drop(client);
    idle(&handle).await;
}

#[tokio::test]
async fn a_body_that_fails_frees_its_place() {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let broken = async || Body::from_stream(stream::iter([Ok(Bytes::from("half")), Err(std::io::Error::other("broken"))]));
    let app: Router = Router::new().route("/", get(broken)).layer(layer);
    let mut body = app.oneshot(request("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(handle.in_flight(), 1);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn a_refusal_holds_nothing_and_keeps_the_body_type_of_the_service() {
    let layer = LoadShedLayer::new(1);
    let service = layer.clone().layer(quick());
    let _first = now(&mut call(&service, request("/")));
    let refused: Response<_> = now(&mut call(&service, request("/")));
    assert!(refused.body().guard().is_none());
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "");
}

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);
