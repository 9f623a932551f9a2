//! The items inside, and who is admitted at whose expense. It decides and accounts; it neither waits nor locks.

use std::collections::VecDeque;
use std::mem;

use tokio::time::Instant;

use super::extra::Extra;
use super::item::{Item, ItemClass, Load};
use super::outcome::{Counts, Displaced, Received, Refused, Sent};
use crate::Overflow;

pub(super) struct Store<T> {
    /// All items but the urgent ones, oldest first. An item that left from the middle leaves a gap; the front is never one.
    pub(super) slots: VecDeque<Slot<T>>,
    /// What the items in `slots` weigh together: never more than the `limit`, in which they stay in number too.
    pub(super) weight: u64,
    pub(super) limit: Load,
    /// The room for urgent items, where there is any: apart, because most queues have none.
    reserve: Option<Box<Load>>,
    /// How many items were ever admitted, urgent ones among them.
    sent: u64,
    /// What a queue needs only from its first loss, or from its first item that is not droppable.
    pub(super) extra: Option<Box<Extra<T>>>,
}

pub(super) enum Slot<T> {
    Item(Entry<T>),
    /// What was lost between the items to either side.
    Gap(Load),
}

/// An item that is inside. In this order, so that the weight is not beside the value: both together would be read by one wide
/// load, which waits until the two stores that have just written them have left the processor.
#[repr(C)]
pub(super) struct Entry<T> {
    pub(super) class: ItemClass,
    value: T,
    /// When the item was sent, or the first of those whose place it took; in a timed queue.
    pub(super) since: Option<Instant>,
    pub(super) weight: u64,
}

impl<T> Store<T> {
    pub(super) fn new(limit: Load, reserve: Load) -> Self {
        let reserve = (reserve != Load::ZERO).then(|| Box::new(reserve));
        Self { slots: VecDeque::new(), weight: 0, limit, reserve, sent: 0, extra: None }
    }

    /// What is inside, urgent items among it.
    pub(super) fn total(&self) -> Load {
        self.extra.as_ref().map_or(self.load(), |extra| self.load().saturating_add(extra.urgent_load))
    }

    /// What is in the slots.
    #[inline]
    pub(super) fn load(&self) -> Load {
        let gaps = self.extra.as_ref().map_or(0, |extra| extra.gaps);
        Load { items: self.slots.len() - gaps, weight: self.weight }
    }

    pub(super) fn capacity(&self) -> Load {
        self.limit.saturating_add(self.reserve())
    }

    fn reserve(&self) -> Load {
        self.reserve.as_deref().copied().unwrap_or(Load::ZERO)
    }

    pub(super) fn missed(&self) -> Load {
        self.extra.as_ref().map_or(Load::ZERO, |extra| extra.missed)
    }

    pub(super) fn counts(&self) -> Counts {
        let lost = self.extra.as_ref().map_or_else(Counts::default, |extra| extra.counts);
        let gone = lost.evicted + lost.superseded + lost.discarded;
        Counts { sent: self.sent, delivered: self.sent - gone - self.total().items as u64, ..lost }
    }

    /// When the item that has been inside for longest was sent.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let urgent = self.extra.as_ref().and_then(|extra| extra.urgent.front());
        let first = match self.slots.front() {
            Some(Slot::Item(entry)) => Some(entry),
            _ => None,
        };
        urgent.into_iter().chain(first).filter_map(|entry| entry.since).min()
    }

    /// Whether the item needs nothing but to be pushed.
    #[inline]
    pub(super) fn takes(&self, item: &Item<T>) -> bool {
        item.class == ItemClass::Droppable && self.load().has_room(self.limit, item.weight)
    }

    /// Admits an item, at the expense of others where the policy says so, or returns it with the reason why not.
    #[inline]
    pub(super) fn offer(
        &mut self,
        item: Item<T>,
        since: Option<Instant>,
        overflow: Overflow,
    ) -> Result<Sent<T>, (Item<T>, Refused)> {
        if self.is_too_heavy(&item) {
            return Err((item, Refused::TooHeavy));
        }
        if item.class == ItemClass::Urgent {
            return self.offer_urgent(item, since);
        }
        let mut sent = Sent::nothing_displaced();
        if self.lacks_room(&item) {
            if overflow != Overflow::DropOldest || !self.can_make_room(&item) {
                if overflow != Overflow::Block {
                    self.mark_loss(item.weight);
                }
                return Err((item, Refused::Full));
            }
            self.make_room(&item, &mut sent);
        }
        self.admit(item, since, &mut sent);
        Ok(sent)
    }

    #[inline]
    pub(super) fn is_too_heavy(&self, item: &Item<T>) -> bool {
        if item.class != ItemClass::Urgent {
            return item.weight > self.limit.weight;
        }
        !Load::ZERO.has_room(self.reserve(), item.weight)
    }

    /// Whether the item takes the place of another and weighs no more: it needs no room.
    #[inline]
    pub(super) fn needs_no_room(&self, class: ItemClass, weight: u64) -> bool {
        self.replaced_weight(class).is_some_and(|replaced| weight <= replaced)
    }

    #[inline]
    pub(super) fn fits(&self, class: ItemClass, weight: u64) -> bool {
        match self.replaced_weight(class) {
            Some(replaced) => weight.saturating_sub(replaced) <= self.limit.weight - self.weight,
            None => self.load().has_room(self.limit, weight),
        }
    }

    /// Takes out the next item of a queue that has lost nothing and has droppable items only.
    #[inline(always)]
    pub(super) fn pop_plain(&mut self) -> Option<Item<T>> {
        if self.extra.is_some() { None } else { self.take_droppable() }
    }

    /// Takes out the next item, with what was lost before it.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Received<T>> {
        if let Some(item) = self.pop_urgent() {
            return Some(Received { item, missed: Load::ZERO });
        }
        let missed = self.extra.as_ref().map_or(Load::ZERO, |extra| extra.missed);
        let item = self.take_front(Load::ZERO)?;
        Some(Received { item, missed })
    }

    /// Takes out the next urgent item.
    #[inline]
    pub(super) fn pop_urgent(&mut self) -> Option<Item<T>> {
        let extra = self.extra.as_mut()?;
        let entry = extra.urgent.pop_front()?;
        extra.urgent_load.remove(entry.weight);
        Some(entry.into_item())
    }

    /// Takes out the front, which is droppable, if there is one. The account of losses is left to the caller.
    #[inline(always)]
    pub(super) fn take_droppable(&mut self) -> Option<Item<T>> {
        let Some(Slot::Item(Entry { value, weight, .. })) = self.slots.pop_front() else {
            return None;
        };
        self.weight -= weight;
        Some(Item { value, weight, class: ItemClass::Droppable })
    }

    /// Takes out everything, as a loss.
    pub(super) fn discard(&mut self) -> Discarded<T> {
        let total = self.total();
        let slots = mem::take(&mut self.slots);
        self.weight = 0;
        let urgent = if total.items == 0 { VecDeque::new() } else { self.extra().discard(total, &slots) };
        Discarded { urgent, slots }
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.slots.shrink_to_fit();
        if let Some(extra) = &mut self.extra {
            extra.shrink_to_fit();
        }
    }

    pub(super) fn count_refusal(&mut self) {
        self.extra().counts.refused += 1;
    }

    /// Takes out the oldest item that is not urgent. After this, so much is missed, and what was lost right behind the item.
    #[inline]
    pub(super) fn take_front(&mut self, missed: Load) -> Option<Item<T>> {
        let Some(Slot::Item(entry)) = self.slots.pop_front() else {
            return None;
        };
        self.weight -= entry.weight;
        let extra = self.extra.get_or_insert_with(Self::new_extra);
        extra.missed = missed;
        extra.left(entry.class, entry.weight);
        extra.front_left(&mut self.slots);
        Some(entry.into_item())
    }

    #[inline]
    pub(super) fn extra(&mut self) -> &mut Extra<T> {
        self.extra.get_or_insert_with(Self::new_extra)
    }

    #[cold]
    fn new_extra() -> Box<Extra<T>> {
        Box::new(Extra::new())
    }

    fn offer_urgent(&mut self, item: Item<T>, since: Option<Instant>) -> Result<Sent<T>, (Item<T>, Refused)> {
        let reserve = self.reserve();
        let extra = self.extra();
        if !extra.urgent_load.has_room(reserve, item.weight) {
            return Err((item, Refused::Full));
        }
        extra.urgent_load.add(item.weight);
        extra.urgent.push_back(Entry::new(item, since));
        self.sent += 1;
        Ok(Sent::nothing_displaced())
    }

    #[inline]
    fn lacks_room(&self, item: &Item<T>) -> bool {
        !self.fits(item.class, item.weight)
    }

    /// Puts an item for which there is room in its place.
    #[inline]
    fn admit(&mut self, item: Item<T>, since: Option<Instant>, sent: &mut Sent<T>) {
        if item.class == ItemClass::Droppable {
            self.push(item, since);
            return;
        }
        match self.replace(item) {
            Ok(superseded) => {
                self.sent += 1;
                sent.push(Displaced::Superseded(superseded));
            }
            Err(item) => {
                let index = self.slots.len();
                self.extra().joined_at(index, &item);
                self.push(item, since);
            }
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, item: Item<T>, since: Option<Instant>) {
        self.sent += 1;
        self.weight += item.weight;
        self.slots.push_back(Slot::Item(Entry::new(item, since)));
    }

    /// The weight of the item whose place one of this class would take.
    #[inline]
    fn replaced_weight(&self, class: ItemClass) -> Option<u64> {
        let ItemClass::Conflated(key) = class else {
            return None;
        };
        let index = self.extra.as_ref()?.index_of(key)?;
        match self.slots.get(index)? {
            Slot::Item(entry) => Some(entry.weight),
            Slot::Gap(_) => None,
        }
    }

    fn replace(&mut self, item: Item<T>) -> Result<Item<T>, Item<T>> {
        let ItemClass::Conflated(key) = item.class else {
            return Err(item);
        };
        let Some(extra) = &mut self.extra else {
            return Err(item);
        };
        let Some(Slot::Item(entry)) = extra.index_of(key).and_then(|index| self.slots.get_mut(index)) else {
            return Err(item);
        };
        let weight = item.weight;
        let superseded = entry.replace(item);
        self.weight = self.weight - superseded.weight + weight;
        extra.conflated.remove(superseded.weight);
        extra.conflated.add(weight);
        extra.counts.superseded += 1;
        Ok(superseded)
    }

    /// Notes at the back that an item was refused by a policy that drops, or dropped by its sender.
    pub(super) fn mark_loss(&mut self, weight: u64) {
        let loss = Load { items: 1, weight };
        match self.slots.back_mut() {
            Some(Slot::Gap(gap)) => *gap = gap.saturating_add(loss),
            Some(Slot::Item(_)) => {
                self.extra().gaps += 1;
                self.slots.push_back(Slot::Gap(loss));
            }
            None => {
                let extra = self.extra();
                extra.missed = extra.missed.saturating_add(loss);
            }
        }
    }
}

impl<T> Entry<T> {
    #[inline(always)]
    fn new(item: Item<T>, since: Option<Instant>) -> Self {
        let Item { value, weight, class } = item;
        Self { class, value, since, weight }
    }

    #[inline(always)]
    pub(super) fn into_item(self) -> Item<T> {
        let Self { class, value, weight, since: _ } = self;
        Item { value, weight, class }
    }

    fn replace(&mut self, item: Item<T>) -> Item<T> {
        let since = self.since;
        mem::replace(self, Self::new(item, since)).into_item()
    }
}

/// What was discarded, to be dropped or handed out where no lock is held.
pub(super) struct Discarded<T> {
    urgent: VecDeque<Entry<T>>,
    slots: VecDeque<Slot<T>>,
}

impl<T> Discarded<T> {
    /// In the order in which it would have been received.
    pub(super) fn into_items(self) -> Vec<Item<T>> {
        let slots = self.slots.into_iter().filter_map(|slot| match slot {
            Slot::Item(entry) => Some(entry),
            Slot::Gap(_) => None,
        });
        self.urgent.into_iter().chain(slots).map(Entry::into_item).collect()
    }
}
