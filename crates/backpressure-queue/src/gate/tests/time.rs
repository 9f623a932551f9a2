//! Deadlines, patience and estimates.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::advance;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn adaptive() -> Gate {
    Gate::new(1).queue(99).order(Order::Adaptive(CoDel::new()))
}

/// How long one that comes now waits in vain.
async fn patience(gate: &Gate) -> Duration {
    let came = Instant::now();
    assert_eq!(gate.enter(Class::Default).await.unwrap_err(), LineError::Expired);
    Instant::now() - came
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_one_leaves_the_line_and_makes_room() {
    let gate = Gate::new(1).queue(1).queue_weight(3);
    let place = enter(&gate);
    let deadline = Instant::now() + 5 * MS;
    assert_eq!(gate.enter(Class::Default).weighing(3).until(deadline).await.unwrap_err(), LineError::Expired);
    assert_eq!((Instant::now(), gate.occupancy(), gate.waiting_weight()), (deadline, (1, 0), 0));
    let mut third = waiting(&gate);
    drop(place);
    drop(inside(poll(&mut third)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_takes_a_free_place_and_waits_for_no_other() {
    let gate = Gate::new(1).queue(9);
    let now = Instant::now();
    let place = gate.enter(Class::Default).until(now).await.unwrap();
    assert_eq!(gate.enter(Class::Default).until(now).await.unwrap_err(), LineError::Expired);
    assert_eq!((Instant::now(), gate.occupancy()), (now, (1, 0)));
    drop(place);
}

/// One that came too late used to join the line for an instant, for which another had to leave it.
#[tokio::test(start_paused = true)]
async fn one_that_has_no_time_to_wait_evicts_nobody_and_is_refused_as_ever() {
    let gate = Gate::new(1).queue(1).queue_weight(5).overflow(Overflow::DropOldest);
    let place = enter(&gate);
    let mut second = waiting(&gate);
    let late = |gate: &Gate| gate.enter(Class::Default).until(Instant::now());
    assert_eq!(refused(poll_once(late(&gate))), LineError::Expired);
    assert_eq!(refused(poll_once(late(&gate).weighing(6))), LineError::TooHeavy);
    assert!(poll(&mut second).is_pending());
    gate.close_to_newcomers();
    assert_eq!(refused(poll_once(late(&gate))), LineError::Closed);
    drop(place);
    drop(inside(poll(&mut second)));
}

#[tokio::test(start_paused = true)]
async fn the_place_goes_before_the_deadline_even_if_it_is_noticed_later() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let mut second = Box::pin(gate.enter(Class::Default).until(Instant::now() + 5 * MS));
    assert!(poll(&mut second).is_pending());
    advance(10 * MS).await;
    drop(place);
    drop(inside(poll(&mut second)));
}

#[tokio::test(start_paused = true)]
async fn of_several_deadlines_the_first_counts() {
    let gate = Gate::new(1).queue(9);
    let _place = enter(&gate);
    for (one, other) in [(3, 7), (7, 3)] {
        let came = Instant::now();
        assert_eq!(
            gate.enter(Class::Default).until(came + one * MS).until(came + other * MS).await.unwrap_err(),
            LineError::Expired
        );
        assert_eq!(Instant::now() - came, 3 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_its_place_wakes_nobody_at_its_deadline() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let count = Arc::new(Count::default());
    let mut second = Box::pin(gate.enter(Class::Default).until(Instant::now() + 5 * MS));
    assert!(poll_with(&mut second, &count.clone().into()).is_pending());
    drop(place);
    let _place = inside(poll(&mut second));
    advance(5 * MS).await;
    assert_eq!(count.woken(), 1);
}

#[test]
fn a_deadline_needs_a_runtime_only_to_wait_and_a_panic_without_one_leaves_the_line() {
    let later = Instant::now() + Duration::from_secs(3_600);
    for gate in [Gate::new(1).queue(9), adaptive()] {
        let place = inside(poll_once(gate.enter(Class::Default).until(later)));
        let mut second = Box::pin(gate.enter(Class::Default).until(later));
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut second))).is_err());
            assert_eq!(gate.occupancy(), (1, 1), "until it is dropped it waits");
        }
        drop(second);
        assert_eq!(gate.occupancy(), (1, 0));
        let mut third = Box::pin(gate.enter(Class::Default).until(later));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut third))).is_err());
        drop(place);
        drop(inside(poll(&mut third)));
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn without_a_deadline_no_runtime_is_needed() {
    let gate = Gate::new(1).queue(9).order(Order::Lifo);
    let place = enter(&gate);
    let mut second = waiting(&gate);
    drop(place);
    drop(inside(poll(&mut second)));
}

#[tokio::test(start_paused = true)]
async fn adaptive_patience_is_100_ms_and_5_ms_once_the_line_stands() {
    let gate = adaptive();
    let _place = enter(&gate);
    assert_eq!(patience(&gate).await, 100 * MS);
    assert_eq!(patience(&gate).await, 100 * MS, "it was empty in between");
    let long = tokio::spawn(gate.enter(Class::Default));
    tokio::task::yield_now().await;
    advance(99 * MS).await;
    // 100 ms less one: the line does not stand yet.
    let other = tokio::spawn(gate.enter(Class::Default));
    tokio::task::yield_now().await;
    advance(MS).await;
    assert_eq!(long.await.unwrap().unwrap_err(), LineError::Expired);
    assert_eq!(patience(&gate).await, 5 * MS, "for 100 ms somebody has been waiting without a break");
    let came = Instant::now();
    assert_eq!(other.await.unwrap().unwrap_err(), LineError::Expired);
    assert_eq!(Instant::now() - came, 94 * MS);
    assert_eq!(patience(&gate).await, 100 * MS, "it was empty again");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_end_of_the_patience_counts() {
    let gate = adaptive();
    let _place = enter(&gate);
    let deadline = Instant::now() + 7 * MS;
    assert_eq!(gate.enter(Class::Default).until(deadline).await.unwrap_err(), LineError::Expired);
    assert_eq!(Instant::now(), deadline);
}

#[tokio::test(start_paused = true)]
async fn adaptive_the_newest_is_first_while_the_line_stands_and_the_oldest_once_it_was_empty() {
    let gate = adaptive();
    let mut place = Some(enter(&gate));
    let mut oldest = waiting(&gate);
    advance(99 * MS).await;
    let mut others = [(); 4].map(|()| waiting(&gate));
    drop(place.take());
    place = Some(inside(poll(&mut oldest)));
    advance(MS).await;
    for newest in [3, 2] {
        drop(place.take());
        place = Some(inside(poll(&mut others[newest])));
    }
    let mut newest = waiting(&gate);
    drop(place.take());
    place = Some(inside(poll(&mut newest)));
    for other in [1, 0] {
        drop(place.take());
        place = Some(inside(poll(&mut others[other])));
    }
    let mut others = [(); 2].map(|()| waiting(&gate));
    for oldest in [0, 1] {
        drop(place.take());
        place = Some(inside(poll(&mut others[oldest])));
    }
}

/// However the last who waits goes away, the line has been empty then.
#[tokio::test(start_paused = true)]
async fn adaptive_the_line_stands_no_more_once_the_last_has_left_expired_or_was_let_in() {
    for end in 0..3 {
        let gate = adaptive();
        let mut place = Some(enter(&gate));
        let mut last = waiting(&gate);
        advance(100 * MS).await;
        match end {
            0 => drop(last),
            1 => assert_eq!(refused(poll(&mut last)), LineError::Expired),
            _ => {
                drop(place.take());
                place = Some(inside(poll(&mut last)));
            }
        }
        let [mut oldest, mut newest] = [(); 2].map(|()| waiting(&gate));
        drop(place);
        let place = inside(poll(&mut oldest));
        assert!(poll(&mut newest).is_pending(), "{end}");
        drop(newest);
        assert_eq!(patience(&gate).await, 100 * MS, "{end}");
        drop(place);
    }
}

#[tokio::test(start_paused = true)]
async fn adaptive_a_line_in_which_one_takes_the_place_of_another_was_not_empty() {
    let gate = Gate::new(1).queue(1).overflow(Overflow::DropOldest).order(Order::Adaptive(CoDel::new()));
    let _place = enter(&gate);
    let _oldest = waiting(&gate);
    advance(60 * MS).await;
    let _newer = waiting(&gate);
    advance(40 * MS).await;
    assert_eq!(patience(&gate).await, 5 * MS);
}

/// A gate of so many places all of which have been in use, one given back every 10 ms for long enough to tell; and those inside.
async fn drained(gate: Gate) -> (Gate, Vec<Place>) {
    let mut places: Vec<Place> = std::iter::from_fn(|| gate.try_enter(Class::Critical)).collect();
    while gate.estimated_wait(Class::Critical).is_none() {
        advance(10 * MS).await;
        drop(places.remove(0));
        places.push(enter_as(&gate, Class::Critical));
    }
    (gate, places)
}

fn estimate(gate: &Gate, class: Class) -> Duration {
    gate.estimated_wait(class).expect("enough places were given back")
}

#[tokio::test(start_paused = true)]
async fn an_estimate_counts_those_of_the_class_and_above() {
    for (order, expected) in [(Order::Fifo, [20, 40, 50, 60]), (Order::Lifo, [10, 20, 40, 50])] {
        let (gate, _places) = drained(Gate::new(2).queue(99).order(order)).await;
        assert_eq!(Class::ALL.map(|class| estimate(&gate, class)), [10 * MS; 4]);
        let classes = [Class::Critical, Class::Default, Class::Default, Class::Sheddable, Class::Background];
        let _others = classes.map(|class| waiting_as(&gate, class, 0));
        assert_eq!(Class::ALL.map(|class| estimate(&gate, class)), expected.map(|ms| ms * MS), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_estimate_follows_the_order_that_holds_now() {
    let (gate, _places) = drained(adaptive()).await;
    let _others = [(); 3].map(|()| waiting(&gate));
    assert_eq!(estimate(&gate, Class::Default), 40 * MS);
    advance(100 * MS).await;
    assert_eq!(estimate(&gate, Class::Default), 10 * MS);
}

/// The estimate used to be that of the highest class for all, and to believe in the places that are no more.
#[tokio::test(start_paused = true)]
async fn an_estimate_counts_the_places_that_are_not_open_to_the_class_and_those_that_are_too_many() {
    let (gate, _places) = drained(Gate::new(10).queue(99).reserve(Class::Critical, 20)).await;
    assert_eq!(estimate(&gate, Class::Critical), 10 * MS);
    assert_eq!(estimate(&gate, Class::Default), 30 * MS, "two leave what is reserved first");
    gate.set_places(5);
    assert_eq!(estimate(&gate, Class::Critical), 60 * MS);
}

/// It used to be the time until one place more is given back.
#[tokio::test(start_paused = true)]
async fn where_a_place_is_free_that_is_open_to_the_class_the_estimate_is_no_wait_at_all() {
    let (gate, mut places) = drained(Gate::new(10).queue(99).reserve(Class::Critical, 20)).await;
    places.truncate(8);
    let _waits = waiting_as(&gate, Class::Default, 0);
    assert_eq!(estimate(&gate, Class::Critical), Duration::ZERO);
    assert!(estimate(&gate, Class::Default) > 10 * MS, "two leave first");
}

#[tokio::test(start_paused = true)]
async fn places_that_are_given_back_while_others_are_free_tell_nothing_even_where_somebody_watches() {
    let gate = Gate::new(3);
    let _place = enter(&gate);
    let mut idle = Box::pin(gate.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    for _ in 0..99 {
        let place = enter(&gate);
        advance(MS).await;
        drop(place);
    }
    assert_eq!(gate.estimated_wait(Class::Default), None);
}
