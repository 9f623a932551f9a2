//! What an operator sees, and does while it runs.

use std::time::Duration;

use tokio::time::Instant;
use tower::Layer;
use tower_backpressure::{LoadShedLayer, Reason};

use super::{call, get, now, poll, refusal, worker};

#[tokio::test]
async fn a_limit_that_is_lowered_takes_effect_as_work_ends_and_one_that_is_raised_at_once() {
    let layer = LoadShedLayer::new(3).queue(2);
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut requests: Vec<_> = (0..5).map(|_| call(&service, get("/"))).collect();
    assert!(requests.iter_mut().all(|request| poll(request).is_pending()));
    handle.set_limit(1);
    assert_eq!((handle.limit(), handle.in_flight(), handle.waiting()), (1, 3, 2));
    for in_flight in [2, 1] {
        drop(requests.remove(0));
        assert_eq!((handle.in_flight(), handle.waiting()), (in_flight, 2), "nobody takes the place");
    }
    drop(requests.remove(0));
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 1));
    handle.set_limit(2);
    assert_eq!((handle.in_flight(), handle.waiting()), (2, 0));
    handle.set_limit(0);
    drop(requests);
    assert!(poll(&mut call(&service, get("/"))).is_pending(), "it waits for a limit above 0");
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_overloaded_for_a_second_after_it_has_shed() {
    let layer = LoadShedLayer::new(1);
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    assert!(!handle.overloaded());
    let mut working = call(&service, get("/"));
    assert!(poll(&mut working).is_pending() && !handle.overloaded(), "as much as it can do is no overload");
    now(&mut call(&service, get("/")));
    assert!(handle.overloaded());
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(handle.overloaded());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!handle.overloaded());
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_drains_takes_nothing_new_serves_what_waits_and_ends_when_all_has_ended() {
    let layer = LoadShedLayer::new(1).queue(1);
    let (worker, go) = worker();
    let (handle, service) = (layer.handle(), layer.layer(worker));
    let working = tokio::spawn(call(&service, get("/")));
    tokio::task::yield_now().await;
    let waiting = tokio::spawn(call(&service, get("/")));
    tokio::task::yield_now().await;
    let drained = tokio::spawn(handle.drain(Duration::from_secs(30)));
    tokio::task::yield_now().await;
    let refused = now(&mut call(&service, get("/")));
    assert_eq!((refused.status().as_u16(), refusal(&refused).unwrap().reason), (503, Reason::Draining));
    assert!(refusal(&refused).unwrap().retry_after.is_some());
    assert_eq!((handle.shed().draining, handle.shed().total(), handle.overloaded()), (1, 1, false));
    assert!(!drained.is_finished());
    go.send_replace(true);
    let response = working.await.unwrap();
    tokio::task::yield_now().await;
    assert!(!drained.is_finished(), "the first has not been sent");
    drop(response);
    let response = waiting.await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    assert_eq!(drained.await.unwrap(), Ok(()));
    assert_eq!(handle.drain(Duration::ZERO).await, Ok(()), "drained it stays");
}

#[tokio::test(start_paused = true)]
async fn a_drain_whose_time_is_up_says_what_is_left_and_refuses_what_waits() {
    let layer = LoadShedLayer::new(1).queue(1).max_wait(Duration::from_secs(60));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut working = call(&service, get("/"));
    let mut waiting = call(&service, get("/"));
    assert!(poll(&mut working).is_pending() && poll(&mut waiting).is_pending());
    let began = Instant::now();
    let left = handle.drain(Duration::from_secs(2)).await.unwrap_err();
    assert_eq!((left.in_flight, left.waiting, began.elapsed()), (1, 1, Duration::from_secs(2)));
    assert_eq!(left.to_string(), "1 requests were still in progress and 1 waiting when the time to drain was up");
    assert_eq!(refusal(&now(&mut waiting)).unwrap().reason, Reason::Draining);
    assert!(poll(&mut working).is_pending(), "what is in progress goes on");
}
