//! Charges settled later: debts, give-backs, and what they never let through.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::convert::Infallible;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    Algorithm, Carry, Charge, Fail, FixedWindow, LeakyBucket, Limit, ManualClock, MissingKey, Rate, RateLimitLayer, Rejection,
    SlidingLog, SlidingWindow, TokenBucket, TokioClock, key,
};

/// A request of a custom stack: what it costs in advance, and room for its charge.
#[derive(Default)]
struct Job {
    cost: u64,
    charge: Charge,
}

impl Carry for Job {
    fn charge_mut(&mut self) -> &mut Charge {
        &mut self.charge
    }
}

/// Returns the charge of a job that is admitted.
fn admit<L: Limit<Job> + Clone>(layer: &RateLimitLayer<L, Fail>, cost: u64) -> Result<Charge, Rejection> {
    let work = service_fn(async |job: Job| Ok::<_, Rejection>(job.charge));
    layer.layer(work).oneshot(Job { cost, ..Job::default() }).now_or_never().unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { cost: u64 },
    Add { which: usize, units: u64 },
    Set { which: usize, units: u64 },
    GiveBack { which: usize },
    Drop { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let which = 0..12_usize;
    let step = prop_oneof![
        6 => (1..5_u64).prop_map(|cost| Step::Ask { cost }),
        1 => (which.clone(), 0..6_u64).prop_map(|(which, units)| Step::Add { which, units }),
        1 => (which.clone(), 0..6_u64).prop_map(|(which, units)| Step::Set { which, units }),
        1 => which.clone().prop_map(|which| Step::GiveBack { which }),
        3 => which.prop_map(|which| Step::Drop { which }),
    ];
    // Half of the steps come at the same time: between them nothing drains that could hide what came back.
    let pause = prop_oneof![Just(0), 0..400_u64];
    prop::collection::vec((pause, step), 1..80)
}

/// What was admitted when, in milliseconds, and what of it was given back when its charge was dropped.
#[derive(Debug, PartialEq)]
struct Admitted {
    at: u64,
    cost: u64,
    returned: u64,
}

/// Plays the script with one limit for all, and with one for a key: both do the same.
fn play<A: Algorithm + Send + Sync + 'static>(algorithm: A, script: &[(u64, Step)]) -> Vec<Admitted>
where
    A::State: Send,
    A::Level: Send + Sync,
{
    let clock = ManualClock::new();
    let layer = RateLimitLayer::new(algorithm).clock(clock.clone()).cost_of(|job: &Job| job.cost);
    let keyed = layer.clone().keyed(key::from_request(|_: &Job| Some("everybody")));
    let admitted = play_with(&clock, &layer.charged().answer(Fail), script);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(admitted, play_with(&clock, &keyed.charged().answer(Fail), script));
    admitted
}

fn play_with<L: Limit<Job> + Clone>(
    clock: &ManualClock,
    layer: &RateLimitLayer<L, Fail>,
    script: &[(u64, Step)],
) -> Vec<Admitted> {
    let (mut now, mut admitted, mut open): (u64, Vec<Admitted>, Vec<(usize, Charge)>) = (0, Vec::new(), Vec::new());
    for (pause, step) in script {
        now += pause;
        clock.advance(Duration::from_millis(*pause));
        match *step {
            Step::Ask { cost } => {
                if let Ok(charge) = admit(layer, cost) {
                    assert_eq!(charge.cost(), cost);
                    open.push((admitted.len(), charge));
                    admitted.push(Admitted { at: now, cost, returned: 0 });
                }
            }
            Step::Add { which, units } => _ = open.get(which).map(|(_, charge)| charge.add(units)),
            Step::Set { which, units } => _ = open.get(which).map(|(_, charge)| charge.set(units)),
            Step::GiveBack { which } => _ = open.get(which).map(|(_, charge)| charge.give_back()),
            Step::Drop { which } if which < open.len() => {
                let (index, charge) = open.swap_remove(which);
                admitted[index].returned = admitted[index].cost.saturating_sub(charge.cost());
            }
            Step::Drop { .. } => {}
        }
    }
    // Those that are open still have given nothing back while this was going on.
    admitted
}

/// Asserts that no interval admits more than `bound(length)` says; `net` counts what was not given back, and otherwise all
/// that was given back may come on top.
fn assert_bounded(admitted: &[Admitted], net: bool, bound: impl Fn(u64) -> u64) {
    let returned: u64 = admitted.iter().map(|one| one.returned).sum();
    for (first, start) in admitted.iter().enumerate() {
        let mut sum = 0;
        for end in &admitted[first..] {
            sum += if net { end.cost - end.returned } else { end.cost };
            let allowed = bound(end.at - start.at) + if net { 0 } else { returned };
            assert!(sum <= allowed, "{sum} from {} to {}, allowed {allowed}: {admitted:#?}", start.at, end.at);
        }
    }
}

fn for_all(law: impl Fn(u32, u64, &[(u64, Step)])) {
    let config = Config { rng_seed: RngSeed::Fixed(11), failure_persistence: None, cases: 1_000, ..Config::default() };
    proptest!(config, |(count in 1..8_u32, period in 100..3_000_u64, script in steps())| law(count, period, &script));
}

fn rate(count: u32, millis: u64) -> Rate {
    Rate::new(count, Duration::from_millis(millis)).unwrap()
}

#[test]
fn a_fixed_window_never_lets_more_through_than_was_given_back() {
    for_all(|count, period, script| {
        let limit = u64::from(count);
        let admitted = play(FixedWindow::new(rate(count, period)), script);
        assert_bounded(&admitted, true, |length| 2 * limit + length / period * limit);
    });
}

#[test]
fn a_log_never_lets_more_through_than_was_given_back() {
    for_all(|count, period, script| {
        let admitted = play(SlidingLog::new(rate(count, period)), script);
        assert_bounded(&admitted, true, |length| if length < period { u64::from(count) } else { u64::MAX });
    });
}

#[test]
fn a_sliding_window_never_lets_more_through_than_was_given_back() {
    for_all(|count, period, script| {
        let limit = u64::from(count);
        let admitted = play(SlidingWindow::new(rate(count, period)), script);
        assert_bounded(&admitted, false, |length| limit + (limit * length).div_ceil(period));
    });
}

#[test]
fn a_bucket_never_lets_more_through_than_its_bound_and_what_was_given_back() {
    for_all(|count, period, script| {
        let burst = u64::from(count) + 3;
        let admitted = play(TokenBucket::new(rate(count, period)).burst(count + 3), script);
        assert_bounded(&admitted, false, |length| burst + (u64::from(count) * length) / period);
    });
}

#[test]
fn threads_that_charge_and_give_back_leave_what_was_not_spent() {
    fn check<A: Algorithm + Send + Sync + 'static>(algorithm: A)
    where
        A::State: Send,
        A::Level: Send + Sync,
    {
        const THREADS: u64 = 4;
        const JOBS: u64 = 2_000;
        let layer = RateLimitLayer::new(algorithm).clock(ManualClock::new()).cost_of(|job: &Job| job.cost);
        let keyed = layer.clone().keyed(key::from_request(|_: &Job| Some("everybody")));
        let (one, of_key) = (layer.limiter(), keyed.limiter());
        let (layer, keyed) = (layer.charged().answer(Fail), keyed.charged().answer(Fail));
        // Each has 5 in advance and spends from 0 to 12 in two parts, the last of them when the next has been admitted.
        let spend = |thread: u64| {
            let mut open = Vec::new();
            for job in 0..JOBS {
                for charge in [admit(&layer, 5).unwrap(), admit(&keyed, 5).unwrap()] {
                    charge.add((thread + job) % 7);
                    open.push(charge);
                }
                if job > 0 {
                    open.drain(..2).for_each(|charge| charge.add((job - 1) % 7));
                }
            }
            open.drain(..).for_each(|charge| charge.add((JOBS - 1) % 7));
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|thread| _ = scope.spawn(move || spend(thread))));
        let spent: u64 = (0..THREADS).flat_map(|thread| (0..JOBS).map(move |job| (thread + job) % 7 + job % 7)).sum();
        assert_eq!([one.peek().remaining, of_key.peek("everybody").remaining], [1_000_000 - spent; 2]);
    }
    check(FixedWindow::new(Rate::per_day(1_000_000)));
    check(SlidingWindow::new(Rate::per_day(1_000_000)));
    check(TokenBucket::new(Rate::per_second(100_000)).burst(1_000_000));
}

#[test]
fn a_debt_is_paid_to_the_nanosecond_before_anybody_is_admitted() {
    for (burst, spent) in [(1, 1), (1, 7), (5, 3), (5, 6), (5, 500)] {
        let clock = ManualClock::new();
        let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10)).burst(burst)).clock(clock.clone());
        let layer = layer.charged().answer(Fail);
        admit_job(&layer).add(spent);
        // The bucket holds `burst`, has paid `spent`, and must hold one again.
        let missing = (spent + 1).saturating_sub(u64::from(burst));
        let refused = admit(&layer, 1).err().map(|refused| refused.retry_after.unwrap());
        assert_eq!(refused.unwrap_or_default(), Duration::from_millis(100 * missing), "{burst} {spent}");
        if missing > 0 {
            clock.advance(Duration::from_millis(100 * missing) - Duration::from_nanos(1));
            assert!(admit(&layer, 1).is_err());
            clock.advance(Duration::from_nanos(1));
            assert!(admit(&layer, 1).is_ok());
        }
    }
}

fn admit_job<L: Limit<Job> + Clone>(layer: &RateLimitLayer<L, Fail>) -> Charge {
    admit(layer, 1).unwrap()
}

#[test]
fn an_advance_is_used_up_first_and_what_is_left_comes_back_when_the_last_clone_drops() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_day(100))).cost_of(|job: &Job| job.cost).charged();
    let limiter = layer.limiter();
    let layer = layer.answer(Fail);
    let left = || limiter.peek().remaining;

    let charge = admit(&layer, 30).unwrap();
    assert_eq!((charge.cost(), left()), (30, 70));
    charge.add(10);
    charge.add(5);
    assert_eq!((charge.cost(), left()), (15, 70));
    let clone = charge.clone();
    drop(charge);
    assert_eq!(left(), 70, "a clone is still open");
    drop(clone);
    assert_eq!(left(), 85);

    // Beyond the advance it is taken at once, and stays taken whatever is said later; the advance does not.
    let charge = admit(&layer, 5).unwrap();
    charge.add(12);
    assert_eq!(left(), 73);
    charge.set(0);
    assert_eq!(left(), 73);
    drop(charge);
    assert_eq!(left(), 78);

    // Nobody says anything: the advance stands.
    drop(admit(&layer, 8).unwrap());
    assert_eq!(left(), 70);
    // More than there is: the window is full until its end.
    admit(&layer, 1).unwrap().set(u64::MAX);
    assert_eq!(left(), 0);
    assert!(admit(&layer, 1).is_err());
}

#[test]
fn only_failures_count_where_success_is_given_back() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(3))).keyed(key::header("user")).charged();
    let login = service_fn(async |request: Request<&'static str>| {
        let right = *request.body() == "secret";
        if right {
            Charge::of(request.extensions()).give_back();
        }
        Ok::<_, Infallible>(Response::builder().status(if right { 200 } else { 401 }).body(String::new()).unwrap())
    });
    let service = layer.layer(login);
    let ask = |password| {
        let request = Request::builder().header("user", "ada").body(password).unwrap();
        service.clone().oneshot(request).now_or_never().unwrap().unwrap().status().as_u16()
    };
    for _ in 0..10 {
        assert_eq!(ask("secret"), 200);
    }
    assert_eq!(["a", "b", "secret", "c", "secret", "d"].map(ask), [401, 401, 200, 401, 429, 429]);
}

#[tokio::test]
async fn a_body_is_charged_as_it_is_sent_and_settled_at_its_end_or_its_drop() {
    let layer =
        RateLimitLayer::new(FixedWindow::new(Rate::per_day(1_000))).cost(|head| head.headers.len() as u64 * 400).charged();
    let limiter = layer.limiter();
    let chunks = service_fn(async |request: Request<()>| {
        let frames = (0..3).map(|_| Ok::<_, Infallible>(Frame::data(bytes::Bytes::from_static(&[0; 100]))));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok::<_, Infallible>(Response::new(Some(Charge::of(request.extensions()).metered(body))))
    });
    let service = layer.layer(
        chunks.map_response(|response: Response<Option<_>>| response.map(Option::unwrap).map(BodyExt::boxed_unsync).map(Body)),
    );
    let left = || limiter.peek().remaining;
    let ask = async |advance: bool| {
        let mut request = Request::new(());
        request.headers_mut().extend(advance.then(|| (http::header::TE, http::HeaderValue::from_static("trailers"))));
        service.clone().oneshot(request).await.unwrap().into_body().0
    };
    let mut body = ask(false).await;
    for expected in [900, 800, 700] {
        body.frame().await.unwrap().unwrap();
        assert_eq!(left(), expected);
    }
    // An advance of 400 is used up first, and what is left of it comes back at the end of the body, before it is dropped.
    let mut body = ask(true).await;
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(left(), 300);
    }
    assert!(body.frame().await.is_none());
    assert_eq!(left(), 400);
    let mut body = ask(true).await;
    body.frame().await.unwrap().unwrap();
    assert_eq!(left(), 0);
    drop(body);
    assert_eq!(left(), 300);
}

/// A body that may be missing, for refusals.
struct Body(http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Infallible>);

impl Default for Body {
    fn default() -> Self {
        Self(Full::default().boxed_unsync())
    }
}

#[test]
fn an_empty_body_costs_nothing() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_day(10))).charged();
    let limiter = layer.limiter();
    let empty = service_fn(async |request: Request<()>| {
        let mut body = Charge::of(request.extensions()).metered(Full::new(bytes::Bytes::new()));
        while body.frame().await.is_some() {}
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    layer.layer(empty).oneshot(Request::new(())).now_or_never().unwrap().unwrap();
    assert_eq!(limiter.peek().remaining, 10);
}

#[test]
fn several_charged_limits_are_told_apart_by_name_also_in_two_layers() {
    let limit = |name| RateLimitLayer::new(FixedWindow::new(Rate::per_day(100))).named(name).charged();
    let (rows, bytes, outer) = (limit("rows"), limit("bytes"), limit("outer"));
    let (of_rows, of_bytes, of_outer) = (rows.limiter(), bytes.limiter(), outer.limiter());
    let work = service_fn(async |request: Request<()>| {
        let charge = Charge::of(request.extensions());
        charge.policy("rows").unwrap().set(10);
        charge.policy("bytes").unwrap().set(20);
        charge.policy("outer").unwrap().set(30);
        assert!(charge.policy("nobody").is_none());
        charge.add(1);
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = outer.layer(rows.and(bytes).layer(work));
    service.oneshot(Request::new(())).now_or_never().unwrap().unwrap();
    let left = [of_rows.peek().remaining, of_bytes.peek().remaining, of_outer.peek().remaining];
    assert_eq!(left, [90, 79, 70], "the innermost one is the last of the inner layer");
}

#[test]
fn a_request_that_no_limit_concerns_has_a_charge_that_charges_nobody() {
    let layer = RateLimitLayer::new(FixedWindow::new(Rate::per_day(1))).keyed(key::header("user")).missing(MissingKey::Skip);
    let service = layer.charged().layer(service_fn(async |request: Request<()>| {
        let charge: &Charge = request.extensions().get().unwrap();
        charge.add(1_000);
        assert_eq!(charge.cost(), 0);
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(Request::new(())).now_or_never().unwrap().unwrap().status(), 200);
    }
    assert_eq!(Charge::of(Request::new(()).extensions()).cost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_is_charged_too_and_its_debt_delays_the_next() {
    let paced = RateLimitLayer::new(LeakyBucket::new(Rate::per_second(1)).queue(9)).clock(TokioClock::default());
    let service = paced.charged().layer(service_fn(async |request: Request<u64>| {
        Charge::of(request.extensions()).set(*request.body());
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let began = tokio::time::Instant::now();
    for (cost, at) in [(1, 0), (3, 1_000), (1, 4_000), (0, 5_000), (1, 5_000)] {
        assert_eq!(service.clone().oneshot(Request::new(cost)).await.unwrap().status(), 200);
        assert_eq!(began.elapsed().as_millis(), at, "{cost}");
    }
}
