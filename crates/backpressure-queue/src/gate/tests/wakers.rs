//! Who is woken, with what, and what a waker may own.

use super::*;

#[test]
fn only_the_next_is_woken_and_only_once() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let ((second, count_2), (mut third, count_3)) = (counted(&gate), counted(&gate));
    drop(place);
    assert_eq!((count_2.woken(), count_3.woken()), (1, 0));
    drop(second);
    assert_eq!((count_2.woken(), count_3.woken()), (1, 1));
    drop(inside(poll(&mut third)));
}

#[test]
fn who_is_evicted_is_woken_and_nobody_else() {
    let gate = Gate::new(1).queue(2).overflow(Overflow::DropOldest);
    let _place = enter(&gate);
    let ((mut oldest, count_2), (_newer, count_3)) = (counted(&gate), counted(&gate));
    let (_newest, count_4) = counted(&gate);
    assert_eq!((count_2.woken(), count_3.woken(), count_4.woken()), (1, 0, 0));
    assert_eq!(refused(poll(&mut oldest)), LineError::Evicted);
}

#[test]
fn one_that_was_evicted_and_is_dropped_gives_no_place_back() {
    let gate = Gate::new(1).queue(1).queue_weight(4).overflow(Overflow::DropOldest);
    let place = enter(&gate);
    let evicted = waiting_as(&gate, Class::Default, 3);
    let _newest = waiting_as(&gate, Class::Default, 4);
    drop(evicted);
    assert_eq!((gate.occupancy(), gate.waiting_weight()), ((1, 1), 4));
    drop(place);
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let mut second = Box::pin(gate.enter(Class::Default));
    let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (old_waker, new_waker) = (Waker::from(old.clone()), Waker::from(new.clone()));
    assert!(poll_with(&mut second, &old_waker).is_pending());
    assert!(poll_with(&mut second, &old_waker).is_pending());
    assert_eq!(Arc::strong_count(&old), 3, "a waker that would wake the same task is not cloned again");
    assert!(poll_with(&mut second, &new_waker).is_pending());
    assert_eq!(Arc::strong_count(&old), 2, "the replaced waker was dropped");
    drop(place);
    assert_eq!((old.woken(), new.woken()), (0, 1));
}

/// A task whose waker is the last to own it: whoever drops or wakes it drops what it owns.
struct Owner<T> {
    _owned: T,
}

impl<T: Send + Sync + 'static> Wake for Owner<T> {
    fn wake(self: Arc<Self>) {}
}

fn owner_of<T: Send + Sync + 'static>(owned: T) -> Waker {
    Waker::from(Arc::new(Owner { _owned: owned }))
}

fn waiting_with(gate: &Gate, waker: &Waker) -> Waiting {
    let mut enter = Box::pin(gate.enter(Class::Default));
    assert!(poll_with(&mut enter, waker).is_pending());
    enter
}

/// A gate of which all places are taken, those places, and a waker that owns a part of the gate: a place, a wait, or a watch. A gate
/// that woke or dropped a waker under its lock would wait for itself in one of the tests below.
fn busy(part: &str) -> (Gate, Vec<Place>, Waker) {
    let gate = Gate::new(2).queue(3).overflow(Overflow::DropOldest).order(Order::Lifo);
    let mut places = vec![enter(&gate), enter(&gate)];
    let waker = match part {
        "place" => owner_of(places.pop()),
        "wait" => owner_of(waiting_as(&gate, Class::Background, 0)),
        _ => {
            let mut idle = Box::pin(gate.idle());
            assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            owner_of(idle)
        }
    };
    (gate, places, waker)
}

const PARTS: [&str; 3] = ["place", "wait", "watch"];

#[test]
fn a_waker_that_is_replaced_may_own_a_part_of_the_gate() {
    for part in PARTS {
        let (gate, places, waker) = busy(part);
        let mut replaced = waiting_with(&gate, &waker);
        drop(waker);
        drop(poll(&mut replaced));
        drop((replaced, places));
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn the_waker_of_one_that_leaves_may_own_a_part_of_the_gate() {
    for part in PARTS {
        let (gate, places, waker) = busy(part);
        let leaving = waiting_with(&gate, &waker);
        drop(waker);
        drop((leaving, places));
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn the_waker_of_one_that_is_let_in_may_own_a_part_of_the_gate() {
    for part in PARTS {
        for by_places in [false, true] {
            let (gate, places, waker) = busy(part);
            let called = waiting_with(&gate, &waker);
            drop(waker);
            if by_places {
                gate.set_places(9);
            }
            drop(places);
            drop(called);
            assert_eq!(gate.occupancy(), (0, 0));
        }
    }
}

#[test]
fn the_waker_of_one_that_is_evicted_or_sent_away_may_own_a_part_of_the_gate() {
    for part in PARTS {
        for by_closing in [false, true] {
            let (gate, places, waker) = busy(part);
            let mut refused_one = waiting_with(&gate, &waker);
            drop(waker);
            if by_closing {
                gate.close();
            } else {
                // As many as the line holds, so that nobody else is left in it.
                let _others = [(); 3].map(|()| {
                    let mut other = Box::pin(gate.enter(Class::Critical));
                    drop(poll(&mut other));
                    other
                });
                assert_eq!(refused(poll(&mut refused_one)), LineError::Evicted);
            }
            drop((refused_one, places));
            assert_eq!(gate.occupancy(), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_waker_of_one_that_expires_may_own_a_part_of_the_gate() {
    for part in PARTS {
        let (gate, places, waker) = busy(part);
        let mut expiring = Box::pin(gate.enter(Class::Default).until(Instant::now() + Duration::from_millis(1)));
        assert!(poll_with(&mut expiring, &waker).is_pending());
        tokio::time::advance(Duration::from_millis(1)).await;
        // The timer lets its clone go before the gate does.
        drop(waker);
        drop(poll(&mut expiring));
        drop((expiring, places));
        assert_eq!(gate.occupancy(), (0, 0));
    }
}

#[test]
fn the_waker_of_one_that_watches_may_own_a_part_of_the_gate() {
    for part in PARTS {
        for ends in [false, true] {
            let (gate, places, waker) = busy(part);
            let mut idle = Box::pin(gate.idle());
            assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            if ends {
                drop(idle);
                drop(places);
            } else {
                assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                drop(places);
                assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            }
            assert_eq!(gate.occupancy(), (0, 0));
        }
    }
}
