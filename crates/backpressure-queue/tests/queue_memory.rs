//! What a queue takes from the allocator. One test: others beside it would be counted too.
#![cfg(not(backpressure_loom))]

use std::alloc::System;

use backpressure_queue::{Item, ItemClass, Load, Overflow, QueueBuilder};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_queue_takes_150_bytes_while_idle_and_then_what_it_needs_and_no_more() {
    settle();
    let region = Region::new(ALLOCATOR);
    let (sender, mut receiver) = QueueBuilder::new(1_000_000, Overflow::DropOldest).max_weight(1 << 40).build::<u64>().unwrap();
    let others = [(); 9].map(|()| (sender.clone(), sender.queue().clone()));
    let idle = held(&region);
    assert!(idle <= 150, "{idle} bytes");
    assert_eq!(region.change().allocations, 1);

    for value in 0..1_000 {
        sender.try_send(value).unwrap();
    }
    let per_item = (held(&region) - idle) / 1_024;
    assert!(per_item <= 56, "{per_item} bytes for an item of 8");
    while receiver.try_recv().is_ok() {}
    sender.queue().shrink_to_fit();
    assert_eq!(held(&region), idle);
    drop((sender, receiver, others));
    assert_eq!(held(&region), 0);

    // At the bound: evictions cost one allocation once, and none each.
    let (sender, receiver) = QueueBuilder::new(64, Overflow::DropOldest).build::<u64>().unwrap();
    for value in 0..65 {
        let _ = sender.try_send(value);
    }
    let full = (held(&region), region.change().allocations);
    for value in 0..10_000 {
        let _ = sender.try_send(value);
    }
    assert_eq!((held(&region), region.change().allocations), full);
    let of_items = 64 * per_item;
    let of_the_first_loss = full.0 - idle - of_items;
    assert!(of_the_first_loss <= 240, "{of_the_first_loss} bytes");
    drop(receiver);
    assert_eq!(held(&region), idle + of_the_first_loss, "the receiver frees the items");
    drop(sender);
    assert_eq!(held(&region), 0);

    // Durable items that stay while others pass: no more than the bound, rounded up and thrice.
    let (sender, receiver) = QueueBuilder::new(64, Overflow::DropOldest).build::<u64>().unwrap();
    sender.try_send(Item::new(0).class(ItemClass::Durable)).unwrap();
    for value in 0..100_000 {
        let _ = sender.try_send(value);
    }
    let passed = held(&region);
    assert!(passed <= idle + of_the_first_loss + 256 * per_item, "{passed} bytes");
    assert_eq!(sender.queue().load(), Load { items: 64, weight: 64 });
    drop((sender, receiver));
    assert_eq!(held(&region), 0);
    println!("idle {idle}, an item of 8: {per_item}, the first loss {of_the_first_loss}, 64 slots with durable ones {passed}");
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

fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}
