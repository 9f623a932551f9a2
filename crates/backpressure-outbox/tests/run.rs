//! What a sink is given, and when: order, batches, signals, gaps, slow consumers, and ends.
#![cfg(not(backpressure_loom))]

mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use backpressure_outbox::{
    Close, Depth, Ended, Exceeded, Flow, ItemClass, Load, Outbox, OutboxBuilder, Overflow, Refused, Signal, SlowConsumer, frames,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};
use wire::*;

type Task = JoinHandle<Ended<Broken>>;

fn start(builder: &OutboxBuilder<String>, credit: usize) -> (Outbox<String>, Peer, Task) {
    let (outbox, outlet) = builder.build().expect("bounds that leave room");
    let (wire, peer) = wire(credit);
    (outbox, peer, tokio::spawn(outlet.run(wire, Words)))
}

#[tokio::test(start_paused = true)]
async fn messages_are_written_in_order_and_flushed_once_nothing_waits() {
    let (outbox, peer, task) = start(&builder(), usize::MAX);
    send(&outbox, 0..30);
    settle().await;
    assert_eq!(peer.data(), strings(0..30));
    assert_eq!((peer.flushed(), peer.flushes()), (30, 1));
    let numbers = outbox.numbers();
    assert_eq!((numbers.sent, numbers.written, numbers.in_flight, numbers.writes), (30, 30, 0, 1));
    drop(outbox);
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(peer.taken().last(), Some(&Frame::Close(Close::NORMAL)));
    assert!(peer.is_closed() && peer.is_dropped());
}

#[test]
fn a_sink_that_is_always_ready_is_flushed_every_64_frames_and_others_get_their_turn() {
    let (outbox, outlet) = builder().max_messages(1_000).watermarks(100, 0).build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    let mut run = Box::pin(outlet.run(wire, Words));
    send(&outbox, 0..900);
    let (waker, woken) = count_wakes();
    for turn in 1..=14 {
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((peer.flushed(), peer.flushes(), woken.load(Ordering::Relaxed)), (turn * 64, turn, turn));
    }
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((peer.flushed(), peer.flushes(), woken.load(Ordering::Relaxed)), (900, 15, 14));
}

#[test]
fn what_a_sink_takes_little_by_little_is_flushed_every_64_frames_too() {
    let (outbox, outlet) = builder().max_messages(1_000).watermarks(100, 0).build().unwrap();
    let (wire, peer) = wire(40);
    let mut run = Box::pin(outlet.run(wire, Words));
    send(&outbox, 0..900);
    let (waker, _woken) = count_wakes();
    for flushed in [0, 64, 64, 128, 192] {
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(peer.flushed(), flushed);
        peer.take(40);
    }
}

#[test]
fn a_producer_that_keeps_up_with_the_writer_does_not_keep_the_task() {
    let (outbox, outlet) = builder().build().unwrap();
    send(&outbox, [0]);
    // Each message is there as soon as the one before is flushed.
    let written = AtomicUsize::new(0);
    let sink = futures_util::sink::unfold((), async |(), _: Frame| {
        if written.fetch_add(1, Ordering::Relaxed) < 1_000 {
            send(&outbox, ["more"]);
        }
        Ok::<_, Broken>(())
    });
    let mut run = Box::pin(outlet.run(sink, Words));
    let (waker, woken) = count_wakes();
    for turn in 1..4 {
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((written.load(Ordering::Relaxed), woken.load(Ordering::Relaxed)), (64 * turn, turn));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_lasts_until_it_is_flushed() {
    let (outbox, peer, _task) = start(&builder(), 0);
    send(&outbox, [1]);
    settle().await;
    advance(millis(30)).await;
    peer.stall_flush(true);
    peer.take(1);
    settle().await;
    assert_eq!(outbox.numbers().in_flight, 1);
    advance(millis(40)).await;
    peer.stall_flush(false);
    settle().await;
    let numbers = outbox.numbers();
    assert_eq!((numbers.written, numbers.in_flight), (1, 0));
    assert_eq!((numbers.writes, numbers.write_max, numbers.write_mean), (1, millis(70), millis(70)));
    // What the sink takes at once took no time, and what it only flushes late took that.
    for (stalled, mean) in [(0, 35), (50, 40)] {
        peer.take(1);
        peer.stall_flush(stalled > 0);
        send(&outbox, [2]);
        settle().await;
        advance(millis(stalled)).await;
        peer.stall_flush(false);
        settle().await;
        assert_eq!((outbox.numbers().write_max, outbox.numbers().write_mean), (millis(70), millis(mean)));
        advance(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_goes_ahead_of_data_that_was_there_before_and_each_cycle_has_one_of_each() {
    let flow = Flow::new();
    let (outbox, peer, _task) = start(&builder().flow(&flow), 0);
    for cycle in 1..=5 {
        // A reader that reads none, then all: up to the mark, round it, and down.
        send(&outbox, 0..37);
        settle().await;
        assert!(!outbox.is_paused());
        send(&outbox, [37]);
        assert!(outbox.is_paused() && flow.is_paused());
        for _ in 0..3 {
            // One is the signal the first time.
            peer.take(1);
            settle().await;
            send(&outbox, [38]);
        }
        peer.take(19);
        settle().await;
        assert_eq!(peer.signals().len(), 2 * cycle - 1);
        peer.take(usize::MAX);
        settle().await;
        assert!(!outbox.is_paused() && !flow.is_paused());
        assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume].repeat(cycle));
        peer.stall();
    }
    assert_eq!(peer.taken()[0], Frame::Flow(Signal::Pause));
}

#[tokio::test(start_paused = true)]
async fn the_time_in_pauses_adds_up_and_runs_while_one_lasts() {
    let (outbox, peer, _task) = start(&builder(), 0);
    for cycle in 0..3 {
        advance(secs(5)).await;
        assert_eq!(outbox.numbers().paused_for, millis(1_500) * cycle);
        send(&outbox, 0..40);
        advance(secs(1)).await;
        assert_eq!(outbox.numbers().paused_for, millis(1_500) * cycle + secs(1));
        assert_eq!(outbox.numbers().oldest, Some(secs(1)));
        advance(millis(500)).await;
        peer.take(usize::MAX);
        settle().await;
        assert_eq!((outbox.numbers().paused, outbox.numbers().oldest), (false, None));
        peer.stall();
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_alone_pause_and_both_must_drain_to_resume() {
    let (outbox, peer, _task) = start(&builder().max_messages(10).max_bytes(1_000), 0);
    send(&outbox, ["x".repeat(749)]);
    assert!(!outbox.is_paused());
    send(&outbox, ["x"]);
    assert!(outbox.is_paused());
    send(&outbox, ["y"; 7]);
    // The heavy one leaves: of bytes there are few now, of messages eight.
    peer.take(2);
    settle().await;
    assert!(outbox.is_paused());
    peer.take(5);
    settle().await;
    assert!(!outbox.is_paused());
}

#[tokio::test(start_paused = true)]
async fn bytes_between_their_marks_keep_up_the_pause_that_messages_began() {
    let (outbox, peer, _task) = start(&builder().max_messages(100).max_bytes(1_000), 0);
    send(&outbox, (0..74).map(|_| "x".to_owned()).chain(["y".repeat(500)]));
    assert!(outbox.is_paused());
    // The signal, and all light ones.
    peer.take(75);
    settle().await;
    assert_eq!((outbox.numbers().bytes, outbox.is_paused()), (500, true));
    peer.take(1);
    settle().await;
    assert!(!outbox.is_paused());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_peer_has_not_got_yet_is_not_told_once_it_is_over() {
    let (outbox, peer, _task) = start(&builder().max_messages(8).overflow(Overflow::DropOldest).max_bytes(100), 0);
    for _ in 0..1_000 {
        // Many light ones, displaced by one heavy one, displaced by a light one: up and down, and nobody reads.
        send(&outbox, ["x"; 8]);
        send(&outbox, ["x".repeat(100)]);
    }
    send(&outbox, ["x"]);
    assert!(!outbox.is_paused());
    peer.take(usize::MAX);
    settle().await;
    assert_eq!(peer.signals(), []);
}

#[tokio::test(start_paused = true)]
async fn urgent_messages_overtake_and_are_neither_counted_nor_dropped() {
    let (outbox, peer, _task) = start(&builder().max_messages(2).overflow(Overflow::DropOldest), 0);
    send(&outbox, 0..1);
    for urgent in 0..8 {
        outbox.try_send_as(ItemClass::Urgent, format!("urgent {urgent}")).unwrap();
    }
    let refused = outbox.try_send_as(ItemClass::Urgent, "one too many".to_owned()).unwrap_err();
    assert_eq!((refused.reason, refused.into_value().as_str()), (Refused::Full, "one too many"));
    assert!(!outbox.is_paused());
    send(&outbox, 1..9);
    peer.take(usize::MAX);
    settle().await;
    let mut expected: Vec<_> = (0..8).map(|urgent| format!("urgent {urgent}")).collect();
    expected.extend(strings(7..9));
    assert_eq!(peer.data(), expected);
    assert_eq!(peer.taken()[0], Frame::Flow(Signal::Pause));
}

#[tokio::test(start_paused = true)]
async fn a_marker_comes_ahead_of_the_first_message_after_a_loss_and_only_then() {
    for (overflow, expected) in [
        (Overflow::DropOldest, &["lost 4 of 4 bytes", "4", "5", "again"] as &[_]),
        (Overflow::DropNewest, &["0", "1", "lost 4 of 4 bytes", "again"]),
    ] {
        let marker = |missed: Load| format!("lost {} of {} bytes", missed.items, missed.weight);
        let (outbox, peer, _task) = start(&builder().max_messages(2).overflow(overflow).gap_marker(marker), 0);
        send(&outbox, 0..6);
        peer.take(4);
        settle().await;
        send(&outbox, ["again"]);
        peer.take(9);
        settle().await;
        assert_eq!(peer.data(), expected);
        assert_eq!(outbox.numbers().written, 3);
        assert_eq!(outbox.numbers().dropped.total(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_keys_at_ten_kilohertz_take_fifty_places_and_the_newest_of_each_arrives() {
    let limits = SlowConsumer::new().hard(Depth::messages(50));
    let (outbox, peer, _task) = start(&builder().slow(limits), 0);
    let mut newest = vec![0; 50];
    for tick in 0..50_000_u64 {
        let key = tick % 50;
        newest[usize::try_from(key).unwrap()] = tick;
        outbox.try_send_as(ItemClass::Conflated(key), tick.to_string()).unwrap();
        assert!(outbox.numbers().messages <= 50);
        advance(std::time::Duration::from_micros(100)).await;
        if tick % 1_000 == 0 {
            peer.take(1);
        }
    }
    peer.take(usize::MAX);
    sleep(secs(1)).await;
    let data = peer.data();
    let mut last = vec![None; 50];
    for value in data {
        let value: u64 = value.parse().unwrap();
        last[usize::try_from(value % 50).unwrap()] = Some(value);
    }
    assert_eq!(last, newest.into_iter().map(Some).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn above_the_hard_limit_the_arriving_message_ends_it_at_once_whatever_the_sink_does() {
    let limits = SlowConsumer::new().hard(Depth::messages(50));
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let flow = Flow::new();
        let (outbox, peer, task) = start(&builder().overflow(overflow).flow(&flow).slow(limits), 0);
        let began = Instant::now();
        send(&outbox, 0..50);
        assert!(!outbox.is_closed());
        send(&outbox, [50]);
        // By the sender, before the task has run.
        assert!(outbox.is_closed() && !flow.is_paused());
        assert_eq!(outbox.numbers().messages, 0);
        assert_eq!(outbox.try_send("late".to_owned()).unwrap_err().reason, Refused::Closed);
        assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Hard));
        // The transport has a second for the close frame, and is dropped.
        assert_eq!(began.elapsed(), secs(1));
        assert!(peer.is_dropped() && outbox.has_ended());
        assert_eq!(peer.taken(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn above_the_hard_limit_it_ends_also_while_the_task_waits_for_its_sink() {
    let (outbox, _peer, task) = start(&builder().slow(SlowConsumer::new().hard(Depth::messages(3))), 0);
    send(&outbox, 0..3);
    settle().await;
    send(&outbox, [3]);
    assert_eq!(timeout(secs(2), task).await.unwrap().unwrap(), Ended::Slow(Exceeded::Hard));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_finds_no_room_counts_for_the_hard_limit_also_where_little_waits() {
    let limits = SlowConsumer::new().hard(Depth::bytes(100));
    let (outbox, _peer, _task) = start(&builder().max_bytes(100).slow(limits), 0);
    send(&outbox, ["x".repeat(10), "y".repeat(90)]);
    assert!(!outbox.is_closed());
    let (outbox, _peer, _task) = start(&builder().max_bytes(100).slow(limits), 0);
    send(&outbox, ["x".repeat(10), "y".repeat(91)]);
    assert!(outbox.is_closed());
}

#[test]
fn what_is_urgent_shares_a_batch_with_data() {
    let (outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    let mut run = Box::pin(outlet.run(wire, Words));
    send(&outbox, 0..3);
    for urgent in 0..3 {
        outbox.try_send_as(ItemClass::Urgent, urgent.to_string()).unwrap();
    }
    let (waker, _woken) = count_wakes();
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((peer.flushed(), peer.flushes()), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_may_be_sent_by_who_would_wait_too() {
    let (outbox, peer, _task) = start(&builder(), usize::MAX);
    outbox.hold();
    send(&outbox, 0..3);
    settle().await;
    outbox.send_as(ItemClass::Urgent, "urgent".to_owned()).await.unwrap();
    settle().await;
    assert_eq!(peer.data(), ["urgent"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_slow_any_more_wakes_nobody_when_it_would_have_been() {
    let limits = SlowConsumer::new().soft(Depth::messages(2), secs(3));
    let (outbox, outlet) = builder().slow(limits).build().unwrap();
    let (wire, peer) = wire(0);
    let mut run = Box::pin(outlet.run(wire, Words));
    let (waker, woken) = count_wakes();
    send(&outbox, 0..3);
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    peer.take(1);
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let before = woken.load(Ordering::Relaxed);
    advance(secs(9)).await;
    assert_eq!(woken.load(Ordering::Relaxed), before);
}

#[test]
fn a_writer_that_waits_for_its_sink_is_not_woken_by_messages() {
    let (outbox, outlet) = builder().build().unwrap();
    let (wire, _peer) = wire(0);
    let mut run = Box::pin(outlet.run(wire, Words));
    let (waker, woken) = count_wakes();
    send(&outbox, [0]);
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    send(&outbox, 1..30);
    outbox.try_send_as(ItemClass::Urgent, "urgent".to_owned()).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_before_a_slow_end_and_is_flushed_with_the_last_words_is_written() {
    let (outbox, peer, task) = start(&builder().slow(SlowConsumer::new().hard(Depth::messages(3))), 3);
    peer.stall_flush(true);
    send(&outbox, 0..3);
    settle().await;
    send(&outbox, 3..7);
    peer.take(1);
    settle().await;
    assert_eq!(outbox.numbers().in_flight, 3);
    peer.stall_flush(false);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Hard));
    let numbers = outbox.numbers();
    assert_eq!((numbers.written, numbers.in_flight, numbers.dropped.discarded, numbers.writes), (3, 0, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_still_writes_gets_the_close_frame_and_none_of_the_rest() {
    let limits = SlowConsumer::new().hard(Depth::bytes(10));
    let builder = builder().slow(limits).close_slow_with(Close::OVERLOADED);
    let (outbox, peer, task) = start(&builder, 0);
    send(&outbox, ["x".repeat(10)]);
    send(&outbox, ["y"]);
    peer.take(1);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Hard));
    assert_eq!(peer.taken(), [Frame::Close(Close::OVERLOADED)]);
    assert_eq!(outbox.numbers().dropped.discarded, 2);
}

#[tokio::test(start_paused = true)]
async fn above_the_soft_limit_it_ends_after_three_seconds_without_any_traffic() {
    let limits = SlowConsumer::new().soft(Depth::messages(10), secs(3));
    let (outbox, peer, task) = start(&builder().slow(limits), 0);
    settle().await;
    advance(secs(7)).await;
    let began = Instant::now();
    send(&outbox, 0..11);
    peer.take(0);
    while !outbox.is_closed() {
        sleep(millis(1)).await;
    }
    assert!(began.elapsed() > secs(3) && began.elapsed() <= millis(3_010), "{:?}", began.elapsed());
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Soft));
    assert!(began.elapsed() <= millis(4_010));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_waits_for_its_sink_learns_that_the_soft_limit_was_passed_behind_its_back() {
    let limits = SlowConsumer::new().soft(Depth::messages(10), secs(3));
    let (outbox, _peer, task) = start(&builder().slow(limits), 0);
    send(&outbox, 0..1);
    settle().await;
    let began = Instant::now();
    send(&outbox, 1..11);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Soft));
    assert!(began.elapsed() > secs(4) && began.elapsed() <= millis(4_010), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_holds_is_not_written_when_the_outbox_is_closed_and_is_counted() {
    let (outbox, peer, task) = start(&builder(), usize::MAX);
    outbox.hold();
    send(&outbox, 0..3);
    outbox.close(Close::NORMAL);
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(peer.taken(), [Frame::Close(Close::NORMAL)]);
    assert_eq!(outbox.numbers().dropped.discarded, 3);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_words_for_signals_and_ends_just_gets_the_data() {
    let (outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    send(&outbox, 0..40);
    drop(outbox);
    let ended = outlet.run(wire, frames(Frame::Data, |_| None, |_| None)).await;
    assert_eq!(ended, Ended::Closed);
    assert_eq!((peer.taken().len(), peer.data()), (40, strings(0..40)));
}

#[tokio::test(start_paused = true)]
async fn frames_that_panic_take_the_connection_along_and_nothing_else() {
    let flow = Flow::new();
    let (outbox, outlet) = builder().flow(&flow).build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    send(&outbox, 0..40);
    let words =
        frames(|message: String| if message == "2" { panic!("as it should") } else { Frame::Data(message) }, |_| None, |_| None);
    assert!(tokio::spawn(outlet.run(wire, words)).await.unwrap_err().is_panic());
    assert!(peer.is_dropped() && outbox.has_ended() && !flow.is_paused());
    let numbers = outbox.numbers();
    assert_eq!((numbers.in_flight, numbers.dropped.discarded), (3, 37));
}

#[tokio::test(start_paused = true)]
async fn an_instant_within_the_soft_limit_gives_the_whole_time_again() {
    let limits = SlowConsumer::new().soft(Depth::messages(10), secs(3));
    let (outbox, peer, task) = start(&builder().slow(limits), 0);
    for _ in 0..10 {
        send(&outbox, 0..11);
        sleep(millis(2_990)).await;
        peer.take(11);
        settle().await;
        assert!(!outbox.is_closed());
    }
    drop(outbox);
    peer.take(1);
    assert_eq!(task.await.unwrap(), Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_asked_once_each_time_and_its_word_is_final() {
    let asked = Arc::new(AtomicUsize::new(0));
    let on_slow = {
        let asked = Arc::clone(&asked);
        move |exceeded| {
            assert_eq!(exceeded, Exceeded::Soft);
            (asked.fetch_add(1, Ordering::Relaxed) == 1).then(|| Close::new(4_008, "enough"))
        }
    };
    let limits = SlowConsumer::new().soft(Depth::messages(1), secs(3));
    let (outbox, peer, task) = start(&builder().slow(limits).on_slow(on_slow), 0);
    send(&outbox, 0..2);
    sleep(secs(60)).await;
    send(&outbox, 2..9);
    sleep(secs(60)).await;
    assert_eq!((asked.load(Ordering::Relaxed), outbox.is_closed()), (1, false));
    peer.take(9);
    settle().await;
    send(&outbox, 0..2);
    sleep(millis(3_002)).await;
    assert_eq!((asked.load(Ordering::Relaxed), outbox.is_closed()), (2, true));
    peer.take(1);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Soft));
    assert_eq!(peer.taken().last(), Some(&Frame::Close(Close::new(4_008, "enough"))));
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_asked_about_the_hard_limit_too_far_below_the_watermarks() {
    let asked = Arc::new(AtomicUsize::new(0));
    let on_slow = {
        let asked = Arc::clone(&asked);
        move |exceeded| {
            assert_eq!(exceeded, Exceeded::Hard);
            asked.fetch_add(1, Ordering::Relaxed);
            None
        }
    };
    let (outbox, peer, _task) = start(&builder().slow(SlowConsumer::new().hard(Depth::messages(2))).on_slow(on_slow), 0);
    for times in 1..4 {
        send(&outbox, 0..9);
        settle().await;
        assert_eq!(asked.load(Ordering::Relaxed), times);
        peer.take(9);
        settle().await;
    }
    assert!(!outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn closing_writes_what_waits_and_gives_up_after_a_second() {
    let (outbox, peer, task) = start(&builder(), 0);
    send(&outbox, 0..3);
    outbox.close(Close::GOING_AWAY);
    outbox.close(Close::NORMAL);
    assert_eq!(outbox.try_send("late".to_owned()).unwrap_err().reason, Refused::Closed);
    peer.take(4);
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(peer.data(), strings(0..3));
    assert_eq!(peer.taken().last(), Some(&Frame::Close(Close::GOING_AWAY)));
    // The last words are no write of messages.
    assert_eq!(outbox.numbers().writes, 1);

    for stall in [Peer::stall, |peer: &Peer| peer.stall_flush(true), Peer::stall_close] {
        let (outbox, peer, task) = start(&builder().close_within(millis(700)), usize::MAX);
        stall(&peer);
        send(&outbox, 0..3);
        settle().await;
        let began = Instant::now();
        outbox.close(Close::NORMAL);
        assert_eq!(task.await.unwrap(), Ended::CutOff);
        assert_eq!(began.elapsed(), millis(700));
        assert!(peer.is_dropped());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_ends_it_and_frees_the_producer() {
    let flow = Flow::new();
    let (outbox, peer, task) = start(&builder().flow(&flow), 10);
    peer.stall_flush(true);
    send(&outbox, 0..50);
    settle().await;
    let waits = tokio::spawn(flow.resumed());
    settle().await;
    assert!(flow.is_paused() && !waits.is_finished());
    peer.break_down();
    assert_eq!(task.await.unwrap(), Ended::Transport(Broken));
    waits.await.unwrap();
    let numbers = outbox.numbers();
    assert_eq!((numbers.sent, numbers.in_flight, numbers.dropped.discarded, numbers.messages), (50, 9, 41, 0));
    assert!(numbers.closed && !numbers.paused);
}

#[tokio::test(start_paused = true)]
async fn several_full_outboxes_pause_one_producer_until_all_have_drained() {
    let flow = Flow::new();
    let builder = builder().flow(&flow);
    let all: Vec<_> = (0..3).map(|_| start(&builder, 0)).collect();
    for (outbox, ..) in &all {
        send(outbox, 0..40);
    }
    assert_eq!(flow.pauses(), 3);
    let producer = tokio::spawn(flow.resumed());
    for (index, (_, peer, task)) in all.iter().enumerate() {
        assert!(!producer.is_finished());
        if index == 1 {
            // This one will not drain any more.
            task.abort();
        } else {
            peer.take(usize::MAX);
        }
        settle().await;
    }
    producer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_for_room_gets_its_message_back_when_the_outbox_ends() {
    let limits = SlowConsumer::new().soft(Depth::messages(40), secs(3));
    let (outbox, _peer, task) = start(&builder().overflow(Overflow::Block).slow(limits), 0);
    send(&outbox, 0..50);
    let waits = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.send("patience".to_owned()).await }
    });
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Soft));
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.into_value().as_str()), (Refused::Closed, "patience"));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_64_mebibytes_comes_back_and_makes_nobody_slow() {
    let limits = SlowConsumer::new().hard(Depth::bytes(1 << 20));
    let (outbox, _peer, _task) = start(&builder().slow(limits), 0);
    let error = outbox.try_send("x".repeat(64 << 20)).unwrap_err();
    assert_eq!((error.reason, error.into_value().len()), (Refused::TooHeavy, 64 << 20));
    assert!(!outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_holds_waits_for_it_and_urgent_messages_do_not() {
    let (outbox, peer, _task) = start(&builder(), usize::MAX);
    outbox.hold();
    send(&outbox, 0..5);
    outbox.try_send_as(ItemClass::Urgent, "urgent".to_owned()).unwrap();
    settle().await;
    assert_eq!(peer.data(), ["urgent"]);
    outbox.try_send_as(ItemClass::Urgent, "more".to_owned()).unwrap();
    settle().await;
    assert_eq!(peer.data(), ["urgent", "more"]);
    outbox.release();
    settle().await;
    assert_eq!(peer.data().len(), 7);
    for _ in 0..1_000_000 {
        outbox.hold();
        outbox.release();
    }
    assert!(!outbox.numbers().held_by_peer);
}
