//! The queue under threads, in numbers. What loom proves for a few items, this tries with many.
#![cfg(not(backpressure_loom))]

use std::thread;

use backpressure_queue::{Item, ItemClass, Load, Overflow, QueueBuilder, Receiver, Sender};
use tokio::time::Instant;

#[test]
fn a_hundred_thousand_items_of_four_threads_are_each_accounted_for_once() {
    for overflow in [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest] {
        let (sender, receiver) = QueueBuilder::new(16, overflow).max_weight(40).build::<(usize, usize)>().expect("a bound");
        let queue = sender.queue().clone();
        let (ends, received) = thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|name| {
                let sender = sender.clone();
                scope.spawn(move || block_on(send_all(name, &sender)))
            });
            drop(sender);
            let received = block_on(receive_all(receiver));
            (threads.map(|thread| thread.join().expect("no panic")), received)
        });
        let counts = queue.counts();
        let sum = |of: fn(&Ends) -> u64| ends.iter().map(of).sum::<u64>();
        assert_eq!(counts.sent, sum(|ends| ends.sent), "{overflow:?}");
        assert_eq!(counts.refused, sum(|ends| ends.refused), "{overflow:?}");
        assert_eq!(counts.evicted + counts.superseded, sum(|ends| ends.displaced), "{overflow:?}");
        assert_eq!(counts.delivered, received.items, "{overflow:?}");
        assert_eq!(counts.sent, counts.delivered + counts.evicted + counts.superseded, "{overflow:?}");
        // What is refused under a policy that drops is missed, too.
        let refused = if overflow == Overflow::Block { 0 } else { counts.refused };
        assert_eq!(received.missed, counts.evicted + refused, "{overflow:?}");
        assert_eq!(queue.load(), Load::ZERO, "{overflow:?}");
    }
}

#[derive(Default)]
struct Ends {
    sent: u64,
    refused: u64,
    displaced: u64,
}

#[derive(Default)]
struct Received {
    items: u64,
    missed: u64,
}

/// Sends in all ways by turns; of the ways that wait, some are given up after the first poll.
async fn send_all(name: usize, sender: &Sender<(usize, usize)>) -> Ends {
    let mut ends = Ends::default();
    for round in 0..ITEMS / 4 {
        let class = match round % 8 {
            0 => ItemClass::Durable,
            // A key for each thread: what is conflated stays in the order of its thread.
            1 | 2 => ItemClass::Conflated(name as u64),
            _ => ItemClass::Droppable,
        };
        let item = Item::new((name, round)).weight((round % 6) as u64).class(class);
        let result = match round % 5 {
            0 | 1 => sender.try_send(item),
            2 => sender.send_until(item, Instant::now()).await,
            3 => sender.send(item).await,
            _ => tokio::select! {
                biased;
                result = sender.send(item) => result,
                () = std::future::ready(()) => continue,
            },
        };
        match result {
            Ok(displaced) => {
                ends.sent += 1;
                ends.displaced += displaced.len() as u64;
            }
            Err(_) => ends.refused += 1,
        }
        let load = sender.queue().load();
        assert!(load.items <= 16 && load.weight <= 40);
    }
    ends
}

async fn receive_all(mut receiver: Receiver<(usize, usize)>) -> Received {
    let mut received = Received::default();
    let mut last = [None; 4];
    while let Some(next) = receiver.recv().await {
        let (name, round) = next.item.value;
        // A newer conflated item has the place of an older one, and so may come before what was sent between them.
        if !matches!(next.item.class, ItemClass::Conflated(_)) {
            assert!(last[name].is_none_or(|last| last < round), "the items of a thread come in its order, and once");
            last[name] = Some(round);
        }
        received.items += 1;
        received.missed += next.missed.items as u64;
    }
    received.missed += receiver.missed().items as u64;
    received
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O").block_on(future)
}

const ITEMS: usize = 100_000;
