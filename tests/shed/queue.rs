//! The wait for a place: bounded in number and time, in an order.

use std::time::Duration;

use tokio::time::Instant;
use tower::Layer;
use tower_backpressure::{CoDel, LoadShedLayer, Order, Reason};

use super::{call, get, now, poll, refusal, worker};

#[tokio::test(start_paused = true)]
async fn at_the_bound_a_newcomer_is_refused_at_once_and_told_when_to_come_back() {
    for (queue, reason) in [(0, Reason::Concurrency), (2, Reason::QueueFull)] {
        let layer = LoadShedLayer::new(1).queue(queue).named("orders");
        let (handle, service) = (layer.handle(), layer.layer(worker().0));
        let mut accepted: Vec<_> = (0..=queue).map(|_| call(&service, get("/"))).collect();
        assert!(accepted.iter_mut().all(|request| poll(request).is_pending()));
        let refused = now(&mut call(&service, get("/")));
        assert_eq!(refused.status(), 503);
        let rejection = refusal(&refused).unwrap();
        assert_eq!((rejection.reason, &*rejection.policy), (reason, "orders"));
        let told: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=2).contains(&told), "nothing is known yet: the least, spread by half");
        assert_eq!((handle.in_flight(), handle.waiting(), handle.shed().total()), (1, queue, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_longest_wait() {
    let layer = LoadShedLayer::new(1).queue(2).max_wait(Duration::from_millis(250));
    let (handle, service) = (layer.handle(), layer.layer(worker().0));
    let mut first = call(&service, get("/"));
    assert!(poll(&mut first).is_pending());
    let began = Instant::now();
    let refused = call(&service, get("/")).await;
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    assert_eq!(refusal(&refused).unwrap().reason, Reason::WaitedTooLong);
    assert_eq!((handle.waiting(), handle.shed().waited_too_long), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_the_order_that_was_chosen() {
    for (order, expected) in [(Order::Fifo, [0, 1, 2]), (Order::Lifo, [2, 1, 0]), (Order::Adaptive(CoDel::new()), [0, 1, 2])] {
        let layer = LoadShedLayer::new(1).queue(3).order(order);
        let (worker, go) = worker();
        let service = layer.layer(worker);
        let mut first = call(&service, get("/"));
        let mut line: Vec<_> = (0..3).map(|_| call(&service, get("/"))).collect();
        assert!(poll(&mut first).is_pending() && line.iter_mut().all(|request| poll(request).is_pending()));
        go.send_replace(true);
        drop(now(&mut first));
        let mut served = Vec::new();
        while served.len() < 3 {
            let turn = (0..3).find(|waiter| !served.contains(waiter) && poll(&mut line[*waiter]).is_ready()).unwrap();
            served.push(turn);
        }
        assert_eq!(served, expected, "{order:?}");
    }
}

/// Maurer, "Fail at Scale": 100 ms to wait while the queue gets empty now and then, 5 ms once it has stood for 100 ms.
#[tokio::test(start_paused = true)]
async fn in_a_queue_that_stands_nobody_waits_long() {
    let layer = LoadShedLayer::new(1).queue(100).max_wait(Duration::from_secs(60)).order(Order::Adaptive(CoDel::new()));
    let service = layer.layer(worker().0);
    let mut working = call(&service, get("/"));
    assert!(poll(&mut working).is_pending());
    let waits = async || {
        let began = Instant::now();
        let refused = call(&service, get("/")).await;
        assert_eq!(refusal(&refused).unwrap().reason, Reason::WaitedTooLong);
        began.elapsed()
    };
    assert_eq!(waits().await, Duration::from_millis(100), "the queue was empty before");
    let mut standing = call(&service, get("/"));
    assert!(poll(&mut standing).is_pending());
    tokio::time::advance(Duration::from_millis(60)).await;
    let mut second = call(&service, get("/"));
    assert!(poll(&mut second).is_pending(), "the queue stands on when the first has gone");
    tokio::time::advance(Duration::from_millis(40)).await;
    assert_eq!(waits().await, Duration::from_millis(5), "it has stood for 100 ms");
    drop(standing);
}

/// The retry time follows how fast work ends: one a second here, and five ahead.
#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_the_work_ahead_will_probably_have_ended() {
    for (most, expected) in [(30, 6), (3, 3)] {
        let layer = LoadShedLayer::new(1).queue(5).max_wait(Duration::from_secs(600));
        let layer = layer.retry_after(Duration::from_secs(1)..=Duration::from_secs(most));
        let (handle, service) = (layer.handle(), layer.layer(worker().0));
        let mut line: Vec<_> = (0..6).map(|_| call(&service, get("/"))).collect();
        assert!(line.iter_mut().all(|request| poll(request).is_pending()));
        for _ in 0..30 {
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(line.remove(0));
            line.push(call(&service, get("/")));
            assert!(line.iter_mut().all(|request| poll(request).is_pending()));
        }
        let told = || refusal(&now(&mut call(&service, get("/")))).unwrap().retry_after.unwrap();
        let within = |told: Duration, secs| (Duration::from_secs(secs)..Duration::from_secs(secs) * 3 / 2).contains(&told);
        let mut times: Vec<_> = (0..50).map(|_| told()).collect();
        assert!(times.iter().all(|told| within(*told, expected)), "{times:?}");
        times.sort();
        times.dedup();
        assert!(times.len() > 40, "spread, so that they do not come back together");
        drop(handle.drain(Duration::ZERO));
        assert!(within(told(), 1), "nobody knows when another server will be there");
    }
}
