//! The frames of an outbox, in the order in which the peer is to get them.

use std::mem;
use std::sync::Arc;

use backpressure_queue::{Load, Received, Receiver};

use crate::shared::{Outgoing, Shared};
use crate::{Close, Control, Frames};

/// The way out of an outbox. Ends it when it is dropped.
pub(crate) struct Exit<M> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) receiver: Receiver<M>,
}

pub(crate) struct Feed<M, F> {
    exit: Exit<M>,
    frames: F,
    /// The message behind the marker of a gap.
    behind: Option<M>,
    /// Whether the peer is to be asked for a sign of life.
    ping: bool,
    /// Whether there was more at the last look.
    has_next: bool,
}

/// A frame, and how many messages it is.
pub(crate) struct Next<Frame> {
    pub(crate) frame: Frame,
    pub(crate) messages: u64,
}

impl<M, F> Feed<M, F> {
    pub(crate) const fn new(exit: Exit<M>, frames: F) -> Self {
        Self { exit, frames, behind: None, ping: false, has_next: false }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared<M>> {
        &self.exit.shared
    }

    /// Looks what there is. Returns whether there is more to know than what is to be written.
    pub(crate) fn peek(&mut self) -> bool {
        let peek = self.exit.shared.peek();
        self.has_next = peek.has_next;
        peek.wants_a_look
    }

    /// Whether there was a frame at the last look, if nobody has taken its message away since.
    pub(crate) const fn has_next(&self) -> bool {
        self.has_next || self.ping || self.behind.is_some()
    }

    pub(crate) const fn ping(&mut self) {
        self.ping = true;
    }
}

impl<M, F: Frames<M>> Feed<M, F> {
    /// Returns the next frame: signals before all else, what is urgent before all data, a marker before the first message after a
    /// loss.
    pub(crate) fn next(&mut self) -> Option<Next<F::Frame>> {
        if self.ping || self.behind.is_some() {
            return self.next_of_all();
        }
        let (outgoing, has_next) = self.exit.shared.take_next(&mut self.exit.receiver);
        self.has_next = has_next;
        match outgoing? {
            Outgoing::Signal(signal) => self.control(Control::Flow(signal)).or_else(|| self.next()),
            Outgoing::Urgent(message) => Some(self.message(message)),
            Outgoing::Data(received) => Some(self.data(received)),
        }
    }

    /// The same where this end has something of its own: a ping after signals, and what is behind a marker after what is urgent.
    fn next_of_all(&mut self) -> Option<Next<F::Frame>> {
        if let Some(signal) = self.exit.shared.take_signal()
            && let Some(next) = self.control(Control::Flow(signal))
        {
            return Some(next);
        }
        if mem::take(&mut self.ping)
            && let Some(next) = self.control(Control::Ping)
        {
            return Some(next);
        }
        if let Some(urgent) = self.exit.shared.take_urgent(&mut self.exit.receiver) {
            return Some(self.message(urgent));
        }
        match self.behind.take() {
            Some(behind) => Some(self.message(behind)),
            None => self.next(),
        }
    }

    fn control(&mut self, control: Control) -> Option<Next<F::Frame>> {
        let frame = self.frames.control(control)?;
        Some(Next { frame, messages: 0 })
    }

    fn data(&mut self, received: Received<M>) -> Next<F::Frame> {
        let marker = self.exit.shared.config.marker.as_ref().filter(|_| received.missed != Load::ZERO);
        let Some(marker) = marker else {
            return self.message(received.item.value);
        };
        let marker = marker(received.missed);
        self.behind = Some(received.item.value);
        Next { frame: self.frames.data(marker), messages: 0 }
    }

    pub(crate) fn close(&mut self, close: &Close) -> Option<F::Frame> {
        self.frames.close(close)
    }

    fn message(&mut self, message: M) -> Next<F::Frame> {
        Next { frame: self.frames.data(message), messages: 1 }
    }
}

impl<M> Drop for Exit<M> {
    fn drop(&mut self) {
        self.shared.ended();
    }
}
