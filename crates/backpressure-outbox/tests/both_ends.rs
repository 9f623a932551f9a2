//! A connection both ends of which are outboxes that obey each other, and have much to send.
#![cfg(not(backpressure_loom))]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_outbox::{Control, Inbound, Outbox, OutboxBuilder, Overflow, frames, obey};
use futures_core::Stream;
use futures_sink::Sink;
use tokio::time::timeout;

/// One direction, which holds four frames.
#[derive(Default)]
struct Lane {
    frames: VecDeque<String>,
    wakers: Vec<Waker>,
}

type SharedLane = Arc<Mutex<Lane>>;

struct End {
    out: SharedLane,
    into: SharedLane,
}

impl Lane {
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.wakers.push(context.waker().clone());
        Poll::Pending
    }

    fn changed(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Sink<String> for End {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut lane = self.out.lock().expect("nobody panics with it");
        if lane.frames.len() < 4 { Poll::Ready(Ok(())) } else { lane.wait(context) }
    }

    fn start_send(self: Pin<&mut Self>, frame: String) -> Result<(), Infallible> {
        let mut lane = self.out.lock().expect("nobody panics with it");
        lane.frames.push_back(frame);
        lane.changed();
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for End {
    type Item = Result<String, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut lane = self.into.lock().expect("nobody panics with it");
        let Some(frame) = lane.frames.pop_front() else { return lane.wait(context) };
        lane.changed();
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Drives an end that sends so many messages, and counts what it gets.
fn start(builder: &OutboxBuilder<String>, end: End, got: Arc<AtomicUsize>) -> Outbox<String> {
    let (outbox, outlet) = builder.build().expect("bounds that leave room");
    let texts = frames(
        |text: String| text,
        |control| match control {
            Control::Flow(signal) => Some(signal.as_json().to_owned()),
            _ => None,
        },
        |_| None,
    );
    let count = move |_: String| {
        got.fetch_add(1, Ordering::Relaxed);
        Inbound::Ignore
    };
    tokio::spawn(outlet.drive(end, texts, obey(|text: &String| Some(text), count)));
    let producer = outbox.clone();
    tokio::spawn(async move {
        for number in 0..MESSAGES {
            producer.send(number.to_string()).await.expect("the connection lasts");
        }
    });
    outbox
}

#[tokio::test(start_paused = true)]
async fn both_get_all_where_one_of_them_keeps_its_marks_to_itself() {
    let (there, back) = (SharedLane::default(), SharedLane::default());
    let builder = Outbox::builder(String::len).max_messages(10).overflow(Overflow::Block).heartbeat(Duration::MAX, 1);
    let (by_server, by_client) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = start(&builder, End { out: Arc::clone(&there), into: Arc::clone(&back) }, Arc::clone(&by_server));
    let client = start(&builder.clone().quiet(), End { out: back, into: there }, Arc::clone(&by_client));
    let got = || (by_server.load(Ordering::Relaxed), by_client.load(Ordering::Relaxed));
    let all = async {
        while got() != (MESSAGES, MESSAGES) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), all).await.is_ok(), "{:?} {:?} {:?}", got(), server.numbers(), client.numbers());
}

const MESSAGES: usize = 1_000;
