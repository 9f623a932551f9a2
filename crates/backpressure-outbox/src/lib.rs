//! Bounded outboxes for connections: what waits for each peer, how it is told to slow down, and when it is let go; and a hub of many
//! of them, in which one stuck client hurts nobody.
//!
//! An [`Outbox`] stands between those who publish and one connection that may not keep up. It bounds messages and bytes, says stop
//! and go to the producer *and* to the peer, disconnects a peer that stays behind, and has the numbers of it all. Its other end, the
//! [`Outlet`], drives any `Sink` or `Sink + Stream` (a WebSocket of axum or tungstenite), or is pulled as a stream (server-sent
//! events, tonic). No task is spawned and no protocol is known here: [`Frames`] are three functions. A [`Hub`] publishes to many
//! outboxes, and an [`Inbox`] bounds what comes the other way.
//!
//! Use it for connections that live long and get what they did not ask for. To bound how many *requests* are in progress or wait,
//! use `backpressure-load-shed`; for a bounded queue without a connection, `backpressure-queue`.
//!
//! # One connection
//!
//! ```
//! use backpressure_outbox::{Close, Ended, Outbox, frames};
//! use futures_util::{SinkExt, sink};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (outbox, outlet) = Outbox::builder(String::len).build()?;
//!
//! // A transport that collects lines.
//! let written = std::sync::Mutex::new(Vec::new());
//! let transport = sink::unfold((), async |(), line: String| {
//!     written.lock().unwrap().push(line);
//!     Ok::<_, std::io::Error>(())
//! });
//! let lines = frames(|message| message, |_| None, |close| Some(format!("bye: {close}")));
//!
//! outbox.try_send("hello".to_owned())?;
//! outbox.close(Close::GOING_AWAY);
//! // A real server spawns this.
//! let ended = outlet.run(Box::pin(transport), lines).await;
//! assert!(matches!(ended, Ended::Closed));
//! assert_eq!(*written.lock().unwrap(), ["hello", "bye: 1001 going away"]);
//! assert_eq!(outbox.numbers().written, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Configured
//!
//! One builder for all connections; the producer pauses while any of them is full.
//!
//! ```
//! use std::time::Duration;
//! use backpressure_outbox::{Close, Depth, Flow, ItemClass, Outbox, Overflow, Refused, SlowConsumer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let flow = Flow::new();
//! let builder = Outbox::builder(String::len)
//!     .max_messages(100)
//!     .max_bytes(256 * 1024)
//!     .overflow(Overflow::DropOldest)
//!     .flow(&flow)
//!     .slow(SlowConsumer::new().hard(Depth::bytes(200 * 1024)).soft(Depth::messages(90), Duration::from_secs(3)))
//!     .close_slow_with(Close::OVERLOADED)
//!     .gap_marker(|missed| format!(r#"{{"event":"flow.gap","dropped":{}}}"#, missed.items));
//!
//! let (outbox, outlet) = builder.build()?;
//! // 75 % of 100: from here on, whoever fills it is asked to wait.
//! for tick in 0..75 {
//!     assert!(!flow.is_paused());
//!     outbox.try_send(tick.to_string())?;
//! }
//! assert!(flow.is_paused() && outbox.numbers().paused);
//!
//! // What must not be lost, what only counts newest, what goes first.
//! outbox.try_send_as(ItemClass::Durable, "order accepted".to_owned())?;
//! outbox.try_send_as(ItemClass::Conflated(7), "price: 10".to_owned())?;
//! outbox.try_send_as(ItemClass::Conflated(7), "price: 11".to_owned())?;
//! outbox.try_send_as(ItemClass::Urgent, "server restarts soon".to_owned())?;
//! assert_eq!((outbox.numbers().messages, outbox.numbers().dropped.superseded), (78, 1));
//!
//! // Above the hard limit: closed at once, and all of its memory is free.
//! let _ = outbox.try_send("x".repeat(210 * 1024));
//! assert!(outbox.is_closed() && !flow.is_paused());
//! assert_eq!(outbox.numbers().bytes, 0);
//! assert_eq!(outbox.try_send("late".to_owned()).unwrap_err().reason, Refused::Closed);
//! # drop(outlet);
//! # Ok(())
//! # }
//! ```
//!
//! # A WebSocket
//!
//! ```
//! use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
//! use axum::{Router, extract::State, response::Response, routing::get};
//! use backpressure_outbox::{Control, Inbound, Outbox, OutboxBuilder, frames, obey};
//!
//! async fn serve(socket: WebSocket, builder: OutboxBuilder<Utf8Bytes>) {
//!     let Ok((outbox, outlet)) = builder.build() else { return };
//!     let frames = frames(
//!         Message::Text,
//!         |control| match control {
//!             Control::Flow(signal) => Some(Message::Text(signal.as_json().into())),
//!             Control::Ping => Some(Message::Ping(Default::default())),
//!             _ => None,
//!         },
//!         |close| Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() }))),
//!     );
//!     let _ = outbox.try_send("welcome".into());
//!     // Wherever `outbox` goes from here (a registry, a task that publishes), this ends with the connection.
//!     let _ended = outlet
//!         .drive(socket, frames, obey(|message: &Message| message.to_text().ok(), |_| Inbound::Ignore))
//!         .await;
//! }
//!
//! let upgrade = async |upgrade: WebSocketUpgrade, State(builder): State<OutboxBuilder<Utf8Bytes>>| -> Response {
//!     // tungstenite's own buffers would be 128 KiB for each connection.
//!     upgrade.read_buffer_size(8 * 1024).write_buffer_size(8 * 1024).on_upgrade(move |socket| serve(socket, builder))
//! };
//! let app: Router = Router::new().route("/feed", get(upgrade)).with_state(Outbox::builder(|text: &Utf8Bytes| text.len()));
//! # let _ = app;
//! ```
//!
//! # Many connections
//!
//! A message is made once, and shared by all who have subscribed to its topic. Publishing never waits for anybody; what does not keep
//! up is dealt with by the policy of *its* outbox, and all of them together stay within one budget.
//!
//! ```
//! use std::time::Duration;
//! use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
//! use backpressure_outbox::{
//!     Close, Control, Depth, Hub, Inbound, ItemClass, Letter, Overflow, SlowConsumer, frames, obey,
//! };
//!
//! type Feed = Hub<String, Utf8Bytes>;
//!
//! async fn serve(socket: WebSocket, feed: Feed) {
//!     let outbox = feed
//!         .outbox()
//!         .overflow(Overflow::DropOldest)
//!         .slow(SlowConsumer::new().soft(Depth::messages(40), Duration::from_secs(10)))
//!         .gap_marker(|missed| Letter::from(Utf8Bytes::from(format!(r#"{{"event":"flow.gap","dropped":{}}}"#, missed.items))));
//!     let Ok((member, outlet)) = feed.join_as("who it is, for the list of the slowest", &outbox) else {
//!         return; // The server drains.
//!     };
//!     let frames = frames(
//!         |letter: Letter<Utf8Bytes>| Message::Text(Utf8Bytes::clone(&letter)),
//!         |control| match control {
//!             Control::Flow(signal) => Some(Message::Text(signal.as_json().into())),
//!             Control::Ping => Some(Message::Ping(Default::default())),
//!             _ => None,
//!         },
//!         |close: &Close| Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() }))),
//!     );
//!     // A client that says pause gets nothing until it says resume; everything else that it says is a topic here.
//!     let subscribe = |message: Message| {
//!         if let Message::Text(topic) = message {
//!             let _already_or_too_many = member.subscribe(topic.to_string());
//!         }
//!         Inbound::Ignore
//!     };
//!     outlet.drive(socket, frames, obey(|message: &Message| message.to_text().ok(), subscribe)).await;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let feed = Feed::builder(|text: &Utf8Bytes| text.len()).max_bytes(64 << 20).build()?;
//! # let _serve = serve;
//! // Whoever misses some of these wants the newest of each key; an alarm goes ahead of all of them.
//! feed.publish_as("prices", ItemClass::Conflated(7), r#"{"key":7,"price":11}"#.into())?;
//! feed.publish_as("prices", ItemClass::Urgent, r#"{"event":"market closes"}"#.into())?;
//! for member in feed.slowest(10) {
//!     println!("{:?}: {:?} behind", member.label, member.numbers.oldest);
//! }
//! // Before this server goes down: close code 1012, over half a minute.
//! feed.drain(Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What comes the other way
//!
//! What a peer sends is handled by the task that reads, or goes to the application by an [`Inbox`]: bounded in messages, in bytes and
//! in how fast it may come. The peer is told to pause before that is full, and not read if it goes on.
//!
//! # A client
//!
//! A client in Rust drives its socket by an outbox as a server does, with [`obey`] round what it does with messages: its data is held
//! while the server pauses, and whoever makes it waits in [`Outbox::send`]. It is [quiet](OutboxBuilder::quiet): only one of two ends
//! that obey may pause the other for what it has not got rid of. With tungstenite:
//!
//! ```
//! use backpressure_outbox::{Close, Control, Ended, Inbound, Outbox, Overflow, frames, obey};
//! use tokio_tungstenite::tungstenite::protocol::CloseFrame;
//! use tokio_tungstenite::tungstenite::{Error, Message};
//!
//! async fn report(url: &str) -> Result<Ended<Error>, Box<dyn std::error::Error>> {
//!     // The last argument is TCP_NODELAY.
//!     let (socket, _) = tokio_tungstenite::connect_async_with_config(url, None, true).await?;
//!     let (outbox, outlet) = Outbox::builder(String::len).max_messages(20).overflow(Overflow::Block).quiet().build()?;
//!     let frames = frames(
//!         |text: String| Message::text(text),
//!         |control| match control {
//!             Control::Flow(signal) => Some(Message::text(signal.as_json())),
//!             Control::Ping => Some(Message::Ping(Default::default())),
//!             _ => None,
//!         },
//!         |close: &Close| {
//!             let reason = close.reason().to_owned().into();
//!             Some(Message::Close(Some(CloseFrame { code: close.code().into(), reason })))
//!         },
//!     );
//!     let handle = |message: Message| {
//!         println!("{message}");
//!         Inbound::Ignore
//!     };
//!     let connection = outlet.drive(socket, frames, obey(|message: &Message| message.to_text().ok(), handle));
//!     let reporting = async move {
//!         for number in 0..1_000_000 {
//!             // Waits while the server pauses, once 20 wait.
//!             if outbox.send(format!("measurement {number}")).await.is_err() {
//!                 break;
//!             }
//!         }
//!         // The last handle of the outbox: what waits is written, and the socket closed.
//!     };
//!     let (ended, ()) = tokio::join!(connection, reporting);
//!     Ok(ended)
//! }
//! # let _ = report;
//! ```
//!
//! For browsers and Node there is a module of its own,
//! `js/flow.mjs` in this crate, which also makes the server hold its data while the reader of a page is behind: no browser does that.
//!
//! # What the peer sees
//!
//! | | |
//! |---|---|
//! | at the high watermark, 75 % of messages or of bytes, of the outbox or of the inbox | [`Signal::Pause`]: `{"event":"flow.pause","reason":"buffer full"}`, ahead of all that waits |
//! | at the low one, half of that, of both | [`Signal::Resume`]: `{"event":"flow.resume"}` |
//! | after a loss | the [gap marker](OutboxBuilder::gap_marker), if there is one, ahead of the next message |
//! | above a limit for slow consumers | a close frame, [1008](Close::SLOW) by default; within a second the transport is gone |
//! | silent for too long | a ping each [interval](OutboxBuilder::heartbeat), then the end |
//!
//! Pause and resume alternate, one of each for a crossing of both marks. A pause that could not be written before it was over is not
//! written at all, and neither is its resume.
//!
//! # Hazards
//!
//! - **Data in the transport.** The bounds are on what waits *here*. Beyond them a connection holds what the transport has taken: up
//!   to 64 frames of one batch as far as the sink takes them, its write buffer, and the socket's, which on Linux grows to some 4 MB.
//!   A pause stands behind all of that. Small buffers make prompt signals, and `TCP_NODELAY` keeps the kernel from holding a small
//!   frame back for some 40 ms (axum: `serve::ListenerExt::tap_io`).
//! - **A kept outbox.** The last [`Outbox`] that is dropped closes the connection; a callback that captures one keeps it open, and
//!   one of a member that captures its [`Hub`] keeps that. The other way round nothing is kept: once the connection has ended, sends
//!   are refused as closed.
//! - **No limits by default.** Without [`slow`](OutboxBuilder::slow) a peer may stay behind for ever: what it costs is bounded, and
//!   under [`Overflow::Block`] its senders wait as long.
//! - **Bodies that are pulled** notice nothing while nobody pulls them: see [`Pulled`].
//! - **Broadcasts.** `try_send` and [`Hub::publish`] never wait. A publisher that awaits `send` for one subscriber after the other is as
//!   slow as the slowest; [`Overflow::Block`] in a hub refuses what has no room, and the peer misses it. A producer that is to slow
//!   down for the slowest awaits a [`Flow`].
//! - **A peer that pauses for ever** holds at most what its outbox may: give it a soft limit, or it stays.
//! - **Two ends that obey.** Each holds its data while the other is full; full of what it holds, each would tell the other to pause,
//!   and both would wait for ever. One of them, as a rule the client, is to be [quiet](OutboxBuilder::quiet). Nor may who waits in
//!   `send` be the one who empties the inbox.
//! - **Large messages.** Bound them in the transport too: by default axum's WebSocket reads 64 MiB before it hands over a message. What
//!   the transport refuses to read, for its size or as broken, is a failure of the transport: the connection ends without a close
//!   frame. Where the peer is to be told 1009, let an [`Inbox`] have the lower bound.
//! - **Cancellation.** Dropping the future of a connection drops its transport without a close frame; what was taken and not flushed
//!   is uncertain, and counted as [`in_flight`](Numbers::in_flight).
//! - **Time.** Soft limits, heartbeats and the bounded close use tokio's timers: they panic outside of a runtime with time enabled.
//! - **Cloning.** Clones of an outbox are handles of one connection; of a builder, of one configuration; of a flow, of one flow.

mod alarm;
mod builder;
mod close;
mod config;
mod drive;
mod ended;
mod feed;
mod flow;
mod frames;
mod hub;
mod inbox;
mod numbers;
mod outbox;
mod outlet;
mod pulled;
mod run;
mod shared;
mod signal;
mod state;
mod sync;
mod writer;

pub use backpressure_core::{Depth, Exceeded, Overflow, SlowConsumer};
pub use backpressure_queue::{Displaced, ItemClass, Load, Refused, SendError, Sent};
pub use builder::OutboxBuilder;
pub use close::Close;
pub use config::OutboxError;
pub use drive::{Drive, Inbound};
pub use ended::Ended;
pub use flow::{Flow, Pause, Resumed};
pub use frames::{Control, Frames, FramesFn, frames};
pub use hub::{
    Hub, HubBuilder, HubError, HubNumbers, JoinError, Letter, Member, MemberId, MemberNumbers, OverBudget, Published,
    SubscribeError,
};
pub use inbox::{Inbox, InboxBuilder, InboxNumbers, Intake};
pub use numbers::{Dropped, Numbers};
pub use outbox::Outbox;
pub use outlet::Outlet;
pub use pulled::Pulled;
pub use run::Run;
pub use signal::{Signal, obey};
