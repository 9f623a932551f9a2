//! The line under every interleaving of a few threads, with at most four preemptions.
//!
//! `RUSTFLAGS="--cfg backpressure_loom" cargo test -p backpressure-queue --test loom --release`
#![cfg(backpressure_loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_queue::{Line, LineError, Order, Turn, Wait};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};
use tokio::time::Instant;

// A wake-up that is lost leaves every thread waiting, which loom reports as a deadlock.

#[test]
fn a_turn_that_is_dropped_while_another_joins_is_not_lost() {
    model(|| {
        let line = Line::new(2);
        let turn = head(&line);
        let other = spawn(&line, |line| block_on(line.wait()).map(drop));
        drop(turn);
        assert_eq!(other.join().unwrap(), Ok(()));
        assert!(line.is_empty());
    });
}

#[test]
fn a_turn_that_is_dropped_while_the_next_is_polled_with_another_waker_is_not_lost() {
    model(|| {
        let line = Line::new(2);
        let turn = head(&line);
        let mut next = waiting(&line);
        let other = thread::spawn(move || block_on(next.as_mut()).map(drop));
        drop(turn);
        assert_eq!(other.join().unwrap(), Ok(()));
        assert!(line.is_empty());
    });
}

#[test]
fn a_waiter_that_leaves_as_it_is_called_passes_the_turn_on() {
    for order in [Order::Fifo, Order::Lifo] {
        model(move || {
            let line = Line::new(3).order(order);
            let turn = head(&line);
            let leaving = waiting(&line);
            let other = spawn(&line, |line| block_on(line.wait()).map(drop));
            let leaver = thread::spawn(move || drop(leaving));
            drop(turn);
            assert_eq!(other.join().unwrap(), Ok(()));
            leaver.join().unwrap();
            assert!(line.is_empty());
        });
    }
}

#[test]
fn a_waiter_that_expires_as_it_is_called_takes_the_turn_or_leaves_it_to_the_next() {
    // Entered once, outside: loom runs its threads on this one, and tokio insists on being left in the reverse order of entering.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let runtime = std::sync::Arc::new(runtime);
    model(move || {
        let line = Line::new(3);
        let turn = head(&line);
        let mut late = Box::pin(line.wait().until(Instant::now() + MS));
        assert!(poll(&mut late).is_pending());
        let mut last = waiting(&line);
        runtime.block_on(tokio::time::advance(MS));
        let late = thread::spawn(move || block_on(late.as_mut()).map(drop));
        drop(turn);
        drop(block_on(last.as_mut()).unwrap());
        assert!(matches!(late.join().unwrap(), Ok(()) | Err(LineError::Expired)));
        assert!(line.is_empty());
    });
}

#[test]
fn two_waiters_have_the_turn_one_after_the_other_and_see_what_was_done_before() {
    for order in [Order::Fifo, Order::Lifo] {
        model(move || {
            let line = Line::new(3).order(order);
            let turn = head(&line);
            let turns = Arc::new(AtomicUsize::new(0));
            let others = [(); 2].map(|()| {
                let turns = Arc::clone(&turns);
                spawn(&line, move |line| {
                    let turn = block_on(line.wait()).unwrap();
                    assert!((1..=3).contains(&line.len()));
                    increment(&turns);
                    drop(turn);
                })
            });
            increment(&turns);
            drop(turn);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(turns.load(Ordering::Relaxed), 3);
            assert!(line.is_empty());
        });
    }
}

#[test]
fn of_two_that_join_a_line_of_one_at_least_one_has_the_turn() {
    model(|| {
        let line = Line::new(1);
        let visit = |line: Line| {
            let turn = block_on(line.wait());
            assert!(line.len() <= 1);
            turn.map(drop)
        };
        let other = spawn(&line, visit);
        let answers = [visit(line.clone()), other.join().unwrap()];
        assert!(answers.contains(&Ok(())));
        assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(LineError::Full))));
        assert!(line.is_empty());
    });
}

#[test]
fn whoever_joins_or_waits_as_the_line_closes_gets_an_answer() {
    model(|| {
        let line = Line::new(3);
        let turn = head(&line);
        let mut waiter = waiting(&line);
        let waits = thread::spawn(move || block_on(waiter.as_mut()).map(drop));
        let joins = spawn(&line, |line| block_on(line.wait()).map(drop));
        line.close();
        assert_eq!(line.len(), 1, "the turn is kept");
        assert_eq!(waits.join().unwrap(), Err(LineError::Closed));
        assert_eq!(joins.join().unwrap(), Err(LineError::Closed));
        drop(turn);
        assert!(line.is_empty());
    });
}

#[test]
fn a_waiter_that_is_called_as_the_line_closes_has_the_turn_or_is_refused() {
    model(|| {
        let line = Line::new(3);
        let turn = head(&line);
        let other = spawn(&line, |line| block_on(line.wait()).map(drop));
        let closer = spawn(&line, |line| line.close());
        drop(turn);
        assert!(matches!(other.join().unwrap(), Ok(()) | Err(LineError::Closed)));
        closer.join().unwrap();
        assert!(line.is_empty());
    });
}

#[test]
fn whoever_finds_the_line_empty_comes_after_its_last_turn() {
    model(|| {
        let line = Line::new(1);
        let turn = head(&line);
        let turns = Arc::new(AtomicUsize::new(0));
        // The one that only looks is spawned: loom forgets a look of the first thread when another looks and then changes.
        let looks = {
            let turns = Arc::clone(&turns);
            spawn(&line, move |line| {
                if line.is_empty() {
                    assert_eq!(turns.load(Ordering::Relaxed), 1);
                }
            })
        };
        increment(&turns);
        drop(turn);
        looks.join().unwrap();
    });
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(run);
}

fn spawn<R: 'static>(line: &Line, run: impl FnOnce(Line) -> R + 'static) -> JoinHandle<R> {
    let line = line.clone();
    thread::spawn(move || run(line))
}

fn head(line: &Line) -> Turn {
    let Poll::Ready(turn) = poll(&mut Box::pin(line.wait())) else { unreachable!("nobody is before the first") };
    turn.expect("a line with room")
}

fn waiting(line: &Line) -> Pin<Box<Wait>> {
    let mut wait = Box::pin(line.wait());
    assert!(poll(&mut wait).is_pending());
    wait
}

fn poll(wait: &mut Pin<Box<Wait>>) -> Poll<Result<Turn, LineError>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Not one step, and without an order of its own: it loses counts unless the line keeps the others out and shows what they did.
fn increment(turns: &AtomicUsize) {
    turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

const MS: Duration = Duration::from_millis(1);
