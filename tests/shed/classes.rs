//! What matters less is shed first.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use tower::Layer;
use tower_backpressure::load_shed::Readers;
use tower_backpressure::{Class, Constant, FromHead, Head, LoadShedLayer, Reason, Respond, UntilBodyEnd};

use super::{call, get, now, poll, refusal, worker};

type Classed = LoadShedLayer<Respond, UntilBodyEnd, Readers<Constant<bool>, FromHead<fn(Head<'_>) -> Class>>>;

/// Reads the class from the path.
fn classed(layer: LoadShedLayer) -> Classed {
    let class: fn(Head<'_>) -> Class = |head| match head.uri.path() {
        "/critical" => Class::Critical,
        "/sheddable" => Class::Sheddable,
        "/background" => Class::Background,
        _ => Class::Default,
    };
    layer.class(class)
}

fn of(class: &str) -> Request<Body> {
    get(&format!("/{class}"))
}

#[tokio::test]
async fn a_reserved_share_is_for_its_class_and_those_above() {
    // Of 10 places 2 are for critical requests, and 3 more not for background work.
    let layer = classed(LoadShedLayer::new(10).reserve_percent(Class::Critical, 20).reserve_percent(Class::Sheddable, 30));
    for (class, places) in [("critical", 10), ("default", 8), ("sheddable", 8), ("background", 5)] {
        let layer = layer.clone();
        let service = layer.layer(worker().0);
        let mut in_progress: Vec<_> = (0..places).map(|_| call(&service, of(class))).collect();
        assert!(in_progress.iter_mut().all(|request| poll(request).is_pending()), "{class}");
        let refused = now(&mut call(&service, of(class)));
        assert_eq!(refusal(&refused).unwrap().reason, Reason::Concurrency, "{class}");
        assert_eq!(poll(&mut call(&service, of("critical"))).is_pending(), places < 10, "{class}");
    }
}

#[tokio::test]
async fn who_matters_more_takes_the_place_in_a_full_queue_of_who_matters_least() {
    let layer = classed(LoadShedLayer::new(1).queue(2));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut working = call(&service, of("default"));
    let (mut background, mut default) = (call(&service, of("background")), call(&service, of("default")));
    for request in [&mut working, &mut background, &mut default] {
        assert!(poll(request).is_pending());
    }
    let mut critical = call(&service, of("critical"));
    assert!(poll(&mut critical).is_pending());
    let evicted = now(&mut background);
    assert_eq!((evicted.status().as_u16(), refusal(&evicted).unwrap().reason), (503, Reason::Evicted));
    // Nobody below a default request is left: the next of them is refused itself.
    assert_eq!(refusal(&now(&mut call(&service, of("default")))).unwrap().reason, Reason::QueueFull);
    assert_eq!(refusal(&now(&mut call(&service, of("sheddable")))).unwrap().reason, Reason::QueueFull);
    assert_eq!((handle.waiting(), handle.shed().evicted, handle.shed().queue_full), (2, 1, 2));
    // And it is next, though the other came first.
    drop(working);
    assert!(poll(&mut default).is_pending() && poll(&mut critical).is_pending());
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
    drop(critical);
    assert!(poll(&mut default).is_pending());
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 0));
}

#[tokio::test]
async fn who_matters_more_is_not_refused_where_all_who_wait_matter_less() {
    let service = classed(LoadShedLayer::new(1).queue(1)).layer(worker().0);
    let (mut working, mut default) = (call(&service, of("default")), call(&service, of("default")));
    assert!(poll(&mut working).is_pending() && poll(&mut default).is_pending());
    let mut critical = call(&service, of("critical"));
    assert!(poll(&mut critical).is_pending());
    assert_eq!(refusal(&now(&mut default)).unwrap().reason, Reason::Evicted);
}

/// Ten in use, one given back every second, and five of them not open to default requests.
#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_a_place_is_free_that_is_open_to_its_class() {
    let service = classed(LoadShedLayer::new(10).reserve_percent(Class::Critical, 50)).layer(worker().0);
    let mut working: Vec<_> = (0..10).map(|_| call(&service, of("critical"))).collect();
    for _ in 0..30 {
        assert!(working.iter_mut().all(|request| poll(request).is_pending()));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(working.remove(0));
        working.push(call(&service, of("critical")));
    }
    assert!(working.iter_mut().all(|request| poll(request).is_pending()));
    for (class, secs) in [("critical", 1), ("default", 6)] {
        let told = refusal(&now(&mut call(&service, of(class)))).unwrap().retry_after.unwrap();
        assert!((Duration::from_secs(secs)..Duration::from_secs(secs) * 3 / 2).contains(&told), "{class}: {told:?}");
    }
}
