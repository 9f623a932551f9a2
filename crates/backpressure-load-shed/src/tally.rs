//! What was refused, by reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backpressure_core::{Reason, nanos};
use tokio::time::Instant;

/// How many requests a layer has refused since it was made, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shed {
    /// No place was free, and nobody waits here: [`Reason::Concurrency`].
    pub concurrency: u64,
    /// As many waited as may: [`Reason::QueueFull`].
    pub queue_full: u64,
    /// Gave up their places in line to others: [`Reason::Evicted`].
    pub evicted: u64,
    /// Waited as long as they may: [`Reason::WaitedTooLong`].
    pub waited_too_long: u64,
    /// Their turn would have come, or came, after their deadlines: [`Reason::DeadlineTooNear`].
    pub deadline_too_near: u64,
    /// Their clients had too much in progress: [`Reason::ClientConcurrency`].
    pub client_concurrency: u64,
    /// Came while the layer drained: [`Reason::Draining`].
    pub draining: u64,
    /// For any other reason: too heavy for the line, or without a key.
    pub other: u64,
}

impl Shed {
    /// Returns how many requests were refused in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.concurrency
            + self.queue_full
            + self.evicted
            + self.waited_too_long
            + self.deadline_too_near
            + self.client_concurrency
            + self.draining
            + self.other
    }
}

/// The counters behind [`Shed`].
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [AtomicU64; 8],
    /// When a request was shed last for want of capacity, as nanoseconds since `origin`; 0 for never.
    last: AtomicU64,
    origin: Instant,
}

// Relaxed throughout: each is a count or a time of its own, and orders nothing.
impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: Default::default(), last: AtomicU64::new(0), origin: Instant::now() }
    }

    /// Counts a refusal; returns how many of its kind came before.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        let (index, is_overload) = match reason {
            Reason::Concurrency => (0, true),
            Reason::QueueFull => (1, true),
            Reason::Evicted => (2, true),
            Reason::WaitedTooLong => (3, true),
            Reason::DeadlineTooNear => (4, false),
            Reason::ClientConcurrency => (5, false),
            Reason::Draining => (6, false),
            _ => (7, false),
        };
        if is_overload {
            self.last.store(self.now(), Ordering::Relaxed);
        }
        self.counts[index].fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> Shed {
        let [concurrency, queue_full, evicted, waited_too_long, deadline_too_near, client_concurrency, draining, other] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Shed { concurrency, queue_full, evicted, waited_too_long, deadline_too_near, client_concurrency, draining, other }
    }

    /// Whether a request was shed for want of capacity in so long a time until now.
    pub(crate) fn shed_within(&self, time: Duration) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && self.now().saturating_sub(last) < nanos(time)
    }

    /// Never 0.
    fn now(&self) -> u64 {
        nanos(Instant::now().saturating_duration_since(self.origin)).saturating_add(1)
    }
}
