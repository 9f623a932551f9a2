//! What an outbox takes from the allocator. One test: others beside it would be counted too.
#![cfg(not(backpressure_loom))]

use std::alloc::System;

use backpressure_outbox::{Depth, Flow, Outbox, Overflow, SlowConsumer};
use backpressure_queue::{Load, QueueBuilder};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn an_idle_outbox_takes_160_bytes_beside_its_queue_whatever_is_configured() {
    settle();
    let flow = Flow::new();
    let builder = Outbox::builder(String::len)
        .flow(&flow)
        .slow(SlowConsumer::new().hard(Depth::messages(50)).soft(Depth::messages(40), std::time::Duration::from_secs(3)))
        .gap_marker(|missed| missed.items.to_string());
    let queue =
        held(|| QueueBuilder::new(58, Overflow::DropNewest).reserve(Load { items: 8, weight: 1 << 16 }).build::<String>());
    let outbox = held(|| builder.build());
    assert!(outbox <= queue + 160, "{outbox} bytes, {queue} of them the queue's");

    // Full, ended and dropped: all of it is given back.
    let region = Region::new(ALLOCATOR);
    let (outbox_end, outlet) = builder.build().unwrap();
    for message in 0..100 {
        let _ = outbox_end.try_send(message.to_string());
    }
    assert!(outbox_end.is_closed());
    drop((outbox_end, outlet));
    let change = region.change();
    assert_eq!(change.bytes_allocated, change.bytes_deallocated);
    assert!(outbox <= 320, "{outbox} bytes");
    println!("an outbox: {outbox}, its queue: {queue}");
}

fn held<T>(make: impl FnOnce() -> T) -> usize {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    drop(made);
    change.bytes_allocated - change.bytes_deallocated
}

/// Waits until the thread that started the test has done with its own allocations.
fn settle() {
    let mut before = None;
    while before != Some(ALLOCATOR.stats()) {
        before = Some(ALLOCATOR.stats());
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
    }
}
