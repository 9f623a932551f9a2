//! From messages to what the transport takes.

use std::fmt;

use crate::{Close, Signal};

/// Makes frames of the transport from messages, signals and last words: all that an outbox has to know of a protocol.
///
/// Three closures do: [`frames`]. For axum's WebSocket, and with another type in the same way for tungstenite's:
///
/// ```
/// use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
/// use backpressure_outbox::{Close, Control, Frames};
///
/// struct Text;
///
/// impl Frames<Utf8Bytes> for Text {
///     type Frame = Message;
///
///     fn data(&mut self, text: Utf8Bytes) -> Message {
///         Message::Text(text)
///     }
///
///     fn control(&mut self, control: Control) -> Option<Message> {
///         Some(match control {
///             Control::Flow(signal) => Message::Text(signal.as_json().into()),
///             Control::Ping => Message::Ping(Default::default()),
///             _ => return None,
///         })
///     }
///
///     fn close(&mut self, close: &Close) -> Option<Message> {
///         Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() })))
///     }
/// }
/// # let _ = Text.data("hello".into());
/// ```
pub trait Frames<M> {
    /// What the transport takes.
    type Frame;

    /// Makes the frame of a message, or of the marker of a gap.
    fn data(&mut self, message: M) -> Self::Frame;

    /// Makes the frame of something that the outbox has to say for itself; `None` where the protocol has no words for it.
    fn control(&mut self, control: Control) -> Option<Self::Frame>;

    /// Makes the last frame; `None` where the protocol just ends.
    fn close(&mut self, close: &Close) -> Option<Self::Frame>;
}

/// What an outbox has to say for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// The outbox has become full or has drained, or so has the [`Inbox`](crate::Inbox), if there is one. Strictly alternating.
    Flow(Signal),
    /// The peer is to give a sign of life.
    Ping,
}

/// Makes [`Frames`] of three closures: for data, for control and for the close.
///
/// ```
/// use backpressure_outbox::{Control, Frames, frames};
///
/// let mut lines = frames(
///     |message: String| message + "\n",
///     |control| match control {
///         Control::Flow(signal) => Some(format!("{}\n", signal.as_json())),
///         _ => None,
///     },
///     |close| Some(format!("bye: {close}\n")),
/// );
/// assert_eq!(lines.data("hello".to_owned()), "hello\n");
/// ```
pub const fn frames<M, Frame, D, C, E>(data: D, control: C, close: E) -> FramesFn<D, C, E>
where
    D: FnMut(M) -> Frame,
    C: FnMut(Control) -> Option<Frame>,
    E: FnMut(&Close) -> Option<Frame>,
{
    FramesFn { data, control, close }
}

/// [`Frames`] of three closures: [`frames`].
#[derive(Clone, Copy)]
pub struct FramesFn<D, C, E> {
    data: D,
    control: C,
    close: E,
}

impl<M, Frame, D, C, E> Frames<M> for FramesFn<D, C, E>
where
    D: FnMut(M) -> Frame,
    C: FnMut(Control) -> Option<Frame>,
    E: FnMut(&Close) -> Option<Frame>,
{
    type Frame = Frame;

    fn data(&mut self, message: M) -> Frame {
        (self.data)(message)
    }

    fn control(&mut self, control: Control) -> Option<Frame> {
        (self.control)(control)
    }

    fn close(&mut self, close: &Close) -> Option<Frame> {
        (self.close)(close)
    }
}

impl<D, C, E> fmt::Debug for FramesFn<D, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramesFn").finish_non_exhaustive()
    }
}
