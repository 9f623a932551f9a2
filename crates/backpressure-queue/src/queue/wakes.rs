//! Who is to be woken, for callers that hold a lock of their own.

use std::fmt;
use std::task::Waker;

/// Wakes those that it has collected when it is dropped.
///
/// A waker is foreign code: it may run a task that comes back to whatever its caller has locked. Who sends or receives under a lock
/// collects the wakers of several operations here, and drops it without the lock. It allocates nothing until somebody is to be woken.
#[derive(Default)]
#[must_use = "those that are to be woken are woken when this is dropped"]
pub struct Wakes(Vec<Waker>);

impl Wakes {
    /// Adds one more.
    #[inline]
    pub fn add(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.0.push(waker);
        }
    }

    #[inline(never)]
    fn wake(&mut self) {
        for waker in std::mem::take(&mut self.0) {
            waker.wake();
        }
    }
}

impl Drop for Wakes {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.wake();
        }
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wakes").field(&self.0.len()).finish()
    }
}
