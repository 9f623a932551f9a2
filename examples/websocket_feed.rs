//! One feed of a thousand messages a second, and what becomes of a client that reads slowly: by four policies, over WebSocket connections and
//! server-sent events, with a page on which one sees it happen.
//!
//! `cargo run --example websocket_feed` starts an axum server on 127.0.0.1:3001, has a client of each policy fall behind for a
//! second, prints what each of them saw, and serves until Ctrl-C: open the page, and switch on "read slowly". `--port N` listens
//! elsewhere (0: any free port); `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use backpressure_examples::{Arguments, ClientError, interrupted, now};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout_at};
use tokio_tungstenite::{connect_async, tungstenite};
use tower_backpressure::Rate;
use tower_backpressure::outbox::{
    Close, Control, Depth, Frames, Hub, Inbound, Inbox, InboxBuilder, ItemClass, Letter, OutboxBuilder, Overflow, Signal,
    SlowConsumer, obey,
};

/// Texts are encoded once; every outbox refers to them.
type Feed = Hub<&'static str, Utf8Bytes>;

/// What becomes of a client that does not keep up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    DropOldest,
    DropNewest,
    Block,
    Conflate,
}

const POLICIES: [(&str, Policy); 4] = [
    ("drop-oldest", Policy::DropOldest),
    ("drop-newest", Policy::DropNewest),
    ("block", Policy::Block),
    ("conflate", Policy::Conflate),
];

impl Policy {
    /// The outbox of such a client. One that stays more than half full for ten seconds is disconnected.
    fn outbox(self, feed: &Feed) -> OutboxBuilder<Letter<Utf8Bytes>> {
        let (overflow, messages) = match self {
            Self::DropOldest => (Overflow::DropOldest, 300),
            Self::DropNewest => (Overflow::DropNewest, 300),
            Self::Block => (Overflow::Block, 300),
            // A place for each key, and some to spare.
            Self::Conflate => (Overflow::DropNewest, 60),
        };
        let outbox = feed
            .outbox()
            .max_messages(messages)
            .overflow(overflow)
            .slow(SlowConsumer::new().soft(Depth::messages(messages as u64 / 2), Duration::from_secs(10)))
            .gap_marker(|missed| Letter::from(Utf8Bytes::from(format!(r#"{{"event":"flow.gap","dropped":{}}}"#, missed.items))));
        if self == Self::Conflate { outbox.slow(SlowConsumer::new()) } else { outbox.every_value() }
    }
}

/// What a WebSocket takes.
struct Texts;

impl Frames<Letter<Utf8Bytes>> for Texts {
    type Frame = Message;

    fn data(&mut self, letter: Letter<Utf8Bytes>) -> Message {
        Message::Text(Utf8Bytes::clone(&letter))
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

/// What an event stream takes.
struct Events;

impl Frames<Letter<Utf8Bytes>> for Events {
    type Frame = Result<Event, Infallible>;

    fn data(&mut self, letter: Letter<Utf8Bytes>) -> Self::Frame {
        Ok(Event::default().data(letter.as_str()))
    }

    fn control(&mut self, control: Control) -> Option<Self::Frame> {
        match control {
            Control::Flow(signal) => Some(Ok(Event::default().event("flow").data(signal.as_json()))),
            _ => None,
        }
    }

    fn close(&mut self, close: &Close) -> Option<Self::Frame> {
        Some(Ok(Event::default().event("close").data(close.to_string())))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3001);
    let (listener, address) = arguments.listen().await;
    keep_little_in_the_kernel(&listener);
    let feed: Feed = Hub::builder(|text: &Utf8Bytes| text.len()).max_bytes(16 << 20).build().expect("neither bound is 0");
    let server = tokio::spawn(serve(listener, feed.clone()));
    tokio::spawn(publish(feed));

    println!("serving on http://{address}; first, four clients that take nothing for a second, of 1000 ticks a second:\n");
    let as_promised = demonstrate(address).await.unwrap_or_else(|error| {
        println!("  {error}");
        false
    });
    let verdict = if as_promised { "Each was told, and lost what its policy says." } else { "Something did not go as promised." };
    println!("\n{verdict}");
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    println!("  a browser on http://{address}/      switch on \"read slowly\", and off again");
    println!("  curl -s http://{address}/connections");
    println!("  curl -sN http://{address}/events | head");
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// A signal stands behind all that the kernel holds: by default up to 4 MB for each client that does not read, here some 0.2.
fn keep_little_in_the_kernel(listener: &TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).set_send_buffer_size(16 << 10) {
        println!("the send buffers stay as large as they are: {error}");
    }
}

async fn serve(listener: TcpListener, feed: Feed) -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(async || Html(include_str!("pages/websocket_feed.html"))))
        .route("/flow.mjs", get(async || ([(header::CONTENT_TYPE, "text/javascript")], FLOW)))
        .route("/ws", get(upgrade))
        .route("/events", get(events))
        .route("/connections", get(async |State(feed): State<Feed>| Json(connections(&feed))))
        .with_state(feed.clone());
    // Nor is a small frame, as a signal is, to be held back for others to join it.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let drained = async move {
        interrupted().await;
        // Clients are told to come back, not all at once.
        feed.drain(Duration::from_secs(1)).await;
    };
    // An event stream whose reader has stalled has no end of its own.
    let long_enough = async {
        interrupted().await;
        sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(drained) => served,
        () = long_enough => Ok(()),
    }
}

/// Publishes a thousand ticks a second, of fifty keys, whoever listens.
async fn publish(feed: Feed) {
    let mut ticks = interval(Duration::from_millis(1));
    for tick in 0.. {
        ticks.tick().await;
        let (key, text) = tick_of(tick);
        // Who wants every value ignores the key. Nothing of this size is over the budget.
        _ = feed.publish_as("ticks", ItemClass::Conflated(key), text);
    }
}

fn tick_of(tick: u64) -> (u64, Utf8Bytes) {
    let (key, wave) = (tick % KEYS, tick / KEYS % 200);
    let price = 10_000 + 100 * key + wave.abs_diff(100);
    (key, format!(r#"{{"event":"tick","key":"K{key:02}","price":{price},"seq":{tick},"at":{tick}}}"#).into())
}

async fn upgrade(Query(query): Query<Vec<(String, String)>>, State(feed): State<Feed>, upgrade: WebSocketUpgrade) -> Response {
    let asked = query.iter().find(|(name, _)| name == "policy").map_or("drop-oldest", |(_, policy)| policy);
    let Some(&(name, policy)) = POLICIES.iter().find(|(name, _)| *name == asked) else {
        let names = POLICIES.map(|(name, _)| name).join(", ");
        return (StatusCode::BAD_REQUEST, format!("policy is one of {names}\n")).into_response();
    };
    if feed.is_draining() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    // A client may say stop and go. By default each socket has 128 KiB of buffers, and takes messages of 64 MiB.
    upgrade
        .read_buffer_size(4 << 10)
        .write_buffer_size(4 << 10)
        .max_message_size(16 << 10)
        .on_upgrade(async move |socket| connection(socket, &feed, name, policy).await)
}

async fn connection(socket: WebSocket, feed: &Feed, name: &'static str, policy: Policy) {
    let Ok((member, outlet)) = feed.join_as(name, &policy.outbox(feed)) else {
        return; // The server drains.
    };
    let Ok((_inbox, intake)) = signals_only().build() else { return };
    let driven = outlet.drive_into(socket, Texts, intake, obey(|message: &Message| message.to_text().ok(), |_| Inbound::Ignore));
    if policy == Policy::Block {
        // Whoever blocks its sender has one of its own.
        let outbox = member.outbox().clone();
        let own_ticks = async move {
            let mut ticks = interval(Duration::from_millis(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for tick in 0.. {
                ticks.tick().await;
                if outbox.send(Letter::from(tick_of(tick).1)).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(driven, own_ticks);
    } else if member.subscribe("ticks").is_ok() {
        driven.await;
    }
}

/// Nothing that a client sends is for the application; signals are read at this rate, whoever flips them how often.
fn signals_only() -> InboxBuilder<Infallible> {
    Inbox::builder(|never: &Infallible| match *never {}).message_rate(Rate::per_second(50))
}

async fn events(State(feed): State<Feed>) -> Response {
    let Ok((member, outlet)) = feed.join_as("events", &Policy::DropOldest.outbox(&feed)) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match member.subscribe("ticks") {
        Ok(_) => Sse::new(outlet.into_stream(Events)).keep_alive(KeepAlive::default()).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The numbers of the hub, and of each connection, the slowest first.
fn connections(feed: &Feed) -> Value {
    let hub = feed.numbers();
    let connections = feed.slowest(100).into_iter().map(|member| {
        let numbers = member.numbers;
        json!({
            "id": member.id.to_string(),
            "policy": member.label.as_deref().unwrap_or_default(),
            "messages": numbers.messages,
            "bytes": numbers.bytes,
            "oldest_ms": numbers.oldest.map_or(0, |oldest| oldest.as_millis()),
            "paused": numbers.paused,
            "paused_ms": numbers.paused_for.as_millis(),
            "held_by_peer": numbers.held_by_peer,
            "sent": numbers.sent,
            "written": numbers.written,
            "evicted": numbers.dropped.evicted,
            "superseded": numbers.dropped.superseded,
            "refused": numbers.dropped.refused,
            "write_mean_us": numbers.write_mean.as_micros(),
            "write_max_us": numbers.write_max.as_micros(),
        })
    });
    json!({
        "bytes": hub.bytes,
        "max_bytes": hub.max_bytes,
        "members": hub.members,
        "connections": connections.collect::<Vec<_>>(),
    })
}

/// Has a client of each policy fall behind, and prints a line for each; returns whether all went as the policies say.
async fn demonstrate(server: SocketAddr) -> Result<bool, ClientError> {
    println!("  {:<12} {:>8} {:>7} {:>7} {:>8} {:>8}", "policy", "received", "missed", "pauses", "resumes", "keys");
    let clients = POLICIES.map(|(name, policy)| async move { (name, policy, fall_behind(server, name).await) });
    let mut as_promised = true;
    for (name, policy, seen) in futures_util::future::join_all(clients).await {
        let seen = seen?;
        println!(
            "  {name:<12} {:>8} {:>7} {:>7} {:>8} {:>8}",
            seen.received,
            seen.missed,
            seen.count(Signal::Pause),
            seen.count(Signal::Resume),
            seen.keys.len()
        );
        let lossy = matches!(policy, Policy::DropOldest | Policy::DropNewest);
        let losses = if lossy { seen.missed > 300 } else { seen.missed == 0 };
        as_promised &= losses && seen.signals == [Signal::Pause, Signal::Resume] && seen.keys.len() as u64 == KEYS;
    }
    Ok(as_promised)
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    received: u64,
    missed: u64,
    signals: Vec<Signal>,
    keys: std::collections::BTreeSet<String>,
}

impl Seen {
    fn count(&self, signal: Signal) -> usize {
        self.signals.iter().filter(|seen| **seen == signal).count()
    }

    fn see(&mut self, text: &str) -> Result<(), ClientError> {
        if let Some(signal) = Signal::from_json(text) {
            self.signals.push(signal);
            return Ok(());
        }
        let message: Value = serde_json::from_str(text)?;
        match message["event"].as_str() {
            Some("flow.gap") => self.missed += message["dropped"].as_u64().unwrap_or(0),
            _ => {
                self.received += 1;
                self.keys.extend(message["key"].as_str().map(str::to_owned));
            }
        }
        Ok(())
    }
}

/// Reads for half a second, wants nothing for one, and reads on for half a second.
async fn fall_behind(server: SocketAddr, policy: &str) -> Result<Seen, ClientError> {
    let (mut socket, _) = connect_async(format!("ws://{server}/ws?policy={policy}")).await?;
    let mut seen = Seen::default();
    for (says, millis) in [(None, 500), (Some(Signal::Pause), 1_000), (Some(Signal::Resume), 500)] {
        if let Some(signal) = says {
            socket.send(tungstenite::Message::text(signal.as_json())).await?;
        }
        let until = (now() + Duration::from_millis(millis)).into();
        while let Ok(message) = timeout_at(until, socket.next()).await {
            let message = message.ok_or("the server has gone")??;
            if message.is_text() {
                seen.see(message.to_text()?)?;
            }
        }
    }
    socket.close(None).await?;
    Ok(seen)
}

const KEYS: u64 = 50;
const FLOW: &str = include_str!("../crates/backpressure-outbox/js/flow.mjs");
