//! What is sent: a value with the weight and the class that it keeps in the queue.

/// A value to send, with what it weighs and what it is worth.
///
/// A plain value turns into one of weight 1 and [`ItemClass::Droppable`], so `send(value)` does where neither matters.
///
/// The queue accounts for the weight that it is given here, once: a value whose size changes later, through a lock inside it or a
/// shared buffer, changes nothing in the account.
///
/// # Examples
///
/// ```
/// use backpressure_queue::{ItemClass, Item};
///
/// let text = "temperature: 21";
/// let item = Item::new(text).weight(text.len() as u64).class(ItemClass::Conflated(7));
/// assert_eq!((item.value, item.weight), ("temperature: 21", 15));
/// assert_eq!(Item::from("plain"), Item::new("plain").weight(1).class(ItemClass::Droppable));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item<T> {
    /// The value itself.
    pub value: T,
    /// What it counts against the weight bound: bytes, as a rule. 0 is legal; such an item counts against the item bound only.
    pub weight: u64,
    /// What it is worth when room is scarce.
    pub class: ItemClass,
}

/// What an item is worth when room is scarce.
///
/// # The order of sacrifice
///
/// Under [`Overflow::DropOldest`](crate::Overflow::DropOldest) an arriving item displaces only what is worth no more than itself,
/// the cheapest class first, and within a class the oldest first:
///
/// | arriving | evicts | and then | refused if what is left has no room |
/// |---|---|---|---|
/// | droppable | droppable | nothing | conflated and durable |
/// | conflated | droppable | conflated | durable |
/// | durable | droppable | conflated | durable |
/// | urgent | nothing | nothing | its reserve is full |
///
/// Durable and urgent items are never evicted: they leave by being received or [discarded](crate::Queue::discard). Nothing is
/// evicted for an item that is then refused. A queue that gets droppable items only pays for no class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ItemClass {
    /// May be evicted, and is evicted first.
    #[default]
    Droppable,
    /// Only the newest of its key is of interest: it takes the place of an older one that still waits, which goes back to the
    /// sender as [`Displaced::Superseded`](crate::Displaced::Superseded). The place, and the age, stay those of the older one.
    ///
    /// One that is no heavier than what it replaces needs no room: it is admitted whatever the policy, and waits for nobody.
    ///
    /// Keys of another type are to be hashed by the caller, with a seed (`std::hash::RandomState`) if strangers choose them:
    /// two of n keys then share a place with a chance of n² / 2⁶⁵.
    Conflated(u64),
    /// Never evicted. If there is no room for it, its sender waits or is refused, as the policy says.
    Durable,
    /// Never evicted, and received before all others: for pings, pauses and farewells. It counts against the
    /// [reserve](crate::QueueBuilder::reserve) and nothing else does; it never waits, and is refused when the reserve is full.
    Urgent,
}

/// A number of items and what they weigh together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// How many.
    pub items: usize,
    /// What they weigh together.
    pub weight: u64,
}

impl<T> Item<T> {
    /// Wraps a value, with weight 1 and [`ItemClass::Droppable`].
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { value, weight: 1, class: ItemClass::Droppable }
    }

    /// Sets what the item counts against the weight bound.
    #[must_use]
    pub const fn weight(mut self, weight: u64) -> Self {
        self.weight = weight;
        self
    }

    /// Sets what the item is worth when room is scarce.
    #[must_use]
    pub const fn class(mut self, class: ItemClass) -> Self {
        self.class = class;
        self
    }
}

impl<T> Item<T> {
    /// Says again of an item that is droppable that it is: a constant is written where a class would be read from memory, right
    /// after it was written there by halves, which stalls.
    #[inline(always)]
    pub(super) fn droppable(self) -> Self {
        let Self { value, weight, class: _ } = self;
        Self { value, weight, class: ItemClass::Droppable }
    }
}

impl<T> From<T> for Item<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl Load {
    /// Nothing at all.
    pub const ZERO: Self = Self { items: 0, weight: 0 };

    /// Whether one more item of this weight stays within `limit`. The load itself does.
    #[inline]
    pub(super) const fn has_room(self, limit: Self, weight: u64) -> bool {
        self.items < limit.items && weight <= limit.weight - self.weight
    }

    /// Counts one more item, for which there is room.
    #[inline]
    pub(super) const fn add(&mut self, weight: u64) {
        self.items += 1;
        self.weight += weight;
    }

    /// Counts one less of those that were added.
    #[inline]
    pub(super) const fn remove(&mut self, weight: u64) {
        self.items -= 1;
        self.weight -= weight;
    }

    /// The sum, for numbers that no bound keeps from overflowing.
    pub(super) const fn saturating_add(self, other: Self) -> Self {
        Self { items: self.items.saturating_add(other.items), weight: self.weight.saturating_add(other.weight) }
    }

    /// What is left of it without a part of it.
    pub(super) const fn without(self, part: Self) -> Self {
        Self { items: self.items - part.items, weight: self.weight - part.weight }
    }
}
