//! What all clones of a limit share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backpressure_core::{Reason, Rejection};
use backpressure_http::MissingKey;
use backpressure_limiter::Ledger;

use crate::lines::Lines;

/// The state of a limit: its ledger, those who wait, and what was seen.
pub struct Shared<B> {
    pub(crate) ledger: B,
    pub(crate) lines: Lines,
    pub(crate) patience: Patience,
    pub(crate) missing: MissingKey,
    /// Requests that had no key.
    pub(crate) keyless: AtomicU64,
}

/// How many requests wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How many requests of one key wait; `None` as the algorithm has it.
    pub(crate) queue: Option<usize>,
    /// How many requests wait in all.
    pub(crate) max_waiting: usize,
    /// How long one request waits.
    pub(crate) max_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { queue: None, max_waiting: DEFAULT_MAX_WAITING, max_wait: Duration::MAX }
    }
}

impl<B> Shared<B> {
    pub(crate) fn new(ledger: B) -> Self {
        Self::with(ledger, Patience::default(), MissingKey::default())
    }

    pub(crate) fn with(ledger: B, patience: Patience, missing: MissingKey) -> Self {
        Self { ledger, lines: Lines::new(patience.max_waiting), patience, missing, keyless: AtomicU64::new(0) }
    }

    /// Counts a request without a key, warns of the first, and says what to do with it.
    #[cold]
    pub(crate) fn missing_key(&self) -> MissingKey {
        // Relaxed: a count, and the one thread that sees 0 is the first whatever the order.
        let before = self.keyless.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        if before == 0 {
            tracing::warn!(
                missing = ?self.missing,
                "a request has no key to limit it by; is the extension or header there? \
                 (axum: serve with into_make_service_with_connect_info). Further ones are only counted"
            );
        }
        #[cfg(not(feature = "tracing"))]
        let _ = before;
        self.missing
    }
}

impl<B: Ledger> Shared<B> {
    /// Returns how many requests of one key may wait.
    pub(crate) fn queue(&self) -> usize {
        self.patience.queue.unwrap_or_else(|| self.ledger.queue_capacity())
    }

    /// Whether a refused request waits instead: its turn will come, and in time, and it may. For a place in the table nobody
    /// waits.
    pub(crate) fn may_wait(&self, rejection: &Rejection) -> bool {
        let turn_in_time = rejection.retry_after.is_some_and(|wait| wait <= self.patience.max_wait);
        rejection.reason == Reason::RateLimit && turn_in_time && self.queue() > 0
    }
}

impl<B: fmt::Debug> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("ledger", &self.ledger)
            .field("patience", &self.patience)
            .field("waiting", &self.lines.waiting())
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// A waiting request holds its body and a copy of the service: a thousand of them are some megabytes at the worst.
const DEFAULT_MAX_WAITING: usize = 1_024;
