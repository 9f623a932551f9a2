//! The frames of an outbox, in the order in which the peer is to get them.

use std::sync::Arc;

use backpressure_core::Timestamp;
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
        self.ping || self.behind.is_some() || self.exit.shared.has_next()
    }

    pub(crate) const fn ping(&mut self) {
        self.ping = true;
    }
}

impl<M, F: Frames<M>> Feed<M, F> {
    /// Returns the next frame: signals before all else, what is urgent before all data, a marker before the first message after a
    /// loss.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Next<F::Frame>> {
        let Exit { shared, receiver } = &mut self.exit;
        if let Some(signal) = shared.take_signal()
            && let Some(frame) = self.frames.control(Control::Flow(signal))
        {
            return Some(Next { frame, messages: 0 });
        }
        if std::mem::take(&mut self.ping)
            && let Some(frame) = self.frames.control(Control::Ping)
        {
            return Some(Next { frame, messages: 0 });
        }
        if let Some(urgent) = shared.take_urgent(receiver) {
            return Some(self.message(urgent));
        }
        if let Some(behind) = self.behind.take() {
            return Some(self.message(behind));
        }
        let received = shared.take_data(receiver, now)?;
        let marker = shared.config.marker.as_ref().filter(|_| received.missed != Load::ZERO);
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
