//! What the docs of the gate say, sentence by sentence.

mod classes;
mod closing;
mod idle;
mod time;
mod wakers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use backpressure_core::{Class, CoDel, Overflow};

use super::*;

type Waiting = Pin<Box<Enter>>;
type Polled = Poll<Result<Place, LineError>>;

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

fn poll(enter: &mut Waiting) -> Polled {
    poll_with(enter, Waker::noop())
}

fn poll_with(enter: &mut Waiting, waker: &Waker) -> Polled {
    enter.as_mut().poll(&mut Context::from_waker(waker))
}

fn poll_once(enter: Enter) -> Polled {
    poll(&mut Box::pin(enter))
}

fn inside(polled: Polled) -> Place {
    match polled {
        Poll::Ready(Ok(place)) => place,
        other => panic!("a place was expected, not {other:?}"),
    }
}

fn refused(polled: Polled) -> LineError {
    match polled {
        Poll::Ready(Err(error)) => error,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

fn enter(gate: &Gate) -> Place {
    enter_as(gate, Class::Default)
}

fn enter_as(gate: &Gate, class: Class) -> Place {
    inside(poll_once(gate.enter(class)))
}

fn waiting(gate: &Gate) -> Waiting {
    waiting_as(gate, Class::Default, 0)
}

fn waiting_as(gate: &Gate, class: Class, weight: u64) -> Waiting {
    let mut enter = Box::pin(gate.enter(class).weighing(weight));
    assert!(poll(&mut enter).is_pending());
    enter
}

/// One that waits, and how often it was woken.
fn counted(gate: &Gate) -> (Waiting, Arc<Count>) {
    let count = Arc::new(Count::default());
    let mut enter = Box::pin(gate.enter(Class::Default));
    assert!(poll_with(&mut enter, &count.clone().into()).is_pending());
    (enter, count)
}

fn all_orders() -> [Order; 3] {
    [Order::Fifo, Order::Lifo, Order::Adaptive(CoDel::new())]
}

#[test]
fn as_many_as_there_are_places_are_inside_and_the_next_is_refused_or_waits() {
    let gate = Gate::new(2);
    let places = [enter(&gate), enter(&gate)];
    assert_eq!(gate.occupancy(), (2, 0));
    assert_eq!(gate.refusal(Class::Default, 0), Some(LineError::Full));
    assert_eq!(refused(poll_once(gate.enter(Class::Default))), LineError::Full, "nobody waits unless the gate has a queue");
    assert!(gate.try_enter(Class::Default).is_none());
    drop(places);
    assert_eq!((gate.places(), gate.in_use()), (2, 0));
    assert_eq!(gate.refusal(Class::Default, 0), None);
    assert!(gate.try_enter(Class::Default).is_some());

    let gate = gate.queue(1);
    let places = [enter(&gate), enter(&gate)];
    let mut third = waiting(&gate);
    assert_eq!((gate.occupancy(), gate.waiting(), gate.queue_capacity()), ((2, 1), 1, 1));
    assert_eq!(refused(poll_once(gate.enter(Class::Default))), LineError::Full);
    drop(places);
    assert_eq!(gate.occupancy(), (1, 0), "one place was passed on, the other is free");
    drop(inside(poll(&mut third)));
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
fn a_place_that_is_given_back_passes_to_the_next_and_no_newcomer_comes_between() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let (mut second, count) = counted(&gate);
    drop(place);
    assert_eq!((gate.occupancy(), count.woken()), ((1, 0), 1));
    assert!(gate.try_enter(Class::Critical).is_none());
    let mut third = waiting_as(&gate, Class::Critical, 0);
    let place = inside(poll(&mut second));
    assert!(poll(&mut third).is_pending());
    drop(place);
    drop(inside(poll(&mut third)));
}

#[test]
fn one_that_is_never_polled_is_not_in_line() {
    let gate = Gate::new(1).queue(1);
    let never = gate.enter(Class::Default);
    assert_eq!(gate.occupancy(), (0, 0));
    let place = enter(&gate);
    drop(never);
    assert_eq!(gate.occupancy(), (1, 0));
    drop(place);
}

#[test]
fn within_a_class_nobody_overtakes_the_order() {
    for (order, expected) in [(Order::Fifo, [0, 1, 2]), (Order::Lifo, [2, 1, 0])] {
        let gate = Gate::new(1).queue(3).order(order);
        let mut place = enter(&gate);
        let mut others = [(); 3].map(|()| waiting(&gate));
        for (at, next) in expected.into_iter().enumerate() {
            drop(place);
            assert!(expected[at + 1..].iter().all(|other| poll(&mut others[*other]).is_pending()), "{order:?} {next}");
            place = inside(poll(&mut others[next]));
        }
        drop(place);
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn with_0_places_nobody_gets_in_until_there_are_more() {
    let gate = Gate::new(0).queue(3);
    assert!(gate.try_enter(Class::Critical).is_none());
    let mut others = [(); 3].map(|()| counted(&gate));
    gate.set_places(2);
    assert_eq!((gate.places(), gate.occupancy()), (2, (2, 1)));
    assert_eq!([0, 1, 2].map(|other| others[other].1.woken()), [1, 1, 0]);
    let places = [0, 1].map(|other| inside(poll(&mut others[other].0)));
    assert!(poll(&mut others[2].0).is_pending());
    gate.set_places(0);
    assert_eq!(gate.occupancy(), (2, 1), "who is inside stays");
    drop(places);
    assert_eq!((gate.occupancy(), others[2].1.woken()), ((0, 1), 0));
    gate.set_places(1);
    drop(inside(poll(&mut others[2].0)));
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
fn fewer_places_take_effect_as_places_are_given_back() {
    let gate = Gate::new(3).queue(2);
    let [first, second, third] = [(); 3].map(|()| enter(&gate));
    let mut next = waiting(&gate);
    gate.set_places(1);
    assert_eq!((gate.places(), gate.in_use()), (1, 3));
    drop(first);
    drop(second);
    assert_eq!(gate.occupancy(), (1, 1));
    assert!(poll(&mut next).is_pending());
    drop(third);
    assert_eq!(gate.occupancy(), (1, 0));
    drop(inside(poll(&mut next)));
}

#[test]
fn the_most_places_and_the_longest_line_are_2_097_151() {
    assert_eq!(Gate::MOST, 2_097_151);
    let gate = Gate::new(Gate::MOST).queue(usize::MAX);
    assert_eq!((gate.places(), gate.queue_capacity()), (Gate::MOST, Gate::MOST));
    let place = enter(&gate);
    gate.set_places(0);
    gate.set_places(Gate::MOST);
    assert_eq!((gate.places(), gate.occupancy()), (Gate::MOST, (1, 0)), "no count touches another");
    drop(place);
}

#[test]
fn the_last_who_may_wait_in_the_longest_line_takes_the_place_of_another() {
    let gate = Gate::new(0).queue(Gate::MOST).overflow(Overflow::DropOldest);
    let mut all: Vec<Waiting> = (0..Gate::MOST).map(|_| waiting(&gate)).collect();
    let watch = &mut Box::pin(gate.idle());
    assert!(watch.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let last = waiting(&gate);
    assert_eq!(gate.occupancy(), (0, Gate::MOST));
    assert_eq!(refused(poll(&mut all[0])), LineError::Evicted);
    drop((all, last));
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
#[should_panic(expected = "a gate of 2097152 places: at most 2097151 are possible")]
fn a_gate_of_more_than_the_most_panics() {
    let _ = Gate::new(Gate::MOST + 1);
}

#[test]
#[should_panic(expected = "a gate of 2097152 places: at most 2097151 are possible")]
fn setting_more_places_than_the_most_panics() {
    Gate::new(1).set_places(Gate::MOST + 1);
}

#[test]
fn clones_share_one_gate_and_settings_make_a_new_one() {
    let gate = Gate::new(1);
    let place = enter(&gate.clone());
    assert_eq!(gate.in_use(), 1);
    gate.set_places(2);
    gate.close();
    let other = gate.clone().queue(4);
    assert_eq!((other.places(), other.occupancy(), gate.in_use()), (2, (0, 0), 1), "empty");
    drop((enter(&other), place));
}

#[test]
fn what_is_printed_tells_the_counts_and_the_settings() {
    let gate = Gate::new(2).queue(3);
    let place = enter(&gate);
    let printed = format!("{gate:?} {place:?} {:?} {:?}", gate.enter(Class::Critical).weighing(7), gate.idle());
    for part in
        ["Gate { places: 2, in_use: 1, waiting: 0", "queue: 3", "Place { .. }", "class: Critical, weight: 7", "Idle { .. }"]
    {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    assert_eq!(
        format!("{:?}", Word::of(3).entered().joined(0).watched(true)),
        "Word { places: 3, in_use: 1, waiting: 1, watched: true }"
    );
}

#[test]
#[should_panic(expected = "not polled again after it has resolved")]
fn one_that_is_polled_again_panics() {
    let mut enter = Box::pin(Gate::new(1).enter(Class::Default));
    let _place = inside(poll(&mut enter));
    let _ = poll(&mut enter);
}

/// Runs one script with the second of three dropped before its n-th step, for every n: the third always gets its place.
#[test]
fn one_that_is_dropped_at_any_point_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    for order in all_orders() {
        for cancelled_at in 0..8 {
            let gate = Gate::new(1).queue(2).queue_weight(2).order(order);
            let count = Arc::new(Count::default());
            let waker = Waker::from(count.clone());
            let (mut place_1, mut place_2) = (None, None);
            let mut second = Some(Box::pin(gate.enter(Class::Default).weighing(1)));
            let mut third = Box::pin(gate.enter(Class::Default).weighing(1));
            for step in 0..8 {
                if step == cancelled_at {
                    (second, place_2) = (None, None);
                }
                match step {
                    0 => place_1 = Some(enter(&gate)),
                    1 | 4 | 6 => {
                        if let Some(Poll::Ready(result)) = second.as_mut().map(poll) {
                            second = None;
                            place_2 = Some(result.unwrap());
                        }
                    }
                    2 => assert!(poll_with(&mut third, &waker).is_pending()),
                    3 => place_1 = None,
                    _ => {}
                }
            }
            if count.woken() == 0 {
                assert!(place_2.take().is_some(), "{order:?} {cancelled_at}: nobody is inside");
            }
            assert_eq!(count.woken(), 1, "{order:?} {cancelled_at}");
            drop(inside(poll(&mut third)));
            drop((place_1, second, place_2));
            assert_eq!((gate.occupancy(), gate.waiting_weight()), ((0, 0), 0), "{order:?} {cancelled_at}");
        }
    }
}

#[test]
fn everything_may_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<Gate>();
    check::<Enter>();
    check::<Place>();
    check::<Idle>();
}
