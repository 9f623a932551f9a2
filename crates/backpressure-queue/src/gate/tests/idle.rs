//! When a gate is found empty, and what watching it costs.

use super::*;

type Watching = Pin<Box<Idle>>;

fn poll_idle(idle: &mut Watching, waker: &Waker) -> bool {
    idle.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
}

fn watching(gate: &Gate) -> (Watching, Arc<Count>) {
    let count = Arc::new(Count::default());
    let mut idle = Box::pin(gate.idle());
    assert!(!poll_idle(&mut idle, &count.clone().into()));
    (idle, count)
}

/// Whether entries and exits take the lock.
fn is_watched(gate: &Gate) -> bool {
    gate.shared.load().is_watched()
}

#[test]
fn an_empty_gate_is_idle_at_once_and_not_watched() {
    let gate = Gate::new(1);
    assert!(poll_idle(&mut Box::pin(gate.idle()), Waker::noop()));
    assert!(!is_watched(&gate));
}

#[test]
fn all_who_watch_are_woken_when_the_last_has_left_and_not_before() {
    let gate = Gate::new(2).queue(1);
    let (first, second) = (enter(&gate), enter(&gate));
    let mut third = waiting(&gate);
    let mut watchers = [(); 3].map(|()| watching(&gate));
    assert!(is_watched(&gate));
    drop(first);
    drop(second);
    let place = inside(poll(&mut third));
    for (idle, count) in &mut watchers {
        assert_eq!(count.woken(), 0);
        assert!(!poll_idle(idle, &count.clone().into()));
    }
    drop(place);
    assert!(!is_watched(&gate), "entries and exits need no lock again");
    for (mut idle, count) in watchers {
        assert_eq!(count.woken(), 1);
        assert!(poll_idle(&mut idle, Waker::noop()));
    }
}

#[test]
fn a_gate_is_not_idle_while_somebody_waits() {
    let gate = Gate::new(0).queue(1);
    let second = waiting(&gate);
    let (mut idle, count) = watching(&gate);
    drop(second);
    assert_eq!(count.woken(), 1);
    assert!(poll_idle(&mut idle, Waker::noop()));
}

#[test]
fn one_that_was_called_and_leaves_makes_the_gate_idle() {
    let gate = Gate::new(1).queue(1);
    let place = enter(&gate);
    let second = waiting(&gate);
    let (_idle, count) = watching(&gate);
    drop(place);
    assert_eq!(count.woken(), 0);
    drop(second);
    assert_eq!(count.woken(), 1);
}

/// Whoever left by its deadline used to tell nobody.
#[tokio::test(start_paused = true)]
async fn one_that_expires_makes_the_gate_idle() {
    let gate = Gate::new(0).queue(1);
    let deadline = Instant::now() + Duration::from_millis(5);
    let mut second = Box::pin(gate.enter(Class::Default).until(deadline));
    assert!(poll(&mut second).is_pending());
    let (_idle, count) = watching(&gate);
    tokio::time::advance(Duration::from_millis(5)).await;
    assert_eq!(refused(poll(&mut second)), LineError::Expired);
    assert_eq!((gate.occupancy(), count.woken()), ((0, 0), 1));
}

/// Closing used to send those who wait away and tell nobody that the gate was empty.
#[test]
fn closing_a_gate_at_which_all_wait_makes_it_idle() {
    let gate = Gate::new(0).queue(1);
    let _second = waiting(&gate);
    let (_idle, count) = watching(&gate);
    gate.close_to_newcomers();
    assert_eq!(count.woken(), 0);
    gate.close();
    assert_eq!(count.woken(), 1);
}

#[test]
fn where_somebody_comes_before_it_is_polled_it_waits_on() {
    let gate = Gate::new(1);
    let place = enter(&gate);
    let (mut idle, count) = watching(&gate);
    drop(place);
    let place = enter(&gate);
    assert!(!poll_idle(&mut idle, &count.clone().into()));
    assert!(is_watched(&gate));
    drop(place);
    assert_eq!(count.woken(), 2);
    assert!(poll_idle(&mut idle, Waker::noop()));
}

/// `try_enter` used to find no place at a gate that somebody watched.
#[test]
fn a_gate_that_is_watched_lets_in_as_many_as_ever() {
    let gate = Gate::new(3).reserve(Class::Critical, 34);
    let place = enter(&gate);
    let (_idle, _) = watching(&gate);
    let second = gate.try_enter(Class::Default).expect("a place is free");
    assert!(gate.try_enter(Class::Default).is_none(), "the last is reserved");
    let third = gate.try_enter(Class::Critical).expect("the last place");
    assert!(gate.try_enter(Class::Critical).is_none());
    assert_eq!(gate.in_use(), 3);
    drop((place, second, third));
}

#[test]
fn a_gate_that_is_watched_and_has_somebody_waiting_lets_nobody_past() {
    let gate = Gate::new(2).queue(1).reserve(Class::Critical, 50);
    let _place = enter(&gate);
    let _second = waiting(&gate);
    let (_idle, _) = watching(&gate);
    assert!(gate.try_enter(Class::Critical).is_none());
}

/// Each one that was dropped used to leave its waker, and the lock on the way of everybody, until the gate was empty.
#[test]
fn dropping_one_that_watches_leaves_nothing_behind() {
    let gate = Gate::new(1);
    let _place = enter(&gate);
    let (first, first_count) = watching(&gate);
    let (second, second_count) = watching(&gate);
    drop(first);
    assert_eq!(Arc::strong_count(&first_count), 1, "its waker is gone");
    assert!(is_watched(&gate), "the other one watches on");
    drop(second);
    assert_eq!(Arc::strong_count(&second_count), 1);
    assert!(!is_watched(&gate));
}

#[test]
fn dropping_one_that_watches_does_not_open_a_closed_gate() {
    let gate = Gate::new(2);
    let _place = enter(&gate);
    gate.close_to_newcomers();
    drop(watching(&gate));
    assert!(gate.try_enter(Class::Critical).is_none());
    assert_eq!(refused(poll_once(gate.enter(Class::Critical))), LineError::Closed);
}

#[test]
fn each_watches_for_itself_with_the_waker_of_its_last_poll() {
    let gate = Gate::new(1);
    let place = enter(&gate);
    let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (old_waker, new_waker) = (Waker::from(old.clone()), Waker::from(new.clone()));
    let (mut first, mut second) = (Box::pin(gate.idle()), Box::pin(gate.idle()));
    assert!(!poll_idle(&mut first, &old_waker));
    assert!(!poll_idle(&mut first, &old_waker));
    assert_eq!(Arc::strong_count(&old), 3, "a waker that would wake the same task is not cloned again");
    assert!(!poll_idle(&mut second, &old_waker));
    assert!(!poll_idle(&mut first, &new_waker));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (3, 3));
    drop(place);
    assert_eq!((old.woken(), new.woken()), (1, 1));
}

#[test]
fn one_that_resolves_without_having_been_woken_watches_no_more() {
    let gate = Gate::new(1);
    let place = enter(&gate);
    let (mut idle, _) = watching(&gate);
    drop(place);
    assert!(poll_idle(&mut idle, Waker::noop()));
    let _place = enter(&gate);
    drop(idle);
    assert!(!is_watched(&gate));
}
