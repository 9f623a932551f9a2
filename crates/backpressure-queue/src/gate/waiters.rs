//! Those who wait: a doubly linked list for each class, all in one vector.
//!
//! Joining and leaving from anywhere take constant time. An entry outlives the wait: it tells its owner how that ended, until the
//! owner has asked. Entries that were left are used again before the vector grows, so it is as long as there ever were owners.

use std::mem;
use std::task::Waker;

use backpressure_core::Class;

use crate::LineError;

/// The waiters of a gate.
#[derive(Default)]
pub(super) struct Waiters {
    entries: Vec<Entry>,
    lists: [List; Class::ALL.len()],
    /// An entry that is nobody's, as an index; the others follow through `newer`.
    free: Index,
    /// What the next ticket is numbered. 2⁶⁴ tickets outlast any process: no two are alike.
    serial: u64,
}

/// Where a waiter is, and which: it finds nothing once that waiter is gone, even where another took the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    index: u32,
    serial: u64,
}

/// How a waiter stands.
pub(super) enum Status {
    /// In line: this wakes it.
    Waiting(Waker),
    /// Out of the line: with a place, or for a reason. Its owner does not know yet.
    Settled(Result<(), LineError>),
}

/// Which end of a list.
#[derive(Clone, Copy)]
pub(super) enum End {
    Oldest,
    Newest,
}

struct Entry {
    /// `None` while the entry is nobody's.
    status: Option<Status>,
    weight: u64,
    serial: u64,
    class: Class,
    older: Index,
    newer: Index,
}

#[derive(Default)]
struct List {
    oldest: Index,
    newest: Index,
    len: usize,
}

/// The index of an entry, or none. A gate has room for fewer waiters than that.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Index(u32);

const NONE: Index = Index(u32::MAX);

impl Default for Index {
    fn default() -> Self {
        NONE
    }
}

impl Waiters {
    /// Returns how many of this class wait.
    pub(super) const fn len(&self, class: Class) -> usize {
        self.lists[class.rank()].len
    }

    pub(super) fn push(&mut self, class: Class, weight: u64, waker: Waker) -> Ticket {
        let serial = self.serial;
        self.serial += 1;
        let older = self.lists[class.rank()].newest;
        let entry = Entry { status: Some(Status::Waiting(waker)), weight, serial, class, older, newer: NONE };
        let index = self.place(entry);
        match self.entry(older) {
            Some(entry) => entry.newer = index,
            None => self.lists[class.rank()].oldest = index,
        }
        let list = &mut self.lists[class.rank()];
        list.newest = index;
        list.len += 1;
        Ticket { index: index.0, serial }
    }

    /// Returns the waiter of this class that came first or last.
    pub(super) fn at(&self, class: Class, end: End) -> Option<Ticket> {
        let list = &self.lists[class.rank()];
        let index = match end {
            End::Oldest => list.oldest,
            End::Newest => list.newest,
        };
        self.ticket(index)
    }

    /// Returns the neighbour of one who waits, on the way from `end` to the other end.
    pub(super) fn after(&self, ticket: Ticket, end: End) -> Option<Ticket> {
        let entry = self.entries.get(ticket.index as usize)?;
        self.ticket(match end {
            End::Oldest => entry.newer,
            End::Newest => entry.older,
        })
    }

    /// Returns how much a waiter weighs.
    pub(super) fn weight(&self, ticket: Ticket) -> u64 {
        self.entries.get(ticket.index as usize).map_or(0, |entry| entry.weight)
    }

    /// Returns how a waiter stands, to change its waker.
    pub(super) fn status(&mut self, ticket: Ticket) -> Option<&mut Status> {
        self.find(ticket)?.status.as_mut()
    }

    /// Ends the wait of one who waits, and returns what wakes it. Its owner finds the outcome.
    pub(super) fn settle(&mut self, ticket: Ticket, outcome: Result<(), LineError>) -> Option<Waker> {
        let status = self.status(ticket).filter(|status| matches!(status, Status::Waiting(_)))?;
        let Status::Waiting(waker) = mem::replace(status, Status::Settled(outcome)) else { return None };
        self.unlink(ticket.index);
        Some(waker)
    }

    /// Takes a waiter out, whatever became of it.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Status> {
        let status = self.find(ticket)?.status.take()?;
        if matches!(status, Status::Waiting(_)) {
            self.unlink(ticket.index);
        }
        self.entries[ticket.index as usize].newer = self.free;
        self.free = Index(ticket.index);
        Some(status)
    }

    /// Stores an entry where one is free, or else in a new one; returns where.
    fn place(&mut self, entry: Entry) -> Index {
        let free = self.free;
        if let Some(unused) = self.entry(free) {
            let next = unused.newer;
            *unused = entry;
            self.free = next;
            return free;
        }
        let index = u32::try_from(self.entries.len()).expect("a gate has fewer owners of entries than 2^32");
        self.entries.push(entry);
        Index(index)
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (class, older, newer) = (entry.class.rank(), entry.older, entry.newer);
        match self.entry(older) {
            Some(entry) => entry.newer = newer,
            None => self.lists[class].oldest = newer,
        }
        match self.entry(newer) {
            Some(entry) => entry.older = older,
            None => self.lists[class].newest = older,
        }
        self.lists[class].len -= 1;
    }

    fn entry(&mut self, index: Index) -> Option<&mut Entry> {
        self.entries.get_mut(index.0 as usize)
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        self.entries.get_mut(ticket.index as usize).filter(|entry| entry.serial == ticket.serial)
    }

    fn ticket(&self, index: Index) -> Option<Ticket> {
        let entry = self.entries.get(index.0 as usize)?;
        Some(Ticket { index: index.0, serial: entry.serial })
    }
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_large_as_the_docs_say() {
        assert_eq!(size_of::<Entry>(), 56);
    }
}
