//! Drives an outbox and what comes back, over one socket.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::Timestamp;
use backpressure_queue::{ItemClass, Refused, SendError};
use futures_core::Stream;
use futures_sink::Sink;
use pin_project::pin_project;

use crate::alarm::Alarm;
use crate::inbox::Reading;
use crate::run::panic_after_the_end;
use crate::shared::Shared;
use crate::state::Why;
use crate::writer::Writer;
use crate::{Close, Ended, Frames, Intake};

/// What follows from something that the peer has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inbound<M, I = Infallible> {
    /// Nothing, for the outbox.
    Ignore,
    /// An answer, ahead of all data: it is sent as [`ItemClass::Urgent`](backpressure_queue::ItemClass::Urgent).
    ///
    /// While the reserve has no room for it, nothing more is read: a peer that asks without reading the answers is not asked after. An
    /// answer that is too heavy for the reserve, or any where it has no place, is lost, and counted as refused.
    Reply(M),
    /// A message for the application: it goes to the [`Inbox`](crate::Inbox) of the connection.
    Deliver(I),
    /// The peer wants no data for now, as with [`Outbox::hold`](crate::Outbox::hold).
    Pause,
    /// The peer wants its data again, as with [`Outbox::release`](crate::Outbox::release).
    Resume,
    /// The connection is to be closed, as with [`Outbox::close`](crate::Outbox::close): what waits is written first.
    Close(Close),
}

/// The future that [`Outlet::drive`](crate::Outlet::drive) returns: resolves once the connection has ended, and its socket is dropped.
///
/// Frames are written as by [`Run`](crate::Run). After the close frame the peer has the rest of the
/// [time](crate::OutboxBuilder::close_within) to close as well, and the socket is dropped in any case.
///
/// # Panics
///
/// When polled again after it has resolved; outside of a tokio runtime with time enabled. What [`Frames`] and callbacks panic with
/// passes through.
///
/// # Cancel safety
///
/// Dropping it drops the socket, closes the outbox and discards what waits. Messages that the socket had taken and not flushed stay
/// [`in_flight`](crate::Numbers::in_flight) in the numbers: the peer has got each of them or not.
///
/// # Fairness
///
/// After 64 frames in either direction the other has its turn, and the task yields.
#[must_use = "nothing is written or read unless this is polled"]
#[pin_project]
pub struct Drive<S, M, F, H, I = Infallible> {
    /// `None` once it has resolved, as the writer.
    #[pin]
    socket: Option<S>,
    #[pin]
    writer: Option<Writer<M, F>>,
    on_message: H,
    /// An answer that waits for room.
    reply: Option<M>,
    /// `None` where there is no inbox.
    reading: Option<Box<Reading<I>>>,
    pulse: Pulse,
    alarm: Alarm,
}

/// The signs of life of the peer.
struct Pulse {
    /// When it is asked next; `None` before the first poll.
    next: Option<Timestamp>,
    asked: bool,
    heard: bool,
    missed: u32,
}

/// What came of reading.
enum Read<E> {
    /// The peer has sent nothing more yet, or an answer waits for room.
    Nothing,
    Enough,
    Ended(Result<(), E>),
}

impl<S, M, F, H, I> Drive<S, M, F, H, I> {
    pub(crate) fn new(socket: S, writer: Writer<M, F>, intake: Option<Intake<I>>, on_message: H) -> Self {
        let pulse = Pulse { next: None, asked: false, heard: false, missed: 0 };
        let reading = intake.map(|intake| Box::new(Reading::new(intake)));
        Self { socket: Some(socket), writer: Some(writer), on_message, reply: None, reading, pulse, alarm: Alarm::default() }
    }
}

impl<S, M, F, H, T, E, I> Drive<S, M, F, H, I>
where
    S: Stream<Item = Result<T, E>> + Sink<F::Frame, Error = E>,
    F: Frames<M>,
    H: FnMut(T) -> Inbound<M, I>,
{
    fn poll_end(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<E>> {
        let mut reads = MAX_READS;
        loop {
            let read = self.as_mut().read(context, &mut reads);
            let mut this = self.as_mut().project();
            let (Some(socket), Some(mut writer)) = (this.socket.as_mut().as_pin_mut(), this.writer.as_mut().as_pin_mut()) else {
                panic_after_the_end();
            };
            match read {
                Read::Ended(Ok(())) => return Poll::Ready(writer.left()),
                Read::Ended(Err(error)) => return Poll::Ready(writer.failed(error)),
                Read::Enough => context.waker().wake_by_ref(),
                Read::Nothing => {}
            }
            if writer.has_said_all() {
                // The socket is dropped in time, whether the peer answers or not.
                let by = writer.ending().map(|ending| ending.by);
                let late = writer.as_mut().poll_time(context, by);
                return if late { Poll::Ready(writer.ended(true)) } else { Poll::Pending };
            }
            let shared = Arc::clone(writer.feed.shared());
            if this.pulse.poll(&shared, this.alarm, context) {
                writer.as_mut().ping();
            }
            match writer.as_mut().poll(socket, context) {
                Poll::Ready(_) if writer.has_said_all() => {}
                Poll::Ready(ended) => return Poll::Ready(ended),
                // What was written may have made room for an answer, and so for reading on.
                Poll::Pending if this.reply.is_some() && answered(&shared, this.reply) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads at most so many messages, fewer the next time.
    fn read(self: Pin<&mut Self>, context: &mut Context<'_>, left: &mut usize) -> Read<E> {
        let mut this = self.project();
        let (Some(mut socket), Some(writer)) = (this.socket.as_mut().as_pin_mut(), this.writer.as_ref().as_pin_ref()) else {
            panic_after_the_end();
        };
        let shared = writer.feed.shared();
        while *left > 0 {
            if !writer.is_leaving() {
                if !answered(shared, this.reply) {
                    return Read::Nothing;
                }
                if let Some(reading) = this.reading
                    && reading.poll_ready(shared, context).is_pending()
                {
                    // It is not the peer's fault that nothing is heard of it.
                    this.pulse.heard = true;
                    return Read::Nothing;
                }
            }
            let message = match socket.as_mut().poll_next(context) {
                Poll::Pending => return Read::Nothing,
                Poll::Ready(None) => return Read::Ended(Ok(())),
                Poll::Ready(Some(Err(error))) => return Read::Ended(Err(error)),
                Poll::Ready(Some(Ok(message))) => message,
            };
            *left -= 1;
            this.pulse.heard = true;
            if writer.is_leaving() {
                continue;
            }
            if let Some(reading) = this.reading {
                reading.count(shared);
            }
            match (this.on_message)(message) {
                Inbound::Ignore => {}
                Inbound::Reply(reply) => *this.reply = Some(reply),
                Inbound::Deliver(message) => match this.reading {
                    Some(reading) => reading.deliver(message, shared),
                    // Only with an inbox is there anything to deliver: without one, `I` has no values.
                    None => drop(message),
                },
                Inbound::Pause => shared.hold_for_peer(true),
                Inbound::Resume => shared.hold_for_peer(false),
                Inbound::Close(close) => shared.end(Why::Asked, close),
            }
        }
        Read::Enough
    }
}

/// Sends the answer, and returns whether there is none left.
fn answered<M>(shared: &Shared<M>, reply: &mut Option<M>) -> bool {
    let Some(message) = reply.take() else {
        return true;
    };
    if !shared.has_room_for_urgent(&message) {
        *reply = Some(message);
    } else if let Err(SendError { item, reason: Refused::Full, .. }) = shared.try_send(shared.item(ItemClass::Urgent, message)) {
        // Somebody else has taken the room since. For any other reason it is lost: the outbox is closed, or no reserve has room.
        *reply = Some(item.value);
    }
    reply.is_none()
}

impl Pulse {
    /// Returns whether it is time to ask the peer, and ends the outbox once it has not answered too often.
    fn poll<M>(&mut self, shared: &Shared<M>, alarm: &mut Alarm, context: &mut Context<'_>) -> bool {
        let config = &shared.config;
        if config.heartbeat.every == u64::MAX {
            // No timer either: it would want a runtime.
            return false;
        }
        let mut ask = false;
        loop {
            let next = *self.next.get_or_insert_with(|| config.now().saturating_add(config.heartbeat.every));
            if !alarm.poll(context, Some(next), |at| config.instant(at)) {
                return ask;
            }
            self.next = None;
            self.missed = if self.heard || !self.asked { 0 } else { self.missed + 1 };
            if self.missed > 0 && self.missed >= config.heartbeat.misses {
                shared.end(Why::Silent(self.missed), Close::SILENT);
            }
            (self.heard, self.asked, ask) = (false, true, true);
        }
    }
}

impl<S, M, F, H, T, E, I> Future for Drive<S, M, F, H, I>
where
    S: Stream<Item = Result<T, E>> + Sink<F::Frame, Error = E>,
    F: Frames<M>,
    H: FnMut(T) -> Inbound<M, I>,
{
    type Output = Ended<E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(self.as_mut().poll_end(context));
        let mut this = self.project();
        this.socket.set(None);
        this.writer.set(None);
        // Ends the inbox.
        *this.reading = None;
        Poll::Ready(ended)
    }
}

impl<S, M, F, H, I> fmt::Debug for Drive<S, M, F, H, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.writer.as_ref().map(|writer| writer.feed.shared().numbers());
        f.debug_struct("Drive").field("numbers", &numbers).finish_non_exhaustive()
    }
}

/// So many messages of the peer are read before its outbox has its turn.
const MAX_READS: usize = 64;
