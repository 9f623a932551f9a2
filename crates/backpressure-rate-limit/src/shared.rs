//! What all clones of a limit share.

use std::fmt;
use std::time::Duration;

use backpressure_core::{Reason, Rejection};
use backpressure_http::MissingKey;
use backpressure_limiter::{Ledger, Slot};

use crate::lines::Lines;
use crate::notices::Notices;

/// The state of a limit: its ledger, those who wait, and what was seen.
pub struct Shared<B> {
    pub(crate) ledger: B,
    pub(crate) lines: Lines,
    pub(crate) patience: Patience,
    pub(crate) missing: MissingKey,
    pub(crate) notices: Notices,
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
        Self { ledger, lines: Lines::new(patience.max_waiting), patience, missing, notices: Notices::default() }
    }
}

impl<B: Ledger> Shared<B> {
    /// Returns the slot of a request with this key; without one, what that means where there is no slot for it.
    #[inline]
    pub(crate) fn slot(&self, key: Option<B::Key>) -> Result<Slot, MissingKey> {
        match (key, self.missing) {
            (Some(key), _) => Ok(self.ledger.slot(&key)),
            (None, missing @ (MissingKey::Skip | MissingKey::Refuse)) => Err(missing),
            (None, _) => Ok(Slot::KEYLESS),
        }
    }

    /// Returns the refusal of a request without a key, if that is what it means.
    #[cold]
    pub(crate) fn refuse_without_key(&self, missing: MissingKey) -> Option<Rejection> {
        (missing == MissingKey::Refuse).then(|| Rejection::new(Reason::MissingKey, self.ledger.name().clone()))
    }

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
            .field("warnings", &self.notices.read())
            .finish_non_exhaustive()
    }
}

/// A waiting request holds its body and a copy of the service: a thousand of them are some megabytes at the worst.
const DEFAULT_MAX_WAITING: usize = 1_024;
