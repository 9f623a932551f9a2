//! A real WebSocket: axum's server, tungstenite's client, over loopback.
#![cfg(not(backpressure_loom))]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade};
use axum::serve::ListenerExt;
use axum::{Router, routing::get};
use backpressure_outbox::{
    Close, Control, Depth, Ended, Exceeded, Frames, Inbound, Inbox, Outbox, OutboxBuilder, Overflow, Signal, SlowConsumer, obey,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

struct Text;

impl Frames<Utf8Bytes> for Text {
    type Frame = Message;

    fn data(&mut self, text: Utf8Bytes) -> Message {
        Message::Text(text)
    }

    fn control(&mut self, control: Control) -> Option<Message> {
        match control {
            Control::Flow(signal) => Some(Message::Text(signal.as_json().into())),
            Control::Ping => Some(Message::Ping(axum::body::Bytes::new())),
            _ => None,
        }
    }

    fn close(&mut self, close: &Close) -> Option<Message> {
        Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() })))
    }
}

type Connection = (Outbox<Utf8Bytes>, tokio::task::JoinHandle<Ended<axum::Error>>);

/// Serves, and hands out what each connection has on the server's side.
async fn serve(builder: OutboxBuilder<Utf8Bytes>) -> (SocketAddr, mpsc::UnboundedReceiver<Connection>) {
    let (connections, accepted) = mpsc::unbounded_channel();
    let upgrade = async move |upgrade: WebSocketUpgrade| {
        upgrade.read_buffer_size(4_096).write_buffer_size(4_096).on_upgrade(async move |socket| {
            let (outbox, outlet) = builder.build().expect("bounds that leave room");
            let task = tokio::spawn(outlet.drive(socket, Text, |message| match message {
                Message::Text(text) if text == "ask" => Inbound::Reply("answer".into()),
                _ => Inbound::Ignore,
            }));
            let _ = connections.send((outbox, task));
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(upgrade))).await });
    (address, accepted)
}

fn builder() -> OutboxBuilder<Utf8Bytes> {
    Outbox::builder(|text: &Utf8Bytes| text.len()).heartbeat(Duration::from_millis(200), 2)
}

/// What no test waits longer for.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_reader_that_keeps_up_gets_all_of_it_its_answers_and_a_farewell() {
    let (address, mut accepted) = serve(builder()).await;
    let (mut client, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.unwrap();
    let (outbox, task) = accepted.recv().await.unwrap();
    client.send(tungstenite::Message::text("ask")).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), "answer");
    for number in 0..20 {
        outbox.try_send(number.to_string().into()).unwrap();
    }
    outbox.close(Close::new(4_000, "done"));
    let mut texts = Vec::new();
    let close = loop {
        match timeout(LIMIT, client.next()).await.unwrap().unwrap().unwrap() {
            tungstenite::Message::Text(text) => texts.push(text.to_string()),
            tungstenite::Message::Close(close) => break close.unwrap(),
            _ => {}
        }
    };
    assert_eq!(texts, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4_000, "done"));
    // The client's answer to the close is what ends it, long before the second has passed.
    assert!(timeout(LIMIT, client.next()).await.unwrap().is_none());
    assert!(matches!(timeout(LIMIT, task).await.unwrap().unwrap(), Ended::Closed));
    assert_eq!(outbox.numbers().written, 21);
}

#[tokio::test]
async fn a_reader_that_stalls_is_ended_by_its_backlog_and_its_socket_closed() {
    let slow = SlowConsumer::new().hard(Depth::messages(40));
    let (address, mut accepted) = serve(builder().slow(slow).max_bytes(16 << 20).heartbeat(Duration::MAX, 1)).await;
    let (client, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.unwrap();
    let (outbox, task) = accepted.recv().await.unwrap();
    // Whatever loopback swallows, it is not 60 MB.
    let text = Utf8Bytes::from("x".repeat(64 << 10));
    let mut sent = 0;
    while !outbox.is_closed() {
        let _ = outbox.try_send(text.clone());
        sent += 1;
        assert!(sent < 1_000, "nothing bounds what waits");
        assert!(outbox.numbers().messages <= 40);
        // Real readiness: the task writes until the kernel takes no more.
        tokio::task::yield_now().await;
    }
    assert_eq!(outbox.numbers().bytes, 0);
    assert!(matches!(timeout(LIMIT, task).await.unwrap().unwrap(), Ended::Slow(Exceeded::Hard)));
    assert!(outbox.has_ended());
    // The client finds an end, not silence.
    let mut client = client;
    let end = timeout(LIMIT, async { while let Some(Ok(_)) = client.next().await {} }).await;
    assert!(end.is_ok());
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_ended() {
    let (address, mut accepted) =
        serve(builder().heartbeat(Duration::from_millis(20), 2).close_within(Duration::from_millis(50))).await;
    // A client that is never polled answers no ping.
    let (client, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.unwrap();
    let (outbox, task) = accepted.recv().await.unwrap();
    assert!(matches!(timeout(LIMIT, task).await.unwrap().unwrap(), Ended::Silent { missed: 2 }));
    assert!(outbox.has_ended());
    drop(client);
}

/// Frames of tungstenite, for a client in Rust.
struct ClientText;

impl Frames<String> for ClientText {
    type Frame = tungstenite::Message;

    fn data(&mut self, text: String) -> tungstenite::Message {
        tungstenite::Message::text(text)
    }

    fn control(&mut self, control: Control) -> Option<tungstenite::Message> {
        match control {
            Control::Flow(signal) => Some(tungstenite::Message::text(signal.as_json())),
            Control::Ping => Some(tungstenite::Message::Ping(Default::default())),
            _ => None,
        }
    }

    fn close(&mut self, close: &Close) -> Option<tungstenite::Message> {
        let (code, reason) = (close.code().into(), close.reason().to_owned().into());
        Some(tungstenite::Message::Close(Some(tungstenite::protocol::CloseFrame { code, reason })))
    }
}

#[tokio::test]
async fn a_client_in_rust_obeys_a_server_that_is_slower_and_its_producer_waits_with_it() {
    // The server takes a message when the test says so.
    let (inboxes, mut served) = mpsc::unbounded_channel();
    let upgrade = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| {
            let (inbox, intake) = Inbox::builder(|text: &Utf8Bytes| text.len()).max_messages(20).build().expect("room");
            let (outbox, outlet) = builder().build().expect("bounds that leave room");
            let _ = inboxes.send(inbox);
            let on_message = |message| match message {
                Message::Text(text) => Inbound::Deliver(text),
                _ => Inbound::Ignore,
            };
            let _ended = outlet.drive_into(socket, Text, intake, on_message).await;
            drop(outbox);
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("a socket that is open"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(upgrade))).await });

    // With Nagle's algorithm the kernel would collect them for 40 ms before the server saw the second.
    let url = format!("ws://{address}/");
    let (socket, _) = tokio_tungstenite::connect_async_with_config(url, None, true).await.unwrap();
    let (outbox, outlet) = Outbox::builder(String::len).max_messages(10).overflow(Overflow::Block).quiet().build().unwrap();
    let text = |message: &tungstenite::Message| message.to_text().ok().map(str::to_owned);
    let signals = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&signals);
    // As `obey`, with a look at what it obeys.
    let on_message = move |message: tungstenite::Message| {
        let signal = text(&message).and_then(|text| Signal::from_json(&text));
        heard.lock().unwrap().extend(signal);
        obey(|message: &tungstenite::Message| message.to_text().ok(), |_| Inbound::Ignore)(message)
    };
    let connection = tokio::spawn(outlet.drive(socket, ClientText, on_message));
    let producer = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            for number in 0..2_000 {
                outbox.send(number.to_string()).await.expect("the connection lasts");
                // No signal can be there before the messages that it is about.
                tokio::task::yield_now().await;
            }
        }
    });
    let mut inbox = served.recv().await.unwrap();
    timeout(LIMIT, async {
        while !outbox.numbers().held_by_peer {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the server says pause at 15 of 20");
    assert!(!producer.is_finished() && outbox.numbers().sent < 1_000);
    for number in 0..2_000 {
        let received = timeout(LIMIT, inbox.recv()).await.unwrap();
        assert_eq!(received.as_deref(), Some(number.to_string().as_str()));
    }
    timeout(LIMIT, producer).await.unwrap().unwrap();
    let signals = signals.lock().unwrap().clone();
    assert!(signals.chunks(2).all(|pair| pair[0] == Signal::Pause && pair.get(1).is_none_or(|then| *then == Signal::Resume)));
    outbox.close(Close::NORMAL);
    assert!(matches!(timeout(LIMIT, connection).await.unwrap().unwrap(), Ended::Closed));
    assert_eq!(outbox.numbers().written, 2_000);
}
