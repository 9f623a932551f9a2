//! Who waits, who is next, and who has to go: all that happens under the lock of a gate.
//!
//! The counts are in the word, which those who need not wait change without the lock. While anybody waits, or the gate is
//! watched, all changes are made under the lock.

use std::mem;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Class, DrainRate, Overflow, Timestamp};

use super::Shared;
use super::idle::Watchers;
use super::waiters::{End, Status, Ticket, Waiters};
use super::word::Word;
use crate::{LineError, Order};

/// What was said of a gate when it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How many wait.
    pub(super) queue: usize,
    /// How much they weigh together; `u64::MAX` is no bound.
    pub(super) queue_weight: u64,
    pub(super) order: Order,
    pub(super) overflow: Overflow,
    /// For each class, which part of the places in percent is kept for the higher ones.
    kept_from: [u8; Class::ALL.len()],
}

/// The part of a gate under its lock.
#[derive(Default)]
pub(super) struct State {
    waiters: Waiters,
    /// How much those who wait weigh: 2²¹ times 2⁶⁴ at the most.
    weight: u128,
    /// Since when somebody has been waiting without a break.
    standing_since: Option<Timestamp>,
    drain: DrainRate,
    /// Whether newcomers are refused.
    is_closed: bool,
    watchers: Watchers,
}

/// Who comes.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) class: Class,
    pub(super) weight: u64,
}

/// How one who came stands.
pub(super) enum Standing {
    /// With a place, or refused.
    Settled(Result<(), LineError>),
    /// In line, for so long at the most.
    Waiting(Ticket, Option<Duration>),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 0,
            queue_weight: u64::MAX,
            order: Order::default(),
            overflow: Overflow::default(),
            kept_from: [0; Class::ALL.len()],
        }
    }
}

impl Settings {
    /// Returns how many places may be in use when one of this class has come in.
    #[inline]
    pub(super) const fn ceiling(&self, class: Class, places: usize) -> usize {
        places - places * self.kept_from[class.rank()] as usize / 100
    }

    /// Returns whether nobody waits, whoever comes.
    pub(super) fn has_no_line(&self) -> bool {
        self.queue == 0 && self.overflow != Overflow::Block
    }

    /// Keeps a part of the places from the classes below this one.
    pub(super) fn reserve(&mut self, class: Class, percent: u8) {
        for lower in &mut self.kept_from[class.rank() + 1..] {
            *lower = lower.saturating_add(percent);
        }
        let kept = self.kept_from[Class::Background.rank()];
        assert!(kept < 100, "{kept} % of the places are reserved: less than 100 % must be, or the lowest class never gets in");
    }

    /// Returns from which end of a class one has to go.
    const fn sacrifice(&self) -> End {
        match self.overflow {
            Overflow::DropOldest => End::Oldest,
            Overflow::DropNewest | Overflow::Block => End::Newest,
        }
    }
}

impl State {
    pub(super) fn weight(&self) -> u64 {
        u64::try_from(self.weight).unwrap_or(u64::MAX)
    }

    /// Takes a place that is free where nobody waits.
    pub(super) fn try_enter(&mut self, gate: &Shared, class: Class) -> bool {
        let mut word = gate.load();
        while !self.is_closed && word.waiting() == 0 && word.in_use() < gate.settings.ceiling(class, word.places()) {
            match change(gate, word, word.entered()) {
                Ok(()) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }

    /// Lets a newcomer in, puts it in line, or refuses it; returns also what wakes those whose places in line it took.
    ///
    /// One that comes without a waker has no time to wait: it takes nobody's place in line.
    pub(super) fn join(&mut self, gate: &Shared, load: Load, waker: Option<&Waker>, now: Timestamp) -> (Standing, Vec<Waker>) {
        let mut word = gate.load();
        loop {
            if self.is_closed {
                return (Standing::Settled(Err(LineError::Closed)), Vec::new());
            }
            let settings = &gate.settings;
            if word.in_use() < settings.ceiling(load.class, word.places()) && self.ahead_of(load.class) == 0 {
                match change(gate, word, word.entered()) {
                    Ok(()) => return (Standing::Settled(Ok(())), Vec::new()),
                    Err(changed) => word = changed,
                }
                continue;
            }
            let evicted = match self.room_for(gate, word, load) {
                Ok(evicted) => evicted,
                Err(error) => return (Standing::Settled(Err(error)), Vec::new()),
            };
            let Some(waker) = waker else { return (Standing::Settled(Err(LineError::Expired)), Vec::new()) };
            // One step: an exit either sees the waiter or comes before this and is seen here. (Where some are evicted, others
            // wait already, and nobody else changes the word.)
            match change(gate, word, word.joined(evicted.len())) {
                Ok(()) => return self.wait(gate, load, waker, evicted, now),
                Err(changed) => word = changed,
            }
        }
    }

    /// Returns how a newcomer would be refused.
    pub(super) fn refusal(&self, gate: &Shared, load: Load) -> Option<LineError> {
        let word = gate.load();
        if self.is_closed {
            return Some(LineError::Closed);
        }
        if word.in_use() < gate.settings.ceiling(load.class, word.places()) && self.ahead_of(load.class) == 0 {
            return None;
        }
        self.room_for(gate, word, load).err()
    }

    /// Returns how a waiter stands, and which waker it has no use for any more. `None` while it waits.
    pub(super) fn ask(&mut self, ticket: Ticket, waker: &Waker) -> (Option<Result<(), LineError>>, Option<Waker>) {
        match self.waiters.status(ticket) {
            Some(Status::Waiting(registered)) => {
                let replaced = (!registered.will_wake(waker)).then(|| mem::replace(registered, waker.clone()));
                return (None, replaced);
            }
            Some(Status::Settled(_)) | None => {}
        }
        match self.waiters.remove(ticket) {
            Some(Status::Settled(outcome)) => (Some(outcome), None),
            // Nobody else takes a waiter out.
            Some(Status::Waiting(_)) | None => (Some(Err(LineError::Closed)), None),
        }
    }

    /// Ends the wait of one whose time is up, unless it has ended; returns how, and a waker to drop.
    pub(super) fn expire(&mut self, gate: &Shared, ticket: Ticket) -> (Result<(), LineError>, Option<Waker>) {
        match self.remove(gate, ticket) {
            Some(Status::Settled(outcome)) => (outcome, None),
            Some(Status::Waiting(waker)) => (Err(LineError::Expired), Some(waker)),
            None => (Err(LineError::Expired), None),
        }
    }

    /// Takes a waiter out; returns whether it had been given a place, and a waker to drop.
    pub(super) fn leave(&mut self, gate: &Shared, ticket: Ticket) -> (bool, Option<Waker>) {
        match self.remove(gate, ticket) {
            Some(Status::Settled(outcome)) => (outcome.is_ok(), None),
            Some(Status::Waiting(waker)) => (false, Some(waker)),
            None => (false, None),
        }
    }

    /// Gives a place back: it passes to the next, whose waker is returned, or is free.
    pub(super) fn exit(&mut self, gate: &Shared, now: Timestamp) -> Option<Waker> {
        let mut word = gate.load();
        if word.waiting() > 0 || word.in_use() >= gate.settings.ceiling(Class::Background, word.places()) {
            self.drain.released(now);
        }
        loop {
            let next = self.next_in(gate, word.left(), now);
            let after = if next.is_some() { word.gone() } else { word.left() };
            match change(gate, word, after) {
                Ok(()) => return next.and_then(|next| self.settle(gate, next, Ok(()))),
                Err(changed) => word = changed,
            }
        }
    }

    /// Gives a free place to the next, whose waker is returned, if there is one of both.
    pub(super) fn let_in(&mut self, gate: &Shared, now: Timestamp) -> Option<Waker> {
        let mut word = gate.load();
        loop {
            let next = self.next_in(gate, word, now)?;
            match change(gate, word, word.gone().entered()) {
                Ok(()) => return self.settle(gate, next, Ok(())),
                Err(changed) => word = changed,
            }
        }
    }

    pub(super) fn set_places(&mut self, gate: &Shared, places: usize) {
        update(gate, |word| word.with_places(places));
    }

    pub(super) fn close(&mut self, gate: &Shared) {
        self.is_closed = true;
        // Nobody enters without the lock from now on.
        update(gate, |word| word.watched(true));
    }

    /// Ends the wait of somebody; returns what wakes it, or `None` where nobody waits.
    pub(super) fn send_away(&mut self, gate: &Shared) -> Option<Waker> {
        let next = Class::ALL.into_iter().find_map(|class| self.waiters.at(class, End::Oldest))?;
        update(gate, Word::gone);
        self.settle(gate, next, Err(LineError::Closed))
    }

    /// Returns how long a newcomer would wait.
    pub(super) fn estimated_wait(&self, gate: &Shared, class: Class, now: Timestamp) -> Option<Duration> {
        let above = class.rank().checked_sub(1).map_or(0, |above| self.ahead_of(Class::ALL[above]));
        let ahead = match self.end(gate, now) {
            End::Oldest => self.ahead_of(class),
            End::Newest => above,
        };
        // Those who have to leave before the place of one more is among those that are open to its class: nobody, where a place is
        // free that is reserved for it.
        let word = gate.load();
        let too_many = (ahead + word.in_use() + 1).saturating_sub(gate.settings.ceiling(class, word.places()));
        self.drain.wait(too_many)
    }

    /// Returns whether the gate is empty, and a waker to drop; if it is not, has this one woken when it is.
    pub(super) fn watch(&mut self, gate: &Shared, number: &mut Option<u64>, waker: &Waker) -> (bool, Option<Waker>) {
        let mut word = gate.load();
        while !word.is_empty() {
            // One step: the last exit either sees that it is watched or comes before this and is seen here.
            match change(gate, word, word.watched(true)) {
                Ok(()) => return (false, self.watchers.set(number, waker)),
                Err(changed) => word = changed,
            }
        }
        (true, self.unwatch(gate, number))
    }

    /// Forgets one who watched; returns a waker to drop.
    pub(super) fn unwatch(&mut self, gate: &Shared, number: &mut Option<u64>) -> Option<Waker> {
        let unused = self.watchers.remove(number.take()?);
        self.note_the_end_of_the_watch(gate);
        unused
    }

    /// Returns those to be told that the gate is empty, if it is.
    pub(super) fn watchers_if_idle(&mut self, gate: &Shared) -> Vec<Waker> {
        if !gate.load().is_empty() {
            return Vec::new();
        }
        let wakers = self.watchers.take();
        self.note_the_end_of_the_watch(gate);
        wakers
    }

    /// Puts a newcomer in line, and those out of it who have to go.
    fn wait(&mut self, gate: &Shared, load: Load, waker: &Waker, evicted: Vec<Ticket>, now: Timestamp) -> (Standing, Vec<Waker>) {
        let since = *self.standing_since.get_or_insert(now);
        let patience = match gate.settings.order {
            Order::Adaptive(codel) => Some(codel.patience(Some(since), now)),
            Order::Fifo | Order::Lifo => None,
        };
        self.weight += u128::from(load.weight);
        let ticket = self.waiters.push(load.class, load.weight, waker.clone());
        let wakers = evicted.into_iter().filter_map(|ticket| self.settle(gate, ticket, Err(LineError::Evicted))).collect();
        (Standing::Waiting(ticket, patience), wakers)
    }

    /// Returns who would have to go so that a newcomer may wait.
    fn room_for(&self, gate: &Shared, word: Word, load: Load) -> Result<Vec<Ticket>, LineError> {
        let Settings { queue, queue_weight, overflow, .. } = gate.settings;
        if load.weight > queue_weight {
            return Err(LineError::TooHeavy);
        }
        let (queue, queue_weight) = if overflow == Overflow::Block { (Word::MOST, u64::MAX) } else { (queue, queue_weight) };
        let room = if queue_weight == u64::MAX { u128::MAX } else { u128::from(queue_weight - load.weight) };
        let (mut waiting, mut weight) = (word.waiting(), self.weight);
        let fits = |waiting, weight| waiting < queue && weight <= room;
        let mut evicted = Vec::new();
        // The lowest class first; of its own class only where the oldest gives way.
        let lowest = load.class.rank() + usize::from(overflow != Overflow::DropOldest);
        let end = gate.settings.sacrifice();
        for class in Class::ALL[lowest.min(Class::ALL.len())..].iter().rev() {
            let mut next = self.waiters.at(*class, end);
            while let Some(ticket) = next.filter(|_| !fits(waiting, weight)) {
                waiting -= 1;
                weight -= u128::from(self.waiters.weight(ticket));
                next = self.waiters.after(ticket, end);
                evicted.push(ticket);
            }
        }
        if fits(waiting, weight) { Ok(evicted) } else { Err(LineError::Full) }
    }

    /// Returns who is next, if there is a place for it.
    fn next_in(&self, gate: &Shared, word: Word, now: Timestamp) -> Option<Ticket> {
        let class = Class::ALL.into_iter().find(|class| self.waiters.len(*class) > 0)?;
        let has_room = word.in_use() < gate.settings.ceiling(class, word.places());
        has_room.then(|| self.waiters.at(class, self.end(gate, now)))?
    }

    /// Returns from which end of its class the next one comes.
    fn end(&self, gate: &Shared, now: Timestamp) -> End {
        match gate.settings.order {
            Order::Lifo => End::Newest,
            Order::Adaptive(codel) if codel.is_standing(self.standing_since, now) => End::Newest,
            Order::Fifo | Order::Adaptive(_) => End::Oldest,
        }
    }

    /// Returns how many of this class and above wait.
    fn ahead_of(&self, class: Class) -> usize {
        Class::ALL[..=class.rank()].iter().map(|class| self.waiters.len(*class)).sum()
    }

    /// Ends a wait that the word no longer counts; returns what wakes its owner.
    fn settle(&mut self, gate: &Shared, ticket: Ticket, outcome: Result<(), LineError>) -> Option<Waker> {
        self.weight -= u128::from(self.waiters.weight(ticket));
        self.note_the_end_of_the_line(gate);
        self.waiters.settle(ticket, outcome)
    }

    /// Takes a waiter out, and off the word where it was counted.
    fn remove(&mut self, gate: &Shared, ticket: Ticket) -> Option<Status> {
        let weight = self.waiters.weight(ticket);
        let status = self.waiters.remove(ticket)?;
        if matches!(status, Status::Waiting(_)) {
            self.weight -= u128::from(weight);
            update(gate, Word::gone);
            self.note_the_end_of_the_line(gate);
        }
        Some(status)
    }

    fn note_the_end_of_the_line(&mut self, gate: &Shared) {
        if gate.load().waiting() == 0 {
            self.standing_since = None;
        }
    }

    /// Has those who need not wait pass without the lock again, where nobody watches any more.
    fn note_the_end_of_the_watch(&self, gate: &Shared) {
        if !self.is_closed && self.watchers.is_empty() {
            update(gate, |word| word.watched(false));
        }
    }
}

/// Changes the word if it is still this; else returns what it is.
fn change(gate: &Shared, from: Word, to: Word) -> Result<(), Word> {
    // Acquire: who takes a place comes after what was done in it before. Release: for those who come after a place is given back,
    // and for those who look at the counts.
    match gate.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(changed) => Err(Word(changed)),
    }
}

/// Changes the word, whatever it is.
fn update(gate: &Shared, to: impl Fn(Word) -> Word) {
    let mut word = gate.load();
    while let Err(changed) = change(gate, word, to(word)) {
        word = changed;
    }
}
