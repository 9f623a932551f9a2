//! A body that is paid for by the byte.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::charge::Charge;

/// A body whose bytes are charged as they are sent; made by [`Charge::metered`].
///
/// Trailers are free. The charge is settled when the body has ended, has failed or is dropped.
#[pin_project]
pub struct Metered<B> {
    #[pin]
    body: B,
    /// Until the end.
    charge: Option<Charge>,
}

impl<B> Metered<B> {
    pub(crate) const fn new(charge: Charge, body: B) -> Self {
        Self { body, charge: Some(charge) }
    }
}

impl<B: Body> Body for Metered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        match (&frame, &*this.charge) {
            (Some(Ok(frame)), Some(charge)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                charge.add(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            _ => *this.charge = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for Metered<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("body", &self.body).field("charge", &self.charge).finish()
    }
}
