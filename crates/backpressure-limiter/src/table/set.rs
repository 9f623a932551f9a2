//! One set of slots under one lock.

use backpressure_core::{Algorithm, Timestamp};

use super::Evict;
use crate::sync::{Guard, Lock};

/// Slots in a set: with eight-byte states the set is 128 bytes, two cache lines that are fetched together.
pub(super) const WAYS: usize = 7;

/// The lock and the prints share a cache line, so that a miss costs one.
#[repr(align(64))]
pub(super) struct Set<S> {
    slots: Lock<Slots<S>>,
}

#[repr(C)]
pub(super) struct Slots<S> {
    /// The hash of the key in each slot, 0 where there is none.
    prints: [u64; WAYS],
    states: [S; WAYS],
}

impl<S> Set<S> {
    #[inline]
    pub(super) fn lock(&self) -> Guard<'_, Slots<S>> {
        self.slots.lock()
    }
}

impl<S: Default> Default for Set<S> {
    fn default() -> Self {
        Self { slots: Lock::new(Slots { prints: [0; WAYS], states: std::array::from_fn(|_| S::default()) }) }
    }
}

impl<S: Default> Slots<S> {
    #[inline]
    pub(super) fn find(&self, print: u64) -> Option<usize> {
        self.prints.iter().position(|occupant| *occupant == print)
    }

    pub(super) fn empty(&self) -> Option<usize> {
        self.find(0)
    }

    #[inline]
    pub(super) fn state(&mut self, way: usize) -> &mut S {
        &mut self.states[way]
    }

    pub(super) fn put(&mut self, way: usize, print: u64, state: S) {
        self.prints[way] = print;
        self.states[way] = state;
    }

    pub(super) fn clear(&mut self, way: usize) {
        self.put(way, 0, S::default());
    }

    /// Empties the set and returns how many keys were in it.
    pub(super) fn clear_all(&mut self) -> usize {
        let occupied = self.occupied().count();
        (0..WAYS).for_each(|way| self.clear(way));
        occupied
    }

    /// Returns the slot whose key may be forgotten for a newcomer: a fresh one, else the nearest to fresh that is not being
    /// refused.
    pub(super) fn victim<A: Algorithm<State = S>>(&self, algorithm: &A, now: Timestamp, evict: Evict) -> Option<usize> {
        let nearest = self
            .occupied()
            .filter(|way| evict == Evict::Fresh || !is_refused(algorithm, &self.states[*way], now))
            .min_by_key(|way| algorithm.fresh_at(&self.states[*way]))?;
        (evict == Evict::NearestToFresh || algorithm.fresh_at(&self.states[nearest]) <= now).then_some(nearest)
    }

    /// Returns when the first key of the set is as good as new, if that is still to come.
    pub(super) fn free_at<A: Algorithm<State = S>>(&self, algorithm: &A, now: Timestamp) -> Option<Timestamp> {
        self.occupied().map(|way| algorithm.fresh_at(&self.states[way])).min().filter(|at| *at > now)
    }

    fn occupied(&self) -> impl Iterator<Item = usize> + '_ {
        self.prints.iter().enumerate().filter(|(_, print)| **print != 0).map(|(way, _)| way)
    }
}

/// Whether the cheapest request of this key could not go on now. One that would be delayed counts: forgotten, it would go on at
/// once.
fn is_refused<A: Algorithm>(algorithm: &A, state: &A::State, now: Timestamp) -> bool {
    !algorithm.check(state, now, 1).is_admitted()
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_buckets_is_two_cache_lines() {
        assert_eq!((size_of::<Set<u64>>(), align_of::<Set<u64>>()), (128, 64));
        assert_eq!(size_of::<Set<(u64, u64)>>(), 192);
    }
}
