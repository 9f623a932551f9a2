//! The gate under threads, in numbers. What loom proves for two or three, this tries with many.
#![cfg(not(backpressure_loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use backpressure_core::{Class, CoDel, Overflow};
use backpressure_queue::{Enter, Gate, LineError, Order};
use tokio::time::Instant;

#[test]
fn a_hundred_thousand_that_come_from_four_threads_leave_nothing_behind() {
    for (order, overflow, queue) in [
        (Order::Fifo, Overflow::Block, 0),
        (Order::Lifo, Overflow::DropNewest, 4),
        (Order::Adaptive(CoDel::new()), Overflow::DropOldest, 2),
    ] {
        let gate = Gate::new(2).queue(queue).queue_weight(20).order(order).overflow(overflow).reserve(Class::Critical, 34);
        let tally = Tally::default();
        thread::scope(|scope| {
            for seed in 1..=THREADS {
                let (gate, tally) = (&gate, &tally);
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
                    let mut random = XorShift(seed as u64);
                    runtime.block_on(async {
                        for _ in 0..VISITS / THREADS {
                            visit(gate, tally, &mut random).await;
                        }
                    });
                });
            }
        });
        // Nobody is left to give a place back to those who wait for none: all have their answers.
        assert_eq!((gate.occupancy(), gate.waiting_weight()), ((0, 0), 0), "{order:?}");
        let [came, entered, refused, dropped, panicked] = tally.counts();
        assert_eq!(came, VISITS * 4);
        assert_eq!(entered + refused + dropped, came, "each got one answer, or went without");
        for count in [entered, refused, dropped, panicked] {
            assert!(count >= 100, "{order:?} {entered} {refused} {dropped} {panicked}");
        }
        // Free again: as many as there are places get in, and the lock is on nobody's way.
        gate.set_places(3);
        let places: Vec<_> = std::iter::from_fn(|| gate.try_enter(Class::Critical)).collect();
        assert_eq!(places.len(), 3);
    }
}

/// Four that come: one that is dropped after its first poll, one that does not wait, and two of which the first to end its work
/// drops the other.
async fn visit(gate: &Gate, tally: &Tally, random: &mut XorShift) {
    if random.below(8) == 0 {
        gate.set_places(1 + random.below(MOST_PLACES));
    }
    let mut coming = || {
        tally.came.fetch_add(1, Ordering::Relaxed);
        gate.enter(Class::ALL[random.below(4)]).weighing(random.below(8) as u64)
    };
    let (dropped, hasty, one, other) = (coming(), coming(), coming(), coming());
    let ends = [random.below(16), random.below(16), random.below(16)];
    let [dropped_for, one_for, other_for] = [(); 3].map(|()| Going(tally, false));
    tokio::select! {
        biased;
        () = stay(gate, tally, dropped, dropped_for, 1) => {}
        () = std::future::ready(()) => {}
    }
    stay(gate, tally, hasty.until(Instant::now()), Going(tally, false), ends[0]).await;
    // Nobody waits for ever where there is a place at all; a wait with an end has a timer.
    let later = Instant::now() + Duration::from_secs(600);
    tokio::select! {
        () = stay(gate, tally, one, one_for, ends[1]) => {}
        () = stay(gate, tally, other.until(later), other_for, ends[2]) => {}
    }
    if random.below(16) == 0 {
        // One that looks once whether the gate is empty.
        tokio::select! {
            biased;
            () = gate.idle() => {}
            () = std::future::ready(()) => {}
        }
    }
}

async fn stay(gate: &Gate, tally: &Tally, enter: Enter, mut going: Going<'_>, end: usize) {
    let answer = enter.await;
    going.1 = true;
    let place = match answer {
        Ok(place) => place,
        Err(error) => {
            assert!(matches!(error, LineError::Full | LineError::Evicted | LineError::Expired), "{error:?}");
            tally.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    tally.entered.fetch_add(1, Ordering::Relaxed);
    let inside = tally.inside.fetch_add(1, Ordering::SeqCst) + 1;
    assert!(inside <= MOST_PLACES && gate.in_use() >= 1, "{inside} are inside");
    if end.is_multiple_of(3) {
        thread::yield_now();
    }
    let panics = catch_unwind(AssertUnwindSafe(move || {
        let _place = place;
        tally.inside.fetch_sub(1, Ordering::SeqCst);
        // Not a message for each: the hook of panics is not asked.
        if end == 0 {
            std::panic::resume_unwind(Box::new(()));
        }
    }));
    tally.panicked.fetch_add(usize::from(panics.is_err()), Ordering::Relaxed);
}

/// Counts one that goes without an answer.
struct Going<'a>(&'a Tally, bool);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Tally {
    came: AtomicUsize,
    entered: AtomicUsize,
    refused: AtomicUsize,
    dropped: AtomicUsize,
    panicked: AtomicUsize,
    /// How many are inside now.
    inside: AtomicUsize,
}

impl Tally {
    fn counts(&self) -> [usize; 5] {
        [&self.came, &self.entered, &self.refused, &self.dropped, &self.panicked].map(|count| count.load(Ordering::SeqCst))
    }
}

/// Random enough (Marsaglia, "Xorshift RNGs", 2003). What the threads make of it differs each time.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

const THREADS: usize = 4;
/// Of four that come each.
const VISITS: usize = 25_000;
const MOST_PLACES: usize = 3;
