//! A connection whose future is dropped, wherever it waits.
#![cfg(not(backpressure_loom))]

mod wire;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use backpressure_outbox::{Close, Flow, Inbound, ItemClass, Numbers, Outbox, Overflow, Refused};
use wire::*;

/// What makes the future wait elsewhere than before.
type Step = fn(&Outbox<String>, &Peer);

const STEPS: [Step; 12] = [
    |_, _| {},
    |outbox, _| send(outbox, 0..45),
    |_, peer| peer.take(1),
    |_, peer| {
        peer.stall_flush(true);
        peer.take(3);
    },
    |_, peer| peer.send("pause"),
    |outbox, _| drop(outbox.try_send_as(ItemClass::Urgent, "urgent".to_owned())),
    |_, peer| peer.send("question"),
    |_, peer| peer.stall_flush(false),
    |_, peer| peer.take(9),
    |_, peer| peer.send("resume"),
    |outbox, _| outbox.close(Close::NORMAL),
    |_, peer| peer.take(100),
];

/// Plays so many steps, drops the future, and returns what the numbers say then.
fn drop_after(steps: usize, drives: bool) -> (Numbers, Peer) {
    let flow = Flow::new();
    let (outbox, outlet) = builder().flow(&flow).overflow(Overflow::Block).build().expect("bounds that leave room");
    let (wire, peer) = wire(0);
    let understand = |message: String| match message.as_str() {
        "pause" => Inbound::Pause,
        "resume" => Inbound::Resume,
        _ => Inbound::Reply(message),
    };
    let mut connection: Pin<Box<dyn Future<Output = ()>>> = match drives {
        true => Box::pin(async move {
            let _ended = outlet.drive(wire, Words, understand).await;
        }),
        false => Box::pin(async move {
            let _ended = outlet.run(wire, Words).await;
        }),
    };
    let mut context = Context::from_waker(Waker::noop());
    for step in &STEPS[..steps] {
        step(&outbox, &peer);
        assert!(connection.as_mut().poll(&mut context).is_pending() || !drives);
        let numbers = outbox.numbers();
        let accounted = numbers.messages + numbers.written + numbers.in_flight + numbers.dropped.discarded;
        assert_eq!(numbers.sent, accounted);
        if outbox.has_ended() {
            break;
        }
    }
    let before = (outbox.numbers(), peer.data().len());
    drop(connection);
    let numbers = outbox.numbers();
    assert!(peer.is_dropped() && outbox.has_ended() && outbox.is_closed() && !flow.is_paused());
    assert_eq!(outbox.try_send("late".to_owned()).map_err(|error| error.reason), Err(Refused::Closed));
    // Nothing reached the peer by it, and what waited is counted.
    assert_eq!(peer.data().len(), before.1);
    assert_eq!(numbers.dropped.discarded, before.0.dropped.discarded + before.0.messages);
    (numbers, peer)
}

#[test]
fn wherever_it_waits_only_what_the_transport_had_not_flushed_is_uncertain_and_all_is_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    for drives in [true, false] {
        let mut uncertain = 0;
        for steps in 0..=STEPS.len() {
            let (numbers, peer) = drop_after(steps, drives);
            assert_eq!(numbers.messages, 0);
            assert_eq!(numbers.sent, numbers.written + numbers.in_flight + numbers.dropped.discarded);
            let data = u64::try_from(peer.data().len()).unwrap();
            assert_eq!(data, numbers.written + numbers.in_flight);
            uncertain = uncertain.max(numbers.in_flight);
        }
        assert!(uncertain > 0, "one of the steps leaves something unflushed");
    }
}

#[test]
fn a_future_that_was_never_polled_gives_everything_back_too() {
    let (outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(9);
    send(&outbox, 0..3);
    drop(outlet.run(wire, Words));
    assert!(peer.is_dropped() && outbox.has_ended());
    assert_eq!(outbox.numbers().dropped.discarded, 3);

    let (outbox, outlet) = builder().build().unwrap();
    drop(outlet);
    assert!(outbox.has_ended());
}
