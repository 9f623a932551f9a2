//! What all clones of a layer share: the gate, and what was refused in front of it.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Class, Controller, Deadline, Name, Overflow, Reason, Rejection, spread};
use backpressure_queue::{Enter, Gate, LineError, Order, Place};
use tokio::time::Instant;

use crate::adaptive::Adaptive;
use crate::tally::Tally;

/// The state of a layer.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) gate: Gate,
    pub(crate) tally: Tally,
    pub(crate) adaptive: Option<Arc<Adaptive>>,
}

/// What was said of a layer when it was made.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) name: Name,
    pub(crate) max_in_flight: usize,
    pub(crate) queue: usize,
    pub(crate) queue_weight: u64,
    pub(crate) order: Order,
    pub(crate) overflow: Overflow,
    /// Of the places, how many percent are for each class and those above.
    pub(crate) reserved: [u8; Class::ALL.len()],
    /// How long a request waits.
    pub(crate) max_wait: Duration,
    pub(crate) retry_after: RangeInclusive<Duration>,
    pub(crate) controller: Option<Arc<MakeController>>,
}

type MakeController = dyn Fn() -> Box<dyn Controller + Send> + Send + Sync;

/// How a request begins that need not be refused at once.
pub(crate) enum Start {
    Now(Place),
    Waits(Enter),
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) class: Class,
    pub(crate) deadline: Option<Deadline>,
}

/// A request that is refused, and has been counted.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    reason: Reason,
    class: Class,
    /// How many were refused before it for the same reason.
    seed: u64,
}

impl Config {
    pub(crate) const fn new(max_in_flight: usize) -> Self {
        Self {
            name: Name::DEFAULT,
            max_in_flight,
            queue: 0,
            queue_weight: u64::MAX,
            order: Order::Fifo,
            overflow: Overflow::DropNewest,
            reserved: [0; Class::ALL.len()],
            max_wait: DEFAULT_MAX_WAIT,
            retry_after: DEFAULT_RETRY_AFTER,
            controller: None,
        }
    }
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let controller = config.controller.as_ref().map(|make| make());
        let places = controller.as_ref().map_or(config.max_in_flight, Controller::limit);
        let gate = Class::ALL
            .into_iter()
            .fold(Gate::new(places), |gate, class| gate.reserve(class, config.reserved[class.rank()]))
            .queue(config.queue)
            .queue_weight(config.queue_weight)
            .order(config.order)
            .overflow(config.overflow);
        let adaptive = controller.map(|controller| Arc::new(Adaptive::new(controller, gate.clone())));
        Self { config, gate, tally: Tally::new(), adaptive }
    }

    /// Gives a place, or says how to wait for one, or refuses.
    #[inline]
    pub(crate) fn start(&self, caller: Caller, weight: impl FnOnce() -> u64) -> Result<Start, Reason> {
        if caller.deadline.is_some_and(|deadline| left(deadline).is_zero()) {
            return Err(Reason::DeadlineTooNear);
        }
        match self.gate.try_enter(caller.class) {
            Some(place) => Ok(Start::Now(place)),
            None => self.wait_or_refuse(caller, weight()).map(Start::Waits),
        }
    }

    #[cold]
    fn wait_or_refuse(&self, caller: Caller, weight: u64) -> Result<Enter, Reason> {
        let Caller { class, deadline } = caller;
        if let Some(error) = self.gate.refusal(class, weight) {
            return Err(self.reason(error));
        }
        let left = deadline.map(left);
        if left.is_some_and(|left| self.gate.estimated_wait(class).is_some_and(|wait| wait > left)) {
            return Err(Reason::DeadlineTooNear);
        }
        let longest = left.map_or(self.config.max_wait, |left| left.min(self.config.max_wait));
        let enter = self.gate.enter(class).weighing(weight);
        Ok(match Instant::now().checked_add(longest) {
            Some(end) => enter.until(end),
            // Longer than any clock runs.
            None => enter,
        })
    }

    /// Counts the refusal of a request of this class.
    pub(crate) fn refuse(&self, reason: Reason, class: Class) -> Refusal {
        Refusal { reason, class, seed: self.tally.count(reason) }
    }

    /// Returns what the caller of a refused request is told.
    #[cold]
    pub(crate) fn rejection(&self, refusal: Refusal) -> Rejection {
        let Refusal { reason, class, seed } = refusal;
        let rejection = Rejection::new(reason, self.config.name.clone());
        let (least, most) = (*self.config.retry_after.start(), *self.config.retry_after.end());
        let wait = match reason {
            // No waiting helps.
            Reason::CostExceedsLimit | Reason::MissingKey => return rejection,
            // Nobody knows when this client, or another server, will be done.
            Reason::ClientConcurrency | Reason::Draining => least,
            _ => self.gate.estimated_wait(class).unwrap_or(least),
        };
        rejection.retry_after(spread(wait.min(most).max(least), seed))
    }

    pub(crate) fn reason(&self, error: LineError) -> Reason {
        match error {
            LineError::Full if self.config.queue == 0 => Reason::Concurrency,
            LineError::Evicted => Reason::Evicted,
            LineError::Expired => Reason::WaitedTooLong,
            LineError::TooHeavy => Reason::CostExceedsLimit,
            LineError::Closed => Reason::Draining,
            _ => Reason::QueueFull,
        }
    }
}

/// Returns how much time is left to a request that has just arrived.
fn left(deadline: Deadline) -> Duration {
    match deadline {
        Deadline::After(left) => left,
        Deadline::At(_) => deadline.left(Instant::now().into_std()),
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.config.name)
            .field("gate", &self.gate)
            .field("max_wait", &self.config.max_wait)
            .field("shed", &self.tally.read())
            .field("is_adaptive", &self.adaptive.is_some())
            .finish_non_exhaustive()
    }
}

/// Who waits longer than a person does has gone away; what was waited for is then work for nobody.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);

/// The least that fits `Retry-After`; and no longer than it takes to add capacity.
const DEFAULT_RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
