//! The line under threads, in numbers. What loom proves for two or three waiters, this tries with many.
#![cfg(not(backpressure_loom))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use backpressure_queue::{Line, LineError, Order};
use tokio::time::Instant;

#[test]
fn a_hundred_thousand_waiters_of_four_threads_leave_nothing_behind() {
    for order in [Order::Fifo, Order::Lifo] {
        let line = Line::new(CAPACITY).order(order);
        let (held, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
                    runtime.block_on(async {
                        for round in 0..WAITERS / THREADS / 4 {
                            visit(&line, &held, &turns, round).await;
                        }
                    });
                });
            }
        });
        assert!(line.is_empty(), "{order:?}");
        assert!(turns.load(Ordering::SeqCst) > WAITERS / 4, "{order:?}: too few turns to mean anything");
    }
}

/// Four waiters: one that is dropped after its first poll, one that does not wait, and two of which the first to end its turn
/// drops the other.
async fn visit(line: &Line, held: &AtomicBool, turns: &AtomicUsize, round: usize) {
    tokio::select! {
        biased;
        dropped = line.wait() => drop(dropped),
        () = std::future::ready(()) => {}
    }
    let hold = async |wait: backpressure_queue::Wait| match wait.await {
        Ok(turn) => {
            assert!(!held.swap(true, Ordering::SeqCst), "there is one turn");
            assert!((1..=CAPACITY).contains(&line.len()));
            turns.fetch_add(1, Ordering::SeqCst);
            if round.is_multiple_of(3) {
                thread::yield_now();
            }
            held.store(false, Ordering::SeqCst);
            drop(turn);
        }
        Err(error) => assert!(matches!(error, LineError::Full | LineError::Expired)),
    };
    hold(line.wait().until(Instant::now())).await;
    tokio::select! {
        () = hold(line.wait()) => {}
        () = hold(line.wait()) => {}
    }
    assert!(line.len() <= CAPACITY);
}

const THREADS: usize = 4;
const WAITERS: usize = 100_000;
/// Less than the eight that may wait at once, so that some are refused.
const CAPACITY: usize = 6;
