//! The flow, and the two ends of an outbox, under every interleaving of a few threads, with at most three preemptions.
//!
//! `RUSTFLAGS="--cfg backpressure_loom" cargo test -p backpressure-outbox --test loom --release`
#![cfg(backpressure_loom)]

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_outbox::{
    Close, Control, Depth, Ended, Exceeded, Flow, FramesFn, ItemClass, Outbox, OutboxBuilder, Pulled, SlowConsumer, frames,
};
use futures_core::Stream;
use futures_sink::Sink;
use loom::future::block_on;
use loom::thread;

// A wake-up that is lost leaves every thread waiting, which loom reports as a deadlock.

#[test]
fn a_producer_that_begins_to_wait_while_the_last_pause_ends_is_woken() {
    model(|| {
        let flow = Flow::new();
        let (one, other) = (flow.pause(), flow.pause());
        let threads = [thread::spawn(move || drop(one)), thread::spawn(move || drop(other))];
        block_on(flow.resumed());
        assert!(!flow.is_paused());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn two_producers_are_both_woken_and_one_that_leaves_takes_nobody_along() {
    model_with(2, || {
        let flow = Flow::new();
        let pause = flow.pause();
        let waits = thread::spawn({
            let flow = flow.clone();
            move || block_on(flow.resumed())
        });
        let leaves = thread::spawn({
            let flow = flow.clone();
            move || {
                let mut resumed = Box::pin(flow.resumed());
                block_on(poll_fn(|context| {
                    let _ = resumed.as_mut().poll(context);
                    Poll::Ready(())
                }));
            }
        });
        drop(pause);
        waits.join().unwrap();
        leaves.join().unwrap();
    });
}

#[test]
fn a_pause_that_begins_as_another_ends_wakes_the_producer_in_the_end() {
    model(|| {
        let flow = Flow::new();
        let first = flow.pause();
        let second = thread::spawn({
            let flow = flow.clone();
            move || drop(flow.pause())
        });
        let end = thread::spawn(move || drop(first));
        block_on(flow.resumed());
        second.join().unwrap();
        end.join().unwrap();
    });
}

#[test]
fn a_message_an_urgent_one_and_the_end_wake_the_writer() {
    model_with(2, || {
        let (outbox, mut stream) = connection(&builder());
        let other = thread::spawn(move || {
            outbox.try_send("data".to_owned()).unwrap();
            outbox.try_send_as(ItemClass::Urgent, "urgent".to_owned()).unwrap();
        });
        let mut all = rest(&mut stream);
        other.join().unwrap();
        assert_eq!(all.pop().as_deref(), Some("close"));
        all.sort();
        assert_eq!(all, ["data", "urgent"]);
    });
}

#[test]
fn a_peer_that_resumes_as_the_writer_begins_to_wait_gets_its_data() {
    model_with(2, || {
        let (outbox, mut stream) = connection(&builder());
        outbox.hold();
        outbox.try_send("data".to_owned()).unwrap();
        let kept = outbox.clone();
        let other = thread::spawn(move || outbox.release());
        let first = block_on(poll_fn(|context| stream.as_mut().poll_next(context)));
        assert_eq!(first.as_deref(), Some("data"));
        other.join().unwrap();
        drop(kept);
    });
}

#[test]
fn an_outbox_that_fills_and_drains_at_once_leaves_its_flow_as_it_found_it() {
    model_with(2, || {
        let flow = Flow::new();
        let (outbox, mut stream) = connection(&builder().max_messages(2).flow(&flow));
        let other = thread::spawn(move || {
            let _ = outbox.try_send("1".to_owned());
            let _ = outbox.try_send("2".to_owned());
        });
        let all = rest(&mut stream);
        other.join().unwrap();
        assert!(!flow.is_paused());
        // Alternating, beginning with a stop.
        let signals: Vec<_> = all.iter().filter(|frame| frame.contains("flow")).collect();
        assert!(
            signals.len() % 2 == 0 && signals.iter().enumerate().all(|(turn, told)| told.contains("pause") == (turn % 2 == 0))
        );
    });
}

#[test]
fn of_a_slow_end_and_a_close_at_once_one_wins_and_everything_is_counted_once() {
    model_with(2, || {
        let (outbox, stream) = connection(&builder().slow(SlowConsumer::new().hard(Depth::messages(1))));
        outbox.try_send("1".to_owned()).unwrap();
        let threads = [
            thread::spawn({
                let outbox = outbox.clone();
                move || outbox.close(Close::NORMAL)
            }),
            thread::spawn({
                let outbox = outbox.clone();
                move || drop(outbox.try_send("2".to_owned()))
            }),
        ];
        drop(stream);
        for thread in threads {
            thread.join().unwrap();
        }
        let numbers = outbox.numbers();
        assert!(numbers.closed && !numbers.paused && outbox.has_ended());
        assert_eq!((numbers.messages, numbers.dropped.discarded), (0, numbers.sent));
    });
}

/// Takes everything at once, and has it closed then if it has an outbox.
struct Takes(Option<Outbox<String>>);

impl Sink<String> for Takes {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, _: String) -> Result<(), Infallible> {
        if let Some(outbox) = self.0.take() {
            outbox.close(Close::NORMAL);
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_was_sent_before_the_end_is_written_whenever_the_writer_looks() {
    model_with(2, || {
        let (outbox, outlet) = builder().build().expect("bounds that leave room");
        let other = thread::spawn({
            let outbox = outbox.clone();
            move || {
                outbox.try_send("data".to_owned()).unwrap();
                outbox.close(Close::NORMAL);
            }
        });
        let ended = block_on(outlet.run(Takes(None), texts()));
        other.join().unwrap();
        let numbers = outbox.numbers();
        assert_eq!((ended, numbers.written, numbers.dropped.discarded), (Ended::Closed, 1, 0));
    });
}

#[test]
fn what_is_released_before_the_end_is_written_whenever_the_writer_looks() {
    model_with(2, || {
        let (outbox, outlet) = builder().max_messages(2).build().expect("bounds that leave room");
        outbox.hold();
        for text in ["1", "2"] {
            outbox.try_send(text.to_owned()).unwrap();
        }
        let other = thread::spawn({
            let outbox = outbox.clone();
            move || {
                outbox.release();
                outbox.close(Close::NORMAL);
            }
        });
        let ended = block_on(outlet.run(Takes(None), texts()));
        other.join().unwrap();
        assert_eq!((ended, outbox.numbers().written), (Ended::Closed, 2));
    });
}

#[test]
fn a_message_that_comes_as_the_writer_begins_to_wait_is_written() {
    model_with(2, || {
        let (outbox, outlet) = builder().build().expect("bounds that leave room");
        let other = thread::spawn({
            let outbox = outbox.clone();
            move || drop(outbox.try_send("data".to_owned()).unwrap())
        });
        let ended = block_on(outlet.run(Takes(Some(outbox.clone())), texts()));
        other.join().unwrap();
        assert_eq!((ended, outbox.numbers().written), (Ended::Closed, 1));
    });
}

#[test]
fn a_callback_is_asked_of_a_limit_that_is_exceeded_as_the_writer_begins_to_wait() {
    model_with(2, || {
        let slow = builder().slow(SlowConsumer::new().hard(Depth::messages(0))).on_slow(|_| Some(Close::SLOW));
        let (outbox, outlet) = slow.build().expect("bounds that leave room");
        outbox.hold();
        let other = thread::spawn({
            let outbox = outbox.clone();
            move || drop(outbox.try_send("data".to_owned()).unwrap())
        });
        let ended = block_on(outlet.run(Takes(None), texts()));
        other.join().unwrap();
        assert_eq!(ended, Ended::Slow(Exceeded::Hard));
    });
}

type Texts = FramesFn<fn(String) -> String, fn(Control) -> Option<String>, fn(&Close) -> Option<String>>;

fn builder() -> OutboxBuilder<String> {
    Outbox::builder(String::len).max_messages(4)
}

fn connection(builder: &OutboxBuilder<String>) -> (Outbox<String>, Pin<Box<Pulled<String, Texts>>>) {
    let (outbox, outlet) = builder.build().expect("bounds that leave room");
    (outbox, Box::pin(outlet.into_stream(texts())))
}

fn texts() -> Texts {
    let control: fn(Control) -> Option<String> = |control| match control {
        Control::Flow(signal) => Some(signal.as_json().to_owned()),
        _ => None,
    };
    let data: fn(String) -> String = |message| message;
    let close: fn(&Close) -> Option<String> = |_| Some("close".to_owned());
    frames(data, control, close)
}

/// Pulls until the end.
fn rest(stream: &mut Pin<Box<Pulled<String, Texts>>>) -> Vec<String> {
    std::iter::from_fn(|| block_on(poll_fn(|context| stream.as_mut().poll_next(context)))).collect()
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
