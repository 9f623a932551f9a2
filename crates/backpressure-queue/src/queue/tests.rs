use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::Instant;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn queue<T>(items: usize, overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    QueueBuilder::new(items, overflow).build().unwrap()
}

/// The tests want a sender that outlives the futures that borrow it.
fn leaked<T>(sender: Sender<T>) -> &'static Sender<T> {
    Box::leak(Box::new(sender))
}

fn poll<T>(sending: &mut Pin<Box<Sending<'_, T>>>) -> Poll<Result<Sent<T>, SendError<T>>> {
    poll_with(sending, Waker::noop())
}

fn poll_with<T>(sending: &mut Pin<Box<Sending<'_, T>>>, waker: &Waker) -> Poll<Result<Sent<T>, SendError<T>>> {
    sending.as_mut().poll(&mut Context::from_waker(waker))
}

fn waiting<T>(sender: &Sender<T>, item: impl Into<Item<T>>) -> Pin<Box<Sending<'_, T>>> {
    let mut sending = Box::pin(sender.send(item));
    assert!(poll(&mut sending).is_pending());
    sending
}

fn refusal<T>(polled: Poll<Result<Sent<T>, SendError<T>>>) -> (Refused, T) {
    match polled {
        Poll::Ready(Err(error)) => (error.reason, error.into_value()),
        _ => panic!("a refusal was expected"),
    }
}

fn values<T>(receiver: &mut Receiver<T>) -> Vec<T> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|received| received.item.value).collect()
}

#[test]
fn bounds_that_leave_no_room_are_refused_with_what_would_be_right() {
    let build = |builder: QueueBuilder| builder.build::<()>().map(drop).unwrap_err();
    let error = build(QueueBuilder::new(0, Overflow::Block));
    assert_eq!((error, error.to_string().contains("at least 1")), (QueueError::NoItems, true));
    let error = build(QueueBuilder::new(1, Overflow::Block).max_weight(0));
    assert_eq!((error, error.to_string().contains("at least 1")), (QueueError::NoWeight, true));
    for reserve in [Load { items: 4, weight: 0 }, Load { items: 0, weight: 9 }, Load { items: 5, weight: 10 }] {
        let bound = Load { items: 4, weight: 9 };
        let error = build(QueueBuilder::new(4, Overflow::Block).max_weight(9).reserve(reserve));
        assert_eq!(error, QueueError::ReserveTooLarge { reserve, bound });
        assert!(error.to_string().contains("less than the bound of 4 items and weight 9"));
    }
    assert!(QueueBuilder::new(usize::MAX, Overflow::Block).build::<()>().is_ok(), "nothing is allocated in advance");
}

#[test]
fn weights_that_would_overflow_are_refused_and_zero_weights_are_bounded_by_the_items() {
    let (sender, mut receiver) = queue::<u64>(3, Overflow::DropNewest);
    sender.try_send(Item::new(1).weight(u64::MAX - 1)).unwrap();
    assert_eq!(sender.try_send(Item::new(2).weight(2)).unwrap_err().reason, Refused::Full);
    sender.try_send(Item::new(3).weight(1)).unwrap();
    sender.try_send(Item::new(4).weight(0)).unwrap();
    assert_eq!(sender.try_send(Item::new(5).weight(0)).unwrap_err().reason, Refused::Full);
    assert_eq!(sender.queue().load(), Load { items: 3, weight: u64::MAX });
    assert_eq!(values(&mut receiver), [1, 3, 4]);
    assert_eq!(receiver.missed(), Load { items: 1, weight: 0 }, "what was refused behind the last");
    assert_eq!(sender.queue().load(), Load::ZERO);
}

#[test]
fn an_item_whose_size_changes_inside_leaves_by_the_weight_it_came_with() {
    let (sender, mut receiver) = queue::<Arc<std::sync::Mutex<Vec<u8>>>>(3, Overflow::Block);
    let shared = Arc::new(std::sync::Mutex::new(vec![0; 10]));
    sender.try_send(Item::new(Arc::clone(&shared)).weight(10)).unwrap();
    shared.lock().unwrap().clear();
    assert_eq!(sender.queue().load().weight, 10);
    assert_eq!(receiver.try_recv().unwrap().item.weight, 10);
    assert_eq!(sender.queue().load(), Load::ZERO);
}

#[test]
fn where_only_durable_items_are_left_a_droppable_one_is_refused_and_nothing_is_evicted() {
    let (sender, mut receiver) = queue::<u64>(2, Overflow::DropOldest);
    for value in [1, 2] {
        sender.try_send(Item::new(value).class(ItemClass::Durable)).unwrap();
    }
    for class in [ItemClass::Droppable, ItemClass::Conflated(1), ItemClass::Durable] {
        assert_eq!(sender.try_send(Item::new(3).class(class)).unwrap_err().reason, Refused::Full);
    }
    assert_eq!((values(&mut receiver), sender.queue().counts().evicted), (vec![1, 2], 0));
}

#[test]
fn nothing_is_evicted_for_an_item_that_is_then_refused() {
    let (sender, mut receiver) = QueueBuilder::new(9, Overflow::DropOldest).max_weight(10).build::<u64>().unwrap();
    sender.try_send(Item::new(1).weight(2)).unwrap();
    sender.try_send(Item::new(2).weight(5).class(ItemClass::Durable)).unwrap();
    sender.try_send(Item::new(3).weight(3)).unwrap();
    assert_eq!(sender.try_send(Item::new(4).weight(6)).unwrap_err().reason, Refused::Full);
    assert_eq!(values(&mut receiver), [1, 2, 3]);
}

#[test]
fn a_receiver_that_wants_only_what_is_urgent_leaves_all_else_where_it_is() {
    let (sender, mut receiver) = QueueBuilder::new(5, Overflow::Block).reserve(Load { items: 2, weight: 9 }).build().unwrap();
    assert_eq!(receiver.try_recv_urgent(), None);
    sender.try_send(1).unwrap();
    assert_eq!(receiver.try_recv_urgent(), None);
    sender.try_send(Item::new(2).class(ItemClass::Urgent).weight(9)).unwrap();
    assert_eq!(sender.queue().load(), Load { items: 2, weight: 10 });
    assert_eq!(sender.queue().load_besides_urgent(), Load { items: 1, weight: 1 });
    assert_eq!(receiver.try_recv_urgent().map(|item| item.value), Some(2));
    assert_eq!(receiver.try_recv_urgent(), None);
    // The room is free again.
    sender.try_send(Item::new(3).class(ItemClass::Urgent).weight(9)).unwrap();
    assert_eq!(sender.queue().counts().delivered, 1);
    assert_eq!([(); 2].map(|()| receiver.try_recv().unwrap().item.value), [3, 1]);
}

#[test]
fn urgent_items_have_a_room_of_their_own_and_come_first() {
    let reserve = Load { items: 1, weight: 8 };
    let (sender, mut receiver) = QueueBuilder::new(3, Overflow::DropNewest).reserve(reserve).build::<u64>().unwrap();
    let urgent = |value| Item::new(value).class(ItemClass::Urgent).weight(8);
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(sender.try_send(3).unwrap_err().reason, Refused::Full, "the reserve is not for everyone");
    sender.try_send(urgent(4)).unwrap();
    assert_eq!(sender.try_send(urgent(5)).unwrap_err().reason, Refused::Full);
    assert_eq!(sender.try_send(urgent(6).weight(9)).unwrap_err().reason, Refused::TooHeavy);
    assert_eq!(sender.queue().load(), Load { items: 3, weight: 10 });
    assert_eq!(values(&mut receiver), [4, 1, 2]);

    let (sender, _receiver) = queue::<u64>(3, Overflow::Block);
    let refused = refusal(poll(&mut Box::pin(sender.send(Item::new(1).class(ItemClass::Urgent)))));
    assert_eq!(refused, (Refused::TooHeavy, 1), "without a reserve");
}

#[test]
fn a_gap_is_marked_where_it_is() {
    let (sender, mut receiver) = queue::<u64>(3, Overflow::DropNewest);
    for value in 1..=5 {
        let _ = sender.try_send(Item::new(value).weight(10));
    }
    let first = receiver.try_recv().unwrap();
    assert_eq!((first.item.value, first.missed), (1, Load::ZERO), "4 and 5 were refused behind 3");
    sender.try_send(6).unwrap();
    assert_eq!(receiver.try_recv().unwrap().missed, Load::ZERO);
    assert_eq!((receiver.try_recv().unwrap().missed, receiver.missed()), (Load::ZERO, Load { items: 2, weight: 20 }));
    let last = receiver.try_recv().unwrap();
    assert_eq!((last.item.value, last.missed), (6, Load { items: 2, weight: 20 }));
    assert_eq!(receiver.missed(), Load::ZERO);
}

#[test]
fn what_its_sender_drops_is_missed_where_it_would_have_been_and_takes_no_room() {
    let (sender, mut receiver) = queue(2, Overflow::Block);
    let queue = sender.queue();
    queue.mark_missed(7);
    for value in 0..2 {
        sender.try_send(value).unwrap();
        queue.mark_missed(10);
        queue.mark_missed(20);
    }
    assert_eq!(queue.load(), Load { items: 2, weight: 2 });
    for (value, missed) in [(0, Load { items: 1, weight: 7 }), (1, Load { items: 2, weight: 30 })] {
        let received = receiver.try_recv().unwrap();
        assert_eq!((received.item.value, received.missed), (value, missed));
    }
    assert_eq!((receiver.missed(), queue.counts().refused), (Load { items: 2, weight: 30 }, 0));
}

#[test]
fn evictions_behind_durable_items_leave_no_more_slots_than_thrice_the_items() {
    let (sender, mut receiver) = queue::<u64>(8, Overflow::DropOldest);
    for value in 0..4 {
        sender.try_send(Item::new(value).class(ItemClass::Durable)).unwrap();
    }
    for value in 0..10_000 {
        let class = if value % 3 == 0 { ItemClass::Conflated(value) } else { ItemClass::Droppable };
        let _ = sender.try_send(Item::new(value).class(class));
        assert!(sender.queue().state.lock().store.slots.len() <= 3 * 8 + 9);
    }
    for _ in 0..4 {
        assert_eq!(receiver.try_recv().unwrap().missed, Load::ZERO);
    }
    let (mut received, mut missed) = (0, 0);
    while let Ok(next) = receiver.try_recv() {
        received += 1;
        missed += next.missed.items;
    }
    assert_eq!((received, missed + receiver.missed().items), (4, 10_000 - 4));
}

/// Each search begins where the last one ended: if it began at the front, this would take minutes.
#[test]
fn a_long_queue_without_droppable_items_evicts_as_fast_as_a_short_one() {
    let (sender, _receiver) = queue::<u64>(100_000, Overflow::DropOldest);
    sender.try_send(Item::new(0).class(ItemClass::Durable)).unwrap();
    for key in 0..400_000 {
        sender.try_send(Item::new(key).class(ItemClass::Conflated(key))).unwrap();
    }
    assert_eq!(sender.queue().counts().evicted, 300_001);
}

#[test]
fn a_heavy_item_that_waits_is_not_overtaken_by_light_ones() {
    let (sender, mut receiver) = QueueBuilder::new(9, Overflow::Block).max_weight(10).build::<u64>().unwrap();
    sender.try_send(Item::new(1).weight(6)).unwrap();
    sender.try_send(Item::new(2).weight(4)).unwrap();
    let mut heavy = waiting(&sender, Item::new(3).weight(9));
    receiver.try_recv().unwrap();
    let mut light = waiting(&sender, Item::new(4).weight(1));
    assert_eq!(sender.try_send(Item::new(5).weight(0)).unwrap_err().reason, Refused::Full);
    assert!(poll(&mut light).is_pending() && poll(&mut heavy).is_pending());
    receiver.try_recv().unwrap();
    assert!(poll(&mut light).is_pending(), "also once there is room for both");
    assert!(poll(&mut heavy).is_ready() && poll(&mut light).is_ready());
    assert_eq!(values(&mut receiver), [3, 4]);
}

#[test]
fn a_send_that_is_dropped_before_it_is_done_leaves_nothing_behind_and_calls_the_next() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    drop(sender.send(0));
    sender.try_send(1).unwrap();
    let woken = [(); 2].map(|()| Arc::new(Count::default()));
    let [mut first, mut second] = [2, 3].map(|value| Box::pin(sender.send(value)));
    assert!(poll_with(&mut first, &woken[0].clone().into()).is_pending());
    assert!(poll_with(&mut second, &woken[1].clone().into()).is_pending());
    receiver.try_recv().unwrap();
    assert_eq!([woken[0].woken(), woken[1].woken()], [1, 0]);
    drop(first);
    assert_eq!([woken[0].woken(), woken[1].woken()], [1, 1]);
    assert!(poll(&mut second).is_ready());
    assert_eq!(values(&mut receiver), [3]);
}

#[test]
fn a_recv_that_is_dropped_keeps_neither_an_item_nor_its_waker() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    {
        let mut recv = Box::pin(receiver.recv());
        assert!(recv.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&count), 3);
    }
    assert_eq!(Arc::strong_count(&count), 2);
    sender.try_send(1).unwrap();
    assert_eq!((count.woken(), values(&mut receiver)), (0, vec![1]));
}

#[test]
fn the_receiver_is_a_stream_that_is_woken_once_for_each_wait() {
    let (sender, mut receiver) = queue::<u64>(4, Overflow::Block);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut next = || Pin::new(&mut receiver).poll_next(&mut Context::from_waker(&waker));
    assert!(next().is_pending() && next().is_pending());
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(count.woken(), 1);
    for value in [1, 2] {
        assert!(matches!(next(), Poll::Ready(Some(received)) if received.item.value == value));
    }
    assert!(next().is_pending());
    drop(sender);
    assert_eq!((next(), count.woken()), (Poll::Ready(None), 2));
}

#[test]
fn closing_drains_and_discarding_returns_what_was_inside() {
    let (sender, mut receiver) = queue::<u64>(9, Overflow::Block);
    sender.try_send(1).unwrap();
    sender.queue().close();
    assert_eq!(sender.try_send(2).unwrap_err(), SendError { item: Item::new(2), reason: Refused::Closed });
    assert_eq!(receiver.try_recv().unwrap().item.value, 1);
    assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Closed);

    let (sender, mut receiver) = queue::<u64>(9, Overflow::Block);
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(receiver.queue().discard(), [Item::new(1), Item::new(2)]);
    assert_eq!(receiver.try_recv().unwrap_err(), TryRecvError::Empty, "it is open still");
    sender.try_send(3).unwrap();
    assert_eq!(receiver.try_recv().unwrap().missed, Load { items: 2, weight: 2 });
    assert_eq!(sender.queue().counts().discarded, 2);
}

#[test]
fn the_queue_closes_with_its_receiver_or_its_last_sender_but_not_with_a_handle() {
    let (sender, mut receiver) = queue::<u64>(9, Overflow::Block);
    let (other, handle) = (sender.clone(), sender.queue().clone());
    sender.try_send(1).unwrap();
    drop(sender);
    assert!(!handle.is_closed());
    drop(other);
    assert!(handle.is_closed());
    assert_eq!(values(&mut receiver), [1]);

    let (sender, receiver) = queue::<Arc<()>>(9, Overflow::Block);
    let item = Arc::new(());
    sender.try_send(Arc::clone(&item)).unwrap();
    drop(receiver);
    assert!(sender.queue().is_closed());
    assert_eq!((Arc::strong_count(&item), sender.queue().counts().discarded), (1, 1));
}

#[test]
fn senders_that_wait_notice_that_nobody_waits_any_more() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    sender.try_send(1).unwrap();
    let (mut first, mut second) = (waiting(&sender, 2), waiting(&sender, 3));
    sender.queue().set_overflow(Overflow::DropNewest);
    assert!(poll(&mut second).is_pending(), "not before its turn");
    assert_eq!(refusal(poll(&mut first)), (Refused::Full, 2));
    sender.queue().set_overflow(Overflow::DropOldest);
    assert!(matches!(poll(&mut second), Poll::Ready(Ok(sent)) if sent.len() == 1));
    assert_eq!(values(&mut receiver), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_send_expires_at_its_deadline_and_gives_the_item_back() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    sender.send(1).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(5);
    let error = sender.send_until(2, deadline).await.unwrap_err();
    assert_eq!((error.reason, error.into_value(), Instant::now()), (Refused::Expired, 2, deadline));
    assert_eq!(sender.queue().counts().refused, 1);

    let mut late = Box::pin(sender.send_until(3, deadline + Duration::from_millis(5)));
    assert!(poll(&mut late).is_pending());
    tokio::time::advance(Duration::from_millis(9)).await;
    receiver.recv().await.unwrap();
    assert!(poll(&mut late).is_ready(), "room goes before the deadline");
    assert!(sender.send_until(4, deadline).await.is_err(), "a deadline that has passed does not wait");
}

#[test]
fn a_deadline_needs_a_runtime_only_to_wait_and_a_panic_without_one_leaves_nothing_behind() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    assert!(poll(&mut Box::pin(sender.send_until(1, Instant::now()))).is_ready());
    let mut second = Box::pin(sender.send_until(2, Instant::now()));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut second))).is_err());
    drop(second);
    assert_eq!(values(&mut receiver), [1]);
    sender.try_send(3).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_item_is_told_in_a_timed_queue_only() {
    let (sender, mut receiver) = QueueBuilder::new(9, Overflow::Block).timed().build::<u64>().unwrap();
    assert_eq!(sender.queue().oldest_age(), None);
    let milliseconds = Duration::from_millis;
    sender.try_send(Item::new(1).class(ItemClass::Conflated(1))).unwrap();
    tokio::time::advance(milliseconds(3)).await;
    sender.try_send(2).unwrap();
    sender.try_send(Item::new(3).class(ItemClass::Conflated(1))).unwrap();
    tokio::time::advance(milliseconds(4)).await;
    assert_eq!(sender.queue().oldest_age(), Some(milliseconds(7)), "a place keeps its age");
    receiver.recv().await.unwrap();
    assert_eq!(sender.queue().oldest_age(), Some(milliseconds(4)));

    let (sender, _receiver) = queue::<u64>(9, Overflow::Block);
    sender.try_send(1).unwrap();
    assert_eq!(sender.queue().oldest_age(), None);
}

/// A task that owns something of a queue and whose waker is the last to own the task: whoever drops or wakes it drops that.
struct Owner<T>(#[allow(dead_code, reason = "held for its drop; the lint sees that in some builds only")] T);

impl<T: Send + Sync + 'static> Wake for Owner<T> {
    fn wake(self: Arc<Self>) {}
}

/// A queue that woke or dropped a waker under its lock would wait for itself here.
#[test]
fn a_waker_may_own_an_end_of_its_own_queue() {
    let (sender, mut receiver) = queue::<u64>(1, Overflow::Block);
    let sender = leaked(sender);
    let owner = || Waker::from(Arc::new(Owner(sender.clone())));
    let mut receive = |waker: &Waker| receiver.poll_recv(&mut Context::from_waker(waker)).is_ready();

    assert!(!receive(&owner()) && !receive(&owner()), "replaced");
    sender.try_send(1).unwrap();
    let mut called = Box::pin(sender.send(2));
    assert!(poll_with(&mut called, &owner()).is_pending());
    assert!(poll_with(&mut called, &owner()).is_pending(), "replaced");
    assert!(receive(&owner()));
    assert!(poll(&mut called).is_ready());

    let mut dropped = Box::pin(sender.send(3));
    assert!(poll_with(&mut dropped, &owner()).is_pending());
    drop(dropped);

    let mut closed = Box::pin(sender.send(4));
    assert!(poll_with(&mut closed, &Waker::from(Arc::new(Owner(waiting(sender, 5))))).is_pending());
    sender.queue().close();
    assert_eq!(refusal(poll(&mut closed)), (Refused::Closed, 4));
}

/// A value that owns an end of the queue it is in.
#[test]
fn an_item_may_own_a_sender_of_its_own_queue() {
    struct Own(#[expect(dead_code, reason = "held for its drop")] Sender<Self>);
    let (sender, receiver) = queue::<Own>(2, Overflow::DropOldest);
    let handle = sender.queue().clone();
    for _ in 0..3 {
        drop(sender.try_send(Own(sender.clone())).ok());
    }
    drop(handle.discard());
    sender.try_send(Own(sender.clone())).ok().unwrap();
    drop(receiver);
    assert!(sender.try_send(Own(sender.clone())).is_err());
    assert!(handle.is_empty() && handle.is_closed());
}

#[test]
fn everything_may_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<Queue<u8>>();
    check::<Sender<u8>>();
    check::<Receiver<u8>>();
    check::<Sending<'_, u8>>();
}
