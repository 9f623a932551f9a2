//! Who overtakes whom, who has to go, and what is kept from whom.

use super::*;

const ROOM: usize = 9;

fn percent(class: Class, percent: u8) -> Gate {
    Gate::new(10).queue(ROOM).reserve(class, percent)
}

/// How many of this class get in where nobody else is.
fn fit(gate: &Gate, class: Class) -> usize {
    let places: Vec<Place> = std::iter::from_fn(|| gate.try_enter(class)).collect();
    let full = poll_once(gate.enter(class));
    assert!(full.is_pending());
    places.len()
}

#[test]
fn who_has_a_higher_class_is_next_whatever_the_order() {
    for order in all_orders() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let gate = Gate::new(1).queue(ROOM).order(order);
        let mut place = Some(enter(&gate));
        let mut others =
            [Class::Background, Class::Default, Class::Critical, Class::Sheddable].map(|class| waiting_as(&gate, class, 0));
        for next in [2, 1, 3, 0] {
            drop(place.take());
            place = Some(inside(poll(&mut others[next])));
        }
        drop(place);
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn a_newcomer_finds_a_place_at_once_only_where_nobody_of_its_class_or_above_waits() {
    let gate = percent(Class::Critical, 20);
    let mut places: Vec<Place> = (0..8).map(|_| enter(&gate)).collect();
    let mut default = waiting(&gate);
    // Of what is reserved the higher class takes a place, past a lower one that waits.
    assert!(gate.try_enter(Class::Critical).is_none(), "`try_enter` overtakes nobody");
    assert_eq!(gate.refusal(Class::Critical, 0), None);
    places.push(enter_as(&gate, Class::Critical));
    places.push(enter_as(&gate, Class::Critical));
    let mut critical = waiting_as(&gate, Class::Critical, 0);
    drop(places.remove(0));
    places.push(inside(poll(&mut critical)));
    assert!(poll(&mut default).is_pending());
    // 10 in use, of which the lower class may see 8 with its own.
    for _ in 0..2 {
        drop(places.remove(0));
        assert!(poll(&mut default).is_pending());
    }
    assert_eq!(gate.occupancy(), (8, 1));
    drop(places.remove(0));
    assert_eq!(gate.occupancy(), (8, 0));
    drop(inside(poll(&mut default)));
}

#[test]
fn of_10_places_with_20_percent_reserved_for_the_highest_class_the_others_use_8() {
    let gate = percent(Class::Critical, 20);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [10, 8, 8, 8]);
}

#[test]
fn what_is_reserved_for_a_class_is_open_to_those_above() {
    let gate = percent(Class::Sheddable, 30);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [10, 10, 10, 7]);
}

#[test]
fn what_several_classes_reserve_adds_up() {
    let gate = percent(Class::Critical, 20).reserve(Class::Default, 30).reserve(Class::Critical, 10);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [10, 7, 4, 4]);
}

#[test]
fn to_reserve_for_the_lowest_class_changes_nothing() {
    let gate = percent(Class::Background, 255);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [10; 4]);
}

#[test]
fn parts_are_rounded_down_and_of_a_single_place_nothing_is_reserved() {
    let gate = Gate::new(1).queue(ROOM).reserve(Class::Critical, 99);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [1; 4]);
    for (places, others) in [(0, 0), (2, 2), (3, 2), (4, 3), (5, 3), (100, 51)] {
        let gate = Gate::new(places).queue(ROOM).reserve(Class::Critical, 49);
        assert_eq!(fit(&gate, Class::Default), others, "{places}");
    }
}

#[test]
fn what_is_reserved_follows_the_number_of_places() {
    let gate = percent(Class::Critical, 50);
    gate.set_places(4);
    assert_eq!(fit(&gate, Class::Default), 2);
    gate.set_places(20);
    assert_eq!(fit(&gate, Class::Default), 10);
}

#[test]
fn ninety_nine_percent_may_be_reserved() {
    let gate = percent(Class::Critical, 50).reserve(Class::Sheddable, 49);
    assert_eq!(Class::ALL.map(|class| fit(&gate, class)), [10, 5, 5, 1]);
}

#[test]
#[should_panic(expected = "100 % of the places are reserved: less than 100 % must be, or the lowest class never gets in")]
fn to_reserve_everything_panics() {
    let _ = percent(Class::Critical, 50).reserve(Class::Sheddable, 50);
}

#[test]
#[should_panic(expected = "255 % of the places are reserved")]
fn to_reserve_more_than_a_byte_counts_panics() {
    let _ = percent(Class::Critical, 99).reserve(Class::Critical, 200);
}

#[test]
fn in_a_full_line_the_lowest_class_gives_way_to_a_higher_one_the_newest_first() {
    let gate = Gate::new(1).queue(4);
    let place = enter(&gate);
    let mut sheddable = waiting_as(&gate, Class::Sheddable, 0);
    let mut background = [(); 2].map(|()| waiting_as(&gate, Class::Background, 0));
    let mut default = waiting(&gate);
    let mut critical = [(); 4].map(|()| {
        assert_eq!(gate.refusal(Class::Critical, 0), None);
        waiting_as(&gate, Class::Critical, 0)
    });
    assert_eq!(gate.refusal(Class::Critical, 0), Some(LineError::Full));
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Full);
    for evicted in [&mut sheddable, &mut default].into_iter().chain(&mut background) {
        assert_eq!(refused(poll(evicted)), LineError::Evicted);
    }
    drop(place);
    drop(inside(poll(&mut critical[0])));
}

#[test]
fn under_drop_newest_the_newest_of_the_lowest_class_goes_and_nobody_of_its_own() {
    let gate = Gate::new(1).queue(2);
    let _place = enter(&gate);
    let mut background = [(); 2].map(|()| waiting_as(&gate, Class::Background, 0));
    assert_eq!(refused(poll_once(gate.enter(Class::Background))), LineError::Full);
    let _sheddable = waiting_as(&gate, Class::Sheddable, 0);
    assert!(poll(&mut background[0]).is_pending());
    assert_eq!(refused(poll(&mut background[1])), LineError::Evicted);
    assert_eq!(gate.occupancy(), (1, 2));
}

#[test]
fn under_drop_oldest_the_oldest_of_the_lowest_class_goes_also_of_its_own_but_of_none_above() {
    let gate = Gate::new(1).queue(2).overflow(Overflow::DropOldest);
    let _place = enter(&gate);
    let mut critical = waiting_as(&gate, Class::Critical, 0);
    let mut background = waiting_as(&gate, Class::Background, 0);
    let mut newer = waiting_as(&gate, Class::Background, 0);
    assert_eq!(refused(poll(&mut background)), LineError::Evicted);
    let mut default = waiting(&gate);
    assert_eq!(refused(poll(&mut newer)), LineError::Evicted);
    assert_eq!(refused(poll_once(gate.enter(Class::Sheddable))), LineError::Full);
    assert!(poll(&mut default).is_pending());
    let _newest = waiting_as(&gate, Class::Critical, 0);
    assert_eq!(refused(poll(&mut default)), LineError::Evicted);
    assert!(poll(&mut critical).is_pending());
}

#[test]
fn under_drop_oldest_without_a_line_the_newcomer_is_refused() {
    let gate = Gate::new(1).overflow(Overflow::DropOldest);
    let _place = enter(&gate);
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Full);
}

#[test]
fn who_is_refused_has_evicted_nobody() {
    let gate = Gate::new(1).queue(9).queue_weight(10);
    let _place = enter(&gate);
    let mut background = waiting_as(&gate, Class::Background, 3);
    let mut default = waiting_as(&gate, Class::Default, 6);
    assert_eq!(refused(poll_once(gate.enter(Class::Default).weighing(5))), LineError::Full, "3 would go, 5 would not fit");
    assert!(poll(&mut background).is_pending());
    assert!(poll(&mut default).is_pending());
    assert_eq!(gate.waiting_weight(), 9);
}

#[test]
fn under_block_who_finds_the_line_full_waits_at_its_end() {
    let gate = Gate::new(1).queue(1).queue_weight(3).overflow(Overflow::Block);
    let mut place = Some(enter(&gate));
    let mut others = [(); 5].map(|()| waiting_as(&gate, Class::Default, 3));
    assert_eq!((gate.occupancy(), gate.waiting_weight()), ((1, 5), 15));
    assert_eq!(gate.refusal(Class::Background, 3), None);
    for other in &mut others {
        drop(place.take());
        place = Some(inside(poll(other)));
    }
    drop(place);
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
fn by_weight_as_many_go_as_make_room() {
    let gate = Gate::new(1).queue(9).queue_weight(10).overflow(Overflow::DropOldest);
    let _place = enter(&gate);
    let mut others = [2, 3, 4].map(|weight| waiting_as(&gate, Class::Default, weight));
    assert_eq!(gate.waiting_weight(), 9);
    let _exact = waiting_as(&gate, Class::Default, 1);
    assert_eq!((gate.waiting(), gate.waiting_weight()), (4, 10));
    let _newest = waiting_as(&gate, Class::Default, 4);
    assert_eq!((gate.waiting(), gate.waiting_weight()), (3, 9));
    assert_eq!([0, 1].map(|other| refused(poll(&mut others[other]))), [LineError::Evicted; 2]);
    assert!(poll(&mut others[2]).is_pending());
}

#[test]
fn one_that_weighs_more_than_the_whole_line_is_too_heavy_but_may_take_a_free_place() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Block] {
        let gate = Gate::new(1).queue(9).queue_weight(10).overflow(overflow);
        assert_eq!(gate.refusal(Class::Default, 11), None);
        let place = inside(poll_once(gate.enter(Class::Default).weighing(11)));
        assert_eq!(gate.refusal(Class::Default, 11), Some(LineError::TooHeavy));
        assert_eq!(refused(poll_once(gate.enter(Class::Default).weighing(11))), LineError::TooHeavy);
        let exact = waiting_as(&gate, Class::Default, 10);
        assert_eq!(gate.waiting_weight(), 10);
        drop(exact);
        assert_eq!(gate.waiting_weight(), 0);
        drop(place);
    }
}

/// The sum of the weights used to be a `u64` that could not hold the second of these: it was refused as if there were a bound.
#[test]
fn without_a_bound_of_weight_no_weight_is_too_much() {
    for gate in [Gate::new(1).queue(9), Gate::new(1).queue_weight(u64::MAX - 1).overflow(Overflow::Block)] {
        let place = enter(&gate);
        let most = u64::MAX - 1;
        let others = [(); 3].map(|()| {
            assert_eq!(gate.refusal(Class::Default, most), None);
            waiting_as(&gate, Class::Default, most)
        });
        assert_eq!((gate.waiting(), gate.waiting_weight()), (3, u64::MAX), "as much as can be told");
        drop(others);
        assert_eq!(gate.waiting_weight(), 0);
        drop(place);
    }
}

#[test]
fn the_weight_of_who_got_in_no_longer_counts() {
    let gate = Gate::new(1).queue(9).queue_weight(10);
    let place = enter(&gate);
    let (mut second, third) = (waiting_as(&gate, Class::Default, 7), waiting_as(&gate, Class::Default, 2));
    drop(place);
    assert_eq!(gate.waiting_weight(), 2);
    let _place = inside(poll(&mut second));
    gate.close();
    assert_eq!(gate.waiting_weight(), 0);
    drop(third);
    assert_eq!(gate.waiting_weight(), 0);
}
