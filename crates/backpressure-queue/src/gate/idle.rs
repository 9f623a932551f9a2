//! The wait for a gate to be empty.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Shared;
use crate::sync::Arc;

/// The future that [`Gate::idle`](super::Gate::idle) returns: it resolves when no place is in use and nobody waits for one.
///
/// It has to find the gate so when it is polled: where somebody comes before that, it waits on, and a gate that is not closed may be in
/// use again when it has resolved. While it waits, entering and leaving take a lock.
///
/// # Cancel safety
///
/// Dropping it leaves nothing behind.
#[must_use = "futures do nothing unless they are polled"]
pub struct Idle {
    gate: Arc<Shared>,
    /// Which of the watchers it is; `None` unless it had to wait.
    number: Option<u64>,
}

/// Those who wait for a gate to be empty. They are few: who looks for one of them looks at all.
#[derive(Default)]
pub(super) struct Watchers {
    wakers: Vec<(u64, Waker)>,
    /// How many there ever were.
    numbered: u64,
}

impl Idle {
    pub(super) const fn new(gate: Arc<Shared>) -> Self {
        Self { gate, number: None }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { gate, number } = self.get_mut();
        let (is_idle, unused) = gate.update(|state| state.watch(gate, number, context.waker()));
        drop(unused);
        if is_idle { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let Self { gate, number } = self;
        if number.is_some() {
            let unused = gate.update(|state| state.unwatch(gate, number));
            drop(unused);
        }
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}

impl Watchers {
    pub(super) const fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Has a watcher woken with this waker, and numbers one that has no number; returns a waker to drop.
    pub(super) fn set(&mut self, number: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let number = *number.get_or_insert_with(|| {
            self.numbered += 1;
            self.numbered
        });
        match self.wakers.iter_mut().find(|(other, _)| *other == number) {
            Some((_, registered)) => (!registered.will_wake(waker)).then(|| mem::replace(registered, waker.clone())),
            None => {
                self.wakers.push((number, waker.clone()));
                None
            }
        }
    }

    /// Forgets a watcher, if it has not been woken; returns a waker to drop.
    pub(super) fn remove(&mut self, number: u64) -> Option<Waker> {
        let at = self.wakers.iter().position(|(other, _)| *other == number)?;
        Some(self.wakers.swap_remove(at).1)
    }

    /// Forgets all; returns what wakes them.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        mem::take(&mut self.wakers).into_iter().map(|(_, waker)| waker).collect()
    }
}
