//! Law 6: every way in which a request can end gives back what it held, exactly once.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Waker};

use backpressure_tests::layers::{Fate, Limiting, Subject, at_once, refill, request, send};
use backpressure_tests::{Fault, Probe};
use futures_util::FutureExt;
use tower::{Service, ServiceExt};

law!(a_request_that_is_dropped_after_any_poll_leaves_nothing_behind);
law!(a_request_that_waits_and_is_dropped_after_any_poll_leaves_nothing_behind where it waits);
law!(a_turn_that_came_and_was_not_used_is_given_back where it counts and waits);
law!(a_turn_that_came_to_a_service_that_fails_is_given_back where it waits);
law!(who_leaves_the_line_lets_another_in where it waits);
law!(whose_turn_has_come_keeps_nobody_waiting_though_its_service_is_not_ready where it counts and waits);
law!(what_has_been_answered_holds_nothing_though_its_future_is_kept);
law!(a_panic_of_the_inner_service_is_counted_once_and_breaks_nothing);
law!(a_panic_of_the_inner_service_after_a_wait_breaks_nothing where it waits);
law!(a_failure_of_the_inner_service_is_counted_once);

/// The probe needs two polls more to be ready and two more to answer: six cancellations, and the end.
async fn a_request_that_is_dropped_after_any_poll_leaves_nothing_behind<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for polls in 0..=6 {
        let subject = make();
        let (probe, seen) = Probe::new();
        let mut request = Box::pin(subject.layer.layer(probe.slow(2)).oneshot(request()));
        let answered = poll_at_most(polls, &mut request);
        assert_eq!(answered, polls >= 5);
        drop(request);
        assert_eq!((seen.reserved(), seen.in_progress()), (0, 0), "after {polls} polls");
        assert_eq!(seen.called(), usize::from(polls >= 3), "after {polls} polls");
        assert_eq!(subject.room(), subject.room_after(seen.called()), "after {polls} polls");
    }
}

async fn a_request_that_waits_and_is_dropped_after_any_poll_leaves_nothing_behind<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for polls in 0..=7 {
        let subject = make();
        subject.exhaust();
        let (probe, seen) = Probe::new();
        let mut service = subject.layer.layer(probe.slow(2));
        let mut request = Box::pin(service.ready().await.unwrap().call(request()));
        // The first poll joins the line; the turn has come by the second.
        assert!(!poll_at_most(polls.min(1), &mut request));
        refill().await;
        let answered = poll_at_most(polls.saturating_sub(1), &mut request);
        assert_eq!(answered, polls >= 6);
        drop(request);
        assert_eq!((seen.reserved(), seen.in_progress()), (0, 0), "after {polls} polls");
        assert_eq!(seen.called(), usize::from(polls >= 4), "after {polls} polls");
        assert_eq!(subject.room(), subject.room_after(seen.called()), "after {polls} polls");
    }
}

fn poll_at_most(polls: usize, request: &mut (impl Future + Unpin)) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    (0..polls).any(|_| request.poll_unpin(&mut cx).is_ready())
}

async fn a_turn_that_came_and_was_not_used_is_given_back<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for given_back in [false, true] {
        let subject = make();
        subject.exhaust();
        let mut service = subject.layer.layer(Probe::new().0.with(Fault::NeverReady));
        // Called without readiness: it waits, so it is another clone that must become ready.
        let mut waiting = Some(Box::pin(service.call(request())));
        assert!(!waiting.as_mut().is_some_and(|waiting| poll_at_most(1, waiting)));
        refill().await;
        // The turn comes and is taken; the service is not ready.
        assert!(!waiting.as_mut().is_some_and(|waiting| poll_at_most(1, waiting)));
        if given_back {
            waiting = None;
        }
        assert_eq!(subject.room(), subject.room_after(usize::from(!given_back)));
        drop(waiting);
    }
}

async fn a_turn_that_came_to_a_service_that_fails_is_given_back<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let mut service = subject.layer.layer(Probe::new().0.with(Fault::ReadyFails));
    let mut waiting = Box::pin(service.call(request()));
    assert!(!poll_at_most(1, &mut waiting));
    refill().await;
    let answer = waiting.as_mut().now_or_never().unwrap();
    assert!(matches!(Fate::of(answer), Fate::Failed));
    drop(waiting);
    assert_eq!(subject.room(), subject.admits);
}

/// Two may wait.
async fn who_leaves_the_line_lets_another_in<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let service = subject.layer.layer(Probe::new().0);
    for _ in 0..20 {
        let mut line = [Box::pin(send(&service)), Box::pin(send(&service))];
        assert!(!line.iter_mut().any(|waiting| poll_at_most(1, waiting)));
        assert!(at_once(&service).is_some_and(|fate| fate.is_refused()));
        let [first, second] = line;
        drop(first);
        let mut third = Box::pin(send(&service));
        assert!(!poll_at_most(1, &mut third), "there is room in the line again");
        drop((second, third));
    }
}

async fn whose_turn_has_come_keeps_nobody_waiting_though_its_service_is_not_ready<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    subject.exhaust();
    let mut stuck = subject.layer.layer(Probe::new().0.with(Fault::NeverReady));
    let mut first = Box::pin(stuck.call(request()));
    let service = subject.layer.layer(Probe::new().0);
    let mut next = Box::pin(send(&service));
    assert!(!poll_at_most(1, &mut first) && !poll_at_most(1, &mut next));
    refill().await;
    assert!(!poll_at_most(1, &mut first), "its turn has come; its service is not ready");
    // The next has its own turn, at once or in an hour.
    assert!(next.await.is_served());
    assert!(!poll_at_most(1, &mut first));
}

async fn what_has_been_answered_holds_nothing_though_its_future_is_kept<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let mut services: Vec<_> = (0..subject.admits + 3).map(|_| subject.layer.layer(Probe::new().0)).collect();
    let mut kept = Vec::new();
    for service in &mut services {
        let mut answered = Box::pin(service.ready().await.unwrap().call(request()));
        if poll_at_most(1, &mut answered) {
            kept.push(answered);
        }
    }
    refill().await;
    assert_eq!(subject.room(), subject.admits);
    refill().await;
    drop(kept);
    assert_eq!(subject.room(), subject.admits);
}

async fn a_panic_of_the_inner_service_is_counted_once_and_breaks_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for (fault, called) in [(Fault::ReadyPanics, 0), (Fault::CallPanics, 1), (Fault::ResponsePanics, 1)] {
        let subject = make();
        let (probe, seen) = Probe::new();
        let service = subject.layer.layer(probe.with(fault));
        assert!(AssertUnwindSafe(send(&service)).catch_unwind().await.is_err(), "{fault:?}");
        assert_eq!((seen.called(), seen.reserved(), seen.in_progress()), (called, 0, 0), "{fault:?}");
        assert_eq!(subject.room(), subject.room_after(called), "{fault:?}");
    }
}

async fn a_panic_of_the_inner_service_after_a_wait_breaks_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for (fault, called) in [(Fault::ReadyPanics, 0), (Fault::CallPanics, 1), (Fault::ResponsePanics, 1)] {
        let subject = make();
        subject.exhaust();
        let (probe, seen) = Probe::new();
        let mut service = subject.layer.layer(probe.with(fault));
        let mut waiting = Box::pin(if fault == Fault::ReadyPanics {
            service.call(request())
        } else {
            service.ready().await.unwrap().call(request())
        });
        assert!(!poll_at_most(1, &mut waiting));
        refill().await;
        assert!(AssertUnwindSafe(waiting).catch_unwind().await.is_err(), "{fault:?}");
        assert_eq!((seen.called(), seen.reserved(), seen.in_progress()), (called, 0, 0), "{fault:?}");
        assert_eq!(subject.room(), subject.room_after(called), "{fault:?}");
    }
}

async fn a_failure_of_the_inner_service_is_counted_once<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for (fault, called) in [(Fault::ReadyFails, 0), (Fault::ResponseFails, 1)] {
        let subject = make();
        let service = subject.layer.layer(Probe::new().0.with(fault));
        assert!(matches!(send(&service).await, Fate::Failed), "{fault:?}");
        assert_eq!(subject.room(), subject.room_after(called), "{fault:?}");
    }
}
