//! Writes the frames of an outbox to a sink: in order, in batches, with an end.

use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::Timestamp;
use futures_sink::Sink;
use pin_project::pin_project;

use crate::alarm::Alarm;
use crate::feed::{Feed, Next};
use crate::shared::Parked;
use crate::state::{Ending, Why, Write};
use crate::{Ended, Frames};

#[pin_project]
pub(crate) struct Writer<M, F> {
    pub(crate) feed: Feed<M, F>,
    phase: Phase,
    batch: Batch,
    /// How many frames were written since the task has had its turn.
    turn: u32,
    /// Whether a close frame was written, which a peer may answer.
    said: bool,
    alarm: Alarm,
}

enum Phase {
    Open,
    /// What waits is written before the last words.
    Draining(Box<Ending>),
    /// The last words are to be said.
    LastWords(Box<Ending>),
    /// They are said, if there are any, and to be flushed.
    Flushing(Box<Ending>),
    Closing(Box<Ending>),
    Done(Box<Ending>),
}

/// What the sink has taken since it was flushed.
#[derive(Default)]
struct Batch {
    /// From when on the transport has made it wait.
    began: Option<Timestamp>,
    frames: u32,
    messages: u64,
}

/// Why writing stops for now.
enum Stop {
    /// There is nothing to write.
    Idle,
    /// The sink takes nothing for now.
    Stalled,
    /// Others have a right to the thread.
    Enough,
    /// All is said and flushed.
    Done,
}

impl<M, F> Writer<M, F> {
    pub(crate) fn new(feed: Feed<M, F>) -> Self {
        Self { feed, phase: Phase::Open, batch: Batch::default(), turn: 0, said: false, alarm: Alarm::default() }
    }

    /// Returns how this is ending, if it is.
    pub(crate) const fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Open => None,
            Phase::Draining(ending)
            | Phase::LastWords(ending)
            | Phase::Flushing(ending)
            | Phase::Closing(ending)
            | Phase::Done(ending) => Some(ending),
        }
    }

    /// Whether the peer is getting, or has got, the last words.
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::LastWords(_) | Phase::Flushing(_) | Phase::Closing(_) | Phase::Done(_))
    }

    /// Whether all is written and the peer has got a close frame that it may answer.
    pub(crate) const fn has_said_all(&self) -> bool {
        self.said && matches!(self.phase, Phase::Done(_))
    }

    /// Has the peer asked for a sign of life.
    pub(crate) fn ping(self: Pin<&mut Self>) {
        self.project().feed.ping();
    }

    /// Whether that time has come.
    pub(crate) fn poll_time(self: Pin<&mut Self>, context: &mut Context<'_>, at: Option<Timestamp>) -> bool {
        let this = self.project();
        let config = &this.feed.shared().config;
        this.alarm.poll(context, at, |at| config.instant(at))
    }

    /// Says how this has ended: with all that was to be written, or not.
    pub(crate) fn ended<E>(&self, politely: bool) -> Ended<E> {
        match self.ending().map(|ending| ending.why) {
            Some(Why::Slow(exceeded)) => Ended::Slow(exceeded),
            Some(Why::Silent(missed)) => Ended::Silent { missed },
            Some(Why::Asked) | None if politely => Ended::Closed,
            Some(Why::Asked) | None => Ended::CutOff,
        }
    }

    /// A transport that fails while a peer is disconnected is not why it ended.
    pub(crate) fn failed<E>(&self, error: E) -> Ended<E> {
        match self.ending().map(|ending| ending.why) {
            Some(Why::Slow(_) | Why::Silent(_)) => self.ended(false),
            Some(Why::Asked) | None => Ended::Transport(error),
        }
    }

    /// The same for a peer that leaves.
    pub(crate) fn left<E>(&self) -> Ended<E> {
        match self.ending().map(|ending| ending.why) {
            Some(Why::Slow(_) | Why::Silent(_)) => self.ended(false),
            Some(Why::Asked) if self.is_leaving() => Ended::Closed,
            Some(Why::Asked) | None => Ended::ByPeer,
        }
    }

    /// Looks what there is, and moves on where somebody has decided that this ends.
    fn look(self: Pin<&mut Self>) {
        let this = self.project();
        if !this.feed.peek() || !matches!(this.phase, Phase::Open | Phase::Draining(_)) {
            return;
        }
        if let Some(ending) = this.feed.shared().look() {
            *this.phase = if ending.why == Why::Asked { Phase::Draining(ending) } else { Phase::LastWords(ending) };
            // What was sent before the end may have come after the look.
            this.feed.peek();
        }
    }
}

impl<M, F: Frames<M>> Writer<M, F> {
    /// Writes as long as the sink takes it; ready once this has ended.
    pub(crate) fn poll<S>(mut self: Pin<&mut Self>, mut sink: Pin<&mut S>, context: &mut Context<'_>) -> Poll<Ended<S::Error>>
    where
        S: Sink<F::Frame>,
    {
        *self.as_mut().project().turn = 0;
        loop {
            self.as_mut().look();
            let stop = match self.as_mut().write(sink.as_mut(), context) {
                Ok(stop) => stop,
                Err(error) => return Poll::Ready(self.failed(error)),
            };
            match stop {
                Stop::Done => return Poll::Ready(self.ended(true)),
                Stop::Enough => context.waker().wake_by_ref(),
                Stop::Idle | Stop::Stalled => {}
            }
            let seen_ending = self.ending().is_some();
            let deadline = match self.feed.shared().park(context, matches!(stop, Stop::Idle), seen_ending) {
                Parked::LookAgain => continue,
                Parked::Until(deadline) => self.ending().map_or(deadline, |ending| Some(ending.by)),
            };
            if !self.as_mut().poll_time(context, deadline) {
                return Poll::Pending;
            }
            if self.ending().is_some() {
                return Poll::Ready(self.ended(false));
            }
        }
    }

    fn write<S>(mut self: Pin<&mut Self>, mut sink: Pin<&mut S>, context: &mut Context<'_>) -> Result<Stop, S::Error>
    where
        S: Sink<F::Frame>,
    {
        let step = match self.phase {
            Phase::Open => return self.write_messages(sink, context),
            Phase::Draining(_) => match self.as_mut().write_messages(sink.as_mut(), context)? {
                Stop::Idle => self.as_mut().write_last_words(sink, context)?,
                stop => return Ok(stop),
            },
            Phase::LastWords(_) | Phase::Flushing(_) | Phase::Closing(_) | Phase::Done(_) => {
                self.write_last_words(sink, context)?
            }
        };
        Ok(if step.is_ready() { Stop::Done } else { Stop::Stalled })
    }

    /// Writes until there is nothing to write, and flushes then; in batches, so that no frame waits for ever to be flushed.
    fn write_messages<S>(mut self: Pin<&mut Self>, mut sink: Pin<&mut S>, context: &mut Context<'_>) -> Result<Stop, S::Error>
    where
        S: Sink<F::Frame>,
    {
        let this = self.as_mut().project();
        loop {
            // A producer that keeps up has more whenever all is flushed.
            let full = this.batch.frames >= MAX_BATCH || *this.turn >= MAX_BATCH;
            if full || !this.feed.has_next() {
                if this.batch.frames > 0 {
                    let Poll::Ready(flushed) = sink.as_mut().poll_flush(context) else {
                        this.batch.stalls(this.feed);
                        return Ok(Stop::Stalled);
                    };
                    flushed?;
                    this.batch.flushed(this.feed);
                }
                return Ok(if full { Stop::Enough } else { Stop::Idle });
            }
            let Poll::Ready(ready) = sink.as_mut().poll_ready(context) else {
                this.batch.stalls(this.feed);
                return Ok(Stop::Stalled);
            };
            ready?;
            // The message may have been evicted, or discarded, since.
            if let Some(Next { frame, messages }) = this.feed.next() {
                this.batch.frames += 1;
                *this.turn += 1;
                this.batch.messages += messages;
                sink.as_mut().start_send(frame)?;
            }
        }
    }

    fn write_last_words<S>(
        mut self: Pin<&mut Self>,
        mut sink: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Result<Poll<()>, S::Error>
    where
        S: Sink<F::Frame>,
    {
        let this = self.as_mut().project();
        loop {
            let next = match &*this.phase {
                Phase::Open | Phase::Done(_) => return Ok(Poll::Ready(())),
                Phase::Draining(ending) => Phase::LastWords(ending.clone()),
                Phase::LastWords(ending) => {
                    let Poll::Ready(ready) = sink.as_mut().poll_ready(context) else {
                        return Ok(Poll::Pending);
                    };
                    ready?;
                    if let Some(frame) = this.feed.close(&ending.close) {
                        sink.as_mut().start_send(frame)?;
                        *this.said = true;
                    }
                    Phase::Flushing(ending.clone())
                }
                Phase::Flushing(ending) => {
                    let Poll::Ready(flushed) = sink.as_mut().poll_flush(context) else {
                        return Ok(Poll::Pending);
                    };
                    flushed?;
                    this.batch.flushed(this.feed);
                    Phase::Closing(ending.clone())
                }
                Phase::Closing(ending) => {
                    let Poll::Ready(closed) = sink.as_mut().poll_close(context) else {
                        return Ok(Poll::Pending);
                    };
                    closed?;
                    Phase::Done(ending.clone())
                }
            };
            *this.phase = next;
        }
    }
}

impl Batch {
    /// Takes note that the transport makes it wait: from when on, is read only here, where it matters.
    fn stalls<M, F>(&mut self, feed: &Feed<M, F>) {
        self.began.get_or_insert_with(|| feed.shared().config.now());
    }

    fn flushed<M, F>(&mut self, feed: &Feed<M, F>) {
        if self.frames > 0 {
            let took = self.began.map_or(0, |began| feed.shared().config.now().nanos_since(began));
            feed.shared().wrote(Write { messages: self.messages, took });
        }
        *self = Self::default();
    }
}

/// So many frames are written before they are flushed and others get the thread: enough to share a system call, too few to be
/// noticed as a delay.
const MAX_BATCH: u32 = 64;
