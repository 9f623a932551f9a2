//! The keyed table: states found by the hash of their key, under a hard bound.
//!
//! A key belongs to one [`Set`] of seven slots, named by its hash; a decision locks that set, 128 bytes for a bucket, and
//! nothing else. There are two slots for each key that may be tracked, so that few sets are full before the table is, and the
//! sets are allocated in segments when first touched. Nothing is ever rehashed or swept at once: there is no pause to
//! notice and no thread to run. What has expired is replaced where a newcomer needs its place.

#[cfg(test)]
#[cfg(backpressure_loom)]
mod loom;
mod set;

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use backpressure_core::{Algorithm, Timestamp};

use self::set::{Set, Slots, WAYS};
use crate::sync::{AtomicUsize, Config, Guard, Lock};

/// What to do with a key that is not tracked when as many keys are as may be.
///
/// Before any of this, a newcomer takes the place of a key whose state is as good as new: that loses nothing. The question is
/// what
/// happens when there is none.
///
/// Two things make the table full for a key: `max_keys` tracked, or a set of seven, to which its hash assigns it, that is taken
/// by keys which
/// may not be forgotten. The second befalls about one key in a hundred where all keys that may be tracked are at their limit; to
/// have it more
/// rarely, allow more keys than you expect.
///
/// No policy stops a client who can invent keys: it makes every key a newcomer. What they decide is who pays for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Forget the key that is nearest to being as good as new, but never one that would be refused now: a flood of new keys
    /// cannot
    /// free a client from its limit. Where only such keys are left, newcomers share one state, as with [`Share`](Self::Share).
    #[default]
    Evict,
    /// All newcomers share one state: together they get what one key gets.
    Share,
    /// Newcomers are refused until a place is free.
    Refuse,
    /// Newcomers are admitted without being counted.
    Admit,
}

pub(crate) struct Table<A: Algorithm> {
    config: Config<A>,
    when_full: WhenFull,
    max_keys: usize,
    /// Keys tracked, or about to be by a thread that has reserved a place: never more than `max_keys`.
    len: AtomicUsize,
    /// Where the next search for a place begins.
    hand: AtomicUsize,
    sets: usize,
    segments: Box<[OnceLock<Segment<A::State>>]>,
    /// What keys without a place share.
    overflow: Lock<A::State>,
}

type Segment<S> = Box<[Set<S>]>;

/// What the table says of a key.
#[derive(Clone, Copy)]
pub(crate) enum Answer<R> {
    /// What was found or decided.
    Of(R),
    /// The key has no place, and newcomers are refused; the nanoseconds after which one may be free.
    Full { retry_after: u64 },
    /// The key has no place, and newcomers are admitted.
    Untracked,
}

/// Which keys may be forgotten for a newcomer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evict {
    /// Those whose state is as good as new.
    Fresh,
    /// Those that would not be refused now, the one nearest to fresh first.
    NearestToFresh,
}

impl<A: Algorithm> Table<A> {
    pub(crate) fn new(algorithm: A, max_keys: usize, when_full: WhenFull) -> Self {
        let sets = max_keys.saturating_mul(SLOTS_PER_KEY).div_ceil(WAYS).max(1);
        Self {
            config: Config::new(algorithm),
            when_full,
            max_keys,
            len: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            sets,
            segments: (0..sets.div_ceil(SETS_PER_SEGMENT)).map(|_| OnceLock::new()).collect(),
            overflow: Lock::default(),
        }
    }

    pub(crate) const fn config(&self) -> &Config<A> {
        &self.config
    }

    pub(crate) const fn max_keys(&self) -> usize {
        self.max_keys
    }

    pub(crate) const fn when_full(&self) -> WhenFull {
        self.when_full
    }

    pub(crate) fn len(&self) -> usize {
        // Relaxed: a count that is read orders nothing.
        self.len.load(Ordering::Relaxed)
    }

    /// Applies `apply` to the state of the key with this print, which is that of a new key where none is tracked, and tracks the
    /// key if there is
    /// something to remember of it. `answer` is given the result when nothing is locked any more; it is an argument, so that the
    /// common path
    /// keeps the result in registers.
    #[inline]
    pub(crate) fn update<R, T>(
        &self,
        print: u64,
        now: Timestamp,
        apply: impl Fn(&A, &mut A::State) -> R,
        answer: impl Fn(Answer<R>) -> T,
    ) -> T {
        let replaced;
        let algorithm = match self.config.first() {
            Some(first) => first,
            None => {
                replaced = self.config.latest();
                &replaced
            }
        };
        let print = occupied(print);
        let mut slots = self.set(print).lock();
        match slots.find(print) {
            Some(way) => {
                let result = apply(algorithm, slots.state(way));
                drop(slots);
                answer(Answer::Of(result))
            }
            None => answer(self.insert(algorithm, slots, print, now, apply)),
        }
    }

    /// Applies `read` to the state that a request of this key would meet now: its own, that of a new key, or the shared one.
    pub(crate) fn look<R>(&self, print: u64, now: Timestamp, read: impl FnOnce(&A, &A::State) -> R) -> R {
        let algorithm = self.config.load();
        let print = occupied(print);
        if let Some(set) = self.allocated(self.index(print)) {
            let mut slots = set.lock();
            if let Some(way) = slots.find(print) {
                return read(&algorithm, slots.state(way));
            }
            let shares = match self.when_full {
                WhenFull::Evict => slots.victim(&algorithm, now, Evict::NearestToFresh).is_none(),
                WhenFull::Share => slots.victim(&algorithm, now, Evict::Fresh).is_none(),
                WhenFull::Refuse | WhenFull::Admit => false,
            };
            let has_place = slots.empty().is_some() && self.len() < self.max_keys;
            drop(slots);
            if shares && !has_place {
                return read(&algorithm, &self.overflow.lock());
            }
        }
        read(&algorithm, &A::State::default())
    }

    /// Applies `read` to the state of the key if it is tracked.
    pub(crate) fn read<R>(&self, print: u64, read: impl FnOnce(&A, &mut A::State) -> R) -> Option<R> {
        let print = occupied(print);
        let mut slots = self.allocated(self.index(print))?.lock();
        let way = slots.find(print)?;
        Some(read(&self.config.load(), slots.state(way)))
    }

    /// Forgets the key; returns whether it was tracked.
    pub(crate) fn remove(&self, print: u64) -> bool {
        let print = occupied(print);
        let Some(set) = self.allocated(self.index(print)) else { return false };
        let mut slots = set.lock();
        let Some(way) = slots.find(print) else { return false };
        slots.clear(way);
        self.release();
        true
    }

    /// Forgets every key.
    pub(crate) fn clear(&self) {
        for set in self.segments.iter().filter_map(OnceLock::get).flatten() {
            let mut slots = set.lock();
            for _ in 0..slots.clear_all() {
                self.release();
            }
        }
        *self.overflow.lock() = A::State::default();
    }

    #[inline(never)]
    fn insert<R>(
        &self,
        algorithm: &A,
        mut slots: Guard<'_, Slots<A::State>>,
        print: u64,
        now: Timestamp,
        apply: impl Fn(&A, &mut A::State) -> R,
    ) -> Answer<R> {
        let mut state = A::State::default();
        let result = apply(algorithm, &mut state);
        if algorithm.fresh_at(&state) <= now {
            // Nothing was taken: a refusal, or a cost of 0.
            return Answer::Of(result);
        }
        let empty = slots.empty();
        if let Some(way) = empty.filter(|_| self.reserve()).or_else(|| slots.victim(algorithm, now, Evict::Fresh)) {
            slots.put(way, print, state);
            return Answer::Of(result);
        }
        drop(slots);
        self.insert_into_crowd(algorithm, empty.is_some(), print, now, apply)
    }

    /// The newcomer's set is full or the table is: someone has to go. No two sets are locked at a time.
    #[cold]
    fn insert_into_crowd<R>(
        &self,
        algorithm: &A,
        room_in_set: bool,
        print: u64,
        now: Timestamp,
        apply: impl Fn(&A, &mut A::State) -> R,
    ) -> Answer<R> {
        if room_in_set
            && self.evict_elsewhere(algorithm, now, Evict::Fresh)
            && let Some(result) = self.insert_reserved(algorithm, print, &apply)
        {
            return Answer::Of(result);
        }
        if self.when_full == WhenFull::Evict {
            if let Some(result) = self.replace_nearest_to_fresh(algorithm, print, now, &apply) {
                return Answer::Of(result);
            }
            if room_in_set
                && self.evict_elsewhere(algorithm, now, Evict::NearestToFresh)
                && let Some(result) = self.insert_reserved(algorithm, print, &apply)
            {
                return Answer::Of(result);
            }
        }
        self.without_place(algorithm, print, now, apply)
    }

    /// Uses a place that is counted already, if the set still has room; otherwise gives it back.
    fn insert_reserved<R>(&self, algorithm: &A, print: u64, apply: impl Fn(&A, &mut A::State) -> R) -> Option<R> {
        let mut slots = self.set(print).lock();
        // The lock was let go: the key may have come in by another thread, which must be the one that counts.
        let way = match slots.find(print) {
            Some(way) => {
                self.release();
                way
            }
            None => match slots.empty() {
                Some(way) => {
                    slots.put(way, print, A::State::default());
                    way
                }
                None => {
                    self.release();
                    return None;
                }
            },
        };
        Some(apply(algorithm, slots.state(way)))
    }

    fn replace_nearest_to_fresh<R>(
        &self,
        algorithm: &A,
        print: u64,
        now: Timestamp,
        apply: impl Fn(&A, &mut A::State) -> R,
    ) -> Option<R> {
        let mut slots = self.set(print).lock();
        let way = match slots.find(print) {
            Some(way) => way,
            None => {
                let way = slots.victim(algorithm, now, Evict::NearestToFresh)?;
                slots.put(way, print, A::State::default());
                way
            }
        };
        Some(apply(algorithm, slots.state(way)))
    }

    /// Forgets a key in one of the next few sets and keeps its place counted, for the caller.
    fn evict_elsewhere(&self, algorithm: &A, now: Timestamp, evict: Evict) -> bool {
        let start = self.hand.fetch_add(SWEEP, Ordering::Relaxed);
        (0..SWEEP.min(self.sets)).any(|step| {
            let Some(set) = self.allocated(start.wrapping_add(step) % self.sets) else { return false };
            let mut slots = set.lock();
            let victim = slots.victim(algorithm, now, evict);
            if let Some(way) = victim {
                slots.clear(way);
            }
            victim.is_some()
        })
    }

    fn without_place<R>(&self, algorithm: &A, print: u64, now: Timestamp, apply: impl Fn(&A, &mut A::State) -> R) -> Answer<R> {
        match self.when_full {
            WhenFull::Evict | WhenFull::Share => Answer::Of(apply(algorithm, &mut self.overflow.lock())),
            WhenFull::Refuse => {
                // When a key of the newcomer's own set is as good as new it has its place. Where there is none, a place taken
                // now is the best guess at one that is let go.
                let free_at = self.set(print).lock().free_at(algorithm, now).unwrap_or_else(|| {
                    let mut state = A::State::default();
                    algorithm.take(&mut state, now, 1);
                    algorithm.fresh_at(&state)
                });
                Answer::Full { retry_after: free_at.nanos_since(now).max(1) }
            }
            WhenFull::Admit => Answer::Untracked,
        }
    }

    /// Counts one more key if there may be one.
    fn reserve(&self) -> bool {
        // Relaxed: the count is its own bound and guards no other memory.
        self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| (len < self.max_keys).then_some(len + 1)).is_ok()
    }

    fn release(&self) {
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    #[inline]
    fn index(&self, print: u64) -> usize {
        // The high bits scaled to the number of sets: even for any number, without a division.
        let index = (u128::from(print) * self.sets as u128) >> 64;
        usize::try_from(index).unwrap_or(0)
    }

    #[inline]
    fn set(&self, print: u64) -> &Set<A::State> {
        let index = self.index(print);
        let segment = self.segments[index / SETS_PER_SEGMENT].get_or_init(|| self.segment(index / SETS_PER_SEGMENT));
        &segment[index % SETS_PER_SEGMENT]
    }

    fn allocated(&self, index: usize) -> Option<&Set<A::State>> {
        self.segments[index / SETS_PER_SEGMENT].get()?.get(index % SETS_PER_SEGMENT)
    }

    #[cold]
    fn segment(&self, segment: usize) -> Segment<A::State> {
        let sets = (self.sets - segment * SETS_PER_SEGMENT).min(SETS_PER_SEGMENT);
        (0..sets).map(|_| Set::default()).collect()
    }
}

/// A print of 0 marks an empty slot.
const fn occupied(print: u64) -> u64 {
    if print == 0 { 1 } else { print }
}

/// At half load one key in a hundred finds its set full before the table is.
const SLOTS_PER_KEY: usize = 2;

/// 16 KiB for buckets: small enough to allocate without a pause, large enough that the directory stays in the cache.
const SETS_PER_SEGMENT: usize = 128;

/// How many sets a newcomer searches for a place that is not in its own: 1 KiB of neighbours for buckets.
const SWEEP: usize = 8;
