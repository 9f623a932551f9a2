//! Both halves of a socket: signs of life, answers, what the peer holds, and ends.
#![cfg(not(backpressure_loom))]

mod wire;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;

use backpressure_outbox::{Close, Depth, Ended, Exceeded, Inbound, ItemClass, Load, Outbox, OutboxBuilder, Signal, SlowConsumer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};
use wire::*;

type Task = JoinHandle<Ended<Broken>>;

/// What a peer of these tests may say.
#[expect(clippy::needless_pass_by_value, reason = "as `drive` hands it over")]
fn understand(message: String) -> Inbound<String> {
    match message.as_str() {
        "pause" => Inbound::Pause,
        "resume" => Inbound::Resume,
        "bye" => Inbound::Close(Close::NORMAL),
        "pong" => Inbound::Ignore,
        _ => Inbound::Reply(format!("re: {message}")),
    }
}

fn start(builder: &OutboxBuilder<String>, credit: usize) -> (Outbox<String>, Peer, Task) {
    let (outbox, outlet) = builder.build().expect("bounds that leave room");
    let (wire, peer) = wire(credit);
    (outbox, peer, tokio::spawn(outlet.drive(wire, Words, understand)))
}

fn pings(peer: &Peer) -> usize {
    peer.taken().iter().filter(|frame| **frame == Frame::Ping).count()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_is_asked_every_interval_and_kept() {
    let (outbox, peer, _task) = start(&builder().heartbeat(secs(10), 1), usize::MAX);
    for beat in 0..20 {
        sleep(secs(10)).await;
        settle().await;
        assert_eq!(pings(&peer), beat + 1);
        peer.send("pong");
    }
    assert!(!outbox.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_misses_its_heartbeats_is_ended_whether_it_takes_the_question_or_not() {
    for credit in [usize::MAX, 0] {
        let began = Instant::now();
        let (outbox, peer, task) = start(&builder().heartbeat(secs(10), 3), credit);
        send(&outbox, 0..3);
        sleep(millis(39_990)).await;
        assert!(!outbox.is_closed());
        assert_eq!(task.await.unwrap(), Ended::Silent { missed: 3 });
        // Its close frame has a second: to be written, or to be answered.
        assert_eq!(began.elapsed(), secs(41));
        assert!(peer.is_dropped());
        assert_eq!(pings(&peer), if credit == 0 { 0 } else { 3 });
    }
}

#[tokio::test(start_paused = true)]
async fn no_misses_are_one() {
    let began = Instant::now();
    let (_outbox, peer, task) = start(&builder().heartbeat(secs(10), 0), usize::MAX);
    for _ in 0..3 {
        sleep(secs(9)).await;
        peer.send("pong");
    }
    assert_eq!(task.await.unwrap(), Ended::Silent { missed: 1 });
    assert_eq!(began.elapsed(), secs(41));
}

#[tokio::test(start_paused = true)]
async fn any_sign_of_life_counts_and_the_count_begins_anew() {
    let (outbox, peer, _task) = start(&builder().heartbeat(secs(10), 2), usize::MAX);
    for _ in 0..10 {
        // One heartbeat of two is missed each time.
        sleep(secs(19)).await;
        peer.send("anything");
        settle().await;
        sleep(secs(1)).await;
        assert!(!outbox.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_answered_and_falls_silent_is_ended_as_any_other() {
    let began = Instant::now();
    let (_outbox, peer, task) = start(&builder().heartbeat(secs(10), 2), usize::MAX);
    sleep(secs(15)).await;
    peer.send("pong");
    assert_eq!(task.await.unwrap(), Ended::Silent { missed: 2 });
    assert_eq!(began.elapsed(), secs(41));
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_ahead_of_data() {
    let (outbox, peer, _task) = start(&builder(), 0);
    send(&outbox, 0..2);
    peer.send("question");
    settle().await;
    peer.take(9);
    settle().await;
    assert_eq!(peer.data(), ["re: question", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_without_reading_is_not_read_until_it_reads() {
    let (outbox, peer, _task) = start(&builder().reserve(Load { items: 3, weight: 1_000 }), 0);
    for question in 0..100 {
        peer.send(&question.to_string());
    }
    settle().await;
    // Three in the reserve, one in the hand.
    assert_eq!((peer.reads(), outbox.numbers().messages), (4, 3));
    peer.take(1);
    settle().await;
    assert_eq!(peer.reads(), 5);
    peer.take(usize::MAX);
    settle().await;
    assert_eq!((peer.reads(), outbox.numbers().dropped.refused), (100, 0));
    assert_eq!(peer.data(), (0..100).map(|question| format!("re: {question}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fits_no_reserve_is_lost_and_counted_and_does_not_stop_the_rest() {
    let (outbox, peer, _task) = start(&builder().reserve(Load { items: 3, weight: 10 }), usize::MAX);
    peer.send(&"x".repeat(100));
    peer.send("short");
    settle().await;
    assert_eq!(peer.data(), ["re: short"]);
    assert_eq!(outbox.numbers().dropped.refused, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_room_another_urgent_message_takes_waits_for_the_next() {
    // Weighed once to look for room, and a second time as it is sent: in between, another thread may send.
    let (between, weighed) = (Arc::new(OnceLock::<Outbox<String>>::new()), AtomicUsize::new(0));
    let bytes = {
        let between = Arc::clone(&between);
        move |message: &String| {
            if message == "re: question" && weighed.fetch_add(1, Ordering::Relaxed) == 1 {
                between.get().unwrap().try_send_as(ItemClass::Urgent, "alarm".to_owned()).unwrap();
            }
            message.len()
        }
    };
    let (outbox, peer, _task) = start(&Outbox::builder(bytes).reserve(Load { items: 1, weight: 100 }), usize::MAX);
    between.set(outbox).unwrap();
    peer.send("question");
    settle().await;
    assert_eq!(peer.data(), ["alarm", "re: question"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_reserved_answers_are_lost_and_the_peer_is_read_on() {
    for reserve in [Load::ZERO, Load { items: 0, weight: 1_000 }] {
        let (outbox, peer, _task) = start(&builder().reserve(reserve), usize::MAX);
        for question in 0..3 {
            peer.send(&question.to_string());
        }
        settle().await;
        assert_eq!((peer.reads(), outbox.numbers().dropped.refused), (3, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_pauses_gets_nothing_until_it_resumes_and_then_all_in_order() {
    let (outbox, peer, _task) = start(&builder(), usize::MAX);
    peer.send("pause");
    settle().await;
    send(&outbox, 0..40);
    settle().await;
    // It is told that it is too slow, and does get what is urgent.
    assert_eq!(peer.taken(), [Frame::Flow(Signal::Pause)]);
    outbox.try_send_as(ItemClass::Urgent, "urgent".to_owned()).unwrap();
    settle().await;
    assert_eq!(peer.data(), ["urgent"]);
    peer.send("resume");
    settle().await;
    assert_eq!(peer.data()[1..], strings(0..40));
    assert_eq!(peer.signals(), [Signal::Pause, Signal::Resume]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_pauses_for_ever_is_too_slow_after_the_soft_limit() {
    let limits = SlowConsumer::new().soft(Depth::messages(0), secs(3));
    let (outbox, peer, task) = start(&builder().slow(limits), usize::MAX);
    peer.send("pause");
    settle().await;
    let began = Instant::now();
    send(&outbox, 0..1);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Soft));
    assert!(began.elapsed() > secs(3) && began.elapsed() <= millis(4_010));
    assert_eq!(peer.taken(), [Frame::Close(Close::SLOW)]);
    assert_eq!(outbox.numbers().dropped.discarded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_flips_its_pause_a_million_times_costs_no_more_than_reading_it() {
    let (outbox, peer, _task) = start(&builder(), usize::MAX);
    send(&outbox, 0..3);
    for _ in 0..500_000 {
        peer.send("pause");
        peer.send("resume");
    }
    while peer.reads() < 1_000_000 {
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(peer.data(), strings(0..3));
    assert_eq!((peer.signals().len(), outbox.numbers().messages), (0, 0));
}

#[test]
fn a_peer_that_never_stops_sending_does_not_keep_the_task_or_its_own_data() {
    let (outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    let mut drive = Box::pin(outlet.drive(wire, Words, understand));
    for _ in 0..1_000 {
        peer.send("pong");
    }
    send(&outbox, 0..3);
    let (waker, woken) = count_wakes();
    assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((peer.reads(), peer.flushed(), woken.load(Ordering::Relaxed)), (64, 3, 1));
}

#[test]
fn a_peer_that_never_stops_asking_does_not_keep_the_task_where_its_answers_are_taken_at_once() {
    let (_outbox, outlet) = builder().build().unwrap();
    let (wire, peer) = wire(usize::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    let mut drive = Box::pin(outlet.drive(wire, Words, understand));
    for question in 0..1_000 {
        peer.send(&question.to_string());
    }
    let (waker, woken) = count_wakes();
    for turn in 1..4 {
        let before = woken.load(Ordering::Relaxed);
        assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(peer.reads(), 64 * turn);
        assert!(woken.load(Ordering::Relaxed) > before);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_or_breaks_ends_it_and_nothing_of_the_transport_is_left() {
    let (outbox, peer, task) = start(&builder(), 1);
    send(&outbox, 0..3);
    settle().await;
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::ByPeer);
    assert!(peer.is_dropped());
    let numbers = outbox.numbers();
    assert_eq!((numbers.in_flight, numbers.written, numbers.dropped.discarded), (1, 0, 2));

    let (outbox, peer, task) = start(&builder(), 1);
    peer.send_broken();
    assert_eq!(task.await.unwrap(), Ended::Transport(Broken));
    assert!(peer.is_dropped() && outbox.has_ended());
}

#[tokio::test(start_paused = true)]
async fn the_last_words_are_answered_or_the_second_passes() {
    let (outbox, peer, task) = start(&builder(), usize::MAX);
    send(&outbox, 0..3);
    outbox.close(Close::GOING_AWAY);
    settle().await;
    assert!(peer.is_closed() && !peer.is_dropped());
    // What it still says is read, and leads to nothing.
    peer.send("question");
    peer.send("pause");
    settle().await;
    let numbers = outbox.numbers();
    assert_eq!((peer.reads(), peer.data().len(), numbers.dropped.refused, numbers.held_by_peer), (2, 3, 0, false));
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::Closed);

    let (_outbox, peer, task) = start(&builder(), usize::MAX);
    let began = Instant::now();
    peer.send("bye");
    assert_eq!(task.await.unwrap(), Ended::Closed);
    assert_eq!(began.elapsed(), secs(1));
    assert!(peer.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn last_words_that_are_flushed_late_are_flushed_before_their_answer_is_waited_for() {
    let (outbox, peer, task) = start(&builder(), usize::MAX);
    peer.stall_flush(true);
    outbox.close(Close::NORMAL);
    settle().await;
    assert_eq!((peer.taken().len(), peer.is_closed()), (1, false));
    peer.stall_flush(false);
    settle().await;
    assert!(peer.is_closed());
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn of_a_peer_that_is_being_disconnected_nothing_is_handled_any_more() {
    let (outbox, peer, _task) = start(&builder().slow(SlowConsumer::new().hard(Depth::messages(1))), 0);
    send(&outbox, 0..2);
    settle().await;
    for message in ["question", "pause"] {
        peer.send(message);
    }
    settle().await;
    let numbers = outbox.numbers();
    assert_eq!((peer.reads(), numbers.dropped.refused, numbers.held_by_peer), (2, 0, false));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_a_place_and_no_bytes_yet_waits_for_them() {
    let (outbox, peer, _task) = start(&builder().reserve(Load { items: 8, weight: 20 }), 0);
    for question in ["one", "two", "three"] {
        peer.send(question);
    }
    settle().await;
    // Two answers of seven bytes each are in the reserve, and one of nine is in the hand.
    assert_eq!((peer.reads(), outbox.numbers().messages, outbox.numbers().dropped.refused), (3, 2, 0));
    peer.take(9);
    settle().await;
    assert_eq!(peer.data(), ["re: one", "re: two", "re: three"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_reason_to_end_does_not_prolong_the_second_of_the_first() {
    let (outbox, peer, task) = start(&builder().heartbeat(millis(500), 1), 0);
    send(&outbox, [1]);
    sleep(millis(400)).await;
    let began = Instant::now();
    outbox.close(Close::NORMAL);
    assert_eq!(task.await.unwrap(), Ended::Silent { missed: 1 });
    assert_eq!(began.elapsed(), secs(1));
    assert!(peer.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_after_the_last_words_does_not_prolong_the_second() {
    let (outbox, peer, task) = start(&builder(), usize::MAX);
    let began = Instant::now();
    outbox.close(Close::NORMAL);
    settle().await;
    while !task.is_finished() {
        for _ in 0..200 {
            peer.send("more");
        }
        advance(millis(10)).await;
        settle().await;
    }
    assert!(began.elapsed() <= millis(1_020));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_breaks_while_a_slow_peer_is_disconnected_is_not_the_reason() {
    let limits = SlowConsumer::new().hard(Depth::messages(1));
    let (outbox, peer, task) = start(&builder().slow(limits), 0);
    send(&outbox, 0..2);
    settle().await;
    peer.break_down();
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Hard));
}

#[tokio::test(start_paused = true)]
async fn the_transport_is_dropped_when_the_future_resolves_and_not_with_it() {
    let (_outbox, outlet) = builder().build().unwrap();
    let (drive_wire, driven) = wire(9);
    let mut drive = Box::pin(outlet.drive(drive_wire, Words, understand));
    driven.hang_up();
    assert_eq!(drive.as_mut().await, Ended::ByPeer);
    assert!(driven.is_dropped());

    let (outbox, outlet) = builder().build().unwrap();
    let (run_wire, written) = wire(9);
    let mut run = Box::pin(outlet.run(run_wire, Words));
    outbox.close(Close::NORMAL);
    assert_eq!(run.as_mut().await, Ended::Closed);
    assert!(written.is_dropped() && outbox.has_ended());
    drop((drive, run));
}
