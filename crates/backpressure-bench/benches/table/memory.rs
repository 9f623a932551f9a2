//! What a key costs to remember, the longest that a check takes while keys come in, and what a queue costs that is idle.

use std::alloc::System;
use std::env;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use backpressure_limiter::KeyedLimiter;
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::fanout;
use crate::keys::address;
use crate::measure::{Comparison, line};
use crate::queue;
use crate::rows::{admitting, their_admitting};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

pub(crate) fn table(filter: &str) {
    keys(filter);
    let idle = "memory: an idle queue (tokio mpsc of 64)";
    if idle.contains(filter) {
        line(idle, "B", &Comparison::of(hold_in_a_process("ours"), hold_in_a_process("peer"), Some(0.15)));
    }
    let idle = "memory: an idle outbox (tokio mpsc of 64)";
    if idle.contains(filter) {
        line(idle, "B", &Comparison::of(hold_in_a_process("outbox"), hold_in_a_process("peer"), Some(0.15)));
    }
}

fn keys(filter: &str) {
    for (keys, name) in [(1_000_000, "1M"), (10_000_000, "10M")] {
        let [bytes, longest, rare] = [
            format!("memory: bytes a key, {name} keys"),
            format!("memory: longest check, growing to {name} keys"),
            format!("memory: 99.99 % of checks, growing to {name} keys"),
        ];
        if ![&bytes, &longest, &rare].iter().any(|row| row.contains(filter)) {
            continue;
        }
        let runs = || (grow_in_a_process("ours", keys), grow_in_a_process("peer", keys));
        let ((ours, peer), (again_ours, again_peer)) = (runs(), runs());
        line(&bytes, "B", &Comparison::of(ours.bytes, peer.bytes, Some(0.75)));
        let pause_target = (keys > 1_000_000).then_some(0.05);
        let longest_of = |one: &Growth, other: &Growth| one.longest.min(other.longest) / 1_000.0;
        line(&longest, "µs", &Comparison::of(longest_of(&ours, &again_ours), longest_of(&peer, &again_peer), pause_target));
        line(&rare, "ns", &Comparison::of(ours.rare, peer.rare, None));
    }
}

/// What came of letting keys in.
struct Growth {
    /// Bytes for each key.
    bytes: f64,
    /// Nanoseconds of the longest check.
    longest: f64,
    /// Nanoseconds that one check in ten thousand exceeds.
    rare: f64,
}

/// A process of its own starts with an empty heap.
fn grow_in_a_process(side: &str, keys: u32) -> Growth {
    match numbers_of(&["--grow", side, &keys.to_string()])[..] {
        [bytes, longest, rare] => Growth { bytes, longest, rare },
        _ => Growth { bytes: f64::NAN, longest: f64::NAN, rare: f64::NAN },
    }
}

/// Bytes for each queue that is idle.
fn hold_in_a_process(side: &str) -> f64 {
    numbers_of(&["--hold", side]).first().copied().unwrap_or(f64::NAN)
}

/// What this program prints when it is started like this.
fn numbers_of(arguments: &[&str]) -> Vec<f64> {
    let program = env::current_exe().expect("the benchmark was started from a file");
    let output = Command::new(program).args(arguments).output().expect("what ran once runs again");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.split_whitespace().map(|number| number.parse().unwrap_or(f64::NAN)).collect()
}

/// Lets keys into one of the limiters and prints what came of it.
pub(crate) fn grow_here(side: &str, keys: &str) {
    let keys: u32 = keys.parse().expect("started by this program");
    let mut checks = vec![0; keys as usize];
    let before = Region::new(ALLOCATOR);
    match side {
        "ours" => {
            let limiter: KeyedLimiter<IpAddr, _> = KeyedLimiter::new(admitting()).max_keys(keys as usize);
            grow(&mut checks, &before, |address| drop(limiter.check(address)));
        }
        _ => {
            let limiter: DefaultKeyedRateLimiter<IpAddr> = RateLimiter::keyed(their_admitting());
            grow(&mut checks, &before, |address| drop(limiter.check_key(address)));
        }
    }
}

/// Holds queues of one of the kinds, and prints what each takes.
pub(crate) fn hold_here(side: &str) {
    match side {
        "ours" => hold(queue::ours_of_bytes),
        "outbox" => {
            let builder = fanout::outboxes_of_bytes();
            hold(|| builder.build());
        }
        _ => hold(queue::tokios_of_bytes),
    }
}

fn hold<Q>(queue: impl Fn() -> Q) {
    let mut queues = Vec::with_capacity(QUEUES);
    let before = Region::new(ALLOCATOR);
    queues.extend((0..QUEUES).map(|_| queue()));
    let change = before.change();
    println!("{}", (change.bytes_allocated - change.bytes_deallocated) as f64 / QUEUES as f64);
}

fn grow(checks: &mut [u32], before: &Region<'_, System>, mut check: impl FnMut(&IpAddr)) {
    for (key, nanos) in (0..).zip(checks.iter_mut()) {
        let address = address(key);
        let start = Instant::now();
        check(&address);
        *nanos = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    }
    let change = before.change();
    // A reallocation in place is counted apart.
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    checks.sort_unstable();
    let rare = checks[checks.len() - 1 - checks.len() / 10_000];
    println!("{} {} {rare}", bytes as f64 / checks.len() as f64, checks[checks.len() - 1]);
}

const QUEUES: usize = 1_000;
