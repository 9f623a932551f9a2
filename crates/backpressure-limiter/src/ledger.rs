//! What a layer needs of a limiter, keyed or not.

use std::time::Duration;

use backpressure_core::{Algorithm, Decision, Name, Outcome, Reason, Rejection, Standing, StateId, Timestamp};

use crate::sync::Config;

/// A limiter seen from a layer: states in slots.
///
/// [`Limiter`](crate::Limiter) has one slot and ignores which is named; [`KeyedLimiter`](crate::KeyedLimiter) has one for each
/// key.
pub trait Ledger {
    /// The algorithm that decides.
    type Algorithm: Algorithm;

    /// What a state belongs to; `()` where there is but one.
    type Key;

    /// Returns the slot of this key.
    fn slot(&self, key: &Self::Key) -> Slot;

    /// Returns the name of the policy.
    fn name(&self) -> &Name;

    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Decides at the time `at` and takes nothing.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    fn check(&self, slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<Self::Algorithm>, Rejection>;

    /// Decides at the time `at`, and takes the cost if the request may go on then.
    ///
    /// # Errors
    ///
    /// A refusal, also where the algorithm would delay: its `retry_after` says how long after `at`. Nothing is taken.
    fn admit(&self, slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<Self::Algorithm>, Rejection>;

    /// Counts `cost` now, whether it fits or not: what a request turned out to cost more than it took.
    fn charge(&self, slot: Slot, cost: u64);

    /// Gives back what an admitted request took.
    fn give_back(&self, slot: Slot, taken: &Taken<Self::Algorithm>);

    /// Tells where a client stands at this level.
    fn standing(&self, level: <Self::Algorithm as Algorithm>::Level) -> Standing;

    /// Returns the identity of what all clones share.
    fn state(&self) -> StateId;

    /// Returns how many requests of one slot may wait, as the algorithm has it.
    fn queue_capacity(&self) -> usize;
}

/// A decision of this algorithm.
pub type Taken<A> = Decision<<A as Algorithm>::Level>;

/// Which state of a ledger: the hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) u64);

impl Slot {
    /// The slot that all requests without a key share.
    pub const KEYLESS: Self = Self(u64::MAX);
}

/// Turns a decision into an answer. For when the state is no longer locked.
#[inline]
pub(crate) fn judge<A: Algorithm>(config: &Config<A>, name: &Name, decision: Taken<A>) -> Result<Taken<A>, Rejection> {
    if decision.is_admitted() { Ok(decision) } else { Err(refusal(config, name, decision.outcome, decision.level)) }
}

/// Kept out of line: the admitted path stays small.
#[cold]
#[inline(never)]
fn refusal<A: Algorithm>(config: &Config<A>, name: &Name, outcome: Outcome, level: A::Level) -> Rejection {
    let reason = match outcome {
        Outcome::Never => Reason::CostExceedsLimit,
        Outcome::Busy => Reason::Concurrency,
        _ => Reason::RateLimit,
    };
    let mut rejection = Rejection::new(reason, name.clone()).quota(config.load().quota(level));
    rejection.retry_after = outcome.wait().map(Duration::from_nanos);
    rejection
}

pub(crate) fn standing<A: Algorithm>(config: &Config<A>, name: &Name, level: A::Level) -> Standing {
    Standing { policy: name.clone(), quota: config.load().quota(level) }
}
