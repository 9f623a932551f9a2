//! One value through a queue, on one thread: what the bookkeeping costs.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use backpressure_queue::{Overflow, QueueBuilder, Receiver, Sender};
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use crate::measure::{Work, work};
use crate::rows::Row;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = through();
    rows.extend(full());
    rows
}

/// Push and pop.
fn through() -> Vec<Row> {
    vec![
        Row::new("queue: push + pop (tokio mpsc)", || ours(one), || tokios(one)).target(0.65).instructions(0.65),
        Row::new("queue: push + pop (async-channel)", || ours(one), || async_channels(one)).target(0.65).instructions(0.65),
        Row::new("queue: push + pop, Bytes (tokio mpsc)", || ours(bytes), || tokios(bytes)).target(0.65).instructions(0.65),
        Row::new("queue: push + pop, futures (tokio mpsc)", our_futures, tokios_futures).target(0.65).instructions(0.65),
        Row::new("queue: push + pop, futures (async-channel)", our_futures, async_channels_futures)
            .target(0.65)
            .instructions(0.65),
    ]
}

/// Push on a full queue, which drops the oldest.
fn full() -> Vec<Row> {
    vec![
        Row::new("queue: full, drop oldest (tokio broadcast)", || our_full(one), || broadcasts(one))
            .target(0.65)
            .instructions(0.65),
        Row::new("queue: full, drop oldest (async-channel)", || our_full(one), || forced(one)).target(0.65).instructions(0.65),
        Row::new("queue: full, drop oldest, Bytes (tokio broadcast)", || our_full(bytes), || broadcasts(bytes))
            .target(0.65)
            .instructions(0.65),
    ]
}

fn one() -> u64 {
    black_box(1)
}

/// Neither counted nor freed, so that what is measured is to hand over its 32 bytes.
fn bytes() -> Bytes {
    Bytes::from_static(black_box(b"hello"))
}

/// A queue and its ends, empty.
pub(crate) fn ours_of_bytes() -> (Sender<Bytes>, Receiver<Bytes>) {
    queue(Overflow::DropOldest)
}

pub(crate) fn tokios_of_bytes() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(CAPACITY)
}

fn queue<T>(overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    QueueBuilder::new(CAPACITY, overflow).build().expect("neither bound is 0")
}

fn ours<T: 'static>(value: fn() -> T) -> Work {
    let (sender, mut receiver) = queue(Overflow::DropOldest);
    work(move || {
        let sent = sender.try_send(value());
        assert!(sent.is_ok(), "the queue is empty");
        _ = black_box(&receiver.try_recv());
    })
}

fn tokios<T: 'static>(value: fn() -> T) -> Work {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    work(move || {
        let sent = sender.try_send(value());
        assert!(sent.is_ok(), "the channel is empty");
        _ = black_box(&receiver.try_recv());
    })
}

fn async_channels<T: 'static>(value: fn() -> T) -> Work {
    let (sender, receiver) = async_channel::bounded(CAPACITY);
    work(move || {
        let sent = sender.try_send(value());
        assert!(sent.is_ok(), "the channel is empty");
        _ = black_box(&receiver.try_recv());
    })
}

fn our_futures() -> Work {
    let (sender, mut receiver) = queue(Overflow::Block);
    work(move || {
        assert!(now(sender.send(one())).is_ok(), "the queue is empty");
        _ = black_box(&now(receiver.recv()));
    })
}

fn tokios_futures() -> Work {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    work(move || {
        assert!(now(sender.send(one())).is_ok(), "the channel is empty");
        _ = black_box(&now(receiver.recv()));
    })
}

fn async_channels_futures() -> Work {
    let (sender, receiver) = async_channel::bounded(CAPACITY);
    work(move || {
        assert!(now(sender.send(one())).is_ok(), "the channel is empty");
        _ = black_box(&now(receiver.recv()));
    })
}

fn our_full<T: 'static>(value: fn() -> T) -> Work {
    let (sender, receiver) = queue(Overflow::DropOldest);
    (0..CAPACITY).for_each(|_| drop(sender.try_send(value())));
    work(move || {
        let _ = &receiver;
        _ = black_box(&sender.try_send(value()));
    })
}

/// With a receiver that reads nothing: each value overwrites the oldest.
fn broadcasts<T: Clone + 'static>(value: fn() -> T) -> Work {
    let (sender, receiver) = broadcast::channel(CAPACITY);
    (0..CAPACITY).for_each(|_| drop(sender.send(value())));
    work(move || {
        let _ = &receiver;
        _ = black_box(&sender.send(value()));
    })
}

fn forced<T: 'static>(value: fn() -> T) -> Work {
    let (sender, receiver) = async_channel::bounded(CAPACITY);
    (0..CAPACITY).for_each(|_| drop(sender.force_send(value())));
    work(move || {
        let _ = &receiver;
        _ = black_box(&sender.force_send(value()));
    })
}

/// Polls a future once, through a pointer, as a task does.
#[inline]
fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let future: Pin<&mut F> = black_box(future.as_mut());
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is room, and then there is an item"),
    }
}

/// As the peers' users choose it; of what is there only one is in use, except in the rows that are full.
const CAPACITY: usize = 64;
