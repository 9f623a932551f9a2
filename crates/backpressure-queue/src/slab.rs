//! A doubly linked list in a vector: joining at the back and leaving from anywhere take constant time.
//!
//! Entries that were left are used again before the vector grows, so it is as long as the list ever was.

/// Values in the order in which they came, each under a ticket that finds it again.
#[derive(Clone)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The index of the oldest linked entry, or [`NONE`].
    first: usize,
    /// The index of the newest linked entry, or [`NONE`].
    last: usize,
    /// The index of an entry that is not linked, or [`NONE`]; the others follow through `next`.
    free: usize,
    len: usize,
    /// What the next ticket is numbered. 2⁶⁴ tickets outlast any process: no two are alike.
    serial: u64,
}

/// Where a value is, and which: it finds nothing once that value is gone, even where another took the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    index: usize,
    serial: u64,
}

#[derive(Clone)]
struct Entry<T> {
    /// `None` while the entry is free.
    value: Option<T>,
    serial: u64,
    previous: usize,
    next: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), first: NONE, last: NONE, free: NONE, len: 0, serial: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_back(&mut self, value: T) -> Ticket {
        let serial = self.serial;
        let entry = Entry { value: Some(value), serial, previous: self.last, next: NONE };
        let index = self.place(entry);
        match self.last {
            NONE => self.first = index,
            last => self.entries[last].next = index,
        }
        self.last = index;
        self.len += 1;
        self.serial += 1;
        Ticket { index, serial }
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let entry = self.entries.get_mut(ticket.index)?;
        if entry.serial != ticket.serial {
            return None;
        }
        entry.value.as_mut()
    }

    /// The oldest value and its ticket.
    pub(crate) fn front_mut(&mut self) -> Option<(Ticket, &mut T)> {
        let index = self.first;
        let entry = self.entries.get_mut(index)?;
        let ticket = Ticket { index, serial: entry.serial };
        Some((ticket, entry.value.as_mut()?))
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.get_mut(ticket)?;
        self.unlink(ticket.index)
    }

    pub(crate) fn pop_front(&mut self) -> Option<(Ticket, T)> {
        self.pop(self.first)
    }

    /// Stores an entry where one is free, or else in a new one; returns where.
    fn place(&mut self, entry: Entry<T>) -> usize {
        match self.free {
            NONE => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
            index => {
                self.free = self.entries[index].next;
                self.entries[index] = entry;
                index
            }
        }
    }

    fn pop(&mut self, index: usize) -> Option<(Ticket, T)> {
        let serial = self.entries.get(index)?.serial;
        let value = self.unlink(index)?;
        Some((Ticket { index, serial }, value))
    }

    /// Takes the value out of a linked entry and frees the entry.
    fn unlink(&mut self, index: usize) -> Option<T> {
        let entry = &mut self.entries[index];
        let value = entry.value.take()?;
        let (previous, next) = (entry.previous, entry.next);
        entry.next = self.free;
        self.free = index;
        match previous {
            NONE => self.first = next,
            previous => self.entries[previous].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.entries[next].previous = previous,
        }
        self.len -= 1;
        Some(value)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// No entry. A vector of anything but zero-sized values is never this long, so it is no index, and looking it up finds nothing.
const NONE: usize = usize::MAX;

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        PushBack,
        PopFront,
        /// The n-th ticket that was ever issued, live or stale.
        Remove(usize),
    }

    /// The slab beside a model that knows neither entries nor links.
    #[derive(Clone)]
    struct Pair {
        slab: Slab<usize>,
        model: VecDeque<(Ticket, usize)>,
        issued: Vec<Ticket>,
        longest: usize,
    }

    impl Pair {
        const fn new() -> Self {
            Self { slab: Slab::new(), model: VecDeque::new(), issued: Vec::new(), longest: 0 }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::PushBack => {
                    let value = self.issued.len();
                    let ticket = self.slab.push_back(value);
                    assert!(!self.issued.contains(&ticket), "no two tickets are alike");
                    self.issued.push(ticket);
                    self.model.push_back((ticket, value));
                    self.longest = self.longest.max(self.model.len());
                }
                Step::PopFront => assert_eq!(self.slab.pop_front(), self.model.pop_front()),
                Step::Remove(nth) => {
                    let Some(&ticket) = self.issued.get(nth) else { return };
                    let at = self.model.iter().position(|(other, _)| *other == ticket);
                    let expected = at.and_then(|at| self.model.remove(at)).map(|(_, value)| value);
                    assert_eq!(self.slab.get_mut(ticket).copied(), expected);
                    assert_eq!(self.slab.remove(ticket), expected);
                }
            }
            self.check();
        }

        fn check(&self) {
            assert_eq!(self.slab.len(), self.model.len());
            assert_eq!(self.slab.entries.len(), self.longest, "the slab is as long as the list ever was");
            let (mut previous, mut index) = (NONE, self.slab.first);
            for &(ticket, value) in &self.model {
                let entry = &self.slab.entries[index];
                assert_eq!((ticket.index, ticket.serial), (index, entry.serial));
                assert_eq!((entry.value, entry.previous), (Some(value), previous));
                (previous, index) = (index, entry.next);
            }
            assert_eq!((index, self.slab.last), (NONE, previous));
            let front = self.slab.clone().front_mut().map(|(ticket, value)| (ticket, *value));
            assert_eq!(front.as_ref(), self.model.front());
            let (mut free, mut index) = (0, self.slab.free);
            while let Some(entry) = self.slab.entries.get(index) {
                assert_eq!(entry.value, None);
                (free, index) = (free + 1, entry.next);
            }
            assert_eq!(free + self.slab.len(), self.slab.entries.len(), "no entry is lost");
        }
    }

    #[test]
    fn every_sequence_of_eight_steps_agrees_with_the_model() {
        fn explore(pair: &Pair, left: u32) {
            let removals = (0..pair.issued.len()).map(Step::Remove);
            for step in [Step::PushBack, Step::PopFront].into_iter().chain(removals) {
                let mut pair = pair.clone();
                pair.step(step);
                if left > 1 {
                    explore(&pair, left - 1);
                }
            }
        }
        explore(&Pair::new(), 8);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn long_sequences_agree_with_the_model(
            steps in prop::collection::vec(
                prop_oneof![
                    4 => Just(Step::PushBack),
                    1 => Just(Step::PopFront),
                    3 => (0..100_usize).prop_map(Step::Remove),
                ],
                0..200,
            ),
        ) {
            let mut pair = Pair::new();
            for step in steps {
                pair.step(step);
            }
        }
    }

    #[test]
    fn a_waiter_takes_40_bytes() {
        assert_eq!(size_of::<Entry<Waker>>(), 40);
    }
}
