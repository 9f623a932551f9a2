//! A line for each key that has waiters, all under one bound.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use backpressure_limiter::Slot;
use backpressure_queue::Line;

pub(crate) struct Lines {
    max_waiting: usize,
    /// Requests with a place in any line: never more than `max_waiting`, and 0 only where `lines` is empty or about to be.
    waiting: AtomicUsize,
    lines: Mutex<HashMap<Slot, Occupied>>,
}

/// A line with at least one place taken.
struct Occupied {
    line: Line,
    places: usize,
}

impl Lines {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self { max_waiting, waiting: AtomicUsize::new(0), lines: Mutex::default() }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_waited_for(&self, slot: Slot) -> bool {
        // Relaxed: a request that arrives as another begins to wait may be taken for the earlier one.
        self.waiting() > 0 && self.lock().contains_key(&slot)
    }

    /// Takes a place under the bound and returns the line of the slot, made for this many where there is none. To be
    /// [left](Self::leave).
    pub(crate) fn join(&self, slot: Slot, capacity: usize) -> Option<Line> {
        // Relaxed: the count is its own bound; what is in the lines is under the lock.
        let reserve = |waiting| (waiting < self.max_waiting).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).ok()?;
        let mut lines = self.lock();
        let occupied = lines.entry(slot).or_insert_with(|| Occupied { line: Line::new(capacity), places: 0 });
        occupied.places += 1;
        Some(occupied.line.clone())
    }

    pub(crate) fn leave(&self, slot: Slot) {
        if let Entry::Occupied(mut entry) = self.lock().entry(slot) {
            entry.get_mut().places -= 1;
            if entry.get().places == 0 {
                entry.remove();
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Slot, Occupied>> {
        // Nothing under this lock panics half way; a poisoned lock guards a whole map.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use backpressure_core::{FixedWindow, Rate};
    use backpressure_limiter::KeyedLimiter;

    use super::*;

    #[test]
    fn nothing_is_kept_of_a_line_that_nobody_is_in() {
        let slots = KeyedLimiter::<u32, _>::new(FixedWindow::new(Rate::per_second(1)));
        let lines = Lines::new(100);
        for key in 0..10_000 {
            let slot = slots.slot(&key);
            assert!(!lines.is_waited_for(slot));
            let (first, second) = (lines.join(slot, 5), lines.join(slot, 5));
            assert!(first.is_some() && second.is_some() && lines.is_waited_for(slot));
            lines.leave(slot);
            assert!(lines.is_waited_for(slot));
            lines.leave(slot);
        }
        assert!(lines.lock().is_empty() && lines.waiting() == 0);
    }

    #[test]
    fn at_the_bound_of_all_lines_nobody_joins_any() {
        let slots = KeyedLimiter::<u32, _>::new(FixedWindow::new(Rate::per_second(1)));
        let lines = Lines::new(2);
        assert!(lines.join(slots.slot(&1), 9).is_some() && lines.join(slots.slot(&2), 9).is_some());
        assert!(lines.join(slots.slot(&3), 9).is_none() && !lines.is_waited_for(slots.slot(&3)));
        lines.leave(slots.slot(&1));
        assert!(lines.join(slots.slot(&3), 9).is_some());
    }
}
