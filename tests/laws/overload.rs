//! Law 3: overload is what the limit says, never what `Pending` seems to say.

use backpressure_tests::Probe;
use backpressure_tests::layers::{Limiting, Subject, at_once};
use tokio::task::coop;

law!(a_task_without_budget_is_admitted_as_any_other);
law!(an_inner_service_that_takes_its_time_is_not_an_overload);

/// tokio answers `Pending` for a task that has used up its budget, whatever there is.
async fn a_task_without_budget_is_admitted_as_any_other<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    tokio::task::yield_now().await;
    while coop::has_budget_remaining() {
        coop::consume_budget().await;
    }
    let room = subject.room();
    assert!(!coop::has_budget_remaining(), "nothing here gave the task a new budget");
    assert_eq!(room, subject.admits);
}

async fn an_inner_service_that_takes_its_time_is_not_an_overload<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let (probe, seen) = Probe::new();
    let service = subject.layer.layer(probe.slow(1));
    for _ in 0..10 {
        // It is pending in `poll_ready`, where the host gives up: no request has been sent.
        assert!(at_once(&service).is_none());
    }
    assert_eq!((seen.called(), seen.reserved()), (0, 0));
    assert_eq!(subject.room(), subject.admits);
}
