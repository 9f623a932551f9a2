//! The frames of an outbox, in the order in which the peer is to get them.

use std::sync::Arc;

use backpressure_queue::{Load, Receiver};

use crate::shared::Shared;
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
}

/// A frame, and how many messages it is.
pub(crate) struct Next<Frame> {
    pub(crate) frame: Frame,
    pub(crate) messages: u64,
}

impl<M, F> Feed<M, F> {
    pub(crate) const fn new(exit: Exit<M>, frames: F) -> Self {
        Self { exit, frames, behind: None, ping: false }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared<M>> {
        &self.exit.shared
    }

    /// Whether there is a frame, if nobody takes its message away.
    pub(crate) fn has_next(&self) -> bool {
        self.ping || self.behind.is_some() || self.exit.shared.has_something()
    }

    pub(crate) const fn ping(&mut self) {
        self.ping = true;
    }
}

impl<M, F: Frames<M>> Feed<M, F> {
    /// Returns the next frame: signals before all else, what is urgent before all data, a marker before the first message after a
    /// loss.
    pub(crate) fn next(&mut self) -> Option<Next<F::Frame>> {
        if let Some(signal) = self.exit.shared.take_signal()
            && let Some(frame) = self.frames.control(Control::Flow(signal))
        {
            return Some(Next { frame, messages: 0 });
        }
        if std::mem::take(&mut self.ping)
            && let Some(frame) = self.frames.control(Control::Ping)
        {
            return Some(Next { frame, messages: 0 });
        }
        if let Some(urgent) = self.exit.receiver.try_recv_urgent() {
            return Some(self.message(urgent.value));
        }
        if let Some(behind) = self.behind.take() {
            return Some(self.message(behind));
        }
        if self.exit.shared.is_held_by_peer() {
            return None;
        }
        let received = self.exit.receiver.try_recv().ok()?;
        self.exit.shared.observe(Load::ZERO, false);
        let marker = self.exit.shared.config.marker.as_ref().filter(|_| received.missed != Load::ZERO);
        if let Some(marker) = marker {
            let marker = marker(received.missed);
            self.behind = Some(received.item.value);
            return Some(Next { frame: self.frames.data(marker), messages: 0 });
        }
        Some(self.message(received.item.value))
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
