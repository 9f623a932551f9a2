//! The hub and the inbox under every interleaving of a few threads, with at most two preemptions.
//!
//! `RUSTFLAGS="--cfg backpressure_loom" cargo test -p backpressure-outbox --test loom_hub --release`
#![cfg(backpressure_loom)]

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_outbox::{
    Close, Depth, Ended, Hub, Inbound, Inbox, InboxBuilder, Letter, Member, Outbox, Outlet, SlowConsumer, frames,
};
use futures_core::Stream;
use futures_sink::Sink;
use loom::future::block_on;
use loom::thread;

type Texts = Hub<u8, String>;

fn hub(max_bytes: u64) -> Texts {
    Hub::builder(String::len).max_bytes(max_bytes).build().expect("neither bound is 0")
}

fn join(hub: &Texts) -> (Member<u8, String>, Outlet<Letter<String>>) {
    let joined = hub.join(&hub.outbox()).expect("a hub that does not drain");
    joined.0.subscribe(1).expect("one topic");
    joined
}

/// What waits for a member that is closed.
fn all(outlet: Outlet<Letter<String>>) -> Vec<String> {
    let mut stream = Box::pin(outlet.into_stream(frames(|letter: Letter<String>| letter.to_string(), |_| None, |_| None)));
    std::iter::from_fn(|| block_on(poll_fn(|context| stream.as_mut().poll_next(context)))).collect()
}

#[test]
fn two_publishers_are_seen_in_one_order_by_all() {
    model(|| {
        let hub = hub(100);
        let ((one, of_one), (other, of_other)) = (join(&hub), join(&hub));
        let second = thread::spawn({
            let hub = hub.clone();
            move || drop(hub.publish(&1, "a".to_owned()))
        });
        hub.publish(&1, "b".to_owned()).unwrap();
        second.join().unwrap();
        for member in [one, other] {
            member.outbox().close(Close::NORMAL);
        }
        let (by_one, by_other) = (all(of_one), all(of_other));
        assert_eq!(by_one, by_other);
        assert_eq!(by_one.len(), 2);
        assert_eq!((hub.numbers().bytes, hub.numbers().members, hub.numbers().topics), (0, 0, 0));
    });
}

#[test]
fn who_leaves_joins_or_is_too_slow_while_a_message_is_published_leaves_nothing_behind() {
    model(|| {
        let hub = hub(100);
        let slow = hub.outbox().slow(SlowConsumer::new().hard(Depth::messages(0)));
        let (member, outlet) = hub.join(&slow).unwrap();
        member.subscribe(1).unwrap();
        let leaves = thread::spawn(move || drop(outlet));
        let joins = thread::spawn({
            let hub = hub.clone();
            move || drop(join(&hub))
        });
        hub.publish(&1, "a".to_owned()).unwrap();
        for thread in [leaves, joins] {
            thread.join().unwrap();
        }
        let numbers = hub.numbers();
        assert_eq!((numbers.members, numbers.connections, numbers.topics, numbers.subscriptions), (0, 0, 0, 0));
        assert_eq!(numbers.bytes, 0);
    });
}

#[test]
fn two_that_need_room_at_once_get_it_and_the_budget_holds() {
    model(|| {
        let hub = hub(2);
        let (_member, outlet) = join(&hub);
        hub.publish(&1, "xx".to_owned()).unwrap();
        let second = thread::spawn({
            let hub = hub.clone();
            move || drop(hub.letter("a".to_owned()).unwrap())
        });
        let letter = hub.letter("b".to_owned()).unwrap();
        second.join().unwrap();
        assert_eq!((hub.numbers().bytes, hub.numbers().members), (1, 0));
        drop((letter, outlet));
        assert_eq!((hub.numbers().bytes, hub.numbers().connections), (0, 0));
    });
}

#[test]
fn a_member_that_subscribes_as_it_leaves_is_in_no_topic_afterwards() {
    model(|| {
        let hub = hub(100);
        let (member, outlet) = hub.join(&hub.outbox()).unwrap();
        let leaves = thread::spawn(move || drop(outlet));
        let _either = member.subscribe(1);
        leaves.join().unwrap();
        assert_eq!((hub.numbers().members, hub.numbers().topics, hub.numbers().subscriptions), (0, 0, 0));
    });
}

/// A peer that has sent all of it already, and takes nothing.
struct Sent(std::vec::IntoIter<u8>);

impl Stream for Sent {
    type Item = Result<u8, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl Sink<()> for Sent {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, (): ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }
}

/// Reads a socket into an inbox, while another thread does something with it.
fn read_beside<S>(
    inboxes: &InboxBuilder<u8>,
    socket: S,
    application: impl FnOnce(Inbox<u8>) + Send + 'static,
) -> Ended<Infallible>
where
    S: Stream<Item = Result<u8, Infallible>> + Sink<(), Error = Infallible>,
{
    let (inbox, intake) = inboxes.build().expect("bounds that leave room");
    // No timers: they need a runtime.
    let (_outbox, outlet) = Outbox::builder(|(): &()| 0).heartbeat(Duration::MAX, 1).build().expect("bounds that leave room");
    let application = thread::spawn(move || application(inbox));
    let ended = block_on(outlet.drive_into(socket, frames(|()| (), |_| None, |_| None), intake, Inbound::Deliver));
    application.join().unwrap();
    ended
}

// A wake-up that is lost leaves both threads waiting, which loom reports as a deadlock.

#[test]
fn a_reader_that_waits_for_room_is_woken_and_everything_arrives_in_order() {
    model(|| {
        let socket = Sent(vec![0, 1, 2].into_iter());
        let ended = read_beside(&Inbox::builder(|_| 1).max_messages(1), socket, |mut inbox| {
            let received: Vec<u8> = std::iter::from_fn(|| block_on(inbox.recv())).collect();
            assert_eq!(received, [0, 1, 2]);
        });
        assert_eq!(ended, Ended::ByPeer);
    });
}

#[test]
fn a_reader_whose_message_is_too_heavy_beside_another_is_woken_when_that_leaves() {
    model(|| {
        let by_value = Inbox::builder(|bytes: &u8| usize::from(*bytes)).max_bytes(20);
        let ended = read_beside(&by_value, Sent(vec![10, 15].into_iter()), |mut inbox| {
            let received: Vec<u8> = std::iter::from_fn(|| block_on(inbox.recv())).collect();
            assert_eq!(received, [10, 15]);
        });
        assert_eq!(ended, Ended::ByPeer);
    });
}

/// A peer that says nothing, and takes everything.
struct Mute;

impl Stream for Mute {
    type Item = Result<u8, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Sink<()> for Mute {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, (): ()) -> Result<(), Infallible> {
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
fn an_application_that_drops_its_inbox_as_the_reader_begins_to_wait_ends_the_connection() {
    model(|| {
        let ended = read_beside(&Inbox::builder(|_| 1), Mute, drop);
        assert_eq!(ended, Ended::Closed);
    });
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}
