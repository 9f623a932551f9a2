//! The line under threads, in numbers. What loom proves for two or three waiters, this tries with many.
#![cfg(not(backpressure_loom))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use backpressure_queue::{Line, LineError, Order};
use tokio::time::Instant;

#[test]
fn a_hundred_thousand_waiters_of_four_threads_leave_nothing_behind() {
    for (order, capacity) in [(Order::Fifo, ROOM_FOR_ALL), (Order::Lifo, ROOM_FOR_ALL), (Order::Fifo, 3), (Order::Lifo, 3)] {
        let line = Line::new(capacity).order(order);
        let (held, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
                    runtime.block_on(async {
                        for round in 0..VISITS / THREADS {
                            visit(&line, &held, &turns, round).await;
                        }
                    });
                });
            }
        });
        assert!(line.is_empty(), "{order:?}");
        if capacity == ROOM_FOR_ALL {
            assert!(turns.load(Ordering::SeqCst) >= VISITS, "{order:?}: nobody was refused, so each visit had a turn");
        }
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
            assert!((1..=line.capacity()).contains(&line.len()));
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
    assert!(line.len() <= line.capacity());
}

const THREADS: usize = 4;
/// Of four waiters each.
const VISITS: usize = 25_000;
/// A visit is in the line twice at most.
const ROOM_FOR_ALL: usize = 2 * THREADS;
