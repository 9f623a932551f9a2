//! What a peer has sent and nobody has handled yet: bounded, with signals to the peer and a rate.

mod builder;
mod intake;
mod pace;
mod space;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backpressure_queue::Receiver;
use futures_core::Stream;

pub use self::builder::InboxBuilder;
pub use self::intake::Intake;
pub(crate) use self::intake::Reading;
use self::space::Space;

/// The messages of one peer, for an application that takes its time with them.
///
/// [`Outlet::drive_into`](crate::Outlet::drive_into) fills it from a socket by its other end, the [`Intake`]. It is a [`Stream`] of
/// what [`recv`](Self::recv) returns. Dropping it closes the connection ([`Close::GOING_AWAY`](crate::Close::GOING_AWAY)): nobody
/// would handle what the peer sends.
///
/// # At the limit
///
/// At the high watermark, or when the peer sends faster than its [rate](InboxBuilder::message_rate), it is told to pause; at the low
/// one, or once half of its burst is there again, to resume. A peer that does not obey fills the rest; then its socket is not read
/// any more, until there is room, and TCP slows it down. So at most the bound is held here, and one message in hand. A message
/// that is larger than the whole bound ends the connection with [`Close::TOO_BIG`](crate::Close::TOO_BIG).
///
/// # Fairness
///
/// Messages come in the order in which they were sent.
///
/// # Examples
///
/// ```
/// use backpressure_core::Rate;
/// use backpressure_outbox::{Inbound, Inbox, Outbox, frames, obey};
/// # use backpressure_outbox::Close;
/// # use futures_util::{SinkExt, StreamExt, sink, stream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut inbox, intake) = Inbox::builder(String::len)
///     .max_messages(20)
///     .max_bytes(64 * 1024)
///     .message_rate(Rate::per_second(100))
///     .byte_rate(Rate::per_second(100_000))
///     .build()?;
/// let (outbox, outlet) = Outbox::builder(String::len).build()?;
/// # let incoming = ["one", r#"{"event":"flow.pause"}"#, "two"].map(|text| Ok::<_, std::io::Error>(text.to_owned()));
/// # let socket = Both(stream::iter(incoming));
/// # let texts = frames(|text: String| text, |_| None, |_| None);
///
/// // A real server spawns this. Signals of the peer are obeyed, everything else goes to the application.
/// let connection = outlet.drive_into(socket, texts, intake, obey(|text: &String| Some(text), Inbound::Deliver));
/// let (_ended, all) = tokio::join!(connection, async {
///     let mut all = Vec::new();
///     while let Some(message) = inbox.recv().await {
///         all.push(message);
///     }
///     all
/// });
/// assert_eq!(all, ["one", "two"]);
/// assert!(outbox.numbers().held_by_peer);
/// # Ok(())
/// # }
/// #
/// # /// Reads from a stream, and writes nowhere.
/// # struct Both<S>(S);
/// # impl<S: futures_core::Stream + Unpin> futures_core::Stream for Both<S> {
/// #     type Item = S::Item;
/// #     fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<S::Item>> {
/// #         self.0.poll_next_unpin(cx)
/// #     }
/// # }
/// # impl<S: Unpin> futures_sink::Sink<String> for Both<S> {
/// #     type Error = std::io::Error;
/// #     fn poll_ready(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn start_send(self: std::pin::Pin<&mut Self>, _: String) -> Result<(), Self::Error> { Ok(()) }
/// #     fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn poll_close(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// # }
/// ```
pub struct Inbox<T> {
    receiver: Receiver<T>,
    space: Arc<Space<T>>,
}

/// How an inbox is doing, at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxNumbers {
    /// How many messages wait to be handled, the one in hand not included.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For how long the first of them has waited.
    pub oldest: Option<Duration>,
    /// How many messages were taken from the peer for the application.
    pub received: u64,
    /// Whether the peer is told to pause because of this inbox or its rate.
    pub paused: bool,
    /// How often the socket was not read on because there was no room.
    pub stopped_full: u64,
    /// How often the socket was not read on because the peer was faster than its rate.
    pub stopped_rate: u64,
}

impl<T> Inbox<T> {
    /// Starts to configure an inbox, with what says how many bytes a message has: `String::len`, for one.
    pub fn builder(bytes: impl Fn(&T) -> usize + Send + Sync + 'static) -> InboxBuilder<T> {
        InboxBuilder::new(bytes)
    }

    fn new(receiver: Receiver<T>, space: Arc<Space<T>>) -> Self {
        Self { receiver, space }
    }

    /// Receives the next message; `None` once the connection has ended and all is received.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Polls for the next message, as [`recv`](Self::recv) does.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(received) = ready!(self.receiver.poll_recv(context)) else {
            return Poll::Ready(self.space.take_last());
        };
        self.space.freed(self.receiver.queue().load());
        Poll::Ready(Some(received.item.value))
    }

    /// Returns how the inbox is doing.
    #[must_use]
    pub fn numbers(&self) -> InboxNumbers {
        let (queue, counts) = (self.receiver.queue(), self.receiver.queue().counts());
        InboxNumbers {
            messages: queue.load().items as u64,
            bytes: queue.load().weight,
            oldest: queue.oldest_age(),
            received: counts.sent,
            ..self.space.numbers()
        }
    }
}

impl<T> Stream for Inbox<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(context)
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.receiver.queue().close();
        self.space.abandoned();
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}
