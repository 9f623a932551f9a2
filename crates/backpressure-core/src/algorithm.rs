//! What every rate limit can do.

mod fixed_window;
mod in_flight;
mod leaky_bucket;
mod sliding_log;
mod sliding_window;
mod stack;
mod token_bucket;

pub use fixed_window::FixedWindow;
pub use in_flight::InFlight;
pub use leaky_bucket::LeakyBucket;
pub use sliding_log::SlidingLog;
pub use sliding_window::SlidingWindow;
pub use token_bucket::TokenBucket;

use crate::{Decision, Outcome, Quota, Timestamp};

/// A rate limit as arithmetic: a small configuration, a small state for each thing that it limits, and time as an argument.
///
/// The state of a key never seen is `State::default()`. States hold absolute times and counts, nothing derived from the
/// configuration: a limit may be reconfigured while its states live on.
///
/// A cost of 0 is admitted always and changes nothing. A cost above the capacity is [`Outcome::Never`].
///
/// A tuple of two to four algorithms is an algorithm that admits what all of them admit, and takes from all or from none.
pub trait Algorithm: Copy {
    /// What is remembered for one key.
    type State: Default;

    /// How full a limit is, as plain integers; see [`quota`](Self::quota).
    type Level: Copy;

    /// How a state fits into one word, so that it may live in an atomic; `None` where it does not.
    const WORD: Option<Word<Self::State>> = None;

    /// Decides about a request of this `cost` without counting it.
    ///
    /// Never [`Outcome::Admit`] where `now` is before the time that an earlier refusal named.
    fn check(&self, state: &Self::State, now: Timestamp, cost: u64) -> Decision<Self::Level>;

    /// Counts `cost` unconditionally: what a check admitted, or a charge that became known later and may put the state in debt.
    fn take(&self, state: &mut Self::State, now: Timestamp, cost: u64);

    /// Undoes the part of an admitted decision that still counts at `now`; what has expired or drained since is gone.
    ///
    /// Each decision at most once. No interval then admits more than its bound, counting what was not given back: windows and
    /// logs exactly;
    /// buckets by no more than what was given back, since those who come later move up into the gap.
    fn give_back(&self, state: &mut Self::State, taken: &Decision<Self::Level>, now: Timestamp);

    /// Returns the time from which the state is as good as new: from then on, and not before, every decision equals that on
    /// `State::default()`.
    fn fresh_at(&self, state: &Self::State) -> Timestamp;

    /// Turns a level into numbers for people. Here, and not in the decision, happens the division.
    fn quota(&self, level: Self::Level) -> Quota;

    /// Returns how many requests of one key may wait for their turn where waiting is possible.
    fn queue_capacity(&self) -> usize {
        0
    }

    /// Decides, and counts the cost if the request may go on *now*.
    #[inline]
    fn admit(&self, state: &mut Self::State, now: Timestamp, cost: u64) -> Decision<Self::Level> {
        let decision = self.check(state, now, cost);
        if decision.is_admitted() {
            self.take(state, now, cost);
        }
        decision
    }

    /// Decides, and counts the cost if the request may go on now or later: a delayed caller must keep its turn.
    #[inline]
    fn decide(&self, state: &mut Self::State, now: Timestamp, cost: u64) -> Decision<Self::Level> {
        let decision = self.check(state, now, cost);
        if let Outcome::Admit | Outcome::Delay { .. } = decision.outcome {
            self.take(state, now, cost);
        }
        decision
    }
}

/// How a state is packed into a word and back.
#[derive(Debug)]
pub struct Word<S> {
    /// Packs; `S::default()` becomes 0.
    pub pack: fn(&S) -> u64,
    /// Unpacks; 0 becomes `S::default()`.
    pub unpack: fn(u64) -> S,
}
