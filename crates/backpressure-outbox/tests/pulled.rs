//! An outbox as a body that is pulled.
#![cfg(not(backpressure_loom))]

mod wire;

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use backpressure_outbox::{Close, Depth, Pulled, Signal, SlowConsumer};
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::time::advance;
use wire::*;

fn pull(stream: &mut Pin<Box<Pulled<String, Words>>>, waker: &Waker) -> Poll<Option<Frame>> {
    stream.as_mut().poll_next(&mut Context::from_waker(waker))
}

#[tokio::test(start_paused = true)]
async fn frames_come_in_order_with_the_signals_and_the_end() {
    let (outbox, outlet) = builder().max_messages(4).build().unwrap();
    let mut stream = Box::pin(outlet.into_stream(Words));
    assert!(pull(&mut stream, Waker::noop()).is_pending());
    send(&outbox, 0..4);
    drop(outbox);
    let frames: Vec<_> = stream.collect().await;
    let data = |text: &str| Frame::Data(text.to_owned());
    let (pause, resume) = (Frame::Flow(Signal::Pause), Frame::Flow(Signal::Resume));
    assert_eq!(frames, [pause, data("0"), data("1"), data("2"), resume, data("3"), Frame::Close(Close::NORMAL)]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_after_a_pause_is_a_write_of_that_length() {
    let (outbox, outlet) = builder().build().unwrap();
    let mut stream = pin!(outlet.into_stream(Words));
    send(&outbox, 0..2);
    assert!(stream.next().await.is_some());
    assert_eq!((outbox.numbers().written, outbox.numbers().in_flight), (0, 1));
    advance(secs(2)).await;
    assert!(stream.next().await.is_some());
    let numbers = outbox.numbers();
    assert_eq!((numbers.written, numbers.in_flight, numbers.write_max), (1, 1, secs(2)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_is_woken_by_data_by_what_is_released_and_by_the_end() {
    let (outbox, outlet) = builder().build().unwrap();
    let mut stream = Box::pin(outlet.into_stream(Words));
    let (waker, woken) = count_wakes();
    assert!(pull(&mut stream, &waker).is_pending());
    send(&outbox, [1]);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(pull(&mut stream, &waker).is_ready());
    assert!(pull(&mut stream, &waker).is_pending());
    // There is nothing to let go, and to hold is no news.
    outbox.release();
    outbox.hold();
    outbox.hold();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    send(&outbox, [2]);
    assert!(pull(&mut stream, &waker).is_pending());
    let before = woken.load(Ordering::Relaxed);
    outbox.release();
    assert_eq!(woken.load(Ordering::Relaxed), before + 1);
    assert!(pull(&mut stream, &waker).is_ready());
    assert!(pull(&mut stream, &waker).is_pending());
    drop(outbox);
    assert_eq!(woken.load(Ordering::Relaxed), before + 2);
    assert_eq!(pull(&mut stream, &waker), Poll::Ready(Some(Frame::Close(Close::NORMAL))));
    assert_eq!(pull(&mut stream, &waker), Poll::Ready(None));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_pulls_is_emptied_by_the_sender_that_finds_it_too_slow() {
    let limits = SlowConsumer::new().soft(Depth::messages(10), secs(3));
    let (outbox, outlet) = builder().slow(limits).build().unwrap();
    let mut stream = pin!(outlet.into_stream(Words));
    send(&outbox, 0..11);
    advance(millis(3_001)).await;
    assert!(!outbox.is_closed());
    send(&outbox, [11]);
    assert_eq!((outbox.is_closed(), outbox.numbers().messages), (true, 0));
    assert_eq!(stream.next().await, Some(Frame::Close(Close::SLOW)));
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_ends_without_a_resume() {
    let limits = SlowConsumer::new().hard(Depth::messages(45));
    let (outbox, outlet) = builder().slow(limits).build().unwrap();
    let mut stream = pin!(outlet.into_stream(Words));
    send(&outbox, 0..40);
    assert_eq!(stream.next().await, Some(Frame::Flow(Signal::Pause)));
    send(&outbox, 40..46);
    assert_eq!(stream.next().await, Some(Frame::Close(Close::SLOW)));
    assert_eq!(stream.next().await, None);
}
