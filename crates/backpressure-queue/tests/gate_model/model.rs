//! What the gate should be: everybody has a name, the line is a list, and after whatever happened all who can come in do.

use std::collections::BTreeMap;
use std::task::Poll;

use backpressure_core::{Class, Overflow};
use backpressure_queue::{LineError, Order};

use crate::CODEL;

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) queue: usize,
    pub(crate) queue_weight: Option<u64>,
    pub(crate) order: Order,
    pub(crate) overflow: Overflow,
    /// Percent for a class and those above.
    pub(crate) reserved: Vec<(Class, u8)>,
}

pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) places: usize,
    pub(crate) in_use: usize,
    /// Who waits, oldest first.
    pub(crate) line: Vec<u64>,
    /// Milliseconds since the beginning.
    pub(crate) now: u64,
    /// Who watches, and whether it was woken since it was last polled.
    pub(crate) watching: BTreeMap<u64, bool>,
    people: BTreeMap<u64, Person>,
    not_empty_since: Option<u64>,
    closed_to_newcomers: bool,
}

#[derive(Clone, Copy)]
struct Person {
    class: Class,
    weight: u64,
    deadline: Option<u64>,
    /// When it gives up if the order says so.
    patience: Option<u64>,
    stands: Stands,
}

#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Outside,
    InLine,
    /// Out of the line, and does not know yet.
    Called(Result<(), LineError>),
    Inside,
}

type Answer = (Poll<Result<(), LineError>>, Option<&'static str>);

impl Model {
    pub(crate) fn new(places: usize, rules: Rules) -> Self {
        Self {
            rules,
            places,
            in_use: 0,
            line: Vec::new(),
            now: 0,
            watching: BTreeMap::new(),
            people: BTreeMap::new(),
            not_empty_since: None,
            closed_to_newcomers: false,
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        self.line.iter().map(|name| self.people[name].weight).sum()
    }

    pub(crate) fn come(&mut self, name: u64, class: Class, weight: u64, deadline: Option<u64>) {
        let deadline = deadline.map(|milliseconds| self.now + milliseconds);
        self.people.insert(name, Person { class, weight, deadline, patience: None, stands: Stands::Outside });
    }

    pub(crate) fn try_enter(&mut self, name: u64, class: Class) -> bool {
        let enters = !self.closed_to_newcomers && self.line.is_empty() && self.in_use < self.ceiling(class);
        if enters {
            self.come(name, class, 0, None);
            self.set(name, Stands::Inside);
            self.in_use += 1;
        }
        enters
    }

    pub(crate) fn poll(&mut self, name: u64) -> Answer {
        let is_late = self.is_late(name);
        let (answer, outcome) = match self.people[&name].stands {
            Stands::Inside => unreachable!("who is inside polls no more"),
            Stands::Outside => return self.poll_first(name),
            Stands::InLine if !is_late => return (Poll::Pending, None),
            Stands::InLine => {
                self.line.retain(|other| *other != name);
                let person = self.people[&name];
                let patience_ended = person.patience.is_some() && person.patience < Some(person.deadline.unwrap_or(u64::MAX));
                (Err(LineError::Expired), if patience_ended { "out of patience" } else { "expired" })
            }
            Stands::Called(Ok(())) => (Ok(()), if is_late { "a place after the deadline" } else { "a place after a wait" }),
            Stands::Called(Err(LineError::Closed)) => (Err(LineError::Closed), "closed while waiting"),
            Stands::Called(Err(error)) => (Err(error), "evicted"),
        };
        match answer {
            Ok(()) => self.set(name, Stands::Inside),
            Err(_) => drop(self.people.remove(&name)),
        }
        self.settle();
        (Poll::Ready(answer), Some(outcome))
    }

    fn poll_first(&mut self, name: u64) -> Answer {
        let Person { class, weight, .. } = self.people[&name];
        let refused = |error, outcome| (Poll::Ready(Err(error)), Some(outcome));
        let answer = match self.what_becomes_of(class, weight) {
            Err(LineError::Full) if self.in_use < self.places => refused(LineError::Full, "only what is reserved is free"),
            Err(LineError::Full) => refused(LineError::Full, "full"),
            Err(LineError::TooHeavy) => refused(LineError::TooHeavy, "too heavy"),
            Err(error) => refused(error, "closed"),
            Ok(None) => {
                self.set(name, Stands::Inside);
                self.in_use += 1;
                let outcome = if self.line.is_empty() { "a place at once" } else { "past lower classes that wait" };
                return (Poll::Ready(Ok(())), Some(outcome));
            }
            Ok(Some(_)) if self.is_late(name) => refused(LineError::Expired, "expired at once"),
            Ok(Some(evicted)) => return (Poll::Pending, self.join(name, &evicted)),
        };
        self.people.remove(&name);
        answer
    }

    fn join(&mut self, name: u64, evicted: &[u64]) -> Option<&'static str> {
        let mut outcome = None;
        for other in evicted {
            self.set(*other, Stands::Called(Err(LineError::Evicted)));
            self.line.retain(|waiter| waiter != other);
            if self.people[other].class == self.people[&name].class {
                outcome = Some("evicted its own class");
            }
        }
        self.line.push(name);
        self.set(name, Stands::InLine);
        let since = *self.not_empty_since.get_or_insert(self.now);
        if matches!(self.rules.order, Order::Adaptive(_)) {
            let (target, interval) = CODEL;
            let patience = if self.now >= since + interval { target } else { interval };
            self.people.entry(name).and_modify(|person| person.patience = Some(self.now + patience));
        }
        let is_beyond = self.line.len() > self.rules.queue || self.weight() > self.rules.queue_weight.unwrap_or(u64::MAX);
        match evicted.len() {
            2.. => Some("evicted several"),
            0 if is_beyond => Some("beyond the bound"),
            _ => outcome,
        }
    }

    /// What becomes of a newcomer: refused, inside (`None`), or in line after these have been evicted.
    fn what_becomes_of(&self, class: Class, weight: u64) -> Result<Option<Vec<u64>>, LineError> {
        if self.closed_to_newcomers {
            return Err(LineError::Closed);
        }
        let class_of = |name: &u64| self.people[name].class;
        if self.in_use < self.ceiling(class) && !self.line.iter().any(|name| class_of(name) <= class) {
            return Ok(None);
        }
        let (queue, queue_weight) = (self.rules.queue, self.rules.queue_weight.unwrap_or(u64::MAX));
        if weight > queue_weight {
            return Err(LineError::TooHeavy);
        }
        let mut left = self.line.clone();
        let mut evicted = Vec::new();
        loop {
            let sum: u64 = left.iter().map(|name| self.people[name].weight).sum();
            if self.rules.overflow == Overflow::Block || (left.len() < queue && sum + weight <= queue_weight) {
                return Ok(Some(evicted));
            }
            let lowest = left.iter().map(class_of).max().ok_or(LineError::Full)?;
            let may_go = lowest > class || (lowest == class && self.rules.overflow == Overflow::DropOldest);
            let mut of_it = left.iter().filter(|name| class_of(name) == lowest);
            let goes = if self.rules.overflow == Overflow::DropOldest { of_it.next() } else { of_it.next_back() };
            let goes = *goes.filter(|_| may_go).ok_or(LineError::Full)?;
            left.retain(|name| *name != goes);
            evicted.push(goes);
        }
    }

    pub(crate) fn refusal(&self, class: Class, weight: u64) -> Option<LineError> {
        self.what_becomes_of(class, weight).err()
    }

    pub(crate) fn leave(&mut self, name: u64) -> Option<&'static str> {
        let gone = self.people.remove(&name).expect("who leaves was there");
        self.line.retain(|other| *other != name);
        let had_a_place = matches!(gone.stands, Stands::Inside | Stands::Called(Ok(())));
        self.in_use -= usize::from(had_a_place);
        let let_in = self.settle();
        if gone.stands == Stands::Called(Ok(())) { Some("called and left") } else { let_in }
    }

    pub(crate) fn set_places(&mut self, places: usize) -> Option<&'static str> {
        self.places = places;
        let waited = self.line.len();
        self.settle();
        (self.line.len() < waited).then_some("let in by more places")
    }

    pub(crate) fn close_to_newcomers(&mut self) {
        self.closed_to_newcomers = true;
    }

    pub(crate) fn close(&mut self) {
        self.closed_to_newcomers = true;
        for name in std::mem::take(&mut self.line) {
            self.set(name, Stands::Called(Err(LineError::Closed)));
        }
        self.settle();
    }

    pub(crate) fn poll_watcher(&mut self, name: u64) -> bool {
        let is_idle = self.in_use == 0 && self.line.is_empty();
        if is_idle {
            self.watching.remove(&name);
        } else {
            self.watching.insert(name, false);
        }
        is_idle
    }

    /// Whether somebody who was told to wait has been told since that it need not.
    pub(crate) fn is_woken(&self, name: u64) -> bool {
        match self.people[&name].stands {
            Stands::Outside | Stands::Inside => false,
            Stands::InLine => self.is_late(name),
            Stands::Called(_) => true,
        }
    }

    /// After somebody has left, or there are other places: lets in all who can come in, and tells those who watch.
    fn settle(&mut self) -> Option<&'static str> {
        let mut outcome = None;
        while let Some((next, is_newest)) = self.next_in() {
            self.line.retain(|name| *name != next);
            self.set(next, Stands::Called(Ok(())));
            self.in_use += 1;
            outcome = (is_newest && self.rules.order != Order::Lifo).then_some("the newest while the line stands");
        }
        if self.line.is_empty() {
            self.not_empty_since = None;
        }
        if self.in_use == 0 && self.line.is_empty() {
            self.watching.values_mut().for_each(|is_woken| *is_woken = true);
        }
        outcome
    }

    fn next_in(&self) -> Option<(u64, bool)> {
        let stands = self.not_empty_since.is_some_and(|since| self.now >= since + CODEL.1);
        let newest_first = match self.rules.order {
            Order::Fifo => false,
            Order::Adaptive(_) => stands,
            _ => true,
        };
        let class = self.line.iter().map(|name| self.people[name].class).min()?;
        let mut of_it = self.line.iter().filter(|name| self.people[name].class == class);
        let next = if newest_first { of_it.next_back() } else { of_it.next() };
        (self.in_use < self.ceiling(class)).then_some((*next?, newest_first))
    }

    /// How many places this class may see in use.
    fn ceiling(&self, class: Class) -> usize {
        let percent: usize =
            self.rules.reserved.iter().filter(|(above, _)| *above < class).map(|(_, percent)| usize::from(*percent)).sum();
        let kept = self.places * percent / 100;
        self.places - kept
    }

    fn is_late(&self, name: u64) -> bool {
        let Person { deadline, patience, .. } = self.people[&name];
        [deadline, patience].into_iter().flatten().any(|end| end <= self.now)
    }

    fn set(&mut self, name: u64, stands: Stands) {
        self.people.entry(name).and_modify(|person| person.stands = stands);
    }
}
