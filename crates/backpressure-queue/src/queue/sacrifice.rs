//! Who goes when room is needed: the order that [`ItemClass`] states.

use std::mem;

use super::item::{Item, ItemClass, Load};
use super::outcome::{Displaced, Sent};
use super::store::{Entry, Slot, Store};

impl<T> Store<T> {
    /// Whether a droppable item would fit if the front went, and that is droppable, and has no gap behind it.
    #[inline(always)]
    pub(super) fn takes_for_oldest(&self, item: &Item<T>) -> bool {
        let (Some(extra), Some(Slot::Item(oldest))) = (self.extra.as_deref(), self.slots.front()) else {
            return false;
        };
        let are_droppable = item.class == ItemClass::Droppable && oldest.class == ItemClass::Droppable;
        are_droppable && extra.gaps == 0 && item.weight <= self.limit.weight - (self.weight - oldest.weight)
    }

    /// Whether the item would fit if all went that it may displace.
    #[inline]
    pub(super) fn can_make_room(&self, item: &Item<T>) -> bool {
        self.kept(item.class).has_room(self.limit, item.weight)
    }

    /// Evicts until the item fits, which [`can_make_room`](Self::can_make_room) has promised.
    #[inline]
    pub(super) fn make_room(&mut self, item: &Item<T>, sent: &mut Sent<T>) {
        while !self.fits(item.class, item.weight) {
            let Some(evicted) = self.evict(item.class) else {
                return;
            };
            sent.push(Displaced::Evicted(evicted));
        }
    }

    /// What an arriving item of this class may not displace. The one whose place it takes is no part of it.
    #[inline]
    fn kept(&self, arriving: ItemClass) -> Load {
        let Some(extra) = &self.extra else {
            return Load::ZERO;
        };
        match arriving {
            ItemClass::Droppable => extra.durable.saturating_add(extra.conflated),
            ItemClass::Conflated(_) | ItemClass::Durable | ItemClass::Urgent => extra.durable,
        }
    }

    /// Evicts the front, of which [`takes_for_oldest`](Self::takes_for_oldest) is true. It accounts first: what follows, the push of
    /// another, then finds in registers what this leaves.
    #[inline(always)]
    pub(super) fn evict_oldest(&mut self) -> Option<Item<T>> {
        let weight = self.slots.front()?.weight();
        self.extra.as_deref_mut()?.evicted_front(weight);
        self.take_droppable()
    }

    #[inline]
    pub(super) fn evict(&mut self, arriving: ItemClass) -> Option<Item<T>> {
        let index = self.cheapest(arriving)?;
        self.extra().counts.evicted += 1;
        if index > 0 {
            return self.take_from_middle(index);
        }
        let weight = self.slots.front().map_or(0, Slot::weight);
        let missed = self.extra().missed.saturating_add(Load { items: 1, weight });
        self.take_front(missed)
    }

    /// Finds the item that goes first for one of this class.
    #[inline]
    fn cheapest(&mut self, arriving: ItemClass) -> Option<usize> {
        if let Some(Slot::Item(Entry { class: ItemClass::Droppable, .. })) = self.slots.front() {
            return Some(0);
        }
        let extra = self.extra.as_mut()?;
        let droppable = extra.oldest_droppable(&self.slots);
        if droppable.is_some() || arriving == ItemClass::Droppable {
            return droppable;
        }
        extra.oldest_conflated(&self.slots, arriving)
    }

    fn take_from_middle(&mut self, index: usize) -> Option<Item<T>> {
        let slot = self.slots.get_mut(index)?;
        let Slot::Item(Entry { weight, .. }) = slot else {
            return None;
        };
        let gap = Load { items: 1, weight: *weight };
        let Slot::Item(entry) = mem::replace(slot, Slot::Gap(gap)) else {
            return None;
        };
        self.weight -= gap.weight;
        if let Some(extra) = &mut self.extra {
            extra.left(entry.class, entry.weight);
            extra.gaps += 1;
            extra.join_gaps(&mut self.slots);
        }
        Some(entry.into_item())
    }
}
