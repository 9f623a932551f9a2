//! Limits put together: stacks with different keys, tiers, shadows.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    Admission, Fail, FixedWindow, LeakyBucket, Limit, ManualClock, MissingKey, Permit, Rate, RateLimitLayer, Rejection, Respond,
    SlidingLog, SlidingWindow, Standing, TokenBucket, TokioClock, key,
};

type Answer = Response<Empty<&'static [u8]>>;

async fn answer(_: Request<()>) -> Result<Answer, Infallible> {
    Ok(Answer::default())
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

/// A service of plain numbers whose error is the refusal.
fn ask<L: Limit<u32> + Clone>(layer: &RateLimitLayer<L, Fail>, client: u32) -> Result<u32, Rejection> {
    let echo = service_fn(async |client: u32| Ok::<_, Rejection>(client));
    layer.layer(echo).oneshot(client).now_or_never().unwrap()
}

fn each_client() -> impl key::Key<u32, Key = u32> + Clone {
    key::from_request(|client: &u32| Some(*client))
}

/// A limit that admits everybody and counts how often it was asked to.
#[derive(Clone, Default)]
struct Watched(Arc<AtomicUsize>);

struct Free;

impl Permit<u32> for Free {
    type Held = Self;

    fn standing(&self) -> Option<Standing> {
        None
    }

    fn settle(self, _request: &mut u32) {}

    fn hold(self) -> Self {
        self
    }
}

impl Limit<u32> for Watched {
    type Permit<'a> = Free;
    type Turn = Free;
    type Wait = std::future::Pending<Result<Free, Rejection>>;

    fn admit(&self, _request: &u32) -> Admission<Free, Self::Wait> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Admission::Admitted(Free)
    }

    fn refusal(&self, _request: &u32) -> Option<Rejection> {
        None
    }
}

/// Not even for a moment, in which somebody else could be refused for it.
#[test]
fn what_the_first_refuses_the_second_is_not_asked_to_admit() {
    let first = RateLimitLayer::new(FixedWindow::new(Rate::per_day(3)));
    let second = Watched::default();
    let layer = first.and(RateLimitLayer::with(second.clone())).answer(Fail);
    let admitted = (0..10).filter(|_| ask(&layer, 1).is_ok()).count();
    assert_eq!((admitted, second.0.load(Ordering::Relaxed)), (3, 3));
}

#[test]
fn what_the_first_refuses_never_touches_the_second() {
    let clock = ManualClock::new();
    let everybody = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1_000))).clock(clock.clone()).named("everybody");
    let shared = everybody.limiter();
    let each = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10))).clock(clock).keyed(each_client()).named("each");
    let layer = each.and(everybody).answer(Fail);
    for _ in 0..500 {
        let _ = ask(&layer, 1);
    }
    assert_eq!(shared.peek().remaining, 990);
    assert_eq!(&*ask(&layer, 1).unwrap_err().policy, "each");
}

#[test]
fn what_the_second_refuses_is_given_back_to_the_first() {
    let clock = ManualClock::new();
    let everybody = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1))).clock(clock.clone()).named("everybody");
    let each = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10))).clock(clock).keyed(each_client());
    let of_each = each.limiter();
    let layer = each.and(everybody).answer(Fail);
    assert!(ask(&layer, 1).is_ok());
    for client in [1, 2, 1, 2] {
        assert_eq!(&*ask(&layer, client).unwrap_err().policy, "everybody");
    }
    assert_eq!((of_each.peek(&1).remaining, of_each.peek(&2).remaining), (9, 10));
}

#[test]
fn of_three_the_longest_wait_is_told_whoever_refuses_first() {
    let clock = ManualClock::new();
    let every = |secs| {
        let rate = Rate::new(1, Duration::from_secs(secs)).unwrap();
        RateLimitLayer::new(TokenBucket::new(rate)).clock(clock.clone())
    };
    for order in [[2, 7, 5], [7, 5, 2], [5, 2, 7]] {
        let layer = every(order[0]).and(every(order[1])).and(every(order[2])).answer(Fail);
        assert!(ask(&layer, 1).is_ok());
        for _ in 0..3 {
            assert_eq!(ask(&layer, 1).unwrap_err().retry_after, Some(Duration::from_secs(7)), "{order:?}");
        }
    }
}

/// A stack of two is compared with two limits of the same kind that are asked one after the other, by hand.
#[test]
fn a_stack_admits_what_both_admit_and_its_promise_is_exact() {
    let limits = (1_u32..6, 1_u64..2_000, 1_u32..6, 1_u64..2_000);
    let script = prop::collection::vec((0_u64..700, 0_u32..3), 1..60);
    let config = Config { rng_seed: RngSeed::Fixed(7), failure_persistence: None, cases: 300, ..Config::default() };
    proptest!(config, |((n, period, m, other_period) in limits, script in script)| {
        let rate = |count, millis| Rate::new(count, Duration::from_millis(millis)).unwrap();
        let (first, second) = (FixedWindow::new(rate(n, period)), SlidingLog::new(rate(m, other_period)));
        let clock = ManualClock::new();
        let layer = RateLimitLayer::new(first).clock(clock.clone()).keyed(each_client())
            .and(RateLimitLayer::new(second).clock(clock.clone())).answer(Fail);
        // The model: per client the opening and the count of its window; for all the times of admission.
        let mut windows = [(0_u64, 0_u32); 3];
        let mut log: Vec<u64> = Vec::new();
        let mut now = 0;
        let mut admits = |now: u64, client: usize| {
            let (opened, count) = windows[client];
            let (opened, count) = if count == 0 || now >= opened + period { (now, 0) } else { (opened, count) };
            let live = log.iter().filter(|at| **at + other_period > now).count();
            let wait_first = if count < n { 0 } else { opened + period - now };
            let wait_second = if live < m as usize { 0 } else { log[log.len() - m as usize] + other_period - now };
            let wait = wait_first.max(wait_second);
            if wait == 0 {
                windows[client] = (opened, count + 1);
                log.push(now);
            }
            wait
        };
        for (pause, client) in script {
            now += pause;
            clock.advance(Duration::from_millis(pause));
            let wait = admits(now, client as usize);
            let asked = ask(&layer, client).map_err(|rejection| rejection.retry_after.unwrap());
            prop_assert_eq!(asked.err().unwrap_or_default(), Duration::from_millis(wait));
        }
        // A lone retry: refused a nanosecond early, admitted on time.
        if let Err(refused) = ask(&layer, 0) {
            clock.advance(refused.retry_after.unwrap() - Duration::from_nanos(1));
            prop_assert!(ask(&layer, 0).is_err());
            clock.advance(Duration::from_nanos(1));
            prop_assert!(ask(&layer, 0).is_ok());
        }
    });
}

#[test]
fn a_missing_key_is_refused_by_the_member_that_wants_one_and_costs_the_other_nothing() {
    let all = RateLimitLayer::new(TokenBucket::new(Rate::per_day(5)));
    let limiter = all.limiter();
    let each =
        RateLimitLayer::new(TokenBucket::new(Rate::per_day(5))).keyed(key::header("x-api-key")).missing(MissingKey::Refuse);
    for service in [
        all.clone().and(each.clone()).layer(service_fn(answer)).boxed_clone(),
        each.and(all).layer(service_fn(answer)).boxed_clone(),
    ] {
        assert_eq!(service.oneshot(get("/")).now_or_never().unwrap().unwrap().status(), 400);
    }
    assert_eq!(limiter.peek().remaining, 5);
}

#[test]
fn admitted_callers_are_told_the_tighter_of_both() {
    let limit = |count, name| RateLimitLayer::new(FixedWindow::new(Rate::per_day(count))).named(name);
    for service in [
        limit(3, "small").and(limit(9, "large")).answer(Respond::new().on_admitted()).layer(service_fn(answer)),
        limit(9, "large").and(limit(3, "small")).answer(Respond::new().on_admitted()).layer(service_fn(answer)),
    ] {
        let response = service.oneshot(get("/")).now_or_never().unwrap().unwrap();
        assert_eq!(response.headers()["ratelimit"], "\"small\";r=2;t=86400");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_one_member_holds_the_other_and_gives_it_back_if_it_leaves() {
    let paced = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(5)).clock(TokioClock::default());
    let daily = RateLimitLayer::new(FixedWindow::new(Rate::per_day(10))).clock(TokioClock::default());
    let left = daily.limiter();
    let began = Instant::now();
    for service in [
        paced.clone().and(daily.clone()).layer(service_fn(answer)).boxed_clone(),
        daily.and(paced).layer(service_fn(answer)).boxed_clone(),
    ] {
        left.clear();
        let began = Instant::now();
        service.clone().oneshot(get("/")).await.unwrap();
        let mut waiting = Box::pin(service.clone().oneshot(get("/")));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(left.peek().remaining, 8);
        drop(waiting);
        assert_eq!(left.peek().remaining, 9, "who leaves has taken nothing");

        let mut waiting = Box::pin(service.clone().oneshot(get("/")));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(waiting.await.unwrap().status(), 200);
        assert_eq!((began.elapsed().as_secs(), left.peek().remaining), (1, 8));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn who_is_refused_by_one_member_and_could_wait_for_the_other_is_told_the_wait_of_the_first() {
    let clock = ManualClock::new();
    let refuses = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1))).clock(clock.clone());
    let paces = RateLimitLayer::new(LeakyBucket::new(Rate::per_minute(1)).queue(5)).clock(clock);
    assert!(paces.limiter().check().is_ok());
    assert!(refuses.limiter().check().is_ok());
    let refused = ask(&refuses.and(paces).answer(Fail), 1).unwrap_err();
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_for_both_at_the_same_time() {
    let paced = |millis, queue| {
        let rate = Rate::new(1, Duration::from_millis(millis)).unwrap();
        RateLimitLayer::new(LeakyBucket::new(rate).queue(queue)).clock(TokioClock::default())
    };
    let mut service = paced(300, 9).and(paced(500, 1)).layer(service_fn(answer));
    let began = Instant::now();
    let mut call = || service.call(get("/"));
    let (first, second, third) = tokio::join!(call(), call(), call());
    assert_eq!([first, second, third].map(|answer| answer.unwrap().status().as_u16()), [200, 200, 429]);
    assert_eq!(began.elapsed().as_millis(), 500);
    // The third was refused by the second member; the first has its turn again.
    let began = Instant::now();
    assert_eq!(call().await.unwrap().status(), 200);
    assert!(began.elapsed().as_millis() <= 500);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    Free,
    Pro,
    Trial,
}

#[test]
fn each_tier_has_its_own_limit_its_own_name_and_its_own_handle() {
    let limit = |name, count| RateLimitLayer::new(FixedWindow::new(Rate::per_day(count))).keyed(key::header("user")).named(name);
    let (free, pro) = (limit("free", 1), limit("pro", 3));
    let (of_free, of_pro) = (free.limiter(), pro.limiter());
    let layer = free
        .tiers(|head| match head.headers.get("plan").map(http::HeaderValue::as_bytes) {
            Some(b"pro") => Plan::Pro,
            Some(b"trial") => Plan::Trial,
            _ => Plan::Free,
        })
        .tier(Plan::Pro, limit("replaced", 100))
        .tier(Plan::Pro, pro);
    let ask = |user: &'static str, plan| {
        let request = Request::get("/").header("user", user).header("plan", plan).body(()).unwrap();
        let response = layer.layer(service_fn(answer)).oneshot(request).now_or_never().unwrap().unwrap();
        (response.status().as_u16(), response.extensions().get::<Rejection>().map(|rejection| rejection.policy.to_string()))
    };
    // A trial has no tier: it has the limit that is not of any.
    assert_eq!(ask("ada", "trial"), (200, None));
    assert_eq!(ask("ada", "free"), (429, Some("free".into())));
    for _ in 0..3 {
        assert_eq!(ask("ada", "pro"), (200, None));
    }
    assert_eq!(ask("ada", "pro"), (429, Some("pro".into())));
    assert_eq!(ask("bob", "free"), (200, None));

    let ada = http::HeaderValue::from_static("ada");
    of_pro.reconfigure(FixedWindow::new(Rate::per_day(4)));
    assert_eq!(ask("ada", "pro"), (200, None));
    assert_eq!(ask("ada", "pro"), (429, Some("pro".into())));
    of_pro.replace(FixedWindow::new(Rate::per_day(1)));
    assert_eq!(ask("ada", "pro"), (200, None), "what was taken is forgotten");
    assert_eq!(ask("ada", "pro"), (429, Some("pro".into())));
    of_free.remove(&ada);
    assert_eq!(ask("ada", "free"), (200, None));
}

#[test]
fn tiers_may_be_of_any_request_and_may_be_stacked() {
    let clock = ManualClock::new();
    let limit = |count| RateLimitLayer::new(SlidingWindow::new(Rate::per_day(count))).clock(clock.clone());
    let all = limit(5);
    let small_and_large = limit(1).tiers_of(|client: &u32| *client >= 100).tier(true, limit(3));
    let layer = small_and_large.and(all).answer(Fail);
    let admitted = |client| (0..10).filter(|_| ask(&layer, client).is_ok()).count();
    assert_eq!((admitted(1), admitted(100), admitted(2)), (1, 3, 0));
}

#[test]
fn a_shadow_decides_and_reports_and_admits() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reported);
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_day(10))).named("new").skip_where(|client: &u32| *client == 0);
    let layer = limit.shadow().report(move |rejection| log.lock().unwrap().push(rejection.policy.to_string())).answer(Fail);
    let shadow = layer.shadow_handle();
    for client in 0..110 {
        assert!(ask(&layer, client).is_ok(), "nothing is enforced");
    }
    assert_eq!((shadow.decided(), shadow.enforced()), (99, 0));
    assert_eq!(*reported.lock().unwrap(), vec!["new"; 99]);

    // From here a fraction: exactly so many of each hundred.
    shadow.enforce_percent(20);
    let refused: Vec<_> = (0..500).filter(|_| ask(&layer, 1).is_err()).collect();
    assert_eq!((refused.len(), shadow.enforced(), shadow.decided()), (100, 100, 599));
    assert!(refused.is_sorted_by(|one, next| next - one == 5), "spread evenly: {refused:?}");
    shadow.enforce_percent(1_000);
    assert_eq!(shadow.enforced_percent(), 100);
    assert!((0..100).all(|_| ask(&layer, 1).is_err()));
    shadow.enforce_percent(0);
    assert!((0..100).all(|_| ask(&layer, 1).is_ok()));
}

#[test]
fn a_shadow_in_a_stack_takes_only_what_it_admits_and_refuses_nobody() {
    let shadowed = RateLimitLayer::new(FixedWindow::new(Rate::per_day(2)));
    let (of_shadow, real) = (shadowed.limiter(), RateLimitLayer::new(FixedWindow::new(Rate::per_day(5))));
    let layer = shadowed.shadow().and(real).answer(Fail);
    let admitted = (0..10).filter(|_| ask(&layer, 1).is_ok()).count();
    assert_eq!((admitted, of_shadow.peek().remaining), (5, 0));
}

#[test]
fn nobody_is_told_to_wait_for_what_is_not_enforced() {
    let real = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1)));
    let layer = real.and(RateLimitLayer::new(FixedWindow::new(Rate::per_day(1))).shadow()).answer(Fail);
    assert!(ask(&layer, 1).is_ok());
    assert!(ask(&layer, 1).unwrap_err().retry_after.unwrap() <= Duration::from_secs(3_600));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_lets_nobody_wait_until_it_is_enforced() {
    let paced = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(5)).clock(TokioClock::default());
    let reports = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reports);
    let layer = paced.shadow().report(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let shadow = layer.shadow_handle();
    let began = Instant::now();
    for _ in 0..3 {
        layer.layer(service_fn(answer)).oneshot(get("/")).await.unwrap();
    }
    assert_eq!((began.elapsed().as_millis(), shadow.decided(), reports.load(Ordering::Relaxed)), (0, 2, 0));
    shadow.enforce_percent(100);
    layer.layer(service_fn(answer)).oneshot(get("/")).await.unwrap();
    assert_eq!((began.elapsed().as_millis(), shadow.enforced()), (1_000, 1));
}
