//! The wait for a gate to be empty.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Shared;
use crate::sync::Arc;

/// The future that [`Gate::idle`](super::Gate::idle) returns: it resolves when no place is in use and nobody waits for one.
///
/// A gate that is not closed may be in use again when it does. Dropping it leaves nothing behind.
#[must_use = "futures do nothing unless they are polled"]
pub struct Idle {
    gate: Arc<Shared>,
}

impl Idle {
    pub(super) const fn new(gate: Arc<Shared>) -> Self {
        Self { gate }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let gate = &*self.gate;
        if gate.update(|state| state.watch(gate, context.waker())) {
            // The others that watch are to know it too.
            gate.wake_if_idle();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}
