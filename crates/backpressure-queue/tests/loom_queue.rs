//! The queue under every interleaving of a few threads, with at most three preemptions.
//!
//! `RUSTFLAGS="--cfg backpressure_loom" cargo test -p backpressure-queue --test loom_queue --release`
#![cfg(backpressure_loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use backpressure_queue::{Item, ItemClass, Load, Overflow, QueueBuilder, Receiver, Refused, Sender};
use loom::future::block_on;
use loom::thread;

// A wake-up that is lost leaves every thread waiting, which loom reports as a deadlock.

#[test]
fn an_item_that_is_sent_while_the_receiver_begins_to_wait_is_received() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        let other = thread::spawn(move || sender.try_send(1).map(drop));
        assert_eq!(values(&mut receiver), [1]);
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn room_that_comes_while_a_sender_begins_to_wait_is_taken() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let other = thread::spawn(move || block_on(sender.send(2)).map(drop));
        assert_eq!(values(&mut receiver), [1, 2]);
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn two_senders_that_wait_are_served_one_after_the_other() {
    model_with(2, || {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let mut first = waiting(sender.clone(), 2);
        let others = [
            thread::spawn(move || drop(block_on(first.as_mut()))),
            thread::spawn(move || assert!(block_on(sender.send(3)).is_ok())),
        ];
        assert_eq!([(); 3].map(|()| block_on(receiver.recv()).unwrap().item.value), [1, 2, 3]);
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_sender_that_leaves_as_it_is_woken_makes_room_for_the_next() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let leaving = waiting(sender.clone(), 2);
        let next = thread::spawn(move || block_on(sender.send(3)).map(drop));
        let leaver = thread::spawn(move || drop(leaving));
        assert_eq!(block_on(receiver.recv()).unwrap().item.value, 1);
        assert_eq!(block_on(receiver.recv()).unwrap().item.value, 3);
        leaver.join().unwrap();
        assert_eq!(next.join().unwrap(), Ok(()));
        assert_eq!(receiver.queue().load(), Load::ZERO);
    });
}

#[test]
fn what_is_evicted_while_the_receiver_takes_is_received_or_missed_but_not_both() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::DropOldest);
        sender.try_send(1).unwrap();
        let other = thread::spawn(move || sender.try_send(2).unwrap().len());
        let (mut received, mut missed) = (Vec::new(), 0);
        while let Some(next) = block_on(receiver.recv()) {
            received.push(next.item.value);
            missed += next.missed.items;
        }
        assert_eq!(other.join().unwrap(), missed);
        assert_eq!(received, if missed == 0 { vec![1, 2] } else { vec![2] });
    });
}

#[test]
fn two_that_send_to_a_full_queue_evict_one_item_each() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::DropOldest);
        sender.try_send(0).unwrap();
        let other = {
            let sender = sender.clone();
            thread::spawn(move || sender.try_send(1).unwrap().len())
        };
        assert_eq!(sender.try_send(2).unwrap().len(), 1);
        assert_eq!(other.join().unwrap(), 1);
        let left = receiver.try_recv().unwrap();
        assert_eq!((left.missed.items, receiver.try_recv().is_err()), (2, true));
    });
}

#[test]
fn a_replacement_that_is_lighter_makes_room_for_one_that_waits() {
    model(|| {
        let (sender, mut receiver) = QueueBuilder::new(9, Overflow::Block).max_weight(5).build::<u64>().unwrap();
        sender.try_send(Item::new(1).weight(5).class(ItemClass::Conflated(1))).unwrap();
        let other = {
            let sender = sender.clone();
            thread::spawn(move || block_on(sender.send(Item::new(2).weight(4))).map(drop))
        };
        sender.try_send(Item::new(3).weight(1).class(ItemClass::Conflated(1))).unwrap();
        assert_eq!(other.join().unwrap(), Ok(()));
        drop(sender);
        assert_eq!(values(&mut receiver), [3, 2]);
    });
}

#[test]
fn whoever_waits_as_the_queue_closes_gets_an_answer_and_its_item_back() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let queue = receiver.queue().clone();
        let other = thread::spawn(move || block_on(sender.send(2)).map_err(|error| (error.item.value, error.reason)).map(drop));
        let closer = thread::spawn(move || queue.close());
        let received = values(&mut receiver);
        closer.join().unwrap();
        match other.join().unwrap() {
            Ok(()) => assert_eq!(received, [1, 2]),
            Err(error) => assert_eq!((received, error), (vec![1], (2, Refused::Closed))),
        }
    });
}

#[test]
fn a_receiver_that_waits_as_the_last_sender_leaves_sees_the_end() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        let others = [sender.clone(), sender].map(|sender| thread::spawn(move || drop(sender)));
        assert_eq!(values(&mut receiver), []);
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_sender_that_waits_as_the_receiver_is_dropped_gets_its_item_back_and_nothing_stays() {
    model(|| {
        let (sender, receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let queue = receiver.queue().clone();
        let other = thread::spawn(move || block_on(sender.send(2)).map_err(|error| (error.item.value, error.reason)).map(drop));
        drop(receiver);
        assert_eq!(other.join().unwrap(), Err((2, Refused::Closed)));
        assert_eq!((queue.load(), queue.counts().discarded), (Load::ZERO, 1));
    });
}

#[test]
fn a_sender_that_begins_to_wait_as_the_policy_changes_is_served_by_the_new_one() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let queue = receiver.queue().clone();
        let other = thread::spawn(move || block_on(sender.send(2)).unwrap().len());
        queue.set_overflow(Overflow::DropOldest);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(values(&mut receiver), [2]);
    });
}

#[test]
fn room_that_a_discard_makes_while_a_sender_begins_to_wait_is_taken() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        sender.try_send(1).unwrap();
        let queue = receiver.queue().clone();
        let other = thread::spawn(move || block_on(sender.send(2)).map(drop));
        let discarded = queue.discard().len();
        assert_eq!(values(&mut receiver).len() + discarded, 2);
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_receiver_that_stops_waiting_as_an_item_comes_loses_nothing() {
    model(|| {
        let (sender, mut receiver) = queue(1, Overflow::Block);
        let other = thread::spawn(move || sender.try_send(1).map(drop));
        {
            let mut recv = Box::pin(receiver.recv());
            match recv.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(received) => return assert_eq!(received.unwrap().item.value, 1),
                Poll::Pending => {}
            }
        }
        assert_eq!(values(&mut receiver), [1]);
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_load_that_is_read_beside_the_traffic_is_never_over_the_bound() {
    model(|| {
        let (sender, mut receiver) = QueueBuilder::new(2, Overflow::DropOldest).max_weight(3).build::<u64>().unwrap();
        sender.try_send(Item::new(1).weight(2)).unwrap();
        let queue = receiver.queue().clone();
        let other = thread::spawn(move || sender.try_send(Item::new(2).weight(3)).map(drop));
        let watcher = thread::spawn(move || {
            let load = queue.load();
            assert!(load.weight <= 3 && load.items <= 2);
            let counts = queue.counts();
            assert!(counts.delivered + counts.evicted <= counts.sent);
        });
        while block_on(receiver.recv()).is_some() {}
        assert_eq!(other.join().unwrap(), Ok(()));
        watcher.join().unwrap();
    });
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    model_with(3, run);
}

/// For threads so many and so long that three preemptions would take half a minute.
fn model_with(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

fn queue(items: usize, overflow: Overflow) -> (Sender<u64>, Receiver<u64>) {
    QueueBuilder::new(items, overflow).build().expect("a bound above zero")
}

/// Receives until the end.
fn values(receiver: &mut Receiver<u64>) -> Vec<u64> {
    std::iter::from_fn(|| block_on(receiver.recv()).map(|received| received.item.value)).collect()
}

/// A sender that has found no room.
fn waiting(sender: Sender<u64>, value: u64) -> Pin<Box<impl Future>> {
    let mut sending = Box::pin(async move { sender.send(value).await });
    assert!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    sending
}
