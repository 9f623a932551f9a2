//! Law 1: what is shared is shared by the layer value, and one limit stays one wherever it is applied.

use std::sync::Barrier;
use std::thread;

use backpressure_tests::Probe;
use backpressure_tests::layers::{Limiting, Subject, at_once};

law!(all_services_of_a_layer_have_one_limit);
law!(all_clones_of_a_service_have_one_limit);
law!(layers_made_apart_share_nothing);
law!(threads_that_race_are_admitted_to_the_limit_and_no_further where it counts and refuses);

/// As a host applies a layer: to each route, method and connection again, each time round another service.
async fn all_services_of_a_layer_have_one_limit<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let layers = [subject.layer.clone(), subject.layer.clone()];
    let services: Vec<_> = (0..10).map(|route| layers[route % 2].layer(Probe::new().0)).collect();
    drop(layers);
    let served = services.iter().filter(|service| at_once(*service).is_some_and(|fate| fate.is_served())).count();
    assert_eq!(served, subject.admits);
    assert_eq!(subject.room(), 0);
}

async fn all_clones_of_a_service_have_one_limit<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let subject = make();
    let service = subject.layer.layer(Probe::new().0);
    let clones: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let served = clones.iter().filter(|clone| at_once(*clone).is_some_and(|fate| fate.is_served())).count();
    assert_eq!(served, subject.admits);
}

async fn layers_made_apart_share_nothing<L: Limiting>(make: impl Fn() -> Subject<L>) {
    let (one, other) = (make(), make());
    one.exhaust();
    assert_eq!(other.room(), other.admits);
}

async fn threads_that_race_are_admitted_to_the_limit_and_no_further<L: Limiting>(make: impl Fn() -> Subject<L>) {
    for _ in 0..20 {
        let subject = make();
        let services: Vec<_> = (0..2).map(|_| subject.layer.layer(Probe::new().0)).collect();
        let begin = Barrier::new(services.len());
        let ask = |service: &_| {
            begin.wait();
            (0..5).filter(|_| at_once(service).is_some_and(|fate| fate.is_served())).count()
        };
        let served: usize = thread::scope(|scope| {
            let asking: Vec<_> = services.iter().map(|service| scope.spawn(|| ask(service))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(served, subject.admits);
    }
}
