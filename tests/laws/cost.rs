//! Law 5: what a layer costs, and what it asks of the services it goes round. (That it allocates nothing is shown in
//! `tests/allocation.rs`, whose allocator counts for the whole process.)

use backpressure_tests::Probe;
use backpressure_tests::layers::{Fate, Limiting, Local, Subject, at_once, refill, request, send};
use tower::ServiceExt;

law!(a_service_that_stays_on_its_thread_may_be_inside);
law!(no_task_is_spawned);
law!(services_can_be_printed);

// That services are `Clone`, `Debug`, `Send` and `Sync`, and their futures `Send`, where the inner ones are, is what `Limiting`
// demands of every layer: another one does not compile here.

async fn a_service_that_stays_on_its_thread_may_be_inside<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let service = make().layer.layer(Local::new());
    assert!(Fate::of(service.oneshot(request()).await).is_served());
}

async fn no_task_is_spawned<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let subject = make();
    let service = subject.layer.layer(Probe::new().0);
    subject.exhaust();
    let beyond = async {
        tokio::task::yield_now().await;
        assert_eq!(tasks(), before);
    };
    tokio::join!(send(&service), beyond);
    assert_eq!(tasks(), before);
    refill().await;
    assert!(at_once(&service).unwrap().is_served());
    assert_eq!(tasks(), before);
}

async fn services_can_be_printed<L: Limiting>(make: impl Fn() -> Subject<L>) {
    assert!(format!("{:?}", make().layer.layer(Probe::new().0)).contains("Probe"));
}
