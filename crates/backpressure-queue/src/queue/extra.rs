//! What a queue needs only once it has lost something, or has items that are not all worth the same.

use std::collections::{HashMap, VecDeque};
use std::mem;

use super::item::{Item, ItemClass, Load};
use super::outcome::Counts;
use super::store::{Entry, Slot};

/// Positions count from the first item that was there when this was made, and never come again: 2⁶⁴ outlast any process.
pub(super) struct Extra<T> {
    pub(super) urgent: VecDeque<Entry<T>>,
    pub(super) urgent_load: Load,
    /// What the durable and the conflated items among the slots come to. The rest are droppable.
    pub(super) durable: Load,
    pub(super) conflated: Load,
    /// Where the items are that a newer one of the same key would replace.
    keys: HashMap<u64, u64>,
    /// The position of the first slot.
    base: u64,
    /// There is no droppable item before this position, and no conflated one before the other.
    droppable_from: u64,
    conflated_from: u64,
    /// The number of slots that are gaps.
    pub(super) gaps: usize,
    /// What was lost before the first slot, and not marked yet.
    pub(super) missed: Load,
    /// Without `sent` and `delivered`.
    pub(super) counts: Counts,
}

impl<T> Extra<T> {
    pub(super) fn new() -> Self {
        Self {
            urgent: VecDeque::new(),
            urgent_load: Load::ZERO,
            durable: Load::ZERO,
            conflated: Load::ZERO,
            keys: HashMap::new(),
            base: 0,
            droppable_from: 0,
            conflated_from: 0,
            gaps: 0,
            missed: Load::ZERO,
            counts: Counts::default(),
        }
    }

    #[inline]
    pub(super) fn index_of(&self, key: u64) -> Option<usize> {
        self.keys.get(&key).map(|&position| self.index(position))
    }

    /// Accounts for an item that is about to be pushed behind so many slots.
    pub(super) fn joined_at(&mut self, index: usize, item: &Item<T>) {
        match item.class {
            ItemClass::Conflated(key) => {
                self.conflated.add(item.weight);
                self.keys.insert(key, self.base + index as u64);
            }
            ItemClass::Durable => self.durable.add(item.weight),
            ItemClass::Droppable | ItemClass::Urgent => {}
        }
    }

    /// Accounts for an item that has left, from wherever.
    #[inline]
    pub(super) fn left(&mut self, class: ItemClass, weight: u64) {
        match class {
            ItemClass::Conflated(key) => {
                self.conflated.remove(weight);
                self.keys.remove(&key);
            }
            ItemClass::Durable => self.durable.remove(weight),
            ItemClass::Droppable | ItemClass::Urgent => {}
        }
    }

    /// Accounts for a droppable item that is evicted from the front and has no gap behind it.
    #[inline(always)]
    pub(super) fn evicted_front(&mut self, weight: u64) {
        self.counts.evicted += 1;
        self.missed = self.missed.saturating_add(Load { items: 1, weight });
        self.base += 1;
    }

    /// Accounts for the slot that was the front, and for the gaps that are the front now.
    #[inline]
    pub(super) fn front_left(&mut self, slots: &mut VecDeque<Slot<T>>) {
        self.base += 1;
        if self.gaps > 0 {
            self.pass_gaps(slots);
        }
    }

    #[cold]
    fn pass_gaps(&mut self, slots: &mut VecDeque<Slot<T>>) {
        while self.gaps > 0
            && let Some(Slot::Gap(gap)) = slots.front()
        {
            self.missed = self.missed.saturating_add(*gap);
            self.gaps -= 1;
            self.base += 1;
            slots.pop_front();
        }
    }

    /// Finds the oldest droppable item. What was looked at is not looked at again, also if there is none.
    pub(super) fn oldest_droppable(&mut self, slots: &VecDeque<Slot<T>>) -> Option<usize> {
        let from = self.index(self.droppable_from.max(self.base));
        let found = (from..slots.len()).find(|&index| slots[index].class() == Some(ItemClass::Droppable));
        self.droppable_from = self.base + found.unwrap_or(slots.len()) as u64;
        found
    }

    /// Finds the oldest conflated item other than the one whose place the arriving one takes. That one is passed each time.
    pub(super) fn oldest_conflated(&mut self, slots: &VecDeque<Slot<T>>, arriving: ItemClass) -> Option<usize> {
        let is_conflated = |index: &usize| matches!(slots[*index].class(), Some(ItemClass::Conflated(_)));
        let from = self.index(self.conflated_from.max(self.base));
        let first = (from..slots.len()).find(is_conflated);
        self.conflated_from = self.base + first.unwrap_or(slots.len()) as u64;
        (first?..slots.len()).filter(is_conflated).find(|&index| slots[index].class() != Some(arriving))
    }

    /// Joins neighbouring gaps once most slots are gaps, so that there are never more than thrice as many slots as items.
    pub(super) fn join_gaps(&mut self, slots: &mut VecDeque<Slot<T>>) {
        let items = slots.len() - self.gaps;
        if self.gaps <= 2 * items + FEW_GAPS {
            return;
        }
        self.gaps = 0;
        let mut open = Load::ZERO;
        let mut kept = VecDeque::with_capacity(2 * items + 1);
        for slot in slots.drain(..) {
            match slot {
                Slot::Gap(gap) => open = open.saturating_add(gap),
                Slot::Item(entry) => {
                    self.close_gap(&mut open, &mut kept);
                    if let ItemClass::Conflated(key) = entry.class {
                        self.keys.insert(key, self.base + kept.len() as u64);
                    }
                    kept.push_back(Slot::Item(entry));
                }
            }
        }
        self.close_gap(&mut open, &mut kept);
        *slots = kept;
        // The positions before these are other items' now.
        self.droppable_from = self.base;
        self.conflated_from = self.base;
    }

    /// Takes out the urgent items, and accounts for everything as discarded.
    pub(super) fn discard(&mut self, total: Load, slots: &VecDeque<Slot<T>>) -> VecDeque<Entry<T>> {
        let mut lost = total.without(self.urgent_load);
        for slot in slots {
            if let Slot::Gap(gap) = slot {
                lost = lost.saturating_add(*gap);
            }
        }
        self.missed = self.missed.saturating_add(lost);
        self.counts.discarded += total.items as u64;
        self.base += slots.len() as u64;
        self.urgent_load = Load::ZERO;
        self.durable = Load::ZERO;
        self.conflated = Load::ZERO;
        self.gaps = 0;
        self.keys = HashMap::new();
        mem::take(&mut self.urgent)
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.urgent.shrink_to_fit();
        self.keys.shrink_to_fit();
    }

    fn close_gap(&mut self, open: &mut Load, kept: &mut VecDeque<Slot<T>>) {
        if *open != Load::ZERO {
            kept.push_back(Slot::Gap(mem::take(open)));
            self.gaps += 1;
        }
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position - self.base).expect("a position is that of a slot, or the one after the last")
    }
}

impl<T> Slot<T> {
    pub(super) const fn weight(&self) -> u64 {
        match self {
            Self::Item(entry) => entry.weight,
            Self::Gap(gap) => gap.weight,
        }
    }

    const fn class(&self) -> Option<ItemClass> {
        match self {
            Self::Item(entry) => Some(entry.class),
            Self::Gap(_) => None,
        }
    }
}

/// So few gaps are not worth the work of joining them.
const FEW_GAPS: usize = 8;
