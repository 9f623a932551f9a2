//! The line against a model of it: a queue of names, without wakers, links or locks.
#![cfg(not(backpressure_loom))]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use backpressure_queue::{Line, LineError, Order, Turn, Wait};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::time::Instant;

/// What happens to the line. An actor is named by the place that it has among those that are left.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody makes a wait, perhaps with a deadline in so many milliseconds.
    Come(Option<u64>),
    /// An actor polls its wait, with the waker it used last or with another.
    Poll {
        actor: usize,
        same_waker: bool,
    },
    /// An actor drops its wait, or its turn.
    Leave(usize),
    Advance(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::option::of(0..8_u64).prop_map(Step::Come),
        24 => (any::<usize>(), any::<bool>()).prop_map(|(actor, same_waker)| Step::Poll { actor, same_waker }),
        12 => any::<usize>().prop_map(Step::Leave),
        4 => (1..4_u64).prop_map(Step::Advance),
        1 => Just(Step::Close),
    ]
}

#[test]
fn every_history_agrees_with_the_model() {
    let config =
        ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() };
    let histories = (0..6_usize, any::<bool>(), prop::collection::vec(step(), 0..160));
    let seen = RefCell::new(BTreeMap::new());
    TestRunner::new(config)
        .run(&histories, |(capacity, lifo, steps)| {
            let order = if lifo { Order::Lifo } else { Order::Fifo };
            play(Both::new(capacity, order), steps, &seen);
            Ok(())
        })
        .expect("the line does what the model does");

    // The histories are worth nothing if they miss a case.
    for outcome in
        ["turn", "late turn", "full", "expired", "expired at once", "closed", "closed while waiting", "called and left"]
    {
        let times = seen.borrow().get(outcome).copied().unwrap_or(0);
        assert!(times >= 100, "{outcome:?} came up {times} times only");
    }
}

#[test]
fn a_hundred_thousand_that_come_and_go_leave_an_empty_line() {
    for order in [Order::Fifo, Order::Lifo] {
        let mut random = SplitMix(1);
        let steps = std::iter::from_fn(|| {
            Some(match random.next() % 64 {
                0..12 => Step::Come(Some(random.next() % 8)),
                12..24 => Step::Come(None),
                24..36 => Step::Poll { actor: random.index(), same_waker: false },
                36..48 => Step::Poll { actor: random.index(), same_waker: true },
                48..62 => Step::Leave(random.index()),
                _ => Step::Advance(1),
            })
        });
        let seen = RefCell::new(BTreeMap::new());
        play(Both::new(32, order), steps.take(300_000), &seen);
        assert!(seen.borrow()["came"] > 100_000, "{order:?}");
    }
}

/// Plays a history to the line and to the model, compares them after each step, and lets everybody leave at the end.
fn play(mut both: Both, steps: impl IntoIterator<Item = Step>, seen: &RefCell<BTreeMap<&'static str, u32>>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O");
    // Unconstrained: all actors share one task, and would find timers pending once it has used up its budget.
    runtime.block_on(tokio::task::unconstrained(async {
        for step in steps {
            if let Some(outcome) = both.step(step).await {
                *seen.borrow_mut().entry(outcome).or_default() += 1;
            }
            both.check();
        }
        while !both.actors.is_empty() {
            both.step(Step::Leave(0)).await;
            both.check();
        }
        assert!(both.line.is_empty());
    }));
}

/// The line and its model, with the same actors.
struct Both {
    line: Line,
    model: Model,
    actors: Vec<Actor>,
    next_name: u64,
}

struct Actor {
    name: u64,
    wait: Option<Pin<Box<Wait>>>,
    turn: Option<Turn>,
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

impl Both {
    fn new(capacity: usize, order: Order) -> Self {
        Self { line: Line::new(capacity).order(order), model: Model::new(capacity, order), actors: Vec::new(), next_name: 0 }
    }

    async fn step(&mut self, step: Step) -> Option<&'static str> {
        match step {
            Step::Come(deadline) => {
                let mut wait = self.line.wait();
                if let Some(milliseconds) = deadline {
                    wait = wait.until(Instant::now() + Duration::from_millis(milliseconds));
                }
                self.model.come(self.next_name, deadline);
                self.actors.push(Actor { name: self.next_name, wait: Some(Box::pin(wait)), turn: None, flag: Arc::default() });
                self.next_name += 1;
                Some("came")
            }
            Step::Poll { actor, same_waker } => self.poll(actor, same_waker),
            Step::Leave(actor) => {
                let at = self.at(actor)?;
                let gone = self.actors.swap_remove(at);
                self.model.leave(gone.name)
            }
            Step::Advance(milliseconds) => {
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
                self.model.now += milliseconds;
                None
            }
            Step::Close => {
                self.line.close();
                self.model.close();
                None
            }
        }
    }

    fn poll(&mut self, actor: usize, same_waker: bool) -> Option<&'static str> {
        let at = self.at(actor)?;
        let actor = &mut self.actors[at];
        let Some(wait) = &mut actor.wait else { return None };
        if same_waker {
            actor.flag.0.store(false, Ordering::SeqCst);
        } else {
            actor.flag = Arc::default();
        }
        let waker = Waker::from(actor.flag.clone());
        let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
        let polled = polled.map_ok(|turn| {
            actor.turn = Some(turn);
            actor.wait = None;
        });
        let (expected, outcome) = self.model.poll(actor.name);
        assert_eq!(polled, expected);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.actors.swap_remove(at);
        }
        outcome
    }

    fn at(&self, actor: usize) -> Option<usize> {
        actor.checked_rem(self.actors.len())
    }

    fn check(&self) {
        assert_eq!(self.line.len(), self.model.len());
        assert_eq!(self.line.is_empty(), self.model.len() == 0);
        assert!(self.line.len() <= self.line.capacity());
        assert!(self.actors.iter().filter(|actor| actor.turn.is_some()).count() <= 1, "there is one turn");
        for actor in self.actors.iter().filter(|actor| actor.wait.is_some()) {
            assert_eq!(actor.flag.0.load(Ordering::SeqCst), self.model.is_woken(actor.name), "the waker of {}", actor.name);
        }
    }
}

/// What the line should be.
struct Model {
    capacity: usize,
    order: Order,
    closed: bool,
    /// Milliseconds since the beginning.
    now: u64,
    /// Who has the turn, or has been called to it.
    head: Option<u64>,
    /// Who waits, oldest first.
    waiting: VecDeque<u64>,
    /// Who has not got an answer yet: whether it was ever polled, and its deadline.
    unanswered: BTreeMap<u64, (bool, Option<u64>)>,
}

impl Model {
    fn new(capacity: usize, order: Order) -> Self {
        Self { capacity, order, closed: false, now: 0, head: None, waiting: VecDeque::new(), unanswered: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.head.is_some())
    }

    fn come(&mut self, name: u64, deadline: Option<u64>) {
        self.unanswered.insert(name, (false, deadline.map(|milliseconds| self.now + milliseconds)));
    }

    fn poll(&mut self, name: u64) -> (Poll<Result<(), LineError>>, Option<&'static str>) {
        let (polled_before, _) = self.unanswered[&name];
        let (answer, outcome) = if !polled_before && self.closed {
            (Err(LineError::Closed), "closed")
        } else if !polled_before && self.len() >= self.capacity {
            (Err(LineError::Full), "full")
        } else if self.head == Some(name) || (!polled_before && self.head.is_none()) {
            self.head = Some(name);
            (Ok(()), if self.is_late(name) { "late turn" } else { "turn" })
        } else if polled_before && !self.waiting.contains(&name) {
            (Err(LineError::Closed), "closed while waiting")
        } else if self.is_late(name) {
            self.waiting.retain(|other| *other != name);
            (Err(LineError::Expired), if polled_before { "expired" } else { "expired at once" })
        } else {
            if !polled_before {
                self.waiting.push_back(name);
            }
            self.unanswered.entry(name).and_modify(|(polled, _)| *polled = true);
            return (Poll::Pending, None);
        };
        self.unanswered.remove(&name);
        (Poll::Ready(answer), Some(outcome))
    }

    fn leave(&mut self, name: u64) -> Option<&'static str> {
        let answered = self.unanswered.remove(&name).is_none();
        self.waiting.retain(|other| *other != name);
        if self.head != Some(name) {
            return None;
        }
        self.head = if self.order == Order::Fifo { self.waiting.pop_front() } else { self.waiting.pop_back() };
        (!answered).then_some("called and left")
    }

    fn close(&mut self) {
        self.closed = true;
        self.waiting.clear();
    }

    /// Whether somebody who was told to wait has been told since that it need not.
    fn is_woken(&self, name: u64) -> bool {
        let (polled_before, _) = self.unanswered[&name];
        polled_before && (!self.waiting.contains(&name) || self.is_late(name))
    }

    fn is_late(&self, name: u64) -> bool {
        self.unanswered.get(&name).is_some_and(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= self.now))
    }
}

/// Random enough, and the same numbers each time (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn index(&mut self) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits")
    }
}
