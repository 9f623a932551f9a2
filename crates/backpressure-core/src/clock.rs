//! Where time comes from, and a clock that stands still until it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Timestamp, nanos};

/// A source of time.
///
/// Clones read the same time. The clock should never step back; where it does, limiters stay safe (they admit no more) but a
/// promise made before the step holds only after it has been made up for.
pub trait Clock: Clone {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// A clock that moves only when it is told to: for tests and simulations.
///
/// Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new();
/// let same = clock.clone();
/// clock.advance(Duration::from_millis(3));
/// assert_eq!(same.now(), Timestamp::from_nanos(3_000_000));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Makes a clock that stands at [`Timestamp::ORIGIN`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward by `by`, saturating.
    pub fn advance(&self, by: Duration) {
        let later = self.now().saturating_add(nanos(by));
        self.set(later);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        // Relaxed: the time orders nothing but itself; whoever needs an order between threads brings it along.
        self.nanos.store(now.as_nanos(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}
