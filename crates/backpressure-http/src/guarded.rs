//! A body that holds something until it is done.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// A body that holds a guard for as long as it is being sent: a place of a concurrency limit, a connection of a pool.
///
/// The guard is dropped with the last frame, with an error, or with the body, whichever comes first; at once where there is
/// nothing to send. Hosts drop what they do not send: the body of an answer to `HEAD`, of a 204 or a 304 (hyper does), that of a
/// client that went away. Data, trailers, size and end of the inner body are passed on. Nothing is boxed.
///
/// # Examples
///
/// ```
/// use backpressure_http::Guarded;
/// use http_body_util::{BodyExt, Full};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let place = Arc::new(());
/// let mut body = Guarded::new(Full::new("hello".as_bytes()), Arc::clone(&place));
/// assert_eq!(Arc::strong_count(&place), 2);
/// body.frame().await.unwrap()?;
/// assert_eq!(Arc::strong_count(&place), 1);
/// # Ok(())
/// # }
/// ```
#[pin_project]
pub struct Guarded<B, G> {
    #[pin]
    body: B,
    /// Until the end.
    guard: Option<G>,
}

impl<B: Body, G> Guarded<B, G> {
    /// Makes a body that holds this guard, and drops it now where the body is at its end.
    #[inline]
    pub fn new(body: B, guard: G) -> Self {
        if body.is_end_stream() {
            drop(guard);
            return Self::unguarded(body);
        }
        Self { body, guard: Some(guard) }
    }
}

impl<B, G> Guarded<B, G> {
    /// Makes a body that holds nothing.
    pub const fn unguarded(body: B) -> Self {
        Self { body, guard: None }
    }

    /// Returns the guard, while it is held.
    pub const fn guard(&self) -> Option<&G> {
        self.guard.as_ref()
    }

    /// Returns the guard to change, while it is held.
    pub const fn guard_mut(&mut self) -> Option<&mut G> {
        self.guard.as_mut()
    }
}

/// The empty body, which holds nothing.
impl<B: Default, G> Default for Guarded<B, G> {
    fn default() -> Self {
        Self::unguarded(B::default())
    }
}

impl<B: Body, G> Body for Guarded<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        // After trailers nothing comes, whatever the body says; after data nothing may.
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || this.body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if is_last {
            *this.guard = None;
        }
        Poll::Ready(frame)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug, G> fmt::Debug for Guarded<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("body", &self.body).field("is_held", &self.guard.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use bytes::Bytes;
    use http::HeaderMap;
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;
    use crate::golden::ready;

    /// A body that gives what it is told to give, and cannot say beforehand which frame is its last.
    struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn held<B: Body>(body: B) -> (Guarded<B, Arc<()>>, impl Fn() -> bool) {
        let guard = Arc::new(());
        let seen = Arc::downgrade(&guard);
        (Guarded::new(body, guard), move || seen.strong_count() > 0)
    }

    fn data() -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from("data")))
    }

    #[test]
    fn a_body_with_nothing_to_send_holds_nothing() {
        let (body, is_held) = held(Empty::<Bytes>::new());
        assert!(!is_held());
        drop(body);
        assert!(!held(Full::new(Bytes::new())).1());
    }

    #[test]
    fn a_body_that_knows_its_last_frame_frees_with_it() {
        let (mut body, is_held) = held(Full::new(Bytes::from("data")));
        assert!(is_held() && body.guard().is_some());
        ready(body.frame()).unwrap().unwrap();
        assert!(!is_held());
    }

    #[test]
    fn a_body_that_does_not_know_frees_when_nothing_comes() {
        let (mut body, is_held) = held(Frames([data(), data()].into()));
        for _ in 0..2 {
            ready(body.frame()).unwrap().unwrap();
            assert!(is_held());
        }
        assert!(ready(body.frame()).is_none());
        assert!(!is_held());
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let (mut body, is_held) = held(Frames([data(), Ok(Frame::trailers(HeaderMap::new()))].into()));
        ready(body.frame()).unwrap().unwrap();
        assert!(is_held());
        assert!(ready(body.frame()).unwrap().unwrap().is_trailers());
        assert!(!is_held());
    }

    #[test]
    fn an_error_frees() {
        let (mut body, is_held) = held(Frames([data(), Err("broken")].into()));
        ready(body.frame()).unwrap().unwrap();
        assert_eq!(ready(body.frame()).unwrap().unwrap_err(), "broken");
        assert!(!is_held());
    }

    #[test]
    fn a_body_that_is_dropped_half_way_frees() {
        let (mut body, is_held) = held(Frames([data(), data()].into()));
        ready(body.frame()).unwrap().unwrap();
        drop(body);
        assert!(!is_held());
    }

    #[test]
    fn size_and_end_are_those_of_the_inner_body() {
        let (mut body, _) = held(Full::new(Bytes::from("data")));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        ready(body.frame()).unwrap().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        let (body, _) = held(Frames(VecDeque::new()));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    }

    #[test]
    fn an_unguarded_body_passes_everything() {
        let mut body = Guarded::<_, Arc<()>>::unguarded(Frames([data()].into()));
        assert_eq!(ready(body.frame()).unwrap().unwrap().into_data().unwrap(), "data");
        assert!(ready(body.frame()).is_none() && body.guard().is_none());
        assert!(Guarded::<Full<Bytes>, Arc<()>>::default().is_end_stream());
    }
}
