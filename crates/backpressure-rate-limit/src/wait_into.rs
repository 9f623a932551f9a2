//! The wait of a limit round another limit.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::Rejection;
use pin_project::pin_project;

/// A wait whose turn becomes a `T`: that of the limit round the one that makes it wait.
#[pin_project]
#[must_use = "a wait that is not polled is not in line"]
pub struct WaitInto<W, T> {
    #[pin]
    wait: W,
    turn: PhantomData<fn() -> T>,
}

impl<W, T> WaitInto<W, T> {
    pub(crate) const fn new(wait: W) -> Self {
        Self { wait, turn: PhantomData }
    }
}

impl<W, T, U> Future for WaitInto<W, U>
where
    W: Future<Output = Result<T, Rejection>>,
    U: From<T>,
{
    type Output = Result<U, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().wait.poll(cx).map_ok(U::from)
    }
}

impl<W: fmt::Debug, T> fmt::Debug for WaitInto<W, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitInto").field(&self.wait).finish()
    }
}
