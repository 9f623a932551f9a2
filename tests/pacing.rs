//! The leaky bucket as a queue: a constant rate, in order, no slot lost or doubled, whoever goes away.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    Constant, FixedWindow, LeakyBucket, Rate, RateLimitLayer, Single, TokenBucket, TokioClock, WhenFull, key,
};

/// A request of the storm: when it comes, and for how long it waits before it goes away.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: u64,
    patience: u64,
}

/// What became of it, in milliseconds since the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Served(u64),
    Refused,
    Left,
}

/// Arrivals fall on multiples of `GRID`, departures 150 ms after one, and the turns of a busy line 1, 2, 3 … ms after: no two of
/// them meet in
/// one millisecond, where the order would be anybody's guess.
const GRID: u64 = 200;
const INTERVAL: u64 = GRID + 1;

const QUEUE: u32 = 5;

/// Who is served when, from the definition: one turn each interval, to the one that has waited longest, for those who are still
/// there; a request that finds
/// as many waiting as may is refused.
fn model(arrivals: &[Arrival]) -> Vec<Fate> {
    let mut fates = vec![Fate::Refused; arrivals.len()];
    let mut waiting: Vec<usize> = Vec::new();
    let mut next_turn = 0;
    let end = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(0) + 10_000;
    for now in 0..end {
        waiting.retain(|request| {
            let leaves = arrivals[*request].at + arrivals[*request].patience == now;
            if leaves {
                fates[*request] = Fate::Left;
            }
            !leaves
        });
        if now >= next_turn && !waiting.is_empty() {
            fates[waiting.remove(0)] = Fate::Served(now);
            next_turn = now + INTERVAL;
        }
        for request in (0..arrivals.len()).filter(|request| arrivals[*request].at == now) {
            if now >= next_turn && waiting.is_empty() {
                fates[request] = Fate::Served(now);
                next_turn = now + INTERVAL;
            } else if waiting.len() < QUEUE.try_into().unwrap() {
                waiting.push(request);
            }
        }
    }
    fates
}

/// What the layer does, in paused time.
async fn layer(arrivals: &[Arrival]) -> Vec<Fate> {
    let rate = Rate::new(1, Duration::from_millis(INTERVAL)).unwrap();
    let layer = RateLimitLayer::new(LeakyBucket::new(rate).queue(QUEUE)).clock(TokioClock::default());
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let began = Instant::now();
    let millis = || u64::try_from(began.elapsed().as_millis()).unwrap();
    let fates = RefCell::new(vec![Fate::Left; arrivals.len()]);
    let requests = arrivals.iter().enumerate().map(|(request, arrival)| {
        let (service, fates) = (service.clone(), &fates);
        async move {
            sleep(Duration::from_millis(arrival.at)).await;
            let answer = tokio::time::timeout(Duration::from_millis(arrival.patience), service.oneshot(Request::new(()))).await;
            fates.borrow_mut()[request] = match answer {
                Ok(Ok(answer)) if answer.status() == 200 => Fate::Served(millis()),
                Ok(_) => Fate::Refused,
                Err(_gone) => Fate::Left,
            };
        }
    });
    futures_util::future::join_all(requests).await;
    fates.into_inner()
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = (0..40_u64, 0..15_u64).prop_map(|(at, patience)| Arrival { at: at * GRID, patience: patience * GRID + 150 });
    prop::collection::vec(arrival, 1..60).prop_map(|mut arrivals| {
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    })
}

#[test]
fn requests_that_come_and_go_at_random_are_served_as_the_definition_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let config = Config { cases: 200, rng_seed: RngSeed::Fixed(0x1ea4_b0c7), failure_persistence: None, ..Config::default() };
    proptest!(config, |(arrivals in arrivals())| {
        let served = runtime.block_on(layer(&arrivals));
        prop_assert_eq!(served, model(&arrivals));
    });
}

#[tokio::test(start_paused = true)]
async fn a_rate_faster_than_the_timers_is_kept_all_the_same() {
    // Ten requests in each millisecond of the timers.
    let layer = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(10_000)).queue(2_000)).max_waiting(2_000);
    let layer = layer.clock(TokioClock::default());
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let began = Instant::now();
    let requests = (0..2_000).map(|_| service.clone().oneshot(Request::new(())));
    let served = futures_util::future::join_all(requests).await;
    assert!(served.iter().all(|answer| answer.as_ref().unwrap().status() == 200));
    // 2 000 at 10 000/s: 199.9 ms, and a timer's resolution.
    let took = began.elapsed().as_millis();
    assert!((199..=202).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_line_of_its_own_and_all_are_under_one_bound() {
    let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1)))
        .keyed(key::header("x-api-key"))
        .queue(3)
        .max_waiting(4)
        .clock(TokioClock::default());
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let began = Instant::now();
    let send = async |client: &'static str| {
        let request = Request::builder().header("x-api-key", client).body(()).unwrap();
        let status = service.clone().oneshot(request).await.unwrap().status().as_u16();
        (client, status, began.elapsed().as_secs())
    };
    let requests = ["a", "a", "a", "b", "b", "a", "a", "b"].map(send);
    let answers = futures_util::future::join_all(requests).await;
    assert_eq!(
        answers,
        [
            ("a", 200, 0),
            ("a", 200, 1),
            ("a", 200, 2),
            ("b", 200, 0),
            ("b", 200, 1),
            ("a", 200, 3),
            // Three of its own wait already, and then four in all.
            ("a", 429, 0),
            ("b", 429, 0),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_max_wait_and_whose_turn_is_known_to_come_later_is_refused_at_once() {
    let layer = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(9))
        .max_wait(Duration::from_millis(1_500))
        .clock(TokioClock::default());
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let began = Instant::now();
    let send = async |_| {
        let status = service.clone().oneshot(Request::new(())).await.unwrap().status().as_u16();
        (status, began.elapsed().as_millis())
    };
    // The third comes to the head after one second and learns there that it would wait for another.
    let answers = futures_util::future::join_all([1, 2, 3].map(send)).await;
    assert_eq!(answers, [(200, 0), (200, 1_000), (429, 1_000)]);

    let impatient = layer.max_wait(Duration::from_millis(10));
    let service = impatient.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let refused = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(refused.status(), 429);
}

fn served_under(layer: &RateLimitLayer<Single<LeakyBucket, Constant<u64>, TokioClock>>) -> impl Echo + use<> {
    layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&'static [u8]>::new()))))
}

trait Echo: Service<Request<()>, Response = Response<Empty<&'static [u8]>>, Error = Infallible> + Clone {}
impl<S: Service<Request<()>, Response = Response<Empty<&'static [u8]>>, Error = Infallible> + Clone> Echo for S {}

/// One a second, in paused time.
fn leaky(queue: u32) -> RateLimitLayer<Single<LeakyBucket, Constant<u64>, TokioClock>> {
    RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(queue)).clock(TokioClock::default())
}

async fn status(service: &impl Echo) -> u16 {
    service.clone().oneshot(Request::new(())).await.map(|answer| answer.status().as_u16()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_even_where_the_head_is_due_and_has_not_noticed() {
    let service = served_under(&leaky(5));
    assert_eq!(status(&service).await, 200);
    let mut head = Box::pin(status(&service));
    assert!(head.as_mut().now_or_never().is_none());
    // Its turn has come, but nobody has polled it since; a newcomer finds the quota free and the line not empty.
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut newcomer = Box::pin(status(&service));
    assert!(newcomer.as_mut().now_or_never().is_none());
    assert_eq!(head.as_mut().now_or_never(), Some(200));
    assert!(newcomer.as_mut().now_or_never().is_none(), "its turn is a second after that");
    let began = Instant::now();
    assert_eq!((newcomer.await, began.elapsed().as_secs()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_costs_nothing_passes_those_who_wait() {
    let layer = leaky(5).cost(|head| u64::from(head.uri.path() != "/free"));
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let send = |path: &'static str| service.clone().oneshot(Request::get(path).body(()).unwrap());
    assert_eq!(send("/").await.unwrap().status(), 200);
    let mut waits = Box::pin(send("/"));
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(send("/free").now_or_never().unwrap().unwrap().status(), 200);
    assert_eq!(waits.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_that_of_its_cost() {
    let layer = leaky(5).cost(|head| head.uri.path().len() as u64);
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let began = Instant::now();
    let send = async |path: &'static str| {
        let answer = service.clone().oneshot(Request::get(path).body(()).unwrap()).await.unwrap();
        (answer.status().as_u16(), began.elapsed().as_secs())
    };
    // Three units take three seconds to drain, and then two.
    let answers = futures_util::future::join_all(["/aa", "/b", "/", "/"].map(send)).await;
    assert_eq!(answers, [(200, 0), (200, 3), (200, 5), (200, 6)]);
}

#[tokio::test(start_paused = true)]
async fn places_are_given_back_however_many_requests_have_waited() {
    let service = served_under(&leaky(2).max_waiting(2));
    for _ in 0..20 {
        let answers = futures_util::future::join_all((0..3).map(|_| status(&service))).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), answers.len(), "{answers:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_head_that_is_stuck_leaves_when_its_time_is_up() {
    let service = served_under(&leaky(5).max_wait(Duration::from_millis(1_500)));
    assert_eq!(status(&service).await, 200);
    let mut stuck = Box::pin(status(&service));
    assert!(stuck.as_mut().now_or_never().is_none());
    let began = Instant::now();
    assert_eq!((status(&service).await, began.elapsed().as_millis()), (429, 1_500));
    drop(stuck);
    assert_eq!(status(&service).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_sleeps_notices_within_a_second_that_its_limit_was_raised() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1))).queue(5).clock(TokioClock::default());
    let limiter = layer.limiter();
    let service =
        layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&'static [u8]>::new()))));
    assert_eq!(status(&service).await, 200);
    let mut waits = Box::pin(status(&service));
    assert!(waits.as_mut().now_or_never().is_none());
    limiter.reconfigure(FixedWindow::new(Rate::per_hour(1_000)));
    let began = Instant::now();
    assert_eq!((waits.await, began.elapsed().as_secs()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn for_a_place_in_a_full_table_nobody_waits() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1)))
        .keyed(key::header("x-api-key"))
        .max_keys(1)
        .when_full(WhenFull::Refuse)
        .queue(5)
        .clock(TokioClock::default());
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))));
    let send = |client| service.clone().oneshot(Request::builder().header("x-api-key", client).body(()).unwrap());
    assert_eq!(send("a").await.unwrap().status(), 200);
    assert_eq!(send("b").now_or_never().unwrap().unwrap().status(), 429);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_after_any_poll_leaves_its_turn_to_the_next() {
    for polls in 0..=6 {
        let service = served_under(&leaky(2));
        let began = Instant::now();
        assert_eq!(status(&service).await, 200);

        // Polled each 300 ms; its turn is due after a second, so the fifth poll finds it.
        let answered = {
            let mut leaving = pin!(status(&service));
            let mut answered = false;
            for _ in 0..polls {
                answered = leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                if answered {
                    break;
                }
                tokio::time::advance(Duration::from_millis(300)).await;
            }
            answered
        };
        assert_eq!(answered, polls >= 5);

        // Whoever left before its turn was never there: both that come now may wait, and the first has the turn of the one
        // that left. Whoever was served has used its turn, at most 2 ms before it came for it.
        let left = began.elapsed().as_millis();
        let served = async || {
            assert_eq!(status(&service).await, 200);
            began.elapsed().as_millis()
        };
        let first = if answered { 2_198 } else { left.max(1_000) };
        assert_eq!(tokio::join!(served(), served()), (first, first + 1_000), "after {polls} polls");
    }
}
