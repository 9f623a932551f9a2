//! An upgraded connection holds its place until its handler lets it go.

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tower::{Layer, ServiceBuilder};
use tower_backpressure::{HeldPlace, LoadShedHandle, LoadShedLayer, Reason, key};

use super::{call, now, poll, quick, refusal};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message @ Message::Text(_))) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

/// A WebSocket that keeps its place, and one that forgets to.
async fn serve() -> (String, LoadShedHandle) {
    let layer = LoadShedLayer::new(1);
    let handle = layer.handle();
    let keeps = async |upgrade: WebSocketUpgrade, Extension(place): Extension<HeldPlace>| {
        upgrade.on_upgrade(async move |socket| {
            echo(socket).await;
            drop(place);
        })
    };
    let forgets = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo);
    let app = Router::new().route("/keeps", get(keeps)).route("/forgets", get(forgets)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("ws://{address}"), handle)
}

async fn free(handle: &LoadShedHandle) {
    let waiting = async {
        while handle.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the place is not given back");
}

#[tokio::test]
async fn a_websocket_that_took_its_place_holds_it_until_it_closes() {
    let (address, handle) = serve().await;
    let (mut socket, _) = connect_async(format!("{address}/keeps")).await.unwrap();
    for text in ["one", "two"] {
        socket.send(text.into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), text);
        assert_eq!(handle.in_flight(), 1);
    }
    let Err(Error::Http(refused)) = connect_async(format!("{address}/keeps")).await else { panic!("not refused") };
    assert_eq!(refused.status(), 503);
    socket.close(None).await.unwrap();
    free(&handle).await;
    let (_again, _) = connect_async(format!("{address}/keeps")).await.unwrap();
}

/// The response to an upgrade has no body: nothing else could hold the place.
#[tokio::test]
async fn a_websocket_that_did_not_take_its_place_holds_none() {
    let (address, handle) = serve().await;
    let (mut socket, _) = connect_async(format!("{address}/forgets")).await.unwrap();
    free(&handle).await;
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
}

#[tokio::test]
async fn only_a_request_that_asks_for_an_upgrade_finds_its_place_in_its_extensions() {
    let in_flight_with_place = |request: Request<Body>| {
        let layer = LoadShedLayer::new(1);
        let (handle, seen) = (layer.handle(), Arc::new(Mutex::new(None)));
        let sees = Arc::clone(&seen);
        let look = move |request: Request<Body>| {
            *sees.lock().unwrap() = request.extensions().get::<HeldPlace>().cloned();
            request
        };
        drop(now(&mut call(&layer.layer(ServiceBuilder::new().map_request(look).service(quick())), request)));
        let place = seen.lock().unwrap().take();
        (place.is_some(), handle.in_flight())
    };
    let get = || Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(in_flight_with_place(get()), (false, 0));
    let mut upgrade = get();
    upgrade.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    assert_eq!(in_flight_with_place(upgrade), (true, 1), "the response is gone, the place is not");
    let mut connect = get();
    *connect.method_mut() = Method::CONNECT;
    assert_eq!(in_flight_with_place(connect), (true, 1));
}

/// At once and after a wait; whether the response or the handler is the first to go.
#[tokio::test(start_paused = true)]
async fn an_upgrade_holds_its_place_and_its_clients_until_both_the_response_and_the_handler_have_gone() {
    for (waits, handler_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let layer = LoadShedLayer::new(1).queue(1).per_client(key::header("x-api-key"), 1);
        let (handle, found) = (layer.handle(), Arc::new(Mutex::new(None)));
        let finds = Arc::clone(&found);
        let find = move |request: Request<Body>| {
            *finds.lock().unwrap() = request.extensions().get::<HeldPlace>().cloned();
            request
        };
        let service = layer.layer(ServiceBuilder::new().map_request(find).service(quick()));
        let from = |client: &str| Request::get("/").header("x-api-key", client);
        let before = waits.then(|| now(&mut call(&service, from("bob").body(Body::empty()).unwrap())));
        let mut upgrade = call(&service, from("alice").header("upgrade", "websocket").body(Body::empty()).unwrap());
        assert_eq!(waits && poll(&mut upgrade).is_pending(), waits);
        drop(before);
        let (response, place) = (now(&mut upgrade), found.lock().unwrap().take().unwrap());
        let (first, last): (Box<dyn Any>, Box<dyn Any>) = (Box::new(response), Box::new(place));
        let (first, last) = if handler_first { (last, first) } else { (first, last) };
        drop(first);
        assert_eq!(handle.in_flight(), 1);
        let another = now(&mut call(&service, from("alice").body(Body::empty()).unwrap()));
        assert_eq!(refusal(&another).unwrap().reason, Reason::ClientConcurrency);
        drop(last);
        assert_eq!(handle.in_flight(), 0);
        assert_eq!(now(&mut call(&service, from("alice").body(Body::empty()).unwrap())).status(), 200);
    }
}

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);
