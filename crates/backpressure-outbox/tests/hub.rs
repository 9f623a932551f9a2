//! Many connections and one publisher: who gets what, who has to go, and what is given back, with tokio's time paused.
#![cfg(not(backpressure_loom))]

mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backpressure_outbox::{
    Close, Control, Depth, Ended, Exceeded, Flow, Frames, Hub, HubError, Inbound, ItemClass, JoinError, Letter, Load, Member,
    Outbox, OutboxBuilder, OutboxError, Overflow, SlowConsumer, SubscribeError,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use wire::*;

type Task = JoinHandle<Ended<Broken>>;

/// The frames of letters.
struct Letters;

impl Frames<Letter<String>> for Letters {
    type Frame = Frame;

    fn data(&mut self, letter: Letter<String>) -> Frame {
        Words.data(letter.to_string())
    }

    fn control(&mut self, control: Control) -> Option<Frame> {
        Words.control(control)
    }

    fn close(&mut self, close: &Close) -> Option<Frame> {
        Words.close(close)
    }
}

struct Connection {
    member: Member<String, String>,
    peer: Peer,
    task: Task,
}

fn hub() -> Hub<String, String> {
    Hub::builder(String::len).build().expect("neither bound is 0")
}

/// A member of topic "t" whose peer takes so many frames.
fn join(hub: &Hub<String, String>, outbox: &OutboxBuilder<Letter<String>>, credit: usize) -> Connection {
    let (member, outlet) = hub.join(outbox).expect("a hub that does not drain");
    let (wire, peer) = wire(credit);
    let task = tokio::spawn(outlet.drive(wire, Letters, |_| Inbound::Ignore));
    member.subscribe("t".to_owned()).expect("one topic");
    Connection { member, peer, task }
}

fn publish(hub: &Hub<String, String>, messages: impl IntoIterator<Item = impl ToString>) {
    for message in messages {
        hub.publish("t", message.to_string()).expect("room for so little");
    }
}

#[tokio::test(start_paused = true)]
async fn each_gets_what_its_topics_get_in_one_order_from_when_it_subscribes_to_when_it_takes_that_back() {
    let hub = hub();
    let (one, other) = (join(&hub, &hub.outbox(), usize::MAX), join(&hub, &hub.outbox(), usize::MAX));
    assert_eq!(one.member.subscribe("u".to_owned()), Ok(true));
    assert_eq!(one.member.subscribe("u".to_owned()), Ok(false));
    assert_eq!(hub.publish("t", "1".to_owned()).unwrap().admitted, 2);
    assert_eq!(hub.publish("u", "2".to_owned()).unwrap().admitted, 1);
    assert!(other.member.unsubscribe("t") && !other.member.unsubscribe("t"));
    publish(&hub, [3]);
    settle().await;
    assert_eq!((one.peer.data(), other.peer.data()), (strings([1, 2, 3]), strings([1])));
    let numbers = hub.numbers();
    assert_eq!((numbers.members, numbers.topics, numbers.subscriptions), (2, 2, 2));
    let mut topics = one.member.topics();
    topics.sort();
    assert_eq!(topics, ["t", "u"]);
    // The last subscription of a topic takes the topic along.
    one.member.unsubscribe("u");
    assert_eq!(hub.numbers().topics, 1);
}

#[tokio::test(start_paused = true)]
async fn publishers_on_several_threads_are_seen_in_one_order_by_all() {
    let hub = hub();
    let outbox = hub.outbox().max_messages(10_000);
    let connections = [(); 5].map(|()| join(&hub, &outbox, usize::MAX));
    std::thread::scope(|scope| {
        for publisher in 0..3 {
            let hub = &hub;
            scope.spawn(move || publish(hub, (0..1_000).map(|turn| format!("{publisher} {turn}"))));
        }
    });
    for _ in 0..200 {
        settle().await;
    }
    let first = connections[0].peer.data();
    assert_eq!(first.len(), 3_000);
    for connection in &connections {
        assert_eq!(connection.peer.data(), first);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_costs_the_others_nothing_whatever_its_policy() {
    let hub = hub();
    let fast = join(&hub, &hub.outbox(), usize::MAX);
    let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Block];
    let stalled = policies.map(|policy| join(&hub, &hub.outbox().overflow(policy), 0));
    for number in 0..1_000 {
        publish(&hub, [number]);
        settle().await;
        assert_eq!(fast.peer.data().len(), number + 1);
    }
    for connection in &stalled {
        let numbers = connection.member.outbox().numbers();
        assert_eq!((numbers.messages, numbers.dropped.total()), (50, 950));
    }
    // Each policy keeps what it says.
    for (connection, kept) in stalled.iter().zip([strings(950..1_000), strings(0..50), strings(0..50)]) {
        connection.peer.take(usize::MAX);
        settle().await;
        assert_eq!(connection.peer.data(), kept);
    }
}

#[tokio::test(start_paused = true)]
async fn classes_hold_for_each_subscriber_and_one_may_want_every_value() {
    let hub = hub();
    let newest = join(&hub, &hub.outbox(), 0);
    let all = join(&hub, &hub.outbox().every_value(), 0);
    for number in 0..10 {
        hub.publish_as("t", ItemClass::Conflated(number % 2), number.to_string()).unwrap();
    }
    hub.publish_as("t", ItemClass::Urgent, "urgent".to_owned()).unwrap();
    for connection in [&newest, &all] {
        connection.peer.take(usize::MAX);
    }
    settle().await;
    assert_eq!(newest.peer.data(), ["urgent", "8", "9"]);
    assert_eq!(all.peer.data()[0], "urgent");
    assert_eq!(all.peer.data()[1..], strings(0..10));
}

#[tokio::test(start_paused = true)]
async fn whatever_a_member_has_no_room_for_is_marked_as_a_gap_under_each_policy() {
    let hub = hub();
    let marker = |missed: Load| Letter::from(format!("lost {} of {} bytes", missed.items, missed.weight));
    let outbox = hub.outbox().max_messages(2).max_bytes(10).gap_marker(marker);
    let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Block];
    let connections = policies.map(|policy| join(&hub, &outbox.clone().overflow(policy), 0));
    publish(&hub, ["a", "too heavy for it", "b", "c", "d"]);
    // This has a room of its own, and is no part of the order.
    hub.publish_as("t", ItemClass::Urgent, "urgent".repeat(20_000)).unwrap();
    for connection in &connections {
        connection.peer.take(usize::MAX);
    }
    settle().await;
    publish(&hub, ["e"]);
    settle().await;
    let [by_oldest, by_newest, by_block] = connections.map(|connection| connection.peer.data());
    assert_eq!(by_oldest, ["lost 3 of 18 bytes", "c", "d", "e"]);
    assert_eq!(by_newest, ["a", "lost 1 of 16 bytes", "b", "lost 2 of 2 bytes", "e"]);
    assert_eq!(by_block, by_newest);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_held_once_however_many_wait_for_it_and_given_back_with_the_last() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let hub = Hub::<u8, Counted>::builder(|_| 1_000).build().unwrap();
    let members: Vec<_> = (0..20).map(|_| hub.join(&hub.outbox()).unwrap()).collect();
    for (member, _) in &members {
        member.subscribe(1).unwrap();
    }
    for _ in 0..10 {
        hub.publish(&1, Counted(Arc::clone(&dropped))).unwrap();
    }
    assert_eq!((hub.numbers().bytes, dropped.load(Ordering::Relaxed)), (10_000, 0));
    assert_eq!(members[0].0.outbox().numbers().bytes, 10_000);
    drop(members);
    assert_eq!((hub.numbers().bytes, dropped.load(Ordering::Relaxed)), (0, 10));
    assert_eq!((hub.numbers().members, hub.numbers().connections, hub.numbers().topics), (0, 0, 0));
    // Nobody listens: it is not even counted.
    hub.publish(&1, Counted(Arc::clone(&dropped))).unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 11);
}

#[tokio::test(start_paused = true)]
async fn over_the_budget_the_heaviest_goes_first_and_only_as_many_as_it_takes() {
    let hub: Hub<String, String> = Hub::builder(String::len).max_bytes(10_000).build().unwrap();
    // Each waits for less than the one before.
    let connections: Vec<_> = (0..4).map(|_| join(&hub, &hub.outbox(), 0)).collect();
    for (number, connection) in connections.iter().enumerate() {
        let name = number.to_string();
        connection.member.subscribe(name.clone()).unwrap();
        hub.publish(name.as_str(), "x".repeat(4_000 - 1_000 * number)).unwrap();
    }
    assert_eq!(hub.numbers().bytes, 10_000);
    let ended = |number: usize| connections[number].member.outbox().is_closed();
    assert_eq!(hub.publish("t", "y".repeat(4_000)).unwrap().admitted, 3);
    assert!(ended(0) && !ended(1) && !ended(2) && !ended(3));
    assert_eq!((hub.numbers().bytes, hub.numbers().members, hub.numbers().over_budget), (10_000, 3, 1));
    // What all of them share is free only with the last.
    assert_eq!(hub.publish("t", "z".repeat(9_000)).unwrap().admitted, 0);
    assert_eq!((hub.numbers().members, hub.numbers().over_budget), (0, 4));
    connections[0].peer.take(1);
    settle().await;
    for connection in &connections {
        assert!(connection.member.outbox().is_closed());
    }
    // They leave, and are not members any more.
    assert_eq!((hub.numbers().connections, hub.slowest(9).len()), (4, 0));
    advance(secs(1)).await;
    settle().await;
    assert_eq!(connections[0].peer.taken(), [Frame::Close(Close::OVERLOADED)]);
    for Connection { task, .. } in connections {
        assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Budget));
    }
    assert_eq!((hub.numbers().bytes, hub.numbers().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_even_so_comes_back_and_nobody_goes_for_it() {
    let hub: Hub<String, String> = Hub::builder(String::len).max_bytes(10_000).build().unwrap();
    let waits = join(&hub, &hub.outbox(), 0);
    publish(&hub, ["x"]);
    let error = hub.publish("t", "y".repeat(10_001)).unwrap_err();
    assert_eq!((error.message.len(), error.bytes, error.at_most), (10_001, 10_001, 10_000));
    assert_eq!(error.to_string(), "a message of 10001 bytes has no room in a hub that may hold 10000");
    assert!(!waits.member.outbox().is_closed());
    // A letter that somebody keeps is nobody's backlog.
    let kept = hub.letter("k".repeat(9_999)).unwrap();
    let idle = join(&hub, &hub.outbox(), 0);
    assert!(hub.letter("l".repeat(9_999)).is_err());
    assert_eq!(hub.numbers().over_budget, 0, "to disconnect somebody would have made no room");
    // With what waits there is just enough.
    drop(kept);
    let kept = hub.letter("k".repeat(9_000)).unwrap();
    assert!(hub.letter("l".repeat(1_000)).is_ok());
    assert!(waits.member.outbox().is_closed() && !idle.member.outbox().is_closed());
    drop(kept);
    assert!(hub.letter("l".repeat(9_999)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_leaves_the_hub_at_once_and_its_transport_within_a_second() {
    let hub = hub();
    let slow = SlowConsumer::new().hard(Depth::messages(30)).soft(Depth::messages(20), secs(3));
    let by_hard = join(&hub, &hub.outbox().slow(slow), 0);
    let beside = join(&hub, &hub.outbox(), usize::MAX);
    publish(&hub, 0..31);
    assert_eq!(hub.numbers().members, 1);
    assert_eq!(hub.publish("t", "31".to_owned()).unwrap().admitted, 1);
    let Connection { member, peer, task } = by_hard;
    settle().await;
    assert!(!peer.is_dropped() && hub.numbers().connections == 2);
    advance(secs(1)).await;
    settle().await;
    assert!(peer.is_dropped() && hub.numbers().connections == 1);
    assert_eq!(task.await.unwrap(), Ended::Slow(Exceeded::Hard));
    assert_eq!(member.subscribe("u".to_owned()), Err(SubscribeError::Left { topic: "u".to_owned() }));
    assert!(member.topics().is_empty() && !member.unsubscribe("t"));
    assert_eq!(beside.peer.data().len(), 32);

    // The soft limit acts in silence.
    let by_soft = join(&hub, &hub.outbox().slow(slow), 0);
    publish(&hub, 0..21);
    settle().await;
    let began = Instant::now();
    while hub.numbers().members == 2 {
        advance(millis(10)).await;
        settle().await;
    }
    assert!(began.elapsed() > secs(3) && began.elapsed() <= millis(3_500), "{:?}", began.elapsed());
    advance(secs(1)).await;
    assert_eq!(by_soft.task.await.unwrap(), Ended::Slow(Exceeded::Soft));
}

#[tokio::test(start_paused = true)]
async fn a_connection_stays_a_member_without_handles_and_leaves_when_its_peer_does() {
    let hub = hub();
    let Connection { member, peer, task } = join(&hub, &hub.outbox(), usize::MAX);
    drop(member);
    publish(&hub, [1]);
    settle().await;
    assert_eq!(peer.data(), ["1"]);
    peer.hang_up();
    assert_eq!(task.await.unwrap(), Ended::ByPeer);
    assert_eq!((hub.numbers().members, hub.numbers().connections, hub.numbers().topics), (0, 0, 0));

    // So does one whose outlet is never put to work, and one that is closed.
    let (member, outlet) = hub.join(&hub.outbox()).unwrap();
    assert_eq!(hub.numbers().members, 1);
    drop(outlet);
    assert_eq!(hub.numbers().members, 0);
    drop(member);
    let closed = join(&hub, &hub.outbox(), usize::MAX);
    closed.member.outbox().close(Close::NORMAL);
    assert_eq!(hub.numbers().members, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_dropped_says_goodbye_to_all() {
    let hub = hub();
    let connection = join(&hub, &hub.outbox(), usize::MAX);
    publish(&hub, [1]);
    let clone = hub.clone();
    drop(hub);
    publish(&clone, [2]);
    drop(clone);
    settle().await;
    assert_eq!(connection.peer.taken()[2], Frame::Close(Close::GOING_AWAY));
    assert_eq!(connection.peer.data(), ["1", "2"]);
    assert!(connection.member.subscribe("u".to_owned()).is_err());
    connection.peer.hang_up();
    assert_eq!(connection.task.await.unwrap(), Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn draining_closes_everybody_spread_over_the_time_and_lets_nobody_in() {
    let hub = hub();
    let connections: Vec<_> = (0..10).map(|_| join(&hub, &hub.outbox(), usize::MAX)).collect();
    publish(&hub, [1]);
    let draining = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(secs(20)).await }
    });
    settle().await;
    assert!(hub.is_draining());
    assert!(matches!(hub.join(&hub.outbox()), Err(JoinError::Draining)));
    for gone in 1..=10 {
        assert_eq!(hub.numbers().members, 10 - gone);
        // Peers answer the close frame, as WebSockets do.
        for connection in &connections[..gone] {
            connection.peer.hang_up();
        }
        settle().await;
        assert_eq!(hub.numbers().connections, 10 - gone);
        advance(millis(1_999)).await;
        settle().await;
        assert_eq!(hub.numbers().members, 10 - gone);
        advance(millis(1)).await;
        settle().await;
    }
    assert!(draining.is_finished());
    for Connection { peer, task, .. } in connections {
        assert_eq!(peer.taken(), [Frame::Data("1".to_owned()), Frame::Close(Close::RESTART)]);
        assert_eq!(task.await.unwrap(), Ended::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_leaves_the_rest_where_they_are_and_another_goes_on() {
    let hub = hub();
    let connections: Vec<_> = (0..4).map(|_| join(&hub, &hub.outbox(), usize::MAX)).collect();
    assert!(tokio::time::timeout(millis(1_500), hub.drain(secs(4))).await.is_err());
    assert_eq!((hub.numbers().members, hub.is_draining()), (2, true));
    // Nobody answers the close frames: each has its second.
    let began = Instant::now();
    hub.drain(secs(2)).await;
    assert_eq!(began.elapsed(), secs(2));
    for Connection { task, .. } in connections {
        assert_eq!(task.await.unwrap(), Ended::Closed);
    }
    hub.drain(std::time::Duration::MAX).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_over_more_time_than_there_is_closes_one_and_leaves_the_rest() {
    for count in 2..6 {
        let hub = hub();
        let _connections: Vec<_> = (0..count).map(|_| join(&hub, &hub.outbox(), usize::MAX)).collect();
        assert!(tokio::time::timeout(secs(60), hub.drain(std::time::Duration::MAX)).await.is_err());
        assert_eq!(hub.numbers().members, count - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_slowest_come_first_by_age_and_then_by_bytes_with_their_labels() {
    let hub = hub();
    let label = |label: &str| {
        let (member, outlet) = hub.join_as(label, &hub.outbox()).unwrap();
        member.subscribe(label.to_owned()).unwrap();
        (member, outlet)
    };
    let _members = ["old", "heavy", "light", "idle"].map(label);
    let say = |topic: &str, bytes: usize| _ = hub.publish(topic, "x".repeat(bytes)).unwrap();
    say("old", 1);
    advance(secs(1)).await;
    say("light", 1);
    say("heavy", 9);
    let slowest = hub.slowest(3);
    let labels: Vec<_> = slowest.iter().filter_map(|member| member.label.as_deref()).collect();
    assert_eq!(labels, ["old", "heavy", "light"]);
    assert_eq!((slowest[0].numbers.oldest, slowest[1].numbers.bytes), (Some(secs(1)), 9));
    assert_eq!((hub.slowest(0).len(), hub.slowest(9).len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn topics_that_a_stranger_names_are_bounded() {
    let hub: Hub<String, String> = Hub::builder(String::len).max_topics(3).build().unwrap();
    let (member, _outlet) = hub.join(&hub.outbox()).unwrap();
    for topic in 0..3 {
        assert_eq!(member.subscribe(topic.to_string()), Ok(true));
    }
    let error = member.subscribe("3".to_owned()).unwrap_err();
    assert_eq!(error.to_string(), "the member has 3 topics, and may have no more");
    assert_eq!(error, SubscribeError::TooMany { topic: "3".to_owned(), at_most: 3 });
    assert_eq!(member.subscribe("0".to_owned()), Ok(false));
    member.unsubscribe("0");
    assert_eq!(member.subscribe("3".to_owned()), Ok(true));
}

#[test]
fn bounds_of_nothing_and_outboxes_that_are_wrong_are_refused() {
    let builder = || Hub::<u8, String>::builder(String::len);
    assert_eq!(builder().max_bytes(0).build().unwrap_err(), HubError::NoBytes);
    assert_eq!(builder().max_topics(0).build().unwrap_err(), HubError::NoTopics);
    let hub = builder().build().unwrap();
    assert!(matches!(hub.join(&hub.outbox().max_messages(0)), Err(JoinError::Outbox(OutboxError::Bounds(_)))));
    assert_eq!((hub.numbers().members, hub.numbers().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_takes_its_publisher_along_and_leaves_no_other_member_half_ended() {
    let hub = hub();
    let slow = hub.outbox().slow(SlowConsumer::new().hard(Depth::messages(0)));
    let wrong = Outbox::builder(|_: &Letter<String>| panic!("as it should"));
    // In no order that anybody knows: some come before the first that panics.
    let members: Vec<_> = (0..100).map(|number| hub.join(if number < 4 { &wrong } else { &slow }).unwrap()).collect();
    for (member, _) in &members {
        member.subscribe("t".to_owned()).unwrap();
    }
    let publishes = std::panic::AssertUnwindSafe(|| hub.publish("t", "x".to_owned()));
    assert!(std::panic::catch_unwind(publishes).is_err());
    let mut ended = 0;
    for (member, _) in &members {
        let numbers = member.outbox().numbers();
        assert_eq!((numbers.messages, numbers.closed), (0, numbers.sent == 1));
        ended += usize::from(numbers.closed);
    }
    assert_eq!((hub.numbers().members, hub.numbers().bytes), (100 - ended, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_woken_or_dropped_by_a_message_may_use_the_hub() {
    /// A message that publishes another when it is dropped, as a part of somebody's bookkeeping.
    struct Echo(Option<Hub<u8, Self>>);
    impl Drop for Echo {
        fn drop(&mut self) {
            if let Some(hub) = self.0.take() {
                drop(hub.publish(&1, Self(None)));
            }
        }
    }
    let hub = Hub::<u8, Echo>::builder(|_| 1).build().unwrap();
    let (member, _outlet) = hub.join(&hub.outbox().max_messages(1).overflow(Overflow::DropOldest)).unwrap();
    member.subscribe(1).unwrap();
    for _ in 0..10 {
        hub.publish(&1, Echo(Some(hub.clone()))).unwrap();
    }
    // Its own handle of the hub is dropped with the last message, inside of the hub.
    assert!(member.outbox().numbers().dropped.evicted >= 9);

    /// A waker that leaves and joins.
    struct Busy(Mutex<Option<Hub<String, String>>>);
    impl std::task::Wake for Busy {
        fn wake(self: Arc<Self>) {
            if let Some(hub) = self.0.lock().unwrap().take() {
                let (member, outlet) = hub.join(&hub.outbox()).unwrap();
                member.subscribe("t".to_owned()).unwrap();
                hub.publish("t", "from within".to_owned()).unwrap();
                drop(outlet);
            }
        }
    }
    let hub: Hub<String, String> = Hub::builder(String::len).build().unwrap();
    let (member, outlet) = hub.join(&hub.outbox()).unwrap();
    member.subscribe("t".to_owned()).unwrap();
    let (wire, _peer) = wire(usize::MAX);
    let mut run = Box::pin(outlet.run(wire, Letters));
    let waker = std::task::Waker::from(Arc::new(Busy(Mutex::new(Some(hub.clone())))));
    assert!(Future::poll(run.as_mut(), &mut std::task::Context::from_waker(&waker)).is_pending());
    publish(&hub, ["wakes"]);
    assert_eq!((hub.numbers().members, member.outbox().numbers().messages), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_goes_with_a_connection_that_ends_as_it_is_given_a_message_may_publish_to_the_same_topic() {
    /// What is dropped with the configuration of a member, which its last message outlives.
    struct Farewell(Hub<String, String>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            publish(&self.0, ["has left"]);
        }
    }
    let hub = hub();
    let outlet = Arc::new(Mutex::new(None));
    let hangs_up = {
        let outlet = Arc::clone(&outlet);
        // Another thread may end the connection while a message is given to everybody.
        Outbox::builder(move |_: &Letter<String>| {
            drop(outlet.lock().unwrap().take());
            1
        })
    };
    let stays = hub.join(&hangs_up).unwrap();
    stays.0.subscribe("t".to_owned()).unwrap();
    let farewell = Farewell(hub.clone());
    let leaves = hub.join(&hub.outbox().gap_marker(move |_| {
        let Farewell(_) = &farewell;
        Letter::from(String::new())
    }));
    let (member, of_leaves) = leaves.unwrap();
    member.subscribe("t".to_owned()).unwrap();
    *outlet.lock().unwrap() = Some(of_leaves);
    drop(member);
    publish(&hub, ["hello"]);
    assert_eq!(stays.0.outbox().numbers().sent, 2);
}

#[tokio::test(start_paused = true)]
async fn whom_a_message_lets_resume_may_publish_to_its_topic() {
    /// A producer that does not wait for its turn.
    struct Producer(Hub<String, String>);
    impl std::task::Wake for Producer {
        fn wake(self: Arc<Self>) {
            publish(&self.0, ["resumed"]);
        }
    }
    let (hub, flow) = (hub(), Flow::new());
    let outbox = hub.outbox().max_messages(8).max_bytes(100).overflow(Overflow::DropOldest).flow(&flow);
    let Connection { member, .. } = join(&hub, &outbox, 0);
    publish(&hub, ["x".repeat(100)]);
    let producer = std::task::Waker::from(Arc::new(Producer(hub.clone())));
    let mut resumed = std::pin::pin!(flow.resumed());
    assert!(resumed.as_mut().poll(&mut std::task::Context::from_waker(&producer)).is_pending());
    // The heavy one makes room for it.
    publish(&hub, ["y"]);
    assert_eq!((flow.is_paused(), member.outbox().numbers().messages), (false, 2));
}

#[tokio::test(start_paused = true)]
async fn who_ends_as_a_message_is_given_to_everybody_has_neither_got_nor_refused_it() {
    let (hub, outlets) = (hub(), Arc::new(Mutex::new(Vec::new())));
    let hangs_up = {
        let outlets = Arc::clone(&outlets);
        // Another thread may end connections meanwhile.
        Outbox::builder(move |_: &Letter<String>| {
            outlets.lock().unwrap().clear();
            1
        })
    };
    for _ in 0..9 {
        let (member, outlet) = hub.join(&hangs_up).unwrap();
        member.subscribe("t".to_owned()).unwrap();
        outlets.lock().unwrap().push(outlet);
    }
    let published = hub.publish("t", "x".to_owned()).unwrap();
    assert_eq!((published.admitted, published.refused), (0, 0));
    assert_eq!((hub.numbers().connections, hub.numbers().bytes), (0, 0));
}
