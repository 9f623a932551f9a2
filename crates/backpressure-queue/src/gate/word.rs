//! The counts of a gate in one word, so that one compare-and-swap decides.

use std::fmt;

/// How many places there are, how many are in use, how many wait, and whether somebody is to be told when it is empty.
///
/// From the lowest bit: 21 bits of places, 21 of places in use, 21 of waiters, 1 that is set while the gate is watched or closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// The largest of each count.
    pub(super) const MOST: usize = (1 << BITS) - 1;

    /// The word of an empty gate.
    pub(super) const fn of(places: usize) -> Self {
        Self(places as u64)
    }

    pub(super) const fn places(self) -> usize {
        self.count(0)
    }

    pub(super) const fn in_use(self) -> usize {
        self.count(BITS)
    }

    pub(super) const fn waiting(self) -> usize {
        self.count(2 * BITS)
    }

    /// Whether somebody waits for the gate to be empty, or it is closed.
    pub(super) const fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    /// Whether an entry or an exit concerns somebody else.
    pub(super) const fn needs_the_lock(self) -> bool {
        self.0 >= WAITER
    }

    pub(super) const fn is_empty(self) -> bool {
        self.in_use() == 0 && self.waiting() == 0
    }

    pub(super) const fn entered(self) -> Self {
        Self(self.0 + IN_USE)
    }

    pub(super) const fn left(self) -> Self {
        Self(self.0 - IN_USE)
    }

    pub(super) const fn with_places(self, places: usize) -> Self {
        Self(self.0 & !MASK | places as u64)
    }

    /// The word with one more waiter, and so many fewer.
    pub(super) const fn joined(self, evicted: usize) -> Self {
        // In this order: a line of `MOST` has no room for one more in between.
        Self(self.0 - evicted as u64 * WAITER + WAITER)
    }

    pub(super) const fn gone(self) -> Self {
        Self(self.0 - WAITER)
    }

    pub(super) const fn watched(self, watched: bool) -> Self {
        if watched { Self(self.0 | WATCHED) } else { Self(self.0 & !WATCHED) }
    }

    /// The mask keeps 21 bits, which fit every `usize`.
    const fn count(self, shift: u32) -> usize {
        (self.0 >> shift & MASK) as usize
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("places", &self.places())
            .field("in_use", &self.in_use())
            .field("waiting", &self.waiting())
            .field("watched", &self.is_watched())
            .finish()
    }
}

const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
const IN_USE: u64 = 1 << BITS;
const WAITER: u64 = 1 << (2 * BITS);
const WATCHED: u64 = 1 << 63;
