//! The end of an outbox that messages leave by.

use std::fmt;
use std::sync::Arc;

use backpressure_queue::Receiver;
use futures_core::Stream;
use futures_sink::Sink;

use crate::feed::{Exit, Feed};
use crate::shared::Shared;
use crate::writer::Writer;
use crate::{Drive, Frames, Inbound, Intake, Pulled, Run};

/// The end of an [`Outbox`](crate::Outbox) that its messages leave by: to be put to work for one transport.
///
/// Dropping it, or what it has become, closes the outbox and drops what is inside; the [`Numbers`](crate::Numbers) count it.
pub struct Outlet<M> {
    exit: Exit<M>,
}

impl<M> Outlet<M> {
    pub(crate) const fn new(shared: Arc<Shared<M>>, receiver: Receiver<M>) -> Self {
        Self { exit: Exit { shared, receiver } }
    }

    /// Writes to a sink, until the outbox is closed or the sink fails. For a transport of which only the sink is there: where there
    /// is a stream too, [`drive`](Self::drive) both.
    pub fn run<S, F>(self, sink: S, frames: F) -> Run<S, M, F>
    where
        S: Sink<F::Frame>,
        F: Frames<M>,
    {
        Run::new(sink, Writer::new(self.feed(frames)))
    }

    /// Owns both halves of a socket: writes to it, reads from it, and drops it at the end.
    ///
    /// `on_message` gets what the peer sends, and says what is to follow from it. It runs in the task that writes: what takes time
    /// belongs into another.
    pub fn drive<S, F, H, T, E>(self, socket: S, frames: F, on_message: H) -> Drive<S, M, F, H>
    where
        S: Stream<Item = Result<T, E>> + Sink<F::Frame, Error = E>,
        F: Frames<M>,
        H: FnMut(T) -> Inbound<M>,
    {
        Drive::new(socket, Writer::new(self.feed(frames)), None, on_message)
    }

    /// As [`drive`](Self::drive), with an inbox: what `on_message` says is to be [delivered](Inbound::Deliver) goes to the
    /// application, bounded, at a bounded rate, and the peer is told to pause before that becomes too much.
    pub fn drive_into<S, F, H, T, E, I>(self, socket: S, frames: F, intake: Intake<I>, on_message: H) -> Drive<S, M, F, H, I>
    where
        S: Stream<Item = Result<T, E>> + Sink<F::Frame, Error = E>,
        F: Frames<M>,
        H: FnMut(T) -> Inbound<M, I>,
    {
        Drive::new(socket, Writer::new(self.feed(frames)), Some(intake), on_message)
    }

    /// Makes a stream of frames, for bodies that are pulled: server-sent events, tonic's streams.
    pub fn into_stream<F: Frames<M>>(self, frames: F) -> Pulled<M, F> {
        Pulled::new(self.feed(frames))
    }

    fn feed<F>(self, frames: F) -> Feed<M, F> {
        Feed::new(self.exit, frames)
    }
}

impl<M> fmt::Debug for Outlet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("numbers", &self.exit.shared.numbers()).finish_non_exhaustive()
    }
}
