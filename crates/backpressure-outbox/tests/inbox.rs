//! What a peer has sent and nobody has handled yet: signals, bounds, rates and ends, with tokio's time paused.
#![cfg(not(backpressure_loom))]

mod wire;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use backpressure_core::{Rate, TokenBucket};
use backpressure_outbox::{Close, Ended, Inbound, Inbox, InboxBuilder, Outbox, OutboxBuilder, OutboxError, Signal, obey};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use wire::*;

type Task = JoinHandle<Ended<Broken>>;

fn inboxes() -> InboxBuilder<String> {
    Inbox::builder(String::len)
}

/// A connection that hands everything to an application.
fn start(inboxes: &InboxBuilder<String>) -> (Inbox<String>, Outbox<String>, Peer, Task) {
    start_with(inboxes, &builder().heartbeat(std::time::Duration::MAX, 1))
}

fn start_with(inboxes: &InboxBuilder<String>, outboxes: &OutboxBuilder<String>) -> (Inbox<String>, Outbox<String>, Peer, Task) {
    let (inbox, intake) = inboxes.build().expect("bounds that leave room");
    let (outbox, outlet) = outboxes.build().expect("bounds that leave room");
    let (wire, peer) = wire(usize::MAX);
    let on_message = obey(|text: &String| Some(text), Inbound::Deliver);
    let task = tokio::spawn(outlet.drive_into(wire, Words, intake, on_message));
    (inbox, outbox, peer, task)
}

async fn receive(inbox: &mut Inbox<String>, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    for _ in 0..count {
        received.push(inbox.recv().await.expect("more of it"));
    }
    settle().await;
    received
}

async fn say(peer: &Peer, messages: impl IntoIterator<Item = impl ToString>) {
    for message in messages {
        peer.send(&message.to_string());
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_obeys_sees_one_pause_and_one_resume_a_cycle_and_none_round_the_marks() {
    let (mut inbox, _outbox, peer, _task) = start(&inboxes());
    for cycle in 1..=5 {
        say(&peer, 0..37).await;
        assert_eq!(peer.signals().len(), 2 * (cycle - 1));
        say(&peer, [37]).await;
        assert_eq!(peer.signals().len(), 2 * cycle - 1);
        assert!(inbox.numbers().paused);
        for _ in 0..3 {
            receive(&mut inbox, 1).await;
            say(&peer, [38]).await;
        }
        receive(&mut inbox, 18).await;
        assert_eq!((inbox.numbers().messages, peer.signals().len()), (20, 2 * cycle - 1));
        receive(&mut inbox, 1).await;
        assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume].repeat(cycle));
        receive(&mut inbox, 19).await;
    }
    assert_eq!((inbox.numbers().stopped_full, inbox.numbers().stopped_rate), (0, 0));
    assert_eq!(inbox.numbers().received, 5 * 41);
}

#[tokio::test(start_paused = true)]
async fn of_a_peer_that_does_not_obey_no_more_is_read_than_the_bound_and_one_in_hand() {
    let (mut inbox, outbox, peer, _task) = start(&inboxes().max_messages(10));
    say(&peer, 0..1_000).await;
    assert_eq!((peer.reads(), inbox.numbers().messages), (11, 10));
    advance(secs(1)).await;
    assert_eq!(inbox.numbers().oldest, Some(secs(1)));
    // It stops once, however often the task has something else to do.
    for _ in 0..3 {
        outbox.try_send("meanwhile".to_owned()).unwrap();
        settle().await;
    }
    assert_eq!(inbox.numbers().stopped_full, 1);
    assert_eq!(receive(&mut inbox, 1).await, ["0"]);
    assert_eq!((peer.reads(), inbox.numbers().stopped_full), (12, 2));
    assert_eq!(receive(&mut inbox, 999).await, strings(1..1_000));
    assert_eq!(peer.reads(), 1_000);
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume]);
}

#[tokio::test(start_paused = true)]
async fn bytes_count_as_messages_do_and_both_must_drain() {
    let (mut inbox, _outbox, peer, _task) = start(&inboxes().max_bytes(1_000));
    say(&peer, ["x".repeat(749)]).await;
    assert!(!inbox.numbers().paused);
    say(&peer, ["x", "y", "z"]).await;
    assert!(inbox.numbers().paused);
    receive(&mut inbox, 1).await;
    assert_eq!((inbox.numbers().paused, inbox.numbers().bytes), (false, 3));
    // Nothing of 600 has room beside 600.
    say(&peer, ["x".repeat(600), "x".repeat(600), "y".to_owned()]).await;
    assert_eq!(peer.reads(), 6);
    assert_eq!(inbox.numbers().bytes, 603);
    receive(&mut inbox, 6).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_between_their_marks_keep_up_the_pause_that_messages_began_and_no_longer() {
    let (mut inbox, _outbox, peer, _task) = start(&inboxes().max_messages(100).max_bytes(1_000));
    say(&peer, (0..74).map(|_| "x".to_owned()).chain(["y".repeat(500)])).await;
    assert_eq!(peer.signals(), [Signal::Pause]);
    receive(&mut inbox, 74).await;
    assert_eq!((inbox.numbers().bytes, peer.signals()), (500, vec![Signal::Pause]));
    // Nor does anything else that wakes the reader end it.
    say(&peer, ["z"]).await;
    assert_eq!(peer.signals(), [Signal::Pause]);
    receive(&mut inbox, 1).await;
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume]);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_bound_ends_the_connection_and_takes_nothing_along() {
    let (mut inbox, _outbox, peer, task) = start(&inboxes().max_bytes(64 << 10));
    say(&peer, ["before".to_owned(), "x".repeat(64 << 20), "after".to_owned()]).await;
    assert_eq!(peer.taken(), [Frame::Close(Close::TOO_BIG)]);
    assert_eq!(receive(&mut inbox, 1).await, ["before"]);
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(inbox.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn faster_than_its_rate_a_peer_is_told_to_pause_once_and_read_at_the_rate() {
    let rate = TokenBucket::new(Rate::per_second(100)).burst(20);
    let (mut inbox, _outbox, peer, _task) = start(&inboxes().max_messages(10_000).message_rate(rate));
    let began = Instant::now();
    say(&peer, 0..1_000).await;
    assert_eq!((peer.reads(), peer.signals()), (20, vec![Signal::Pause]));
    while peer.reads() < 1_000 {
        advance(millis(1)).await;
        settle().await;
        let most = 20 + usize::try_from(began.elapsed().as_millis() / 10).unwrap();
        assert!(peer.reads() <= most && peer.reads() + 1 >= most, "{} of {most}", peer.reads());
    }
    assert_eq!(peer.signals(), [Signal::Pause]);
    // Half of the burst: ten messages' worth later it may go on.
    advance(millis(99)).await;
    settle().await;
    assert_eq!(peer.signals(), [Signal::Pause]);
    advance(millis(2)).await;
    settle().await;
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume]);
    assert_eq!(receive(&mut inbox, 1_000).await, strings(0..1_000));
    assert!(inbox.numbers().stopped_rate > 900 && inbox.numbers().stopped_full == 0);
}

#[tokio::test(start_paused = true)]
async fn a_byte_rate_is_charged_with_what_was_read_and_waits_as_long_as_that_takes() {
    let rate = TokenBucket::new(Rate::per_second(1_000)).burst(100);
    let (mut inbox, _outbox, peer, _task) = start(&inboxes().byte_rate(rate));
    say(&peer, ["x".repeat(5_000), "y".to_owned()]).await;
    assert_eq!(peer.reads(), 1);
    advance(millis(4_899)).await;
    settle().await;
    assert_eq!(peer.reads(), 1);
    advance(millis(3)).await;
    settle().await;
    assert_eq!(peer.reads(), 2);
    receive(&mut inbox, 2).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_rates_the_one_that_takes_longer_counts_whichever_it_is() {
    let (slow, fast) = (TokenBucket::new(Rate::per_second(1)).burst(1), TokenBucket::new(Rate::per_second(1_000)).burst(1_000));
    for inboxes in [inboxes().message_rate(slow).byte_rate(fast), inboxes().message_rate(fast).byte_rate(slow)] {
        let (_inbox, _outbox, peer, _task) = start(&inboxes);
        say(&peer, ["x"; 9]).await;
        assert_eq!(peer.reads(), 1);
        for reads in 2..5 {
            advance(millis(1_001)).await;
            settle().await;
            assert_eq!(peer.reads(), reads);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_million_flips_are_read_at_the_rate_and_cost_nothing_but_themselves() {
    let (inbox, outbox, peer, _task) = start(&inboxes().message_rate(Rate::per_second(1_000)));
    for _ in 0..500_000 {
        peer.send(r#"{"event":"flow.pause"}"#);
        peer.send(r#"{"event":"flow.resume"}"#);
    }
    settle().await;
    assert_eq!(peer.reads(), 1_000);
    for second in 1..=20 {
        advance(secs(1)).await;
        settle().await;
        assert!(peer.reads() <= 1_000 * (second + 1));
    }
    assert_eq!((inbox.numbers().messages, outbox.numbers().messages), (0, 0));
    assert!(!outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_ended_as_silent_while_it_is_this_side_that_does_not_read() {
    let (mut inbox, _outbox, peer, task) = start_with(&inboxes().max_messages(2), &builder().heartbeat(secs(1), 2));
    say(&peer, 0..10).await;
    for _ in 0..20 {
        advance(secs(1)).await;
        settle().await;
    }
    assert!(!task.is_finished());
    // Once its last message is read, its silence is its own.
    receive(&mut inbox, 10).await;
    for _ in 0..5 {
        advance(secs(1)).await;
        settle().await;
    }
    assert_eq!(task.await.unwrap(), Ended::Silent { missed: 2 });
}

#[tokio::test(start_paused = true)]
async fn an_application_that_drops_its_inbox_ends_the_connection_at_once() {
    let (inbox, _outbox, peer, task) = start(&inboxes());
    settle().await;
    drop(inbox);
    settle().await;
    assert_eq!(peer.taken(), [Frame::Close(Close::GOING_AWAY)]);
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_received_after_the_end_the_one_in_hand_too() {
    let (mut inbox, outbox, peer, task) = start(&inboxes().max_messages(3));
    say(&peer, 0..9).await;
    assert_eq!(peer.reads(), 4);
    peer.break_down();
    outbox.try_send("notices".to_owned()).unwrap();
    assert_eq!(task.await.unwrap(), Ended::Transport(Broken));
    assert_eq!(receive(&mut inbox, 4).await, strings(0..4));
    assert_eq!(inbox.recv().await, None);
    assert_eq!(inbox.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_quiet_tells_its_peer_of_the_inbox_only() {
    let (mut inbox, outbox, peer, _task) = start_with(&inboxes(), &builder().quiet());
    outbox.hold();
    send(&outbox, 0..40);
    settle().await;
    assert_eq!((outbox.is_paused(), peer.signals()), (true, vec![]));
    say(&peer, 0..40).await;
    assert_eq!(peer.signals(), [Signal::Pause]);
    receive(&mut inbox, 40).await;
    assert_eq!((outbox.is_paused(), peer.signals()), (true, vec![Signal::Pause, Signal::Resume]));
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_is_full_does_not_keep_the_answer_to_the_last_words_from_being_read() {
    let (_inbox, outbox, peer, task) = start(&inboxes().max_messages(1));
    say(&peer, 0..9).await;
    let began = Instant::now();
    outbox.close(Close::NORMAL);
    settle().await;
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(began.elapsed(), millis(0));
}

#[tokio::test(start_paused = true)]
async fn an_inbox_ends_when_the_connection_resolves_and_not_with_its_future() {
    let (mut inbox, intake) = inboxes().build().unwrap();
    let (_outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(9);
    peer.send("last");
    peer.hang_up();
    let mut connection = Box::pin(outlet.drive_into(wire, Words, intake, Inbound::Deliver));
    assert_eq!(connection.as_mut().await, Ended::ByPeer);
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(now(inbox.recv(), &mut context), Some(Some("last".to_owned())));
    assert_eq!(now(inbox.recv(), &mut context), Some(None));
    drop(connection);
}

#[test]
fn what_is_not_timed_needs_no_runtime() {
    let (mut inbox, intake) = inboxes().build().unwrap();
    let (outbox, outlet) = builder().heartbeat(std::time::Duration::MAX, 1).build().unwrap();
    let (wire, peer) = wire(9);
    let mut connection = Box::pin(outlet.drive_into(wire, Words, intake, Inbound::Deliver));
    let mut context = Context::from_waker(Waker::noop());
    peer.send("hello");
    send(&outbox, ["to you"]);
    assert!(connection.as_mut().poll(&mut context).is_pending());
    assert_eq!(now(inbox.recv(), &mut context), Some(Some("hello".to_owned())));
    assert_eq!(peer.data(), ["to you"]);
}

#[tokio::test(start_paused = true)]
async fn both_directions_are_one_signal_that_alternates() {
    let (mut inbox, outbox, peer, _task) = start(&inboxes());
    settle().await;
    // The peer takes nothing while both fill; then one drains after the other.
    peer.stall();
    say(&peer, 0..40).await;
    send(&outbox, 0..40);
    receive(&mut inbox, 30).await;
    peer.take(1);
    settle().await;
    assert_eq!(peer.taken(), [Frame::Flow(Signal::Pause)]);
    peer.take(usize::MAX);
    settle().await;
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume]);
    say(&peer, 0..30).await;
    send(&outbox, 0..10);
    settle().await;
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume, Signal::Pause]);
    receive(&mut inbox, 30).await;
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume].repeat(2));
}

#[tokio::test(start_paused = true)]
async fn the_producer_of_the_outbox_is_not_paused_by_what_the_peer_sends() {
    let flow = backpressure_outbox::Flow::new();
    let (_inbox, outbox, peer, _task) = start_with(&inboxes(), &builder().flow(&flow));
    say(&peer, 0..50).await;
    assert_eq!(peer.signals(), [Signal::Pause]);
    assert!(!flow.is_paused() && !outbox.is_paused());
}

#[test]
fn wherever_the_connection_is_dropped_what_was_read_arrives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    for polls in 0..8 {
        let (mut inbox, intake) = inboxes().max_messages(4).build().unwrap();
        let (_outbox, outlet) = builder().build().unwrap();
        let (wire, peer) = wire(1);
        let mut connection = Box::pin(outlet.drive_into(wire, Words, intake, Inbound::Deliver));
        let mut context = Context::from_waker(Waker::noop());
        let mut received = Vec::new();
        for poll in 0..polls {
            peer.send(&(2 * poll).to_string());
            peer.send(&(2 * poll + 1).to_string());
            assert!(connection.as_mut().poll(&mut context).is_pending());
            if poll % 3 == 2 {
                received.extend(now(inbox.recv(), &mut context).flatten());
            }
        }
        drop(connection);
        while let Some(Some(message)) = now(inbox.recv(), &mut context) {
            received.push(message);
        }
        assert_eq!(received, strings(0..peer.reads()));
    }
}

/// What a future resolves to at its first poll.
fn now<F: Future>(future: F, context: &mut Context<'_>) -> Option<F::Output> {
    match pin!(future).poll(context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn bounds_without_room_and_marks_that_cross_are_refused() {
    assert!(matches!(inboxes().max_messages(0).build(), Err(OutboxError::Bounds(_))));
    assert!(matches!(inboxes().max_bytes(0).build(), Err(OutboxError::Bounds(_))));
    assert!(matches!(inboxes().watermarks(10, 10).build(), Err(OutboxError::Watermarks(_))));
    let extremes = inboxes().max_messages(usize::MAX).max_bytes(u64::MAX).watermarks(100, 0);
    assert!(extremes.build().is_ok());
}
