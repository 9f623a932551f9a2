//! The gate against a model of it: a list of names, without a word, wakers, links or locks.
#![cfg(not(backpressure_loom))]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use backpressure_core::{Class, CoDel, Overflow};
use backpressure_queue::{Enter, Gate, Idle, LineError, Order, Place};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::time::Instant;

use self::model::{Model, Rules};

#[path = "gate_model/model.rs"]
mod model;

/// What happens to the gate. An actor, or one who watches, is named by the place that it has among those that are left.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody makes a wait, perhaps with a deadline in so many milliseconds.
    Come {
        class: Class,
        weight: u64,
        deadline: Option<u64>,
    },
    /// An actor polls its wait, with the waker it used last or with another.
    Poll {
        actor: usize,
        same_waker: bool,
    },
    /// An actor drops its wait, or its place.
    Leave(usize),
    /// Somebody comes who does not wait.
    Try(Class),
    SetPlaces(usize),
    Advance(u64),
    /// Somebody begins to wait for the gate to be empty.
    Watch,
    PollWatcher(usize),
    DropWatcher(usize),
    CloseToNewcomers,
    Close,
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(&Class::ALL[..])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        300 => (class(), 0..8_u64, prop::option::of(0..9_u64))
            .prop_map(|(class, weight, deadline)| Step::Come { class, weight, deadline }),
        500 => (any::<usize>(), any::<bool>()).prop_map(|(actor, same_waker)| Step::Poll { actor, same_waker }),
        120 => any::<usize>().prop_map(Step::Leave),
        40 => class().prop_map(Step::Try),
        20 => (0..6_usize).prop_map(Step::SetPlaces),
        80 => (1..4_u64).prop_map(Step::Advance),
        10 => Just(Step::Watch),
        20 => any::<usize>().prop_map(Step::PollWatcher),
        10 => any::<usize>().prop_map(Step::DropWatcher),
        1 => Just(Step::CloseToNewcomers),
        2 => Just(Step::Close),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let order = prop::sample::select(orders().to_vec());
    let overflow = prop::sample::select(&OVERFLOWS[..]);
    let reserved = prop::collection::vec((class(), 0..50_u8), 0..=2);
    (0..7_usize, prop::option::of(0..12_u64), order, overflow, reserved)
        .prop_map(|(queue, queue_weight, order, overflow, reserved)| Rules { queue, queue_weight, order, overflow, reserved })
}

#[test]
fn every_history_agrees_with_the_model() {
    let config =
        ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() };
    let histories = (0..6_usize, rules(), prop::collection::vec(step(), 0..200));
    let seen = RefCell::new(BTreeMap::new());
    TestRunner::new(config)
        .run(&histories, |(places, rules, steps)| {
            play(places, rules, steps, &seen);
            Ok(())
        })
        .expect("the gate does what the model does");

    // The histories are worth nothing if they miss a case.
    for outcome in OUTCOMES {
        let times = seen.borrow().get(outcome).copied().unwrap_or(0);
        assert!(times >= 100, "{outcome:?} came up {times} times only");
    }
}

#[test]
fn a_hundred_thousand_steps_leave_an_empty_gate() {
    for order in orders() {
        let mut random = SplitMix(1);
        let steps = std::iter::from_fn(|| {
            let class = Class::ALL[random.below(4)];
            Some(match random.below(64) {
                0..12 => Step::Come { class, weight: random.below(5) as u64, deadline: Some(random.below(8) as u64) },
                12..24 => Step::Come { class, weight: random.below(5) as u64, deadline: None },
                24..46 => Step::Poll { actor: random.below(1 << 20), same_waker: random.below(2) == 0 },
                46..62 => Step::Leave(random.below(1 << 20)),
                62 => Step::SetPlaces(random.below(16)),
                _ => Step::Advance(1),
            })
        });
        let rules = Rules {
            queue: 32,
            queue_weight: Some(70),
            order,
            overflow: Overflow::DropOldest,
            reserved: vec![(Class::Critical, 20), (Class::Sheddable, 15)],
        };
        let seen = RefCell::new(BTreeMap::new());
        play(8, rules, steps.take(100_000), &seen);
        assert!(seen.borrow()["came"] > 30_000, "{order:?}");
    }
}

/// Plays a history to the gate and to the model, compares them after each step, and lets everybody leave at the end.
fn play(places: usize, rules: Rules, steps: impl IntoIterator<Item = Step>, seen: &RefCell<BTreeMap<&'static str, u32>>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O");
    // Unconstrained: all actors share one task, and would find timers pending once it has used up its budget.
    runtime.block_on(tokio::task::unconstrained(async {
        let mut both = Both::new(places, rules);
        for step in steps {
            let before = both.gate.in_use();
            if let Some(outcome) = both.step(step).await {
                *seen.borrow_mut().entry(outcome).or_default() += 1;
            }
            both.check(before);
        }
        while !both.actors.is_empty() {
            let before = both.gate.in_use();
            both.step(Step::Leave(0)).await;
            both.check(before);
        }
        assert_eq!(both.gate.occupancy(), (0, 0));
        assert_eq!(both.gate.waiting_weight(), 0);
    }));
}

/// The gate and its model, with the same actors and the same who watch.
struct Both {
    gate: Gate,
    model: Model,
    actors: Vec<Actor>,
    watchers: Vec<Watcher>,
    next_name: u64,
}

struct Actor {
    name: u64,
    class: Class,
    weight: u64,
    /// Until it is polled, what the gate says of it then is to be compared with what it said before.
    was_polled: bool,
    enter: Option<Pin<Box<Enter>>>,
    place: Option<Place>,
    flag: Arc<Flag>,
}

struct Watcher {
    name: u64,
    idle: Idle,
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
    fn new(places: usize, rules: Rules) -> Self {
        let mut gate = Gate::new(places).queue(rules.queue).order(rules.order).overflow(rules.overflow);
        if let Some(weight) = rules.queue_weight {
            gate = gate.queue_weight(weight);
        }
        for (class, percent) in &rules.reserved {
            gate = gate.reserve(*class, *percent);
        }
        Self { gate, model: Model::new(places, rules), actors: Vec::new(), watchers: Vec::new(), next_name: 0 }
    }

    async fn step(&mut self, step: Step) -> Option<&'static str> {
        match step {
            Step::Come { class, weight, deadline } => Some(self.come(class, weight, deadline)),
            Step::Poll { actor, same_waker } => self.poll(actor, same_waker),
            Step::Leave(actor) => {
                let at = actor.checked_rem(self.actors.len())?;
                let gone = self.actors.swap_remove(at);
                self.model.leave(gone.name)
            }
            Step::Try(class) => {
                let place = self.gate.try_enter(class);
                let name = self.name();
                assert_eq!(place.is_some(), self.model.try_enter(name, class));
                let place = Some(place?);
                self.actors.push(Actor { name, class, weight: 0, was_polled: true, enter: None, place, flag: Arc::default() });
                Some(if self.watchers.is_empty() { "tried" } else { "tried while somebody watches" })
            }
            Step::SetPlaces(places) => {
                self.gate.set_places(places);
                self.model.set_places(places)
            }
            Step::Advance(milliseconds) => {
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
                self.model.now += milliseconds;
                None
            }
            Step::Watch => {
                let name = self.name();
                self.watchers.push(Watcher { name, idle: self.gate.idle(), flag: Arc::default() });
                None
            }
            Step::PollWatcher(watcher) => self.poll_watcher(watcher),
            Step::DropWatcher(watcher) => {
                let at = watcher.checked_rem(self.watchers.len())?;
                let gone = self.watchers.swap_remove(at);
                self.model.watching.remove(&gone.name).map(|_| "watcher dropped")
            }
            Step::CloseToNewcomers => {
                self.gate.close_to_newcomers();
                self.model.close_to_newcomers();
                None
            }
            Step::Close => {
                self.gate.close();
                self.model.close();
                None
            }
        }
    }

    fn come(&mut self, class: Class, weight: u64, deadline: Option<u64>) -> &'static str {
        let mut enter = self.gate.enter(class).weighing(weight);
        if let Some(milliseconds) = deadline {
            enter = enter.until(Instant::now() + Duration::from_millis(milliseconds));
        }
        let name = self.name();
        self.model.come(name, class, weight, deadline);
        let enter = Some(Box::pin(enter));
        self.actors.push(Actor { name, class, weight, was_polled: false, enter, place: None, flag: Arc::default() });
        "came"
    }

    fn poll(&mut self, actor: usize, same_waker: bool) -> Option<&'static str> {
        let at = actor.checked_rem(self.actors.len())?;
        let actor = &mut self.actors[at];
        let enter = actor.enter.as_mut()?;
        if same_waker {
            actor.flag.0.store(false, Ordering::SeqCst);
        } else {
            actor.flag = Arc::default();
        }
        let refusal = self.gate.refusal(actor.class, actor.weight);
        let waker = Waker::from(actor.flag.clone());
        let polled = enter.as_mut().poll(&mut Context::from_waker(&waker));
        let polled = polled.map_ok(|place| {
            actor.place = Some(place);
            actor.enter = None;
        });
        if !actor.was_polled {
            match refusal {
                Some(error) => assert_eq!(polled, Poll::Ready(Err(error))),
                None => assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(()) | Err(LineError::Expired)))),
            }
        }
        actor.was_polled = true;
        let (expected, outcome) = self.model.poll(actor.name);
        assert_eq!(polled, expected);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.actors.swap_remove(at);
        }
        outcome
    }

    fn poll_watcher(&mut self, watcher: usize) -> Option<&'static str> {
        let at = watcher.checked_rem(self.watchers.len())?;
        let watcher = &mut self.watchers[at];
        watcher.flag = Arc::default();
        let waker = Waker::from(watcher.flag.clone());
        let polled = Pin::new(&mut watcher.idle).poll(&mut Context::from_waker(&waker));
        let is_idle = self.model.poll_watcher(watcher.name);
        assert_eq!(polled.is_ready(), is_idle);
        if is_idle {
            self.watchers.swap_remove(at);
        }
        is_idle.then_some("idle")
    }

    fn check(&self, in_use_before: usize) {
        let (gate, model) = (&self.gate, &self.model);
        assert_eq!((gate.places(), gate.in_use(), gate.waiting()), (model.places, model.in_use, model.line.len()));
        assert_eq!(gate.occupancy(), (gate.in_use(), gate.waiting()));
        assert_eq!(gate.waiting_weight(), model.weight());
        assert!(gate.in_use() <= gate.places().max(in_use_before));
        assert!(self.actors.iter().filter(|actor| actor.place.is_some()).count() <= gate.in_use());
        if model.rules.overflow != Overflow::Block {
            assert!(gate.waiting() <= model.rules.queue);
            assert!(gate.waiting_weight() <= model.rules.queue_weight.unwrap_or(u64::MAX));
        }
        for class in Class::ALL {
            for weight in [0, 6] {
                assert_eq!(gate.refusal(class, weight), model.refusal(class, weight), "{class:?} {weight}");
            }
        }
        for actor in self.actors.iter().filter(|actor| actor.enter.is_some()) {
            assert_eq!(actor.flag.0.load(Ordering::SeqCst), model.is_woken(actor.name), "the waker of {}", actor.name);
        }
        for watcher in &self.watchers {
            let is_woken = model.watching.get(&watcher.name).copied().unwrap_or(false);
            assert_eq!(watcher.flag.0.load(Ordering::SeqCst), is_woken, "the waker of watcher {}", watcher.name);
        }
    }

    fn name(&mut self) -> u64 {
        self.next_name += 1;
        self.next_name
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

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % bound
    }
}

/// An interval that the histories reach: a line that has not been empty for 6 ms stands.
const CODEL: (u64, u64) = (2, 6);

fn orders() -> [Order; 3] {
    let (target, interval) = CODEL;
    let codel = CoDel::with(Duration::from_millis(target), Duration::from_millis(interval));
    [Order::Fifo, Order::Lifo, Order::Adaptive(codel)]
}

const OVERFLOWS: [Overflow; 3] = [Overflow::DropNewest, Overflow::DropOldest, Overflow::Block];

const OUTCOMES: [&str; 21] = [
    "a place at once",
    "past lower classes that wait",
    "a place after a wait",
    "a place after the deadline",
    "full",
    "only what is reserved is free",
    "too heavy",
    "closed",
    "closed while waiting",
    "expired at once",
    "expired",
    "out of patience",
    "evicted",
    "evicted its own class",
    "evicted several",
    "beyond the bound",
    "the newest while the line stands",
    "called and left",
    "let in by more places",
    "tried while somebody watches",
    "idle",
];
