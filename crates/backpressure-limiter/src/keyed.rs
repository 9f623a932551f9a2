//! One limit for each key.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Algorithm, Clock, Decision, Name, Outcome, Quota, Reason, Rejection, Standing, StateId, Timestamp};
use foldhash::quality::RandomState;

use crate::Monotonic;
use crate::ledger::{self, Ledger, Slot, Taken};
use crate::table::{Answer, Table, WhenFull};

/// One limit for each key, in memory that is bounded whatever the keys are; shared by everybody who holds a clone.
///
/// Decisions are exact: while a key is tracked its limit holds to the nanosecond, across threads. The table never tracks
/// more than [`max_keys`](Self::max_keys); [`WhenFull`] says what happens then. There is no background thread and no pause: what
/// has expired is
/// replaced when a newcomer needs its place.
///
/// # Memory
///
/// 37 bytes for each of `max_keys` with token and leaky buckets, 55 with windows (the sliding log: as [its
/// docs](backpressure_core::SlidingLog)
/// say), allocated in pieces of 16 KiB and more as keys are hashed into them: some thousands of keys touch nearly all of it.
///
/// # What is stored of a key
///
/// A 64-bit hash with a seed of its own for each limiter, and no client's address. Two of n keys share a limit with a chance of
/// n² / 2⁶⁵:
/// one in 37 million for a million keys. The hash (foldhash) resists keys chosen without knowledge of the seed; it is not
/// cryptographic, and who can
/// measure collisions could in the end find keys that share one set, which costs those keys their own limits, not anybody else's.
///
/// ```
/// use backpressure_core::{Rate, TokenBucket};
/// use backpressure_limiter::KeyedLimiter;
/// use std::net::IpAddr;
///
/// let limiter: KeyedLimiter<IpAddr, _> = KeyedLimiter::new(TokenBucket::new(Rate::per_minute(1))).max_keys(10_000);
/// let (alice, bob) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
/// assert!(limiter.check(&alice).is_ok());
/// assert!(limiter.check(&alice).is_err());
/// assert!(limiter.check(&bob).is_ok());
/// assert_eq!(limiter.len(), 2);
/// ```
pub struct KeyedLimiter<K, A: Algorithm, C = Monotonic> {
    table: Arc<Table<A>>,
    hasher: RandomState,
    clock: C,
    name: Name,
    key: PhantomData<fn(&K)>,
}

impl<K, A: Algorithm> KeyedLimiter<K, A> {
    /// The number of keys tracked at the most where nothing else is said: 2.4 MiB of token buckets.
    pub const DEFAULT_MAX_KEYS: usize = 65_536;

    /// Makes a limiter on the default clock.
    #[must_use]
    pub fn new(algorithm: A) -> Self {
        Self::with_clock(algorithm, Monotonic::default())
    }
}

impl<K, A: Algorithm, C> KeyedLimiter<K, A, C> {
    /// Makes a limiter on this clock.
    #[must_use]
    pub fn with_clock(algorithm: A, clock: C) -> Self {
        let table = Table::new(algorithm, KeyedLimiter::<K, A>::DEFAULT_MAX_KEYS, WhenFull::default());
        Self::over(table, clock, Name::DEFAULT)
    }

    /// Makes a limiter of the same configuration that tracks at most `max_keys` keys, with a state of its own.
    ///
    /// # Panics
    ///
    /// If `max_keys` is 0: nothing could be limited; or more than 2⁴⁰: it would not fit into memory.
    #[must_use]
    pub fn max_keys(self, max_keys: usize) -> Self {
        assert!(max_keys > 0, "a table of 0 keys limits nothing: max_keys must be at least 1");
        assert!(max_keys as u64 <= 1 << 40, "a table of {max_keys} keys does not fit into memory: max_keys must be at most 2^40");
        Self::over(Table::new(self.algorithm(), max_keys, self.table.when_full()), self.clock, self.name)
    }

    /// Makes a limiter of the same configuration that does this with newcomers when it is full, with a state of its own.
    #[must_use]
    pub fn when_full(self, when_full: WhenFull) -> Self {
        Self::over(Table::new(self.algorithm(), self.table.max_keys(), when_full), self.clock, self.name)
    }

    /// Makes a limiter of the same configuration on another clock, with a state of its own.
    #[must_use]
    pub fn clock<D>(self, clock: D) -> KeyedLimiter<K, A, D> {
        let table = Table::new(self.algorithm(), self.table.max_keys(), self.table.when_full());
        KeyedLimiter::over(table, clock, self.name)
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
        self.table.config().load()
    }

    /// Replaces the configuration for every key and every holder at once; what has been taken stays taken.
    ///
    /// A window keeps its count and a log its times; a bucket keeps the time at which it is full, so that one which was empty
    /// stays empty at any rate.
    pub fn reconfigure(&self, algorithm: A) {
        self.table.config().store(algorithm);
    }

    /// Replaces the configuration for every key and every holder at once and forgets what has been taken: from then on it is a
    /// new limit of this algorithm.
    ///
    /// A request that comes between the two steps is counted by the new configuration, and then forgotten.
    pub fn replace(&self, algorithm: A) {
        self.reconfigure(algorithm);
        self.clear();
    }

    /// Returns how many keys are tracked: those not as good as new, and some that are but whose place nobody has needed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether no key is tracked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every key, and what keys without a place share. Locks one set at a time: a key that is used meanwhile may stay.
    /// What was taken before and is [given back](Self::give_back) after comes back to a bucket all the same, out of what has been
    /// taken since; a window and a log know better.
    pub fn clear(&self) {
        self.table.clear();
    }

    fn over(table: Table<A>, clock: C, name: Name) -> Self {
        Self { table: Arc::new(table), hasher: RandomState::default(), clock, name, key: PhantomData }
    }
}

impl<K: Hash, A: Algorithm, C> KeyedLimiter<K, A, C> {
    /// Forgets a key: its next request is its first. Returns whether it was tracked.
    pub fn remove<Q: Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.table.remove(self.slot(key).0)
    }

    /// Returns the slot of a key, with which a [`Ledger`] is asked.
    #[inline]
    pub fn slot<Q: Hash + ?Sized>(&self, key: &Q) -> Slot
    where
        K: Borrow<Q>,
    {
        Slot(self.hasher.hash_one(key))
    }
}

impl<K: Hash, A: Algorithm, C: Clock> KeyedLimiter<K, A, C> {
    /// Admits one request of this key now or refuses it.
    ///
    /// # Errors
    ///
    /// The refusal, exact while the key is tracked: a lone retry `retry_after` later is admitted, and one nanosecond earlier it
    /// is refused. A
    /// limit that would delay refuses too; see [`decide`](Self::decide).
    #[inline]
    pub fn check<Q: Hash + ?Sized>(&self, key: &Q) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
    {
        self.check_n(key, 1)
    }

    /// Admits a request of this key and cost now or refuses it. A cost of 0 is admitted always and tracks nothing.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); [`Reason::CostExceedsLimit`] if the cost can never be admitted; [`Reason::TooManyKeys`] under
    /// [`WhenFull::Refuse`].
    #[inline]
    pub fn check_n<Q: Hash + ?Sized>(&self, key: &Q, cost: u64) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
    {
        let (slot, now) = (self.slot(key), self.now());
        let apply = move |algorithm: &A, state: &mut A::State| algorithm.admit(state, now, cost);
        self.table.update(slot.0, now, apply, move |answer| self.judge(answer, now, cost).map(drop))
    }

    /// Decides about a request of this key and cost, and takes it where the request may go on now or later. Whoever is told to
    /// wait
    /// must wait, or [give back](Self::give_back) its turn.
    ///
    /// Under [`WhenFull::Refuse`] a newcomer is refused until the first key of its set is as good as new.
    #[inline]
    pub fn decide<Q: Hash + ?Sized>(&self, key: &Q, cost: u64) -> Taken<A>
    where
        K: Borrow<Q>,
    {
        let now = self.now();
        let apply = move |algorithm: &A, state: &mut A::State| algorithm.decide(state, now, cost);
        self.table.update(self.slot(key).0, now, apply, move |answer| match answer {
            Answer::Of(decision) => decision,
            Answer::Full { retry_after } => Decision { outcome: Outcome::Reject { retry_after }, ..self.untracked(now, cost) },
            Answer::Untracked => self.untracked(now, cost),
        })
    }

    /// Returns what is left for this key, taking nothing.
    #[must_use]
    pub fn peek<Q: Hash + ?Sized>(&self, key: &Q) -> Quota
    where
        K: Borrow<Q>,
    {
        let now = self.now();
        self.table.look(self.slot(key).0, now, |algorithm, state| algorithm.quota(algorithm.check(state, now, 0).level))
    }

    /// Counts `cost` of this key now, whether it fits or not: what something turned out to cost more than it took.
    ///
    /// A bucket goes into debt by all of it and refuses until it is paid; a window counts it until its end; a log notes as much
    /// as its limit. A key that is not tracked becomes so; where there is no place for it, those who share a state share the
    /// charge, and under [`WhenFull::Refuse`] and [`WhenFull::Admit`] nobody is charged.
    pub fn charge<Q: Hash + ?Sized>(&self, key: &Q, cost: u64)
    where
        K: Borrow<Q>,
    {
        Ledger::charge(self, self.slot(key), cost);
    }

    /// Gives back what a decision about this key took, as far as it still counts. Does nothing where the key is no longer
    /// tracked, or where it
    /// shared the state of keys without a place.
    pub fn give_back<Q: Hash + ?Sized>(&self, key: &Q, taken: &Taken<A>)
    where
        K: Borrow<Q>,
    {
        Ledger::give_back(self, self.slot(key), taken);
    }

    #[inline]
    fn judge(&self, answer: Answer<Taken<A>>, at: Timestamp, cost: u64) -> Result<Taken<A>, Rejection> {
        let decision = match answer {
            Answer::Of(decision) => decision,
            Answer::Full { retry_after } => {
                return Err(Rejection::new(Reason::TooManyKeys, self.name.clone()).retry_after(Duration::from_nanos(retry_after)));
            }
            Answer::Untracked => self.untracked(at, cost),
        };
        ledger::judge(self.table.config(), &self.name, decision)
    }

    /// What is decided about a request that nobody counts.
    fn untracked(&self, now: Timestamp, cost: u64) -> Taken<A> {
        let decision = self.algorithm().check(&A::State::default(), now, cost);
        Decision { cost: 0, ..decision }
    }
}

impl<K: Hash, A: Algorithm, C: Clock> Ledger for KeyedLimiter<K, A, C> {
    type Algorithm = A;
    type Key = K;

    #[inline]
    fn slot(&self, key: &K) -> Slot {
        Slot(self.hasher.hash_one(key))
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn check(&self, slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<A>, Rejection> {
        let decision = self.table.look(slot.0, at, |algorithm, state| algorithm.check(state, at, cost));
        ledger::judge(self.table.config(), &self.name, decision)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    fn admit(&self, slot: Slot, at: Timestamp, cost: u64) -> Result<Taken<A>, Rejection> {
        let apply = move |algorithm: &A, state: &mut A::State| algorithm.admit(state, at, cost);
        self.table.update(slot.0, at, apply, move |answer| self.judge(answer, at, cost))
    }

    fn charge(&self, slot: Slot, cost: u64) {
        let now = self.now();
        self.table.update(slot.0, now, move |algorithm, state| algorithm.take(state, now, cost), drop);
    }

    fn give_back(&self, slot: Slot, taken: &Taken<A>) {
        let now = self.now();
        self.table.read(slot.0, |algorithm, state| algorithm.give_back(state, taken, now));
    }

    fn standing(&self, level: A::Level) -> Standing {
        ledger::standing(self.table.config(), &self.name, level)
    }

    fn state(&self) -> StateId {
        StateId::of(&self.table)
    }

    fn queue_capacity(&self) -> usize {
        self.algorithm().queue_capacity()
    }
}

impl<K, A: Algorithm, C: Clone> Clone for KeyedLimiter<K, A, C> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            hasher: self.hasher.clone(),
            clock: self.clock.clone(),
            name: self.name.clone(),
            key: PhantomData,
        }
    }
}

impl<K, A: Algorithm + fmt::Debug, C> fmt::Debug for KeyedLimiter<K, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm())
            .field("len", &self.len())
            .field("max_keys", &self.table.max_keys())
            .field("when_full", &self.table.when_full())
            .finish_non_exhaustive()
    }
}
