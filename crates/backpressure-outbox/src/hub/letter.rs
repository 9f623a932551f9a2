//! A message that many outboxes share, and the account of what all of them hold.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A message that is shared by reference: encoded once, held once, however many outboxes it waits in.
///
/// Cloning it is an increment. What [`Hub::letter`](crate::Hub::letter) and [`Hub::publish`](crate::Hub::publish) make counts against
/// the budget of the hub until the last clone is dropped; one that is made [from](Self::from) a message counts against none, and is
/// meant for answers and gap markers, which outboxes bound.
pub struct Letter<M> {
    sealed: Arc<Sealed<M>>,
}

struct Sealed<M> {
    message: M,
    /// Where it is counted, with so many bytes.
    account: Option<(Arc<Budget>, u64)>,
}

impl<M> Letter<M> {
    /// Counts the message in a budget that has room for it already.
    pub(super) fn counted(message: M, budget: &Arc<Budget>, bytes: u64) -> Self {
        Self { sealed: Arc::new(Sealed { message, account: Some((Arc::clone(budget), bytes)) }) }
    }
}

impl<M> From<M> for Letter<M> {
    fn from(message: M) -> Self {
        Self { sealed: Arc::new(Sealed { message, account: None }) }
    }
}

impl<M> Deref for Letter<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.sealed.message
    }
}

impl<M> Clone for Letter<M> {
    fn clone(&self) -> Self {
        Self { sealed: Arc::clone(&self.sealed) }
    }
}

impl<M: fmt::Debug> fmt::Debug for Letter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Letter").field(&self.sealed.message).finish()
    }
}

impl<M> Drop for Sealed<M> {
    fn drop(&mut self) {
        if let Some((budget, bytes)) = self.account.take() {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// How many bytes there may be, and are. The count orders nothing else: `Relaxed` does.
pub(super) struct Budget {
    pub(super) max: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) const fn new(max: u64) -> Self {
        Self { max, used: AtomicU64::new(0) }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts so many more, unless that would be too many.
    pub(super) fn try_add(&self, bytes: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}
