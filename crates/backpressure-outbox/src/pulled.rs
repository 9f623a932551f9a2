//! An outbox as a stream of frames.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::Timestamp;
use futures_core::Stream;
use pin_project::pin_project;

use crate::Frames;
use crate::alarm::Alarm;
use crate::feed::{Feed, Next};
use crate::shared::Parked;
use crate::state::{Why, Write};

/// The frames of an outbox, pulled one by one: for bodies. [`Outlet::into_stream`](crate::Outlet::into_stream) makes one.
///
/// It ends, after the [close](Frames::close) frame where there is one, when the outbox is closed or the peer too slow.
///
/// # Slow readers
///
/// A body that nobody pulls notices nothing. What a sender notices, it acts on: above the hard limit, and above the soft one for too
/// long, what waits is discarded and nothing more is admitted, so the memory is bounded and soon free. The connection itself is ended
/// only when the body is pulled again, or by the transport: hyper does not ask a body whose reader has stalled.
///
/// A write, in the [`Numbers`](crate::Numbers), is here the time from when a frame was pulled until the next was asked for.
///
/// # Panics
///
/// Outside of a tokio runtime with time enabled, while the peer is above its soft limit.
///
/// # Cancel safety
///
/// Dropping it closes the outbox and discards what waits. The frame pulled last stays [`in_flight`](crate::Numbers::in_flight).
#[must_use = "a stream does nothing unless it is polled"]
#[pin_project]
pub struct Pulled<M, F> {
    /// `None` once it has ended.
    feed: Option<Feed<M, F>>,
    /// The messages that were pulled last, and when.
    pulled: Option<(u64, Timestamp)>,
    alarm: Alarm,
}

impl<M, F> Pulled<M, F> {
    pub(crate) fn new(feed: Feed<M, F>) -> Self {
        Self { feed: Some(feed), pulled: None, alarm: Alarm::default() }
    }
}

impl<M, F: Frames<M>> Stream for Pulled<M, F> {
    type Item = F::Frame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Frame>> {
        let this = self.project();
        let Some(feed) = this.feed else {
            return Poll::Ready(None);
        };
        if let Some((messages, since)) = this.pulled.take() {
            let took = feed.shared().config.now().nanos_since(since);
            feed.shared().wrote(Write { messages, took });
        }
        loop {
            let ending = if feed.peek() { feed.shared().look() } else { None };
            let next = if ending.as_ref().is_none_or(|ending| ending.why == Why::Asked) { feed.next() } else { None };
            if let Some(Next { frame, messages }) = next {
                *this.pulled = Some((messages, feed.shared().config.now()));
                return Poll::Ready(Some(frame));
            }
            if let Some(ending) = ending {
                let last = feed.close(&ending.close);
                *this.feed = None;
                return Poll::Ready(last);
            }
            let Parked::Until(deadline) = feed.shared().park(context, true, false) else {
                continue;
            };
            let config = &feed.shared().config;
            if !this.alarm.poll(context, deadline, |at| config.instant(at)) {
                return Poll::Pending;
            }
        }
    }
}

impl<M, F> fmt::Debug for Pulled<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.feed.as_ref().map(|feed| feed.shared().numbers());
        f.debug_struct("Pulled").field("numbers", &numbers).finish_non_exhaustive()
    }
}
