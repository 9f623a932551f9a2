//! Drives an outbox into a sink.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use pin_project::pin_project;

use crate::writer::Writer;
use crate::{Ended, Frames};

/// The future that [`Outlet::run`](crate::Outlet::run) returns: resolves once the connection has ended, and its sink is dropped.
///
/// Frames are written in order, as many as are ready at a time, at most 64, and then flushed.
///
/// # Panics
///
/// When polled again after it has resolved; outside of a tokio runtime with time enabled once it has to time something: a soft limit,
/// or the close. What [`Frames`] and callbacks panic with passes through.
///
/// # Cancel safety
///
/// Dropping it drops the sink, closes the outbox and discards what waits. Messages that the sink had taken and not flushed stay
/// [`in_flight`](crate::Numbers::in_flight) in the numbers: the peer has got each of them or not. No close frame is sent: to end
/// politely, [`close`](crate::Outbox::close) the outbox and await this.
#[must_use = "nothing is written unless this is polled"]
#[pin_project]
pub struct Run<S, M, F> {
    /// Both `None` once it has resolved.
    #[pin]
    sink: Option<S>,
    #[pin]
    writer: Option<Writer<M, F>>,
}

impl<S, M, F> Run<S, M, F> {
    pub(crate) const fn new(sink: S, writer: Writer<M, F>) -> Self {
        Self { sink: Some(sink), writer: Some(writer) }
    }
}

impl<S, M, F> Future for Run<S, M, F>
where
    S: Sink<F::Frame>,
    F: Frames<M>,
{
    type Output = Ended<S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(sink), Some(writer)) = (this.sink.as_mut().as_pin_mut(), this.writer.as_mut().as_pin_mut()) else {
            panic_after_the_end();
        };
        let ended = ready!(writer.poll(sink, context));
        this.sink.set(None);
        this.writer.set(None);
        Poll::Ready(ended)
    }
}

impl<S, M, F> fmt::Debug for Run<S, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.writer.as_ref().map(|writer| writer.feed.shared().numbers());
        f.debug_struct("Run").field("numbers", &numbers).finish_non_exhaustive()
    }
}

#[expect(clippy::panic, reason = "polling a future again after it has resolved is the caller's error, as the docs say")]
pub(crate) fn panic_after_the_end() -> ! {
    panic!("polled again after the connection has ended")
}
