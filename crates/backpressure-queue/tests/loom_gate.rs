//! The gate under every interleaving of a few threads, with at most three preemptions; two where all
//! three do much.
//!
//! `RUSTFLAGS="--cfg backpressure_loom" cargo test -p backpressure-queue --test loom_gate --release`
#![cfg(backpressure_loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_core::{Class, Overflow};
use backpressure_queue::{Enter, Gate, LineError, Order, Place};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};
use tokio::time::Instant;

// A wake-up that is lost leaves every thread waiting, which loom reports as a deadlock.
//
// Whoever only looks is the thread that is spawned: loom remembers the last access to an atomic, so that a look by the first
// thread is forgotten, and not tried at other times, when another thread looks and then changes.

#[test]
fn two_of_three_are_inside_at_once_and_no_more() {
    long_model(|| {
        let gate = Gate::new(2).queue(1);
        let inside = Arc::new(AtomicUsize::new(0));
        let visit = |gate: Gate, inside: Arc<AtomicUsize>| {
            let place = block_on(gate.enter(Class::Default)).expect("two places, and one may wait");
            assert!(inside.fetch_add(1, Ordering::Relaxed) < 2);
            assert!((1..=2).contains(&gate.in_use()));
            inside.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        };
        let others = [(); 2].map(|()| {
            let inside = Arc::clone(&inside);
            spawn(&gate, move |gate| visit(gate, inside))
        });
        visit(gate.clone(), Arc::clone(&inside));
        join(others);
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_is_inside_alone_sees_what_was_done_inside_before() {
    for may_wait in [true, false] {
        long_model(move || {
            let gate = Gate::new(1).queue(2);
            let visits = Arc::new(AtomicUsize::new(0));
            let visit = move |gate: Gate, visits: Arc<AtomicUsize>| {
                let place = if may_wait { block_on(gate.enter(Class::Default)).ok() } else { gate.try_enter(Class::Default) };
                let Some(place) = place else { return 0 };
                increment(&visits);
                drop(place);
                1
            };
            let others = [(); 2].map(|()| {
                let visits = Arc::clone(&visits);
                spawn(&gate, move |gate| visit(gate, visits))
            });
            let mut expected = visit(gate.clone(), Arc::clone(&visits));
            for other in others {
                expected += other.join().unwrap();
            }
            assert!(expected >= 1);
            assert_eq!(visits.load(Ordering::Relaxed), expected);
        });
    }
}

#[test]
fn one_that_tries_as_a_place_is_given_back_does_not_pass_the_one_that_waits() {
    model(|| {
        let gate = Gate::new(1).queue(1);
        let place = enter(&gate);
        let mut next = waiting(&gate);
        let tries = spawn(&gate, |gate| gate.try_enter(Class::Critical).is_some());
        drop(place);
        let Poll::Ready(Ok(place)) = poll(&mut next) else { unreachable!("the place was passed on before the drop returned") };
        assert!(!tries.join().unwrap(), "the place was never free");
        drop(place);
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_joins_as_a_place_is_given_back_gets_one_also_beside_another_that_tries() {
    model(|| {
        let gate = Gate::new(1).queue(1);
        let place = enter(&gate);
        let waits = spawn(&gate, |gate| block_on(gate.enter(Class::Default)).map(drop));
        let tries = spawn(&gate, |gate| drop(gate.try_enter(Class::Default)));
        drop(place);
        assert_eq!(waits.join().unwrap(), Ok(()));
        tries.join().unwrap();
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn more_places_let_in_who_joins_or_waits_meanwhile() {
    model(|| {
        let gate = Gate::new(0).queue(2);
        let mut first = waiting(&gate);
        let waits = thread::spawn(move || block_on(first.as_mut()).map(drop));
        let joins = spawn(&gate, |gate| block_on(gate.enter(Class::Default)).map(drop));
        gate.set_places(1);
        assert_eq!(waits.join().unwrap(), Ok(()));
        assert_eq!(joins.join().unwrap(), Ok(()));
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_comes_as_there_are_more_places_does_not_pass_the_one_that_waits() {
    model(|| {
        let gate = Gate::new(0).queue(1);
        let mut first = waiting(&gate);
        let sets = spawn(&gate, |gate| gate.set_places(1));
        if gate.refusal(Class::Default, 0).is_none() {
            assert_eq!(gate.waiting(), 0, "there is room in the line because the first is in");
        }
        let mut newcomer = Box::pin(gate.enter(Class::Default));
        assert!(!matches!(poll(&mut newcomer), Poll::Ready(Ok(_))));
        sets.join().unwrap();
        assert!(matches!(poll(&mut first), Poll::Ready(Ok(_))));
    });
}

#[test]
fn places_that_are_made_fewer_and_more_as_others_come_and_go_lose_nobody() {
    long_model(|| {
        let gate = Gate::new(1).queue(2);
        let inside = Arc::new(AtomicUsize::new(0));
        let others = [(); 2].map(|()| {
            let inside = Arc::clone(&inside);
            spawn(&gate, move |gate| {
                let place = block_on(gate.enter(Class::Default)).unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "there never are two places");
                inside.fetch_sub(1, Ordering::Relaxed);
                drop(place);
            })
        });
        gate.set_places(0);
        gate.set_places(1);
        join(others);
        assert_eq!((gate.places(), gate.occupancy()), (1, (0, 0)));
    });
}

#[test]
fn one_that_is_evicted_as_it_is_called_has_the_place_or_leaves_it_to_the_other() {
    model(|| {
        let gate = Gate::new(1).queue(1).queue_weight(1).overflow(Overflow::DropOldest);
        let place = enter(&gate);
        let mut older = Box::pin(gate.enter(Class::Default).weighing(1));
        assert!(poll(&mut older).is_pending());
        let older = thread::spawn(move || block_on(older.as_mut()).map(drop));
        let newer = spawn(&gate, |gate| block_on(gate.enter(Class::Default).weighing(1)).map(drop));
        drop(place);
        assert!(matches!(older.join().unwrap(), Ok(()) | Err(LineError::Evicted)));
        assert_eq!(newer.join().unwrap(), Ok(()), "nobody comes after the newest");
        assert_eq!((gate.occupancy(), gate.waiting_weight()), ((0, 0), 0));
    });
}

#[test]
fn one_that_is_evicted_as_it_leaves_gives_no_place_back() {
    model(|| {
        let gate = Gate::new(1).queue(1).overflow(Overflow::DropOldest);
        let place = enter(&gate);
        let older = waiting(&gate);
        let leaves = thread::spawn(move || drop(older));
        let newer = spawn(&gate, |gate| block_on(gate.enter(Class::Critical)).map(drop));
        drop(place);
        leaves.join().unwrap();
        assert_eq!(newer.join().unwrap(), Ok(()));
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_expires_as_it_is_called_has_the_place_or_leaves_it_to_the_next() {
    // Entered once, outside: loom runs its threads on this one, and tokio insists on being left in the reverse order of entering.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let runtime = std::sync::Arc::new(runtime);
    model(move || {
        let gate = Gate::new(1).queue(2);
        let place = enter(&gate);
        let mut late = Box::pin(gate.enter(Class::Default).until(Instant::now() + MS));
        assert!(poll(&mut late).is_pending());
        let mut last = waiting(&gate);
        runtime.block_on(tokio::time::advance(MS));
        let late = thread::spawn(move || block_on(late.as_mut()).map(drop));
        drop(place);
        drop(block_on(last.as_mut()).unwrap());
        assert!(matches!(late.join().unwrap(), Ok(()) | Err(LineError::Expired)));
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_expires_last_of_all_is_noticed_by_who_watches() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let runtime = std::sync::Arc::new(runtime);
    model(move || {
        let gate = Gate::new(0).queue(1);
        let mut late = Box::pin(gate.enter(Class::Default).until(Instant::now() + MS));
        assert!(poll(&mut late).is_pending());
        runtime.block_on(tokio::time::advance(MS));
        let late = thread::spawn(move || block_on(late.as_mut()).map(drop));
        block_on(gate.idle());
        assert_eq!(late.join().unwrap(), Err(LineError::Expired));
    });
}

#[test]
fn one_that_leaves_as_it_is_called_passes_the_place_on() {
    for order in [Order::Fifo, Order::Lifo] {
        model(move || {
            let gate = Gate::new(1).queue(2).order(order);
            let place = enter(&gate);
            let leaving = waiting(&gate);
            let stays = spawn(&gate, |gate| block_on(gate.enter(Class::Default)).map(drop));
            let leaves = thread::spawn(move || drop(leaving));
            drop(place);
            assert_eq!(stays.join().unwrap(), Ok(()));
            leaves.join().unwrap();
            assert_eq!(gate.occupancy(), (0, 0));
        });
    }
}

#[test]
fn whoever_joins_or_waits_as_the_gate_closes_gets_an_answer() {
    for for_ever in [true, false] {
        model(move || {
            let gate = Gate::new(1).queue(2);
            let place = enter(&gate);
            let mut waiter = waiting(&gate);
            let waits = thread::spawn(move || block_on(waiter.as_mut()).map(drop));
            let joins = spawn(&gate, |gate| block_on(gate.enter(Class::Default)).map(drop));
            if for_ever {
                gate.close();
                assert_eq!(gate.occupancy(), (1, 0), "the place is kept, and nobody waits from now on");
            } else {
                gate.close_to_newcomers();
            }
            drop(place);
            let expected = if for_ever { Err(LineError::Closed) } else { Ok(()) };
            assert_eq!(waits.join().unwrap(), expected);
            let joined = joins.join().unwrap();
            assert!(joined == Err(LineError::Closed) || (!for_ever && joined == Ok(())));
            assert!(gate.try_enter(Class::Default).is_none());
            assert_eq!(gate.occupancy(), (0, 0));
        });
    }
}

#[test]
fn nobody_gets_in_once_the_gate_has_closed() {
    model(|| {
        let gate = Gate::new(1);
        let tries = spawn(&gate, |gate| gate.try_enter(Class::Default));
        gate.close_to_newcomers();
        let in_use = gate.in_use();
        let place = tries.join().unwrap();
        assert_eq!(usize::from(place.is_some()), in_use, "before, or not at all");
    });
}

#[test]
fn who_watches_never_misses_the_last_exit_and_comes_after_it() {
    model(|| {
        let gate = Gate::new(3);
        let visits = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let others = [0, 1].map(|other| {
            let (place, visits) = (enter(&gate), Arc::clone(&visits[other]));
            thread::spawn(move || {
                increment(&visits);
                drop(place);
            })
        });
        block_on(gate.idle());
        assert!(visits.iter().all(|visits| visits.load(Ordering::Relaxed) == 1));
        assert_eq!(gate.occupancy(), (0, 0));
        join(others);
    });
}

#[test]
fn two_who_watch_are_both_told_and_the_gate_is_as_fast_as_before() {
    long_model(|| {
        let gate = Gate::new(2);
        let place = enter(&gate);
        let watches = spawn(&gate, |gate| block_on(gate.idle()));
        let exits = thread::spawn(move || drop(place));
        block_on(gate.idle());
        watches.join().unwrap();
        exits.join().unwrap();
        assert!(gate.try_enter(Class::Default).is_some());
    });
}

#[test]
fn one_that_stops_watching_as_the_gate_gets_empty_takes_the_news_from_nobody() {
    model(|| {
        let gate = Gate::new(2);
        let place = enter(&gate);
        let mut stops = Box::pin(gate.idle());
        assert!(stops.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let stops = thread::spawn(move || drop(stops));
        let exits = thread::spawn(move || drop(place));
        block_on(gate.idle());
        stops.join().unwrap();
        exits.join().unwrap();
        assert_eq!(gate.occupancy(), (0, 0));
    });
}

#[test]
fn one_that_tries_as_the_last_who_watches_stops_finds_the_place_that_is_free() {
    model(|| {
        let gate = Gate::new(2);
        let _place = enter(&gate);
        let mut stops = Box::pin(gate.idle());
        assert!(stops.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let tries = spawn(&gate, |gate| assert!(gate.try_enter(Class::Default).is_some()));
        drop(stops);
        tries.join().unwrap();
    });
}

#[test]
fn who_finds_the_gate_empty_comes_after_what_was_done_inside() {
    model(|| {
        let gate = Gate::new(2);
        let place = enter(&gate);
        let visits = Arc::new(AtomicUsize::new(0));
        let looks = {
            let visits = Arc::clone(&visits);
            spawn(&gate, move |gate| {
                if gate.in_use() == 0 {
                    assert_eq!(visits.load(Ordering::Relaxed), 1);
                }
            })
        };
        increment(&visits);
        drop(place);
        looks.join().unwrap();
    });
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    preempted(3, run);
}

/// For those that would take minutes.
fn long_model(run: impl Fn() + Send + Sync + 'static) {
    preempted(2, run);
}

fn preempted(times: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(times);
    builder.check(run);
}

fn spawn<R: 'static>(gate: &Gate, run: impl FnOnce(Gate) -> R + 'static) -> JoinHandle<R> {
    let gate = gate.clone();
    thread::spawn(move || run(gate))
}

fn join(others: [JoinHandle<()>; 2]) {
    for other in others {
        other.join().unwrap();
    }
}

fn enter(gate: &Gate) -> Place {
    gate.try_enter(Class::Default).expect("a place is free")
}

fn waiting(gate: &Gate) -> Pin<Box<Enter>> {
    let mut enter = Box::pin(gate.enter(Class::Default));
    assert!(poll(&mut enter).is_pending());
    enter
}

fn poll(enter: &mut Pin<Box<Enter>>) -> Poll<Result<Place, LineError>> {
    enter.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Not one step, and without an order of its own: it loses counts unless the gate keeps the others out and shows what they did.
fn increment(visits: &AtomicUsize) {
    visits.store(visits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

const MS: Duration = Duration::from_millis(1);
