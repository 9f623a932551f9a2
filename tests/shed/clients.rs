//! How much one client may have in progress.

use axum::body::Body;
use http::Request;
use tower::Layer;
use tower_backpressure::{LoadShedLayer, MissingKey, Reason, key};

use super::{call, get, now, poll, refusal, worker};

fn from(client: &str) -> Request<Body> {
    Request::get("/").header("x-api-key", client).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_has_no_more_in_progress_than_its_own_bound_and_takes_nothing_from_others() {
    let layer = LoadShedLayer::new(10).per_client(key::header("x-api-key"), 2);
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut alice: Vec<_> = (0..2).map(|_| call(&service, from("alice"))).collect();
    assert!(alice.iter_mut().all(|request| poll(request).is_pending()));
    let refused = now(&mut call(&service, from("alice")));
    assert_eq!((refused.status().as_u16(), refusal(&refused).unwrap().reason), (429, Reason::ClientConcurrency));
    assert!(poll(&mut call(&service, from("bob"))).is_pending());
    assert_eq!((handle.in_flight(), handle.shed().client_concurrency, handle.overloaded()), (2, 1, false));
    alice.pop();
    assert!(poll(&mut call(&service, from("alice"))).is_pending(), "one of hers has ended");
}

#[tokio::test(start_paused = true)]
async fn what_waits_counts_and_what_is_refused_gives_its_share_back() {
    let layer = LoadShedLayer::new(1).queue(2).per_client(key::header("x-api-key"), 2);
    let service = layer.layer(worker().0);
    let mut alice: Vec<_> = (0..2).map(|_| call(&service, from("alice"))).collect();
    assert!(alice.iter_mut().all(|request| poll(request).is_pending()), "one works and one waits");
    assert_eq!(refusal(&now(&mut call(&service, from("alice")))).unwrap().reason, Reason::ClientConcurrency);
    let mut bob = call(&service, from("bob"));
    assert!(poll(&mut bob).is_pending());
    for _ in 0..5 {
        // The queue is full: what carol takes of her share comes back each time.
        assert_eq!(refusal(&now(&mut call(&service, from("carol")))).unwrap().reason, Reason::QueueFull);
    }
    drop(alice);
    let mut carol = call(&service, from("carol"));
    assert!(poll(&mut bob).is_pending() && poll(&mut carol).is_pending());
    // And what waited too long has given it back when the refusal is there.
    let refused = call(&service, from("alice")).await;
    assert_eq!(refusal(&refused).unwrap().reason, Reason::WaitedTooLong);
}

#[tokio::test]
async fn a_request_without_a_key_is_what_it_is_said_to_be() {
    for (missing, second) in [(MissingKey::Share, Some(429)), (MissingKey::Refuse, Some(400)), (MissingKey::Skip, None)] {
        let layer = LoadShedLayer::new(10).per_client(key::header("x-api-key"), 1).missing(missing);
        let service = layer.layer(worker().0);
        let mut first = call(&service, get("/"));
        assert_eq!(poll(&mut first).is_ready(), missing == MissingKey::Refuse);
        let mut next = call(&service, get("/"));
        match second {
            Some(status) => assert_eq!(now(&mut next).status().as_u16(), status, "{missing:?}"),
            None => assert!(poll(&mut next).is_pending(), "{missing:?}"),
        }
    }
}
