//! A limit that follows how the work goes.

use std::sync::Arc;

use backpressure_core::{Controller, Ending, Sample, Timestamp, nanos};
use backpressure_queue::Gate;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A controller, and the gate that it sets.
pub(crate) struct Adaptive {
    controller: Mutex<Box<dyn Controller + Send>>,
    gate: Gate,
    origin: Instant,
}

/// A piece of work that is being measured; reported when it is dropped.
///
/// Small, because every guard has room for one.
pub(crate) struct Measured {
    adaptive: Arc<Adaptive>,
    started: Timestamp,
    /// When the response was there; of no meaning before.
    responded: Timestamp,
    in_flight: u32,
    /// What the response said.
    ending: Option<Ending>,
}

impl Adaptive {
    pub(crate) fn new(controller: Box<dyn Controller + Send>, gate: Gate) -> Self {
        Self { controller: Mutex::new(controller), gate, origin: Instant::now() }
    }

    /// Begins to measure work that has its place already.
    pub(crate) fn measure(adaptive: &Arc<Self>) -> Measured {
        let started = adaptive.now();
        let in_flight = u32::try_from(adaptive.gate.in_use()).unwrap_or(u32::MAX);
        Measured { adaptive: Arc::clone(adaptive), started, responded: started, in_flight, ending: None }
    }

    fn record(&self, sample: Sample) {
        let mut controller = self.controller.lock();
        let before = controller.limit();
        let mut limit = controller.record(sample);
        drop(controller);
        if limit == before {
            return;
        }
        // Not under the lock: more places wake those who wait, and a waker is foreign code, which may drop work that is measured
        // here. Whoever sets a limit looks again after that, so that of two limits the later one stands.
        loop {
            self.gate.set_places(limit.min(Gate::MOST));
            let latest = self.controller.lock().limit();
            if latest == limit {
                return;
            }
            limit = latest;
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(nanos(Instant::now().saturating_duration_since(self.origin)))
    }
}

impl Measured {
    /// Notes that the response is there.
    pub(crate) fn responded(&mut self, ending: Ending) {
        self.responded = self.adaptive.now();
        self.ending = Some(ending);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let now = self.adaptive.now();
        // Until there is a response there is nothing that says anything of the load.
        let (ended, ending) = self.ending.map_or((now, Ending::Ignored), |ending| (self.responded, ending));
        // A body that took longer than its head is a stream, or has a slow reader: the time to its head says nothing of the load,
        // nor does that to its end.
        let is_stream = now.nanos_since(ended) > ended.nanos_since(self.started);
        let ending = if is_stream && ending == Ending::Success { Ending::Ignored } else { ending };
        self.adaptive.record(Sample { started: self.started, ended, in_flight: self.in_flight as usize, ending });
    }
}
