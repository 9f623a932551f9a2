//! One message to many tasks, one of which is stuck: what a delivery costs, with all that wakes and runs the task.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use backpressure_outbox::{Ended, Hub, Letter, Outbox, OutboxBuilder, Outlet, Overflow, frames};
use bytes::Bytes;
use futures_sink::Sink;
use tokio::runtime::Builder;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{LocalSet, spawn_local};

use crate::measure::{Work, counted};
use crate::rows::Row;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("fan-out: 1k tasks, one stuck (tokio broadcast)", || ours(1_000), || broadcasts(1_000))
            .target(0.9)
            .instructions(0.9),
        Row::new("fan-out: 10k tasks, one stuck (tokio broadcast)", || ours(10_000), || broadcasts(10_000)).target(0.9),
        Row::new("fan-out: 1k tasks, one stuck (tokio mpsc)", || ours(1_000), || channels(1_000)).target(0.9).instructions(0.9),
        Row::new("fan-out: 10k tasks, one stuck (tokio mpsc)", || ours(10_000), || channels(10_000)).target(0.9),
    ]
}

/// What is delivered: neither side counts references to it.
fn message() -> Bytes {
    Bytes::from_static(b"{\"event\":\"tick\",\"key\":\"K07\",\"price\":10123}")
}

/// How many messages all tasks together have got.
type Count = Rc<Cell<u64>>;

fn ours(tasks: u64) -> Work {
    let hub: Hub<u8, Bytes> = Hub::builder(Bytes::len).build().expect("neither bound is 0");
    let outbox = hub.outbox().max_messages(CAPACITY).overflow(Overflow::DropOldest);
    let join = || {
        let (member, outlet) = hub.join(&outbox).expect("a hub that does not drain");
        member.subscribe(1).expect("one topic");
        outlet
    };
    let stuck = join();
    let outlets: Vec<_> = (1..tasks).map(|_| join()).collect();
    fan_out(
        tasks - 1,
        outlets,
        |outlet, count| async move { _ = write(outlet, count).await },
        move || {
            let _ = &stuck;
            assert!(hub.publish(&1, message()).is_ok(), "it is small");
        },
    )
}

async fn write(outlet: Outlet<Letter<Bytes>>, count: Count) -> Ended<Infallible> {
    let frames = frames(|letter: Letter<Bytes>| letter, |_| None, |_| None);
    outlet.run(Counting(count), frames).await
}

fn broadcasts(tasks: u64) -> Work {
    let (sender, stuck) = broadcast::channel::<Bytes>(CAPACITY);
    let receivers: Vec<_> = (1..tasks).map(|_| sender.subscribe()).collect();
    fan_out(
        tasks - 1,
        receivers,
        |mut receiver, count| async move {
            while receiver.recv().await.is_ok() {
                count.set(count.get() + 1);
            }
        },
        move || {
            let _ = &stuck;
            assert!(sender.send(message()).is_ok(), "somebody receives");
        },
    )
}

fn channels(tasks: u64) -> Work {
    let (sender, stuck) = mpsc::channel(CAPACITY);
    let (mut senders, mut receivers) = (vec![sender], Vec::new());
    for _ in 1..tasks {
        let (sender, receiver) = mpsc::channel::<Bytes>(CAPACITY);
        senders.push(sender);
        receivers.push(receiver);
    }
    fan_out(
        tasks - 1,
        receivers,
        |mut receiver, count| async move {
            while receiver.recv().await.is_some() {
                count.set(count.get() + 1);
            }
        },
        move || {
            let _ = &stuck;
            for sender in &senders {
                // The stuck one is full.
                drop(sender.try_send(message()));
            }
        },
    )
}

/// Makes work of deliveries: publishes one message after the other, each once all tasks have got the one before.
fn fan_out<R: 'static, F: Future<Output = ()> + 'static>(
    tasks: u64,
    receivers: Vec<R>,
    receive: impl Fn(R, Count) -> F,
    publish: impl Fn() + 'static,
) -> Work {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    let (local, count) = (LocalSet::new(), Count::default());
    local.block_on(&runtime, async {
        for receiver in receivers {
            spawn_local(receive(receiver, Rc::clone(&count)));
        }
        // Until all of them wait.
        for _ in 0..tasks {
            tokio::task::yield_now().await;
        }
    });
    Box::new(move |deliveries| {
        let start = Instant::now();
        counted(1, &mut || {
            local.block_on(&runtime, async {
                for _ in 0..deliveries.div_ceil(tasks) {
                    let all = count.get() + tasks;
                    publish();
                    while count.get() < all {
                        tokio::task::yield_now().await;
                    }
                }
            });
        });
        start.elapsed() * u32::try_from(deliveries).unwrap_or(u32::MAX)
            / u32::try_from(deliveries.div_ceil(tasks) * tasks).unwrap_or(u32::MAX)
    })
}

/// Takes everything at once.
struct Counting(Count);

impl Sink<Letter<Bytes>> for Counting {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Letter<Bytes>) -> Result<(), Infallible> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

/// Outboxes as connections have them, for the memory that each takes while idle.
pub(crate) fn outboxes_of_bytes() -> OutboxBuilder<Bytes> {
    Outbox::builder(Bytes::len)
}

const CAPACITY: usize = 64;
