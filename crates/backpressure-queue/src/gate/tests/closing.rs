//! What becomes of newcomers, of those who wait and of those who have a place.

use super::*;

#[test]
fn closed_to_newcomers_those_who_wait_get_their_places() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let (mut second, mut third) = (waiting(&gate), waiting(&gate));
    gate.close_to_newcomers();
    assert_eq!(gate.refusal(Class::Critical, 0), Some(LineError::Closed));
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Closed);
    drop(place);
    let place = inside(poll(&mut second));
    drop(place);
    drop(inside(poll(&mut third)));
    assert_eq!(gate.occupancy(), (0, 0));
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Closed, "with a place free");
    assert!(gate.try_enter(Class::Critical).is_none());
}

#[test]
fn closed_for_ever_only_those_who_have_a_place_or_were_called_keep_it() {
    let gate = Gate::new(2).queue(9);
    let [first, second] = [enter(&gate), enter(&gate)];
    let (mut called, _) = counted(&gate);
    let mut others = [(); 2].map(|()| counted(&gate));
    drop(first);
    gate.close();
    gate.close();
    assert_eq!(gate.occupancy(), (2, 0));
    for (other, count) in &mut others {
        assert_eq!(count.woken(), 1);
        assert_eq!(refused(poll(other)), LineError::Closed);
    }
    let place = inside(poll(&mut called));
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Closed);
    drop((place, second));
    assert_eq!(gate.occupancy(), (0, 0));
    assert!(gate.try_enter(Class::Critical).is_none());
    assert_eq!(gate.refusal(Class::Critical, 0), Some(LineError::Closed));
}

#[test]
fn a_gate_that_is_closed_for_ever_does_not_open_to_those_who_wait_again() {
    let gate = Gate::new(0).queue(9);
    gate.close();
    gate.close_to_newcomers();
    assert_eq!(refused(poll_once(gate.enter(Class::Default))), LineError::Closed);
    gate.set_places(9);
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
fn one_that_was_called_before_the_gate_closed_and_then_leaves_frees_its_place() {
    let gate = Gate::new(1).queue(9);
    let place = enter(&gate);
    let (second, third) = (waiting(&gate), waiting(&gate));
    drop(place);
    gate.close();
    drop((second, third));
    assert_eq!(gate.occupancy(), (0, 0));
}

#[test]
fn a_gate_stays_closed_when_it_has_been_empty() {
    let gate = Gate::new(1);
    let place = enter(&gate);
    gate.close_to_newcomers();
    let mut idle = Box::pin(gate.idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(place);
    assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(gate.try_enter(Class::Critical).is_none());
}
