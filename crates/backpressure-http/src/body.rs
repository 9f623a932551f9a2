//! A body round any body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The body of a service, or that of a refusal in front of it.
///
/// Its data is [`Bytes`] as axum and tonic demand; data of another type is copied, `Bytes` are not. Trailers, size and end of
/// the inner body
/// are passed on. Nothing is boxed.
#[pin_project]
#[derive(Debug)]
pub struct AnswerBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = Projected)]
#[derive(Debug)]
enum Kind<B> {
    Inner(#[pin] B),
    /// Empty when it has been read.
    Own(Bytes),
}

impl<B> AnswerBody<B> {
    pub(crate) const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner(body) }
    }

    pub(crate) const fn own(body: Bytes) -> Self {
        Self { kind: Kind::Own(body) }
    }
}

/// The empty body, whatever `B`: so a plain [`Respond`](crate::Respond) may stand outside.
impl<B> Default for AnswerBody<B> {
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            Projected::Inner(body) => {
                body.poll_frame(cx).map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            }
            Projected::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Projected::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Own(bytes) => bytes.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Own(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http::HeaderMap;
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;
    use crate::golden::ready;

    /// A body without a `Default` that gives what it is told to give.
    struct Frames(VecDeque<Result<Frame<VecDeque<u8>>, &'static str>>);

    impl Body for Frames {
        type Data = VecDeque<u8>;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<VecDeque<u8>>, &'static str>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    #[test]
    fn data_trailers_and_errors_of_the_inner_body_pass() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        // In two pieces, as only a ring buffer is.
        let mut data = VecDeque::from(vec![2, 3]);
        data.push_front(1);
        let frames = [Ok(Frame::data(data)), Ok(Frame::trailers(trailers.clone())), Err("broken")];
        let mut body = AnswerBody::inner(Frames(frames.into()));
        assert_eq!(ready(body.frame()).unwrap().unwrap().into_data().unwrap(), [1, 2, 3][..]);
        assert_eq!(ready(body.frame()).unwrap().unwrap().into_trailers().unwrap(), trailers);
        assert_eq!(ready(body.frame()).unwrap().unwrap_err(), "broken");
        assert!(ready(body.frame()).is_none());
    }

    #[test]
    fn bytes_are_not_copied() {
        let data = Bytes::from(vec![7; 100]);
        let mut body = AnswerBody::inner(Full::new(data.clone()));
        assert_eq!(ready(body.frame()).unwrap().unwrap().into_data().unwrap().as_ptr(), data.as_ptr());
    }

    #[test]
    fn size_and_end_are_those_of_the_inner_body() {
        let body = AnswerBody::inner(Full::new(Bytes::from("abc")));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        let body = AnswerBody::inner(Empty::<Bytes>::new());
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        let body = AnswerBody::inner(Frames(VecDeque::new()));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    }

    #[test]
    fn an_own_body_is_one_frame() {
        let mut body = AnswerBody::<Frames>::own(Bytes::from("abc"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        assert_eq!(ready(body.frame()).unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        assert!(ready(body.frame()).is_none());
    }

    #[test]
    fn the_default_is_empty_whatever_the_inner_body_is() {
        let mut body = AnswerBody::<Frames>::default();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        assert!(ready(body.frame()).is_none());
    }
}
