//! The layer, and how it is configured.

use std::time::Duration;

use backpressure_core::{Algorithm, Clock, Name, Rate};
use backpressure_http::key::{Global, KeyType};
use backpressure_http::{Constant, FromHead, FromRequest, Head, MissingKey, Respond};
use backpressure_limiter::{Ledger, Limiter, WhenFull};
use tower_layer::Layer;

use crate::notices::Warnings;
use crate::rated::{Keyed, Rated, Single};
use crate::service::RateLimit;
use crate::shared::{Patience, Shared};

/// A tower layer that admits requests by rate.
///
/// Clones share one limit, and so do all services that a layer or its clones make: a limit of 1 stays 1 across the routes,
/// methods and connections
/// for which a host applies the layer. Configure a layer before you clone it: `keyed`, `max_keys`, `when_full` and `clock` make
/// a limit of its own;
/// `named`, `queue`, `max_wait`, `max_waiting` and `missing` keep the limit and make lines of its own, so that who waits under
/// one
/// handle may be overtaken under another.
///
/// See the [crate docs](crate) for examples and hazards.
#[derive(Clone, Copy, Debug)]
#[must_use = "a layer does nothing until it is applied"]
pub struct RateLimitLayer<L, A = Respond> {
    limit: L,
    answer: A,
}

/// Admits a count in each window: see [`FixedWindow`](backpressure_core::FixedWindow).
pub type FixedWindowLayer = RateLimitLayer<Single<backpressure_core::FixedWindow>>;

/// Admits a count in a window that slides: see [`SlidingWindow`](backpressure_core::SlidingWindow).
pub type SlidingWindowLayer = RateLimitLayer<Single<backpressure_core::SlidingWindow>>;

/// Admits bursts, and a rate in the long run: see [`TokenBucket`](backpressure_core::TokenBucket).
pub type TokenBucketLayer = RateLimitLayer<Single<backpressure_core::TokenBucket>>;

/// Queues requests and lets them through at a constant rate: see [`LeakyBucket`](backpressure_core::LeakyBucket).
pub type LeakyBucketLayer = RateLimitLayer<Single<backpressure_core::LeakyBucket>>;

impl<G: Algorithm> RateLimitLayer<Single<G>> {
    /// Makes one limit for all requests, answered over HTTP, on the default clock.
    pub fn new(algorithm: G) -> Self {
        Self::over(Limiter::new(algorithm))
    }

    /// Makes one limit of this rate with the defaults of its algorithm, for the layers named by theirs:
    /// `TokenBucketLayer::at(Rate::per_second(100))`.
    ///
    /// # Panics
    ///
    /// Where the algorithm refuses the rate, as its `new` documents.
    pub fn at(rate: Rate) -> Self
    where
        G: From<Rate>,
    {
        Self::new(rate.into())
    }
}

impl<G: Algorithm, C: Clock> RateLimitLayer<Single<G, Constant<u64>, C>> {
    /// Makes a layer over a limiter that is used elsewhere too: both spend one budget.
    pub fn over(limiter: Limiter<G, C>) -> Self {
        Self::with(Rated { shared: Shared::new(limiter).into(), key: Global, cost: Constant(1) })
    }
}

impl<L> RateLimitLayer<L> {
    /// Makes a layer over any limit, answered over HTTP.
    pub const fn with(limit: L) -> Self {
        Self { limit, answer: Respond::new() }
    }
}

/// For every limit.
impl<L, A> RateLimitLayer<L, A> {
    /// Sets what the caller of a refused request gets.
    pub fn answer<B>(self, answer: B) -> RateLimitLayer<L, B> {
        RateLimitLayer { limit: self.limit, answer }
    }

    pub(crate) const fn limit(&self) -> &L {
        &self.limit
    }

    pub(crate) fn into_limit(self) -> L {
        self.limit
    }

    pub(crate) fn wrap<M>(self, wrap: impl FnOnce(L) -> M) -> RateLimitLayer<M, A> {
        RateLimitLayer { limit: wrap(self.limit), answer: self.answer }
    }
}

/// For limits by rate, keyed or not.
impl<B: Ledger, K, N, A> RateLimitLayer<Rated<B, K, N>, A> {
    /// Sets what a request costs, read from its head. Without it each costs 1.
    ///
    /// A cost of 0 passes uncounted, at the limit too; one above the limit's capacity is refused for ever, without a retry.
    pub fn cost<F: Fn(Head<'_>) -> u64 + Clone>(self, cost: F) -> RateLimitLayer<Rated<B, K, FromHead<F>>, A> {
        self.costing(backpressure_http::from_head(cost))
    }

    /// As [`cost`](Self::cost), for requests of any type.
    pub fn cost_of<Req, F: Fn(&Req) -> u64 + Clone>(self, cost: F) -> RateLimitLayer<Rated<B, K, FromRequest<F>>, A> {
        self.costing(backpressure_http::from_request(cost))
    }

    /// Sets how many requests of one key wait for their turn instead of being refused. 0: none, which is the default for all but
    /// the leaky bucket, whose queue is that of its algorithm.
    ///
    /// Requests wait in the order in which they came, and the head takes its turn when it is due. A request that goes away lets
    /// those behind
    /// move up at once. A limit that is reconfigured, cleared or given back to is noticed by those who wait within a second; the
    /// length of
    /// a queue that is being used changes when it has been empty.
    pub fn queue(self, queue: usize) -> Self
    where
        B: Clone,
    {
        self.patient(|patience| patience.queue = Some(queue))
    }

    /// Sets how long a request waits at the most; then it is refused. A request whose turn is known to come later does not wait
    /// at
    /// all. Without it a request waits for as long as the queue in front of it takes.
    pub fn max_wait(self, max_wait: Duration) -> Self
    where
        B: Clone,
    {
        self.patient(|patience| patience.max_wait = max_wait)
    }

    /// Sets how many requests wait at the most, those of all keys together. 1 024 without it.
    pub fn max_waiting(self, max_waiting: usize) -> Self
    where
        B: Clone,
    {
        self.patient(|patience| patience.max_waiting = max_waiting)
    }

    /// Returns a handle of the limit, a [`Limiter`] or a [`KeyedLimiter`](backpressure_limiter::KeyedLimiter): to look, to charge and give back, to forget, and to
    /// reconfigure or replace while it runs.
    #[must_use]
    pub fn limiter(&self) -> B
    where
        B: Clone,
    {
        self.limit.shared.ledger.clone()
    }

    /// Returns what this handle and its clones have seen that looks like a mistake of deployment.
    #[must_use]
    pub fn warnings(&self) -> Warnings {
        self.limit.shared.notices.read()
    }

    fn costing<M>(self, cost: M) -> RateLimitLayer<Rated<B, K, M>, A> {
        let Rated { shared, key, .. } = self.limit;
        RateLimitLayer { limit: Rated { shared, key, cost }, answer: self.answer }
    }

    fn patient(self, set: impl FnOnce(&mut Patience)) -> Self
    where
        B: Clone,
    {
        let mut patience = self.limit.shared.patience;
        set(&mut patience);
        let missing = self.limit.shared.missing;
        self.sharing(|ledger| Shared::with(ledger, patience, missing))
    }

    /// Rebuilds what is shared round the same ledger.
    fn sharing<D>(self, share: impl FnOnce(B) -> Shared<D>) -> RateLimitLayer<Rated<D, K, N>, A>
    where
        B: Clone,
    {
        let Rated { shared, key, cost } = self.limit;
        let shared = share(shared.ledger.clone()).into();
        RateLimitLayer { limit: Rated { shared, key, cost }, answer: self.answer }
    }

    /// Rebuilds the limit round another ledger with the same patience.
    fn ledger<D>(self, make: impl FnOnce(B) -> D) -> RateLimitLayer<Rated<D, K, N>, A>
    where
        B: Clone,
    {
        let (patience, missing) = (self.limit.shared.patience, self.limit.shared.missing);
        self.sharing(|ledger| Shared::with(make(ledger), patience, missing))
    }
}

/// For one limit.
impl<G: Algorithm, N, C: Clock, A> RateLimitLayer<Single<G, N, C>, A> {
    /// Limits each key on its own, in a table of at most [`DEFAULT_MAX_KEYS`](backpressure_limiter::KeyedLimiter::DEFAULT_MAX_KEYS) keys.
    pub fn keyed<K: KeyType>(self, key: K) -> RateLimitLayer<Keyed<K, G, N, C>, A> {
        let Rated { shared, cost, .. } = self.limit;
        let shared = Shared::with(shared.ledger.keyed(), shared.patience, shared.missing).into();
        RateLimitLayer { limit: Rated { shared, key, cost }, answer: self.answer }
    }

    /// Reads time from this clock.
    pub fn clock<D>(self, clock: D) -> RateLimitLayer<Single<G, N, D>, A> {
        self.ledger(|limiter| limiter.clock(clock))
    }

    /// Names the policy, for clients and operators.
    pub fn named(self, name: impl Into<Name>) -> Self {
        self.ledger(|limiter| limiter.named(name))
    }
}

/// For one limit for each key.
impl<K: KeyType, G: Algorithm, N, C: Clock, A> RateLimitLayer<Keyed<K, G, N, C>, A> {
    /// Tracks at most this many keys; see [`KeyedLimiter`](backpressure_limiter::KeyedLimiter) for what one costs.
    ///
    /// # Panics
    ///
    /// If `max_keys` is 0 or more than 2⁴⁰.
    pub fn max_keys(self, max_keys: usize) -> Self {
        self.ledger(|limiter| limiter.max_keys(max_keys))
    }

    /// Sets what happens to keys that are not tracked when as many are as may be.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        self.ledger(|limiter| limiter.when_full(when_full))
    }

    /// Sets what happens to requests that have no key. Without it they share one limit.
    pub fn missing(self, missing: MissingKey) -> Self {
        let patience = self.limit.shared.patience;
        self.sharing(|ledger| Shared::with(ledger, patience, missing))
    }

    /// Reads time from this clock.
    pub fn clock<D>(self, clock: D) -> RateLimitLayer<Keyed<K, G, N, D>, A> {
        self.ledger(|limiter| limiter.clock(clock))
    }

    /// Names the policy, for clients and operators.
    pub fn named(self, name: impl Into<Name>) -> Self {
        self.ledger(|limiter| limiter.named(name))
    }
}

impl<S, L: Clone, A: Clone> Layer<S> for RateLimitLayer<L, A> {
    type Service = RateLimit<S, L, A>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.limit.clone(), self.answer.clone())
    }
}
