//! One limit for all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backpressure_core::{Algorithm, Clock, Name, Quota, Rejection, Standing, StateId, Timestamp};

use crate::ledger::{self, Ledger, Slot, Taken};
use crate::sync::{AtomicU64, Config, Lock};
use crate::{KeyedLimiter, Monotonic};

/// One limit, shared by everybody who holds a clone of it.
///
/// A state that fits a word (token and leaky bucket) lives in an atomic; a wider one lives under a lock. Either way decisions
/// are exact: threads that race for the last request get it once.
///
/// ```
/// use backpressure_core::{ManualClock, Rate, TokenBucket};
/// use backpressure_limiter::Limiter;
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let limiter = Limiter::new(TokenBucket::new(Rate::per_second(10)).burst(1)).clock(clock.clone());
/// assert!(limiter.check().is_ok());
///
/// let refused = limiter.check().unwrap_err();
/// let wait = refused.retry_after.unwrap();
/// assert_eq!(wait, Duration::from_millis(100));
///
/// clock.advance(wait);
/// assert!(limiter.check().is_ok());
/// ```
pub struct Limiter<A: Algorithm, C = Monotonic> {
    shared: Arc<Shared<A>>,
    clock: C,
    name: Name,
}

struct Shared<A: Algorithm> {
    config: Config<A>,
    /// The state, if the algorithm packs it.
    word: AtomicU64,
    /// The state, if it does not.
    wide: Lock<A::State>,
}

impl<A: Algorithm> Limiter<A> {
    /// Makes a limiter on the default clock.
    #[must_use]
    pub fn new(algorithm: A) -> Self {
        Self::with_clock(algorithm, Monotonic::default())
    }
}

impl<A: Algorithm, C> Limiter<A, C> {
    /// Makes a limiter on this clock.
    #[must_use]
    pub fn with_clock(algorithm: A, clock: C) -> Self {
        let shared = Shared { config: Config::new(algorithm), word: AtomicU64::new(0), wide: Lock::default() };
        Self { shared: Arc::new(shared), clock, name: Name::DEFAULT }
    }

    /// Makes a limiter of the same configuration on another clock, with a state of its own.
    #[must_use]
    pub fn clock<D>(self, clock: D) -> Limiter<A, D> {
        Limiter::with_clock(self.algorithm(), clock).named(self.name)
    }

    /// Makes a limiter of the same configuration, clock and name for each key.
    #[must_use]
    pub fn keyed<K>(&self) -> KeyedLimiter<K, A, C>
    where
        C: Clone,
    {
        KeyedLimiter::with_clock(self.algorithm(), self.clock.clone()).named(self.name.clone())
    }

    /// Names the policy in the refusals of this handle and its later clones; the state stays shared.
    #[must_use]
    pub fn named(self, name: impl Into<Name>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Returns the name of the policy.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the algorithm as it is configured now.
    #[must_use]
    pub fn algorithm(&self) -> A {
        self.shared.config.load()
    }

    /// Replaces the configuration for every holder at once; what has been taken stays taken.
    ///
    /// A window keeps its count and a log its times; a bucket keeps the time at which it is full, so that one which was empty
    /// stays empty at any rate.
    pub fn reconfigure(&self, algorithm: A) {
        self.shared.config.store(algorithm);
    }

    /// Replaces the configuration for every holder at once and forgets what has been taken: from then on it is a new limit of
    /// this algorithm.
    ///
    /// A request that comes between the two steps is counted by the new configuration, and then forgotten.
    pub fn replace(&self, algorithm: A) {
        self.reconfigure(algorithm);
        self.clear();
    }

    /// Forgets what has been taken. What was taken before and is [given back](Self::give_back) after comes back to a bucket all
    /// the same, out of what has been taken since; a window and a log know better.
    pub fn clear(&self) {
        self.apply(|_, state| *state = A::State::default());
    }

    #[inline]
    fn apply<R>(&self, apply: impl Fn(&A, &mut A::State) -> R) -> R {
        let replaced;
        let algorithm = match self.shared.config.first() {
            Some(first) => first,
            None => {
                replaced = self.shared.config.latest();
                &replaced
            }
        };
        let Some(word) = A::WORD else {
            return apply(algorithm, &mut self.shared.wide.lock());
        };
        // Relaxed: the word is the whole state, and it guards no other memory.
        let mut seen = self.shared.word.load(Ordering::Relaxed);
        loop {
            let mut state = (word.unpack)(seen);
            let result = apply(algorithm, &mut state);
            let next = (word.pack)(&state);
            if next == seen {
                return result;
            }
            match self.shared.word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return result,
                Err(newer) => seen = newer,
            }
        }
    }
}

impl<A: Algorithm, C: Clock> Limiter<A, C> {
    /// Admits one request now or refuses it.
    ///
    /// # Errors
    ///
    /// The refusal, exact: a lone retry `retry_after` later is admitted, and one nanosecond earlier it is refused. A limit that
    /// would delay
    /// refuses too; see [`decide`](Self::decide).
    #[inline]
    pub fn check(&self) -> Result<(), Rejection> {
        self.check_n(1)
    }

    /// Admits a request of this cost now or refuses it. A cost of 0 is admitted always.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); [`Reason::CostExceedsLimit`](backpressure_core::Reason) if the cost can never be admitted.
    #[inline]
    pub fn check_n(&self, cost: u64) -> Result<(), Rejection> {
        self.admit(Slot::KEYLESS, self.now(), cost).map(drop)
    }

    /// Decides about a request of this cost, and takes it where the request may go on now or later. Whoever is told to wait
    /// must wait, or [give back](Self::give_back) its turn.
    #[inline]
    pub fn decide(&self, cost: u64) -> Taken<A> {
        let now = self.now();
        self.apply(|algorithm, state| algorithm.decide(state, now, cost))
    }

    /// Returns what is left, taking nothing.
    #[must_use]
    pub fn peek(&self) -> Quota {
        let now = self.now();
        self.apply(|algorithm, state| algorithm.quota(algorithm.check(state, now, 0).level))
    }

    /// Counts `cost` now, whether it fits or not: what something turned out to cost more than it took.
    ///
    /// A bucket goes into debt by all of it and refuses until it is paid; a window counts it until its end; a log notes as much
    /// as its limit.
    pub fn charge(&self, cost: u64) {
        Ledger::charge(self, Slot::KEYLESS, cost);
    }

    /// Gives back what a decision took, as far as it still counts.
    pub fn give_back(&self, taken: &Taken<A>) {
        Ledger::give_back(self, Slot::KEYLESS, taken);
    }
}

impl<A: Algorithm, C: Clock> Ledger for Limiter<A, C> {
    type Algorithm = A;
    type Key = ();

    #[inline]
    fn slot(&self, (): &()) -> Slot {
        Slot::KEYLESS
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn check(&self, _slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<A>, Rejection> {
        let decision = self.apply(move |algorithm, state| algorithm.check(state, at, cost));
        ledger::judge(&self.shared.config, &self.name, decision)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    fn admit(&self, _slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<A>, Rejection> {
        let decision = self.apply(move |algorithm, state| algorithm.admit(state, at, cost));
        ledger::judge(&self.shared.config, &self.name, decision)
    }

    fn charge(&self, _slot: Slot, cost: u64) {
        let now = self.now();
        self.apply(|algorithm, state| algorithm.take(state, now, cost));
    }

    fn give_back(&self, _slot: Slot, taken: &Taken<A>) {
        let now = self.now();
        self.apply(|algorithm, state| algorithm.give_back(state, taken, now));
    }

    fn standing(&self, level: A::Level) -> Standing {
        ledger::standing(&self.shared.config, &self.name, level)
    }

    fn state(&self) -> StateId {
        StateId::of(&self.shared)
    }

    fn queue_capacity(&self) -> usize {
        self.algorithm().queue_capacity()
    }
}

impl<A: Algorithm, C: Clone> Clone for Limiter<A, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), clock: self.clock.clone(), name: self.name.clone() }
    }
}

impl<A: Algorithm + fmt::Debug, C> fmt::Debug for Limiter<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use super::*;
    use backpressure_core::{
        FixedWindow, LeakyBucket, ManualClock, Outcome, Rate, Reason, SlidingLog, SlidingWindow, TokenBucket,
    };
    use std::time::Duration;

    /// Every algorithm keeps this promise, whichever way its state is stored.
    fn ten_are_admitted_and_the_promise_holds<A: Algorithm>(algorithm: A) {
        let clock = ManualClock::new();
        let limiter = Limiter::new(algorithm).clock(clock.clone()).named("ten");
        assert_eq!((0..20).filter(|_| limiter.check().is_ok()).count(), 10);
        let refused = limiter.check().unwrap_err();
        assert_eq!((refused.reason, &*refused.policy), (Reason::RateLimit, "ten"));
        assert_eq!(refused.quota.unwrap().remaining, 0);
        let wait = refused.retry_after.unwrap();
        clock.advance(wait - Duration::from_nanos(1));
        assert!(limiter.check().is_err());
        clock.advance(Duration::from_nanos(1));
        assert!(limiter.check().is_ok());
    }

    #[test]
    fn every_algorithm_admits_its_limit_and_keeps_its_promise() {
        let rate = Rate::per_second(10);
        ten_are_admitted_and_the_promise_holds(TokenBucket::new(rate));
        ten_are_admitted_and_the_promise_holds(FixedWindow::new(rate));
        ten_are_admitted_and_the_promise_holds(SlidingWindow::new(rate));
        ten_are_admitted_and_the_promise_holds(SlidingLog::new(rate));
        ten_are_admitted_and_the_promise_holds((TokenBucket::new(rate), FixedWindow::new(Rate::per_minute(100))));
    }

    #[test]
    fn a_leaky_bucket_refuses_who_cannot_wait_and_keeps_the_turn_of_who_can() {
        let clock = ManualClock::new();
        let limiter = Limiter::with_clock(LeakyBucket::new(Rate::per_second(10)).queue(1), clock.clone());
        assert!(limiter.check().is_ok());
        assert_eq!(limiter.check().unwrap_err().retry_after, Some(Duration::from_millis(100)));
        assert_eq!(limiter.decide(1).outcome, Outcome::Delay { by: 100_000_000 });
        assert_eq!(limiter.decide(1).outcome, Outcome::Reject { retry_after: 100_000_000 });
    }

    #[test]
    fn a_decision_is_given_back_once_and_in_part() {
        let limiter = Limiter::with_clock(TokenBucket::new(Rate::per_second(10)), ManualClock::new());
        let taken = limiter.decide(8);
        limiter.give_back(&Taken::<TokenBucket> { cost: 3, ..taken });
        assert_eq!(limiter.peek().remaining, 5);
    }

    #[test]
    fn reconfiguring_keeps_what_was_taken() {
        let limiter = Limiter::with_clock(FixedWindow::new(Rate::per_second(10)), ManualClock::new());
        limiter.decide(8);
        limiter.clone().reconfigure(FixedWindow::new(Rate::per_second(9)));
        assert_eq!(limiter.peek().remaining, 1);
        limiter.reconfigure(FixedWindow::new(Rate::per_second(5)));
        assert_eq!(limiter.peek().remaining, 0);
        assert!(limiter.check().is_err());
    }

    #[test]
    fn replacing_forgets_what_was_taken_whichever_way_it_is_stored() {
        fn forgets<A: Algorithm>(algorithm: A, replacement: A) {
            let limiter = Limiter::with_clock(algorithm, ManualClock::new());
            limiter.decide(8);
            limiter.clone().replace(replacement);
            assert_eq!(limiter.peek().remaining, 9);
        }
        forgets(FixedWindow::new(Rate::per_second(10)), FixedWindow::new(Rate::per_second(9)));
        forgets(TokenBucket::new(Rate::per_second(10)), TokenBucket::new(Rate::per_second(9)));
    }

    #[test]
    fn a_cost_that_never_fits_is_refused_without_a_retry() {
        let limiter = Limiter::with_clock(TokenBucket::new(Rate::per_second(10)), ManualClock::new());
        let refused = limiter.check_n(11).unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), (Reason::CostExceedsLimit, None));
        assert!(limiter.check_n(0).is_ok());
        assert_eq!(limiter.peek().remaining, 10);
    }

    #[test]
    fn threads_that_race_get_exactly_the_limit() {
        fn admitted<A: Algorithm + Send + Sync>(algorithm: A) -> usize
        where
            A::State: Send,
        {
            let limiter = Limiter::new(algorithm);
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| (0..5_000).filter(|_| limiter.check().is_ok()).count())).collect();
                threads.into_iter().map(|thread| thread.join().expect("a thread that only counts")).sum()
            })
        }
        let rate = Rate::per_day(10_000);
        assert_eq!(admitted(TokenBucket::new(rate)), 10_000);
        assert_eq!(admitted(FixedWindow::new(rate)), 10_000);
    }
}
