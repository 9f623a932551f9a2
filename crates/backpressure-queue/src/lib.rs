//! Waits: bounded lines of waiters and bounded queues of items, each with a stated behaviour at the bound.
//!
//! A [`Gate`] bounds how many are inside at once, and how many wait in front of it: the places of a service that sheds. A
//! [`Line`] is the gate with one place, for those who must come one after the other.
//!
//! A [`Line`] bounds how many wait for one thing, and for how long. Only the waiter at its head, who has the [`Turn`], asks for
//! that thing: a rate limit's next slot, a place that is given back, room in a buffer. All others just wait, so nobody is
//! overtaken and nobody polls in vain. The line knows nothing of what is waited for.
//!
//! Use it to build a layer that makes requests wait. For a finished one see `backpressure-rate-limit` (pacing) and
//! `backpressure-load-shed` (a queue before a bounded number of places). Where the number of waiters needs no bound, tokio's
//! `Semaphore` does.
//!
//! ```
//! use backpressure_queue::{Line, LineError};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let line = Line::new(2);
//!
//! // Nobody is in the line: the turn comes at once.
//! let turn = line.wait().await?;
//! assert_eq!(line.len(), 1);
//!
//! // The next one waits behind it.
//! let next = tokio::spawn(line.wait());
//! tokio::task::yield_now().await;
//! assert_eq!(line.len(), 2);
//!
//! // At the limit newcomers are refused at once: they never wait.
//! assert_eq!(line.wait().await.unwrap_err(), LineError::Full);
//!
//! // Whoever drops the turn leaves the line and passes it on.
//! drop(turn);
//! let turn = next.await??;
//! assert_eq!(line.len(), 1);
//!
//! drop(turn);
//! assert!(line.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Configured: the newest first, nobody longer than 50 ms, and an end for all.
//!
//! ```
//! use backpressure_queue::{Line, LineError, Order};
//! use std::time::Duration;
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let line = Line::new(1_000).order(Order::Lifo);
//! let turn = line.wait().await?;
//!
//! let deadline = Instant::now() + Duration::from_millis(50);
//! let oldest = tokio::spawn(line.wait().until(deadline));
//! tokio::task::yield_now().await;
//! let newest = tokio::spawn(line.wait().until(deadline));
//! tokio::task::yield_now().await;
//! drop(turn);
//!
//! let turn = newest.await??;
//! assert_eq!(oldest.await?.unwrap_err(), LineError::Expired);
//! assert_eq!(Instant::now(), deadline);
//!
//! // Whoever has the turn keeps it.
//! line.close();
//! assert_eq!(line.wait().await.unwrap_err(), LineError::Closed);
//! assert_eq!(line.len(), 1);
//! # drop(turn);
//! # Ok(())
//! # }
//! ```
//!
//! # The queue
//!
//! A [`Queue`] bounds how many items wait to be received, and what they weigh together; an [`Overflow`] says what becomes of one
//! that arrives when it is full, and a [`ItemClass`] what an item is worth then. Each sender learns what became of its item, and the
//! receiver what it missed. Use it between one that produces and one that cannot always keep up, as a connection. Where nothing is
//! to be dropped and nothing weighs, tokio's `mpsc` does.
//!
//! ```
//! use backpressure_queue::{ItemClass, Displaced, Item, Load, Overflow, QueueBuilder};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, mut receiver) = QueueBuilder::new(3, Overflow::DropOldest).max_weight(1_000).build::<&str>()?;
//! sender.try_send("tick 1")?;
//! sender.try_send(Item::new("order 7 accepted").class(ItemClass::Durable))?;
//! sender.try_send(Item::new("price: 10").class(ItemClass::Conflated(1)))?;
//!
//! // The newer price takes the place of the older one.
//! let sent = sender.try_send(Item::new("price: 11").class(ItemClass::Conflated(1)))?;
//! assert!(matches!(sent.into_iter().next(), Some(Displaced::Superseded(old)) if old.value == "price: 10"));
//!
//! // The queue is full: the oldest of what may be dropped goes, and comes back to the sender.
//! let sent = sender.try_send("tick 2")?;
//! assert!(matches!(sent.into_iter().next(), Some(Displaced::Evicted(old)) if old.value == "tick 1"));
//!
//! // The receiver learns that something is missing, before the first item after it.
//! let first = receiver.recv().await.expect("three are inside");
//! assert_eq!((first.item.value, first.missed), ("order 7 accepted", Load { items: 1, weight: 1 }));
//!
//! drop(sender);
//! let mut rest = Vec::new();
//! while let Some(received) = receiver.recv().await {
//!     rest.push(received.item.value);
//! }
//! assert_eq!(rest, ["price: 11", "tick 2"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Hazards
//!
//! - **An abandoned head.** Whoever has the turn or a place, or was woken for it, and is then neither polled nor dropped blocks the line: a
//!   future kept beside a `select!` whose other branch runs on, or one that is polled once by hand and stored. A deadline does
//!   not
//!   help, because a waiter notices it only when it is polled. A future that was never polled blocks nobody.
//! - **Two turns.** Whoever waits for the turn of a line while holding it waits for itself; so does a cycle of lines. Give such a
//!   wait a deadline.
//! - **Cancellation.** Dropping a [`Wait`] gives its place back and lets those behind move up; a second try starts at the back.
//! - **Items that are evicted** are in the [`Sent`] that the sender gets, and dropped with it: whoever owes somebody an answer for
//!   them looks into it.
//! - **An abandoned sender.** What is said of the head of a line holds for the first of the senders that wait under
//!   [`Overflow::Block`].
//! - **Time.** A [`Wait`] with a deadline that has to wait panics outside of a tokio runtime with time enabled. One without a
//!   deadline needs no runtime.
//! - **Clones share.** `clone` makes a handle of the same line, gate or queue. [`order`](Line::order) and the other settings make a
//!   new one.
//! - **Memory.** A line or gate: 56 bytes for each waiter of the longest line there ever was, at most doubled; a [`Wait`] and an
//!   [`Enter`] allocate nothing else. A [`Queue`]: 136 bytes, and 40 for each item beside itself.

mod error;
mod gate;
mod line;
mod queue;
mod slab;
mod sync;
mod wait;

pub use backpressure_core::Overflow;
pub use error::LineError;
pub use gate::{Enter, Gate, Idle, Place};
pub use line::{Line, Order};
pub use queue::{
    Counts, Displaced, Item, ItemClass, Load, Queue, QueueBuilder, QueueError, Received, Receiver, Refused, SendError, Sender,
    Sending, Sent, TryRecvError, Wakes,
};
pub use wait::{Turn, Wait};
