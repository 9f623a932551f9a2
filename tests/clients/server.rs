//! A server that foreign WebSocket clients put to the test: they say what it is to publish, and ask what that did to it.
//!
//! `GET /ws?topic=&policy=&messages=&bytes=&soft_messages=&soft_ms=&hard_messages=&handle_ms=` joins a topic, with an outbox as asked for;
//! what the client sends is counted, and handled one message each `handle_ms`. `POST /publish?topic=&count=&bytes=&per_second=`
//! publishes and answers once it has. `GET /stats` tells what there is; `POST /drain?over_ms=` drains.

#![expect(clippy::print_stdout, reason = "it tells its address to whoever started it")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tower_backpressure::outbox::{
    Close, Control, Depth, Hub, Inbound, Inbox, Letter, OutboxBuilder, Overflow, SlowConsumer, frames, obey,
};

#[derive(Clone)]
struct Server {
    hub: Hub<String, Utf8Bytes>,
    /// Messages that clients have sent and the application has handled.
    handled: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let hub = Hub::builder(|text: &Utf8Bytes| text.len()).max_bytes(256 << 20).build().expect("neither bound is 0");
    let server = Server { hub, handled: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    socket2::SockRef::from(&listener).set_send_buffer_size(16 << 10)?;
    println!("{}", listener.local_addr()?);
    let app = Router::new()
        .route("/ws", get(upgrade))
        .route("/publish", post(publish))
        .route("/stats", get(stats))
        .route("/drain", post(drain))
        .with_state(server);
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    axum::serve(listener, app).await
}

/// What a client wants of its connection.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wishes {
    topic: String,
    policy: String,
    messages: usize,
    bytes: u64,
    soft_messages: u64,
    soft_ms: u64,
    hard_messages: u64,
    handle_ms: u64,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            topic: "t".to_owned(),
            policy: "drop-oldest".to_owned(),
            messages: 50,
            bytes: 1 << 20,
            soft_messages: u64::MAX,
            soft_ms: 3_000,
            hard_messages: u64::MAX,
            handle_ms: 0,
        }
    }
}

impl Wishes {
    fn outbox(&self, server: &Server) -> Option<OutboxBuilder<Letter<Utf8Bytes>>> {
        let overflow = match self.policy.as_str() {
            "drop-oldest" => Overflow::DropOldest,
            "drop-newest" => Overflow::DropNewest,
            "block" => Overflow::Block,
            _ => return None,
        };
        let slow = SlowConsumer::new()
            .hard(Depth::messages(self.hard_messages))
            .try_soft(Depth::messages(self.soft_messages), Duration::from_millis(self.soft_ms))
            .ok()?;
        Some(
            server.hub.outbox().max_messages(self.messages).max_bytes(self.bytes).overflow(overflow).slow(slow).gap_marker(
                |missed| Letter::from(Utf8Bytes::from(format!(r#"{{"event":"flow.gap","dropped":{}}}"#, missed.items))),
            ),
        )
    }
}

async fn upgrade(
    Query(wishes): Query<Wishes>,
    State(server): State<Server>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, StatusCode> {
    if server.hub.is_draining() {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let outbox = wishes.outbox(&server).ok_or(StatusCode::BAD_REQUEST)?;
    let upgrade = upgrade.read_buffer_size(4 << 10).write_buffer_size(4 << 10).max_message_size(1 << 20);
    Ok(upgrade.on_upgrade(async move |socket| connection(socket, &server, wishes, &outbox).await))
}

async fn connection(socket: WebSocket, server: &Server, wishes: Wishes, outbox: &OutboxBuilder<Letter<Utf8Bytes>>) {
    let Ok((member, outlet)) = server.hub.join_as(wishes.policy.as_str(), outbox) else { return };
    let Ok((mut inbox, intake)) = Inbox::builder(|text: &Utf8Bytes| text.len()).build() else { return };
    let texts = frames(
        |letter: Letter<Utf8Bytes>| Message::Text(Utf8Bytes::clone(&letter)),
        |control| match control {
            Control::Flow(signal) => Some(Message::Text(signal.as_json().into())),
            Control::Ping => Some(Message::Ping(axum::body::Bytes::new())),
            _ => None,
        },
        |close: &Close| Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() }))),
    );
    let on_message = obey(
        |message: &Message| message.to_text().ok(),
        |message| match message {
            Message::Text(text) => Inbound::Deliver(text),
            _ => Inbound::Ignore,
        },
    );
    if member.subscribe(wishes.topic).is_err() {
        return;
    }
    let application = async move {
        while inbox.recv().await.is_some() {
            sleep(Duration::from_millis(wishes.handle_ms)).await;
            server.handled.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(outlet.drive_into(socket, texts, intake, on_message), application);
}

/// What is to be published.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    topic: String,
    count: u64,
    bytes: usize,
    /// 0: as fast as it goes, with a turn for others after each.
    per_second: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self { topic: "t".to_owned(), count: 1, bytes: 100, per_second: 0 }
    }
}

async fn publish(Query(order): Query<Order>, State(server): State<Server>) -> Json<Value> {
    // On a task of its own, which no other future shares.
    let published = tokio::spawn(async move {
        let mut every =
            (order.per_second > 0).then(|| interval(Duration::from_secs(1) / u32::try_from(order.per_second).unwrap_or(1)));
        if let Some(every) = &mut every {
            every.set_missed_tick_behavior(MissedTickBehavior::Burst);
        }
        let (began, mut held, mut admitted, mut refused) = (Instant::now(), Vec::new(), 0, 0);
        for number in 0..order.count {
            match &mut every {
                Some(every) => _ = every.tick().await,
                None => tokio::task::yield_now().await,
            }
            let text = format!("{{\"seq\":{number},\"pad\":\"{:x<1$}\"}}", "", order.bytes.saturating_sub(24));
            let (before, start) = (waited_for_a_processor(), Instant::now());
            let published = server.hub.publish(order.topic.as_str(), text.into());
            let took = start.elapsed();
            held.push(took.saturating_sub(waited_for_a_processor().saturating_sub(before)));
            if let Ok(published) = published {
                admitted += published.admitted;
                refused += published.refused;
            }
        }
        let took = began.elapsed();
        held.sort_unstable();
        let at = |permille: usize| {
            held.get((held.len() * permille / 1_000).min(held.len().saturating_sub(1))).map_or(0, Duration::as_micros)
        };
        json!({
            "took_ms": took.as_millis(),
            "admitted": admitted,
            "refused": refused,
            "held_us": { "p50": at(500), "p99": at(990), "p999": at(999), "max": at(1_000) },
        })
    });
    Json(published.await.unwrap_or_default())
}

/// For how long this thread would have run, had a processor been free: no subscriber's fault. Beside a thousand clients two
/// processors are busy.
fn waited_for_a_processor() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

async fn stats(State(server): State<Server>) -> Json<Value> {
    let hub = server.hub.numbers();
    let slowest = server.hub.slowest(10).into_iter().map(|member| {
        let numbers = member.numbers;
        json!({
            "messages": numbers.messages, "bytes": numbers.bytes, "paused": numbers.paused, "held": numbers.held_by_peer,
            "dropped": numbers.dropped.total(),
        })
    });
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Json(json!({
        "rss_kib": resident_kib(),
        "fds": fds,
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "members": hub.members,
        "connections": hub.connections,
        "topics": hub.topics,
        "bytes": hub.bytes,
        "handled": server.handled.load(Ordering::Relaxed),
        "slowest": slowest.collect::<Vec<_>>(),
    }))
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[derive(Deserialize)]
struct Draining {
    over_ms: u64,
}

async fn drain(Query(draining): Query<Draining>, State(server): State<Server>) -> Json<Value> {
    let began = Instant::now();
    server.hub.drain(Duration::from_millis(draining.over_ms)).await;
    Json(json!({ "took_ms": began.elapsed().as_millis() }))
}
