//! What is seen of a layer from outside, and done to it while it runs.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::Name;

use crate::shared::Shared;
use crate::tally::Shed;

/// A handle of a layer: to look, to change its limit, and to drain it.
#[derive(Clone)]
pub struct LoadShedHandle {
    shared: Arc<Shared>,
}

/// What was not done when the time for it was up; see [`drain`](LoadShedHandle::drain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotDrained {
    /// How many requests were in progress still. They go on.
    pub in_flight: usize,
    /// How many requests waited still. They have been refused.
    pub waiting: usize,
}

impl LoadShedHandle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the name of the policy.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.config.name
    }

    /// Returns how many requests are in progress: responses that are still being sent and upgraded connections among them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.gate.in_use()
    }

    /// Returns how many requests wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.gate.waiting()
    }

    /// Returns how much the requests that wait [weigh](crate::LoadShedLayer::weight) together.
    #[must_use]
    pub fn waiting_weight(&self) -> u64 {
        self.shared.gate.waiting_weight()
    }

    /// Returns how many requests may be in progress now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.gate.places()
    }

    /// Returns how many requests were refused, by reason.
    #[must_use]
    pub fn shed(&self) -> Shed {
        self.shared.tally.read()
    }

    /// Changes how many requests may be in progress. Never blocks: more let those who wait begin at once, fewer take effect as
    /// work ends. With 0 nothing begins until it is changed again. Where the limit [adapts](crate::LoadShedLayer::adaptive), the
    /// next sample may change it again.
    ///
    /// # Panics
    ///
    /// If `limit` is more than [`Gate::MOST`](backpressure_queue::Gate::MOST).
    pub fn set_limit(&self, limit: usize) {
        self.shared.gate.set_places(limit);
    }

    /// Returns whether requests are being shed: whether one was refused within the last second because there was no place for it
    /// or in front of it. For a readiness probe, which should send new clients elsewhere and let the old ones finish.
    ///
    /// Refusals that are the client's own doing (too much in progress of its own, a deadline too near) do not count.
    #[must_use]
    pub fn overloaded(&self) -> bool {
        self.shared.tally.shed_within(RECENTLY)
    }

    /// Refuses new requests from now on ([`Reason::Draining`](backpressure_core::Reason::Draining)), lets those that wait and those in progress end, and returns when
    /// all have, or after `limit`.
    ///
    /// The layer takes nothing again: make it part of the shutdown. Give `limit` less than the host allows before it kills.
    ///
    /// # Errors
    ///
    /// [`NotDrained`] where the time was up before all had ended.
    ///
    /// # Panics
    ///
    /// The future panics when polled outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// The layer drains whether the future is polled or not; dropping it stops only the waiting.
    pub fn drain(&self, limit: Duration) -> impl Future<Output = Result<(), NotDrained>> + Send + use<> {
        self.shared.gate.close_to_newcomers();
        let shared = Arc::clone(&self.shared);
        async move {
            if tokio::time::timeout(limit, shared.gate.idle()).await.is_ok() {
                return Ok(());
            }
            let (in_flight, waiting) = shared.gate.occupancy();
            shared.gate.close();
            if in_flight + waiting == 0 { Ok(()) } else { Err(NotDrained { in_flight, waiting }) }
        }
    }
}

impl fmt::Debug for LoadShedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedHandle").field("shared", &self.shared).finish()
    }
}

impl fmt::Display for NotDrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests were still in progress and {} waiting when the time to drain was up", self.in_flight, self.waiting)
    }
}

impl std::error::Error for NotDrained {}

/// Longer than a burst, shorter than any probe's interval.
const RECENTLY: Duration = Duration::from_secs(1);
