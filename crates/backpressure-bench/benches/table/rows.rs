//! What is compared with what.

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Algorithm, FixedWindow, Rate, SlidingWindow, TokenBucket};
use backpressure_limiter::{Coarse, KeyedLimiter, Limiter};
use governor::clock::{Clock, DefaultClock, QuantaUpkeepClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::keys::{Walk, address};
use crate::measure::{Comparison, Work, at_once, in_turns, work};
use crate::{buffer, fanout, layer, queue, shed};

/// A line of the table: how to make what it compares, and what the ratio should be.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: fn() -> Work,
    pub(crate) peer: fn() -> Work,
    /// What both contain and neither is asked to pay for.
    pub(crate) bare: Option<fn() -> Work>,
    pub(crate) time: Option<f64>,
    /// The target in instructions; rows without one are not counted.
    pub(crate) instructions: Option<f64>,
    rounds: usize,
}

impl Row {
    pub(crate) fn new(name: &str, ours: fn() -> Work, peer: fn() -> Work) -> Self {
        Self { name: name.into(), ours, peer, bare: None, time: None, instructions: None, rounds: 301 }
    }

    pub(crate) fn target(self, time: f64) -> Self {
        Self { time: Some(time), ..self }
    }

    pub(crate) fn instructions(self, instructions: f64) -> Self {
        Self { instructions: Some(instructions), ..self }
    }

    pub(crate) fn over(self, bare: fn() -> Work) -> Self {
        Self { bare: Some(bare), ..self }
    }

    pub(crate) fn time(&self) -> Comparison {
        let mut bare = self.bare.map(|bare| bare());
        let measured = in_turns(&mut (self.ours)(), &mut (self.peer)(), bare.as_mut(), self.rounds);
        Comparison { target: self.time, ..measured }
    }
}

pub(crate) fn all() -> Vec<Row> {
    let mut rows = single();
    rows.extend(keyed());
    rows.extend(layer::rows());
    rows.extend(shed::rows());
    rows.extend(buffer::rows());
    rows.extend(queue::rows());
    rows.extend(fanout::rows());
    rows
}

fn single() -> Vec<Row> {
    vec![
        Row::new("single: admitted (governor)", || direct(admitting()), || their_direct(their_admitting()))
            .target(1.0)
            .instructions(0.75),
        Row::new("single: admitted (ratelimit)", || direct(admitting()), their_ratelimit).target(1.0).instructions(0.75),
        Row::new("single: admitted, coarse clock (governor, precise)", coarse, || their_direct(their_admitting())).target(0.5),
        Row::new("single: admitted, coarse clock (governor, coarse)", coarse, their_coarse),
        Row::new("single: refused (governor)", || direct(refusing()), || their_direct(their_refusing()))
            .target(1.0)
            .instructions(1.0),
        Row::new("single: refused, and until when (governor)", || direct(refusing()), their_wait).instructions(1.0),
        Row::new("single: admitted, fixed window (our token bucket)", || direct(FixedWindow::new(FAST)), || direct(admitting())),
    ]
}

fn keyed() -> Vec<Row> {
    vec![
        Row::new("keyed: 1 key", || keys(admitting(), 1), || their_keys(1)).over(|| bare(1)).target(0.65).instructions(0.4),
        Row::new("keyed: 16k keys", || keys(admitting(), K16), || their_keys(K16))
            .over(|| bare(K16))
            .target(0.65)
            .instructions(0.4),
        Row::new("keyed: 1M keys", || keys(admitting(), M1), || their_keys(M1)).over(|| bare(M1)).target(0.7),
        Row::new("keyed: 1M keys, 2 threads", || threads(2, M1), || their_threads(2, M1)).target(0.7),
        Row::new("keyed: 1 key, 2 threads", || threads(2, 1), || their_threads(2, 1)),
        Row::new("keyed: 1 key, 16 threads", || threads(16, 1), || their_threads(16, 1)),
        Row::new(
            "keyed: 16k keys, fixed window (our token bucket)",
            || keys(FixedWindow::new(FAST), K16),
            || keys(admitting(), K16),
        )
        .over(|| bare(K16)),
        Row::new(
            "keyed: 16k keys, sliding window (our token bucket)",
            || keys(SlidingWindow::new(FAST), K16),
            || keys(admitting(), K16),
        )
        .over(|| bare(K16)),
    ]
}

fn direct<A: Algorithm + 'static>(algorithm: A) -> Work {
    let limiter = Limiter::new(algorithm);
    work(move || _ = black_box(limiter.check().is_ok()))
}

fn their_direct(quota: Quota) -> Work {
    let limiter: DefaultDirectRateLimiter = RateLimiter::direct(quota);
    work(move || _ = black_box(limiter.check().is_ok()))
}

/// Ours says with each refusal when to come back; theirs has to be asked, with another look at the clock.
fn their_wait() -> Work {
    let limiter: DefaultDirectRateLimiter = RateLimiter::direct(their_refusing());
    let clock = DefaultClock::default();
    work(move || _ = black_box(limiter.check().map_err(|refused| refused.wait_time_from(clock.now()))))
}

fn their_ratelimit() -> Work {
    let limiter = ratelimit::Ratelimiter::builder(u64::from(FAST.count()))
        .max_tokens(u64::from(u32::MAX))
        .initial_available(u64::from(u32::MAX))
        .build()
        .expect("the limits of the peer are wider");
    work(move || _ = black_box(limiter.try_wait().is_ok()))
}

fn coarse() -> Work {
    let upkeep = quanta::Upkeep::new(TICK).start().expect("no other row has a coarse clock of ours");
    let limiter = Limiter::new(admitting()).clock(Coarse::default());
    work(move || {
        let _ = &upkeep;
        _ = black_box(limiter.check().is_ok());
    })
}

fn their_coarse() -> Work {
    let clock = QuantaUpkeepClock::from_interval(TICK).expect("no other row has a coarse clock of theirs");
    let limiter: RateLimiter<_, _, _> = RateLimiter::direct_with_clock(their_admitting(), clock);
    work(move || _ = black_box(limiter.check().is_ok()))
}

fn keys<A: Algorithm + 'static>(algorithm: A, count: u32) -> Work {
    let limiter = ours_with(algorithm, count);
    let (mut walk, mut admitted) = (Walk::new(count), true);
    work(move || admitted = limiter.check(&walk.next(admitted)).is_ok())
}

fn their_keys(count: u32) -> Work {
    let limiter = theirs_with(count);
    let (mut walk, mut admitted) = (Walk::new(count), true);
    work(move || admitted = limiter.check_key(&walk.next(admitted)).is_ok())
}

/// The walk alone.
fn bare(count: u32) -> Work {
    let mut walk = Walk::new(count);
    work(move || _ = black_box(&walk.next(true)))
}

fn threads(threads: u32, count: u32) -> Work {
    let limiter = ours_with(admitting(), count);
    on_threads(threads, count, move |address| limiter.check(address).is_ok())
}

fn their_threads(threads: u32, count: u32) -> Work {
    let limiter = theirs_with(count);
    on_threads(threads, count, move |address| limiter.check_key(address).is_ok())
}

/// Threads that check keys, each those that the others come to later.
fn on_threads(threads: u32, count: u32, check: impl Fn(&IpAddr) -> bool + Send + Sync + 'static) -> Work {
    let check = Arc::new(check);
    at_once(threads, move |thread| {
        let (check, mut walk, mut admitted) = (Arc::clone(&check), Walk::starting_at(count / threads * thread, count), true);
        move || admitted = check(&walk.next(admitted))
    })
}

fn ours_with<A: Algorithm>(algorithm: A, count: u32) -> KeyedLimiter<IpAddr, A> {
    let limiter = KeyedLimiter::new(algorithm).max_keys(count as usize);
    (0..count).for_each(|key| drop(limiter.check(&address(key))));
    limiter
}

fn theirs_with(count: u32) -> DefaultKeyedRateLimiter<IpAddr> {
    let limiter = RateLimiter::keyed(their_admitting());
    (0..count).for_each(|key| drop(limiter.check_key(&address(key))));
    limiter
}

/// Admits all that a benchmark asks: 1000 a second, and four thousand million at once.
pub(crate) fn admitting() -> TokenBucket {
    TokenBucket::new(FAST).burst(u32::MAX)
}

pub(crate) fn their_admitting() -> Quota {
    Quota::per_second(NonZeroU32::new(FAST.count()).unwrap_or(NonZeroU32::MIN)).allow_burst(NonZeroU32::MAX)
}

/// Refuses all but the first request of an hour.
pub(crate) fn refusing() -> TokenBucket {
    TokenBucket::new(Rate::per_hour(1))
}

fn their_refusing() -> Quota {
    Quota::per_hour(NonZeroU32::MIN)
}

const FAST: Rate = Rate::per_second(1_000);
const K16: u32 = 1 << 14;
const M1: u32 = 1 << 20;
const TICK: Duration = Duration::from_millis(1);
