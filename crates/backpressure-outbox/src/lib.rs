//! Bounded outboxes for connections: what waits for each peer, how it is told to slow down, and when it is let go.
//!
//! An [`Outbox`] stands between those who publish and one connection that may not keep up. It bounds messages and bytes, says stop
//! and go to the producer *and* to the peer, disconnects a peer that stays behind, and has the numbers of it all. Its other end, the
//! [`Outlet`], drives any `Sink` or `Sink + Stream` (a WebSocket of axum or tungstenite), or is pulled as a stream (server-sent
//! events, tonic). No task is spawned and no protocol is known here: [`Frames`] are three functions.
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
//! use backpressure_outbox::{Control, Inbound, Outbox, OutboxBuilder, frames};
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
//!         .drive(socket, frames, |message| match message {
//!             Message::Text(text) if text == r#"{"event":"flow.pause"}"# => Inbound::Pause,
//!             Message::Text(text) if text == r#"{"event":"flow.resume"}"# => Inbound::Resume,
//!             _ => Inbound::Ignore,
//!         })
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
//! # What the peer sees
//!
//! | | |
//! |---|---|
//! | at the high watermark, 75 % of messages or of bytes | [`Signal::Pause`]: `{"event":"flow.pause","reason":"buffer full"}`, ahead of all that waits |
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
//!   A pause stands behind all of that. Small buffers make prompt signals.
//! - **A kept outbox.** The last [`Outbox`] that is dropped closes the connection; a callback that captures one keeps it open. The
//!   other way round nothing is kept: once the connection has ended, sends are refused as closed.
//! - **No limits by default.** Without [`slow`](OutboxBuilder::slow) a peer may stay behind for ever: what it costs is bounded, and
//!   under [`Overflow::Block`] its senders wait as long.
//! - **Bodies that are pulled** notice nothing while nobody pulls them: see [`Pulled`].
//! - **Broadcasts.** `try_send` never waits. A publisher that awaits `send` for one subscriber after the other is as slow as the slowest.
//! - **Cancellation.** Dropping the future of a connection drops its transport without a close frame; what was taken and not flushed
//!   is uncertain, and counted as [`in_flight`](Numbers::in_flight).
//! - **Time.** Soft limits, heartbeats and the bounded close use tokio's timers: they panic outside of a runtime with time enabled.
//! - **Cloning.** Clones of an outbox are handles of one connection; of a builder, of one configuration; of a flow, of one flow.

mod alarm;
mod builder;
mod close;
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
pub use builder::{OutboxBuilder, OutboxError};
pub use close::Close;
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
