//! The queue against a model of it: plain vectors that are searched, summed up and copied anew for each question.
#![cfg(not(backpressure_loom))]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use backpressure_queue::{
    Displaced, Item, ItemClass, Load, Overflow, QueueBuilder, Receiver, Refused, SendError, Sender, Sending, Sent, TryRecvError,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::time::Instant;

/// What happens to the queue. A sender that waits is named by the place that it has among those that are left.
#[derive(Clone, Debug)]
enum Step {
    TrySend(u64, ItemClass),
    /// Somebody sends and waits, perhaps for so many milliseconds at the most.
    Send(u64, ItemClass, Option<u64>),
    PollSend {
        actor: usize,
        same_waker: bool,
    },
    Cancel(usize),
    TryRecv,
    PollRecv,
    SetOverflow(Overflow),
    Advance(u64),
    Discard,
    Shrink,
    Close,
}

#[derive(Clone, Debug)]
struct Setup {
    items: usize,
    weight: u64,
    reserve: Load,
    overflow: Overflow,
}

fn setup() -> impl Strategy<Value = Setup> {
    let reserve = prop_oneof![Just(Load::ZERO), Just(Load { items: 2, weight: 4 }), Just(Load { items: 1, weight: 0 })];
    (3..9_usize, prop_oneof![Just(12), Just(20), Just(u64::MAX)], reserve, overflow())
        .prop_map(|(items, weight, reserve, overflow)| Setup { items, weight, reserve, overflow })
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![Just(Overflow::DropOldest), Just(Overflow::DropNewest), Just(Overflow::Block)]
}

fn class() -> impl Strategy<Value = ItemClass> {
    prop_oneof![
        8 => Just(ItemClass::Droppable),
        4 => (0..3_u64).prop_map(ItemClass::Conflated),
        2 => Just(ItemClass::Durable),
        1 => Just(ItemClass::Urgent),
    ]
}

fn weight() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 16 => 1..5_u64, 2 => 5..24_u64, 1 => Just(u64::MAX / 2), 1 => Just(u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (weight(), class()).prop_map(|(weight, class)| Step::TrySend(weight, class)),
        12 => (weight(), class(), prop::option::of(0..8_u64)).prop_map(|(weight, class, wait)| Step::Send(weight, class, wait)),
        16 => (any::<usize>(), any::<bool>()).prop_map(|(actor, same_waker)| Step::PollSend { actor, same_waker }),
        4 => any::<usize>().prop_map(Step::Cancel),
        8 => Just(Step::TryRecv),
        6 => Just(Step::PollRecv),
        2 => overflow().prop_map(Step::SetOverflow),
        4 => (1..4_u64).prop_map(Step::Advance),
        1 => Just(Step::Discard),
        1 => Just(Step::Shrink),
    ]
}

#[test]
fn every_history_agrees_with_the_model() {
    let config =
        ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() };
    let steps = (prop::collection::vec(step(), 0..200), any::<bool>()).prop_map(|(mut steps, closes)| {
        if closes {
            let at = steps.len() * 3 / 4;
            steps.insert(at, Step::Close);
        }
        steps
    });
    let seen = RefCell::new(BTreeMap::new());
    TestRunner::new(config)
        .run(&(setup(), steps), |(setup, steps)| {
            play(&setup, steps, &seen);
            Ok(())
        })
        .expect("the queue does what the model does");

    // The histories are worth nothing if they miss a case.
    for outcome in OUTCOMES {
        let times = seen.borrow().get(outcome).copied().unwrap_or(0);
        assert!(times >= 100, "{outcome:?} came up {times} times only");
    }
}

const OUTCOMES: [&str; 19] = [
    "sent",
    "sent after waiting",
    "evicted one",
    "evicted many",
    "evicted conflated",
    "superseded",
    "superseded and evicted",
    "full",
    "too heavy",
    "expired",
    "closed",
    "closed while waiting",
    "woken and cancelled",
    "received",
    "received after a loss",
    "received urgent",
    "overtook with a replacement",
    "empty",
    "end",
];

/// The items are named in the order in which they are made.
type Name = u64;

/// Plays a history to the queue and to the model, and compares them after each step.
fn play(setup: &Setup, steps: Vec<Step>, seen: &RefCell<BTreeMap<&'static str, u32>>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O");
    // Unconstrained: all actors share one task, and would find timers pending once it has used up its budget.
    runtime.block_on(tokio::task::unconstrained(async {
        let builder = QueueBuilder::new(setup.items, setup.overflow).max_weight(setup.weight).reserve(setup.reserve).timed();
        let (sender, receiver) = builder.build().expect("the reserve is less than the bound");
        let flag = Arc::<Flag>::default();
        let mut both = Both {
            sender: &sender,
            receiver,
            flag,
            model: Model::new(setup),
            actors: Vec::new(),
            next_name: 0,
            start: Instant::now(),
        };
        for step in steps {
            for outcome in both.step(step).await {
                *seen.borrow_mut().entry(outcome).or_default() += 1;
            }
            both.check();
        }
    }));
}

/// The queue and its model, with the same actors.
struct Both<'a> {
    sender: &'a Sender<Name>,
    receiver: Receiver<Name>,
    flag: Arc<Flag>,
    model: Model,
    actors: Vec<Actor<'a>>,
    next_name: Name,
    start: Instant,
}

struct Actor<'a> {
    name: Name,
    sending: Pin<Box<Sending<'a, Name>>>,
    flag: Arc<Flag>,
}

/// Whether its waker was woken since it was last polled.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Both<'_> {
    async fn step(&mut self, step: Step) -> Vec<&'static str> {
        match step {
            Step::TrySend(weight, class) => {
                let item = self.item(weight, class);
                let expected = self.model.try_send(item);
                let result = self.sender.try_send(item);
                self.compare(item, result, expected)
            }
            Step::Send(weight, class, wait) => {
                let item = self.item(weight, class);
                let sending = match wait {
                    None => self.sender.send(item),
                    Some(wait) => self.sender.send_until(item, Instant::now() + Duration::from_millis(wait)),
                };
                self.model.come(item, wait);
                self.actors.push(Actor { name: item.value, sending: Box::pin(sending), flag: Arc::default() });
                self.poll(self.actors.len() - 1, true)
            }
            Step::PollSend { actor, same_waker } => match actor.checked_rem(self.actors.len()) {
                Some(at) => self.poll(at, same_waker),
                None => Vec::new(),
            },
            Step::Cancel(actor) => self.cancel(actor),
            Step::TryRecv => {
                let result = self.receiver.try_recv().map(|received| (received.item, received.missed));
                let expected = self.model.recv();
                let outcomes = Self::received(expected.as_ref(), self.model.closed);
                let error = if self.model.closed { TryRecvError::Closed } else { TryRecvError::Empty };
                assert_eq!(result, expected.ok_or(error));
                outcomes
            }
            Step::PollRecv => {
                self.flag.0.store(false, Ordering::SeqCst);
                let waker = Waker::from(Arc::clone(&self.flag));
                let polled = self.receiver.poll_recv(&mut Context::from_waker(&waker));
                let expected = self.model.recv();
                let outcomes = Self::received(expected.as_ref(), self.model.closed);
                self.model.receiver_woken = false;
                self.model.receiver_waits |= expected.is_none() && !self.model.closed;
                match polled {
                    Poll::Pending => assert!(expected.is_none() && !self.model.closed),
                    Poll::Ready(received) => {
                        assert_eq!(received.map(|received| (received.item, received.missed)), expected);
                        assert!(expected.is_some() || self.model.closed);
                    }
                }
                outcomes
            }
            other => {
                self.administer(&other).await;
                Vec::new()
            }
        }
    }

    async fn administer(&mut self, step: &Step) {
        let queue = self.receiver.queue();
        match step {
            Step::SetOverflow(overflow) => {
                queue.set_overflow(*overflow);
                self.model.overflow = *overflow;
            }
            Step::Advance(milliseconds) => {
                tokio::time::advance(Duration::from_millis(*milliseconds)).await;
                self.model.now += milliseconds;
            }
            Step::Discard => assert_eq!(queue.discard(), self.model.discard()),
            Step::Shrink => queue.shrink_to_fit(),
            _ => {
                queue.close();
                self.model.closed = true;
                self.model.wake_receiver();
            }
        }
    }

    fn cancel(&mut self, actor: usize) -> Vec<&'static str> {
        let Some(at) = actor.checked_rem(self.actors.len()) else {
            return Vec::new();
        };
        let gone = self.actors.swap_remove(at);
        let was_called = self.model.waiting.iter().any(|waiting| waiting.item.value == gone.name && waiting.called);
        self.model.waiting.retain(|waiting| waiting.item.value != gone.name);
        if was_called { vec!["woken and cancelled"] } else { Vec::new() }
    }

    fn poll(&mut self, at: usize, same_waker: bool) -> Vec<&'static str> {
        let actor = &mut self.actors[at];
        if same_waker {
            actor.flag.0.store(false, Ordering::SeqCst);
        } else {
            actor.flag = Arc::default();
        }
        let waker = Waker::from(Arc::clone(&actor.flag));
        let polled = actor.sending.as_mut().poll(&mut Context::from_waker(&waker));
        let (item, waited, expected) = self.model.poll_send(actor.name);
        let (Poll::Ready(result), Poll::Ready(expected)) = (&polled, &expected) else {
            assert!(polled.is_pending() && expected.is_pending(), "{polled:?} is not {expected:?}");
            return Vec::new();
        };
        self.actors.swap_remove(at);
        let mut outcomes = self.compare(item, result.clone(), expected.clone());
        if waited && outcomes.contains(&"sent") {
            outcomes.push("sent after waiting");
        }
        if waited && outcomes.contains(&"closed") {
            outcomes.push("closed while waiting");
        }
        outcomes
    }

    fn compare(&self, item: Item<Name>, result: Result<Sent<Name>, SendError<Name>>, expected: Admission) -> Vec<&'static str> {
        let (displaced, overtook) = match (result, expected) {
            (Err(error), Err(reason)) => {
                assert_eq!((error.item, error.reason), (item, reason));
                return vec![match reason {
                    Refused::Full => "full",
                    Refused::TooHeavy => "too heavy",
                    Refused::Expired => "expired",
                    _ => "closed",
                }];
            }
            (Ok(sent), Ok(expected)) => {
                assert_eq!((sent.is_empty(), sent.len()), (expected.is_empty(), expected.len()));
                assert!(sent.iter().eq(&expected));
                assert_eq!(sent.into_iter().collect::<Vec<_>>(), expected);
                (expected, self.model.overflow == Overflow::Block && !self.model.waiting.is_empty())
            }
            (result, expected) => unreachable!("{result:?} is not {expected:?}"),
        };
        let is = |evicts: fn(&Displaced<Name>) -> bool| displaced.iter().filter(|displaced| evicts(displaced)).count();
        let evicted = is(|displaced| matches!(displaced, Displaced::Evicted(_)));
        let superseded = is(|displaced| matches!(displaced, Displaced::Superseded(_)));
        let conflated = is(|displaced| matches!(displaced, Displaced::Evicted(item) if item.class != ItemClass::Droppable));
        let candidates = [
            (true, "sent"),
            (evicted == 1, "evicted one"),
            (evicted > 1, "evicted many"),
            (conflated > 0, "evicted conflated"),
            (superseded > 0, "superseded"),
            (superseded > 0 && evicted > 0, "superseded and evicted"),
            (superseded > 0 && overtook, "overtook with a replacement"),
        ];
        candidates.into_iter().filter_map(|(seen, outcome)| seen.then_some(outcome)).collect()
    }

    fn received(expected: Option<&(Item<Name>, Load)>, closed: bool) -> Vec<&'static str> {
        match expected {
            Some((item, _)) if item.class == ItemClass::Urgent => vec!["received urgent"],
            Some((_, missed)) if *missed != Load::ZERO => vec!["received after a loss"],
            Some(_) => vec!["received"],
            None if closed => vec!["end"],
            None => vec!["empty"],
        }
    }

    fn item(&mut self, weight: u64, class: ItemClass) -> Item<Name> {
        self.next_name += 1;
        Item::new(self.next_name).weight(weight).class(class)
    }

    fn check(&mut self) {
        self.model.call_first();
        let queue = self.sender.queue();
        let (load, counts) = (queue.load(), queue.counts());
        assert_eq!(load, self.model.load());
        assert!(load.items <= queue.capacity().items && load.weight <= queue.capacity().weight);
        assert_eq!(queue.is_empty(), load.items == 0);
        assert_eq!(self.receiver.missed(), self.model.missed());
        assert_eq!(queue.oldest_age(), self.model.oldest().map(|since| Duration::from_millis(self.model.now - since)));
        assert_eq!(Instant::now() - self.start, Duration::from_millis(self.model.now));
        assert_eq!((queue.overflow(), queue.is_closed()), (self.model.overflow, self.model.closed));
        let Counts { sent, delivered, evicted, superseded, discarded, refused } = self.model.counts;
        assert_eq!((counts.sent, counts.delivered, counts.evicted), (sent, delivered, evicted));
        assert_eq!((counts.superseded, counts.discarded, counts.refused), (superseded, discarded, refused));
        assert_eq!(self.flag.0.load(Ordering::SeqCst), self.model.receiver_woken, "the waker of the receiver");
        for actor in &self.actors {
            assert_eq!(actor.flag.0.load(Ordering::SeqCst), self.model.is_woken(actor.name), "the waker of {}", actor.name);
        }
    }
}

/// What is in the queue, or has a place in it.
#[derive(Clone, Debug)]
struct Inside {
    item: Item<Name>,
    since: u64,
    missed: Missed,
}

#[derive(Clone, Debug)]
struct Waiting {
    item: Item<Name>,
    called: bool,
    deadline: Option<u64>,
}

/// Wide enough for no sum to overflow.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    items: usize,
    weight: u128,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    delivered: u64,
    evicted: u64,
    superseded: u64,
    discarded: u64,
    refused: u64,
}

type Admission = Result<Vec<Displaced<Name>>, Refused>;

/// What the queue should be.
struct Model {
    /// What there may be of what is not urgent, and of what is.
    bound: Load,
    reserve: Load,
    overflow: Overflow,
    closed: bool,
    /// Milliseconds since the beginning.
    now: u64,
    urgent: Vec<Inside>,
    others: Vec<Inside>,
    /// What was lost after the last of the others.
    lost: Missed,
    counts: Counts,
    waiting: Vec<Waiting>,
    /// Those who have not been polled yet.
    coming: BTreeMap<Name, (Item<Name>, Option<u64>)>,
    receiver_waits: bool,
    receiver_woken: bool,
}

impl Model {
    fn new(setup: &Setup) -> Self {
        let reserve = setup.reserve;
        Self {
            bound: Load { items: setup.items - reserve.items, weight: setup.weight - reserve.weight },
            reserve,
            overflow: setup.overflow,
            closed: false,
            now: 0,
            urgent: Vec::new(),
            others: Vec::new(),
            lost: Missed::default(),
            counts: Counts::default(),
            waiting: Vec::new(),
            coming: BTreeMap::new(),
            receiver_waits: false,
            receiver_woken: false,
        }
    }

    fn come(&mut self, item: Item<Name>, wait: Option<u64>) {
        self.coming.insert(item.value, (item, wait.map(|wait| self.now + wait)));
    }

    fn try_send(&mut self, item: Item<Name>) -> Admission {
        let must_wait = self.overflow == Overflow::Block && !self.waiting.is_empty() && !self.goes_ahead(item);
        let admission = if self.closed {
            Err(Refused::Closed)
        } else if must_wait {
            Err(Refused::Full)
        } else {
            self.admit(item)
        };
        self.counts.refused += u64::from(admission.is_err());
        admission
    }

    /// The item, whether it had waited, and what comes of it.
    fn poll_send(&mut self, name: Name) -> (Item<Name>, bool, Poll<Admission>) {
        let place = self.waiting.iter().position(|waiting| waiting.item.value == name);
        let (item, deadline) = match place {
            Some(place) => (self.waiting[place].item, self.waiting[place].deadline),
            None => self.coming.remove(&name).expect("it waits or comes"),
        };
        let behind_others = match place {
            Some(place) => place > 0,
            None => self.overflow == Overflow::Block && !self.waiting.is_empty(),
        };
        let admission = if self.closed {
            Err(Refused::Closed)
        } else if behind_others && !self.goes_ahead(item) {
            Err(Refused::Full)
        } else {
            self.admit(item)
        };
        let admission = match admission {
            Err(Refused::Full) if item.class != ItemClass::Urgent && (self.overflow == Overflow::Block || behind_others) => {
                if deadline.is_some_and(|deadline| deadline <= self.now) {
                    Err(Refused::Expired)
                } else {
                    match place {
                        Some(place) => self.waiting[place].called = false,
                        None => self.waiting.push(Waiting { item, called: false, deadline }),
                    }
                    return (item, true, Poll::Pending);
                }
            }
            other => other,
        };
        self.waiting.retain(|waiting| waiting.item.value != name);
        self.counts.refused += u64::from(admission.is_err());
        (item, place.is_some(), Poll::Ready(admission))
    }

    /// Whether the item may be tried although others wait.
    fn goes_ahead(&self, item: Item<Name>) -> bool {
        let no_heavier = self.others.iter().any(|other| shares_key(other.item, item) && item.weight <= other.item.weight);
        item.class == ItemClass::Urgent || item.weight > self.bound.weight || no_heavier
    }

    fn admit(&mut self, item: Item<Name>) -> Admission {
        let arriving = Inside { item, since: self.now, missed: Missed::default() };
        if item.class == ItemClass::Urgent {
            if self.reserve.items == 0 || item.weight > self.reserve.weight {
                return Err(Refused::TooHeavy);
            }
            let mut with = self.urgent.clone();
            with.push(arriving);
            if !within(&with, self.reserve) {
                return Err(Refused::Full);
            }
            self.urgent = with;
            self.was_sent();
            return Ok(Vec::new());
        }
        if item.weight > self.bound.weight {
            return Err(Refused::TooHeavy);
        }
        // Tried on a copy, one victim after the other: if that leads nowhere, nothing has happened.
        let (mut others, mut lost, mut displaced) = (self.others.clone(), self.lost, Vec::new());
        loop {
            let mut with = others.clone();
            match with.iter().position(|other| shares_key(other.item, item)) {
                Some(place) => {
                    let older = std::mem::replace(&mut with[place].item, item);
                    if within(&with, self.bound) {
                        displaced.push(Displaced::Superseded(older));
                    }
                }
                None => with.push(Inside { missed: lost, ..arriving.clone() }),
            }
            if within(&with, self.bound) {
                let is_new = with.len() > others.len();
                self.lost = if is_new { Missed::default() } else { lost };
                self.others = with;
                break;
            }
            let victim = if self.overflow == Overflow::DropOldest { victim(&others, item) } else { None };
            let Some(victim) = victim else {
                if self.overflow != Overflow::Block {
                    lose(&mut self.lost, item, Missed::default());
                }
                return Err(Refused::Full);
            };
            let gone = others.remove(victim);
            let next = others.get_mut(victim).map_or(&mut lost, |next| &mut next.missed);
            lose(next, gone.item, gone.missed);
            displaced.push(Displaced::Evicted(gone.item));
        }
        for displaced in &displaced {
            match displaced {
                Displaced::Evicted(_) => self.counts.evicted += 1,
                Displaced::Superseded(_) => self.counts.superseded += 1,
            }
        }
        self.was_sent();
        Ok(displaced)
    }

    fn was_sent(&mut self) {
        self.counts.sent += 1;
        self.wake_receiver();
    }

    fn wake_receiver(&mut self) {
        self.receiver_woken |= std::mem::take(&mut self.receiver_waits);
    }

    fn recv(&mut self) -> Option<(Item<Name>, Load)> {
        let received = if self.urgent.is_empty() {
            if self.others.is_empty() {
                return None;
            }
            let first = self.others.remove(0);
            (first.item, clamp(first.missed))
        } else {
            (self.urgent.remove(0).item, Load::ZERO)
        };
        self.counts.delivered += 1;
        Some(received)
    }

    fn discard(&mut self) -> Vec<Item<Name>> {
        let urgent = self.urgent.drain(..).map(|inside| inside.item).collect::<Vec<_>>();
        let mut lost = Missed::default();
        let mut others = Vec::new();
        for inside in self.others.drain(..) {
            lose(&mut lost, inside.item, inside.missed);
            others.push(inside.item);
        }
        self.lost.items += lost.items;
        self.lost.weight += lost.weight;
        let all = [urgent, others].concat();
        self.counts.discarded += all.len() as u64;
        all
    }

    /// Calls the first of those who wait, if there is something for it to come for.
    fn call_first(&mut self) {
        let Some(first) = self.waiting.first() else {
            return;
        };
        let mut with = self.others.clone();
        match with.iter().position(|other| shares_key(other.item, first.item)) {
            Some(place) => with[place].item = first.item,
            None => with.push(Inside { item: first.item, since: 0, missed: Missed::default() }),
        }
        self.waiting[0].called |= self.overflow != Overflow::Block || within(&with, self.bound);
    }

    fn is_woken(&self, name: Name) -> bool {
        let waiting = self.waiting.iter().find(|waiting| waiting.item.value == name).expect("an actor that is left waits");
        let is_late = waiting.deadline.is_some_and(|deadline| deadline <= self.now);
        self.closed || waiting.called || is_late
    }

    fn load(&self) -> Load {
        let all = self.urgent.iter().chain(&self.others);
        Load { items: all.clone().count(), weight: all.map(|inside| inside.item.weight).sum() }
    }

    fn missed(&self) -> Load {
        clamp(self.others.first().map_or(self.lost, |first| first.missed))
    }

    fn oldest(&self) -> Option<u64> {
        self.urgent.iter().chain(&self.others).map(|inside| inside.since).min()
    }
}

/// Who is the next to go for an item.
fn victim(others: &[Inside], arriving: Item<Name>) -> Option<usize> {
    let droppable = others.iter().position(|other| other.item.class == ItemClass::Droppable);
    let conflated =
        others.iter().position(|other| matches!(other.item.class, ItemClass::Conflated(_)) && !shares_key(other.item, arriving));
    if arriving.class == ItemClass::Droppable { droppable } else { droppable.or(conflated) }
}

fn shares_key(one: Item<Name>, other: Item<Name>) -> bool {
    matches!((one.class, other.class), (ItemClass::Conflated(one), ItemClass::Conflated(other)) if one == other)
}

fn within(inside: &[Inside], bound: Load) -> bool {
    let weight = inside.iter().map(|inside| u128::from(inside.item.weight)).sum::<u128>();
    inside.len() <= bound.items && weight <= u128::from(bound.weight)
}

fn lose(missed: &mut Missed, item: Item<Name>, before: Missed) {
    missed.items += 1 + before.items;
    missed.weight += u128::from(item.weight) + before.weight;
}

fn clamp(missed: Missed) -> Load {
    Load { items: missed.items, weight: u64::try_from(missed.weight).unwrap_or(u64::MAX) }
}
