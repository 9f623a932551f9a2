//! What a gate allocates. In a program of its own: nobody else allocates meanwhile.
#![cfg(not(backpressure_loom))]

use std::alloc::System;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use backpressure_core::{Class, Overflow};
use backpressure_queue::{Enter, Gate, LineError, Place};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test: the counts are those of the whole program.
#[test]
fn a_gate_allocates_nothing_but_the_entries_of_those_who_wait() {
    let gate = Gate::new(2);
    assert_eq!(of(|| Class::ALL.into_iter().for_each(|class| nobody_waits(&gate, class))).allocations, 0);

    let gate = Gate::new(1).queue(1_000);
    let place = gate.try_enter(Class::Default);
    let mut waiting: Vec<_> = (0..1_000).map(|_| Box::pin(gate.enter(Class::Default))).collect();
    let grown = of(|| waiting.iter_mut().for_each(|enter| assert!(poll(enter.as_mut()).is_pending())));
    assert!(grown.bytes_allocated + grown.bytes_reallocated.unsigned_abs() <= 2 * 56 * 1_024, "{grown:?}");
    assert_eq!(grown.allocations, 1, "one allocation, which grows");

    // As long as the line ever was: nobody who waits later allocates.
    drop(waiting);
    let mut waiting: Vec<_> = (0..1_000).map(|_| Box::pin(gate.enter(Class::Default))).collect();
    let again = of(|| waiting.iter_mut().for_each(|enter| assert!(poll(enter.as_mut()).is_pending())));
    assert_eq!((again.allocations, again.reallocations), (0, 0));
    assert_eq!(of(|| drop(place)).allocations, 0);
    drop(waiting);

    let gate = Gate::new(0).queue(1).overflow(Overflow::DropOldest);
    let [mut first, mut second, mut third] = [(); 3].map(|()| Box::pin(gate.enter(Class::Default)));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    // The entry of the first is free again when it knows.
    assert!(matches!(poll(first.as_mut()), Poll::Ready(Err(_))));
    let evicted = of(|| assert!(poll(third.as_mut()).is_pending()));
    assert_eq!((evicted.allocations, evicted.deallocations), (1, 1), "a list of those evicted, for as long as it takes");
}

fn nobody_waits(gate: &Gate, class: Class) {
    let place = gate.try_enter(class);
    assert!(place.is_some());
    let Poll::Ready(Ok(other)) = poll(pin!(gate.enter(class))) else { unreachable!("a place is free") };
    assert!(gate.try_enter(class).is_none());
    assert!(matches!(poll(pin!(gate.enter(class))), Poll::Ready(Err(LineError::Full))), "a refusal allocates nothing either");
    drop((place, other));
}

fn of(work: impl FnOnce()) -> Stats {
    let region = Region::new(ALLOCATOR);
    work();
    region.change()
}

fn poll(enter: Pin<&mut Enter>) -> Poll<Result<Place, LineError>> {
    enter.poll(&mut Context::from_waker(Waker::noop()))
}
