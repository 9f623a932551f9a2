//! A client who invents keys, against the real limiter, under each policy for a full table.
//!
//! The table tracks 10 000 keys of ten requests an hour. One thousand residents have used up theirs. Then a million requests come
//! from invented keys, and among them nine hundred honest newcomers with one request each, and now and then a resident tries
//! again.
#![cfg(not(backpressure_loom))]

use std::alloc::System;

use backpressure_core::{ManualClock, Rate, TokenBucket};
use backpressure_limiter::{KeyedLimiter, WhenFull};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MAX_KEYS: usize = 10_000;
const RESIDENTS: u64 = 1_000;
const NEWCOMERS: u64 = 900;
const FLOOD: u64 = 1_000_000;

/// Keys as the flood draws them: who asks, and a number.
type Client = (&'static str, u64);
type Limiter = KeyedLimiter<Client, TokenBucket, ManualClock>;

#[derive(Debug)]
struct Aftermath {
    newcomers_served: u64,
    residents_reset: u64,
    invented_admitted: u64,
}

fn limiter(when_full: WhenFull) -> Limiter {
    KeyedLimiter::with_clock(TokenBucket::new(Rate::per_hour(10)), ManualClock::new()).max_keys(MAX_KEYS).when_full(when_full)
}

/// Runs the flood with this many requests from each invented key.
fn flood(limiter: &Limiter, requests_a_key: u64) -> Aftermath {
    for resident in 0..RESIDENTS {
        assert_eq!((0..20).filter(|_| limiter.check(&("resident", resident)).is_ok()).count(), 10);
    }
    let mut aftermath = Aftermath { newcomers_served: 0, residents_reset: 0, invented_admitted: 0 };
    let mut settled = None;
    for request in 0..FLOOD {
        aftermath.invented_admitted += u64::from(limiter.check(&("invented", request / requests_a_key)).is_ok());
        assert!(limiter.len() <= MAX_KEYS);
        // The newcomers come in the second half, when the table is full.
        if request >= FLOOD / 2 && request % (FLOOD / 2 / NEWCOMERS) == 0 {
            aftermath.newcomers_served += u64::from(limiter.check(&("newcomer", request)).is_ok());
        }
        if request % 100 == 0 {
            aftermath.residents_reset += u64::from(limiter.check(&("resident", request / 100 % RESIDENTS)).is_ok());
        }
        if request == FLOOD / 2 {
            settled = Some(Region::new(ALLOCATOR));
        }
    }
    let grown = settled.expect("the flood has a middle").change();
    assert_eq!(grown.bytes_allocated, grown.bytes_deallocated, "memory is flat once the table is full");
    aftermath
}

/// The only test of this file: the allocator's counters are those of the whole process.
#[test]
fn a_flood_of_invented_keys_neither_frees_the_limited_nor_grows_the_memory() {
    let evict = flood(&limiter(WhenFull::Evict), 1);
    println!("evict, one request a key: {evict:?}");
    assert_eq!(evict.residents_reset, 0);
    assert!(evict.newcomers_served >= 900, "newcomers are served as long as the flood is cheap: {evict:?}");

    let evict = flood(&limiter(WhenFull::Evict), 10);
    println!("evict, ten requests a key: {evict:?}");
    assert_eq!(evict.residents_reset, 0, "a flood that pays ten times as much shuts newcomers out, but frees nobody");

    for when_full in [WhenFull::Share, WhenFull::Refuse] {
        for requests_a_key in [1, 10] {
            let shut = flood(&limiter(when_full), requests_a_key);
            println!("{when_full:?}, {requests_a_key} requests a key: {shut:?}");
            assert_eq!(shut.residents_reset, 0);
            assert!(shut.newcomers_served < 90, "newcomers share or are refused: {shut:?}");
            assert!(shut.invented_admitted <= 10 * (MAX_KEYS as u64 + 1), "{shut:?}");
        }
    }

    let admit = flood(&limiter(WhenFull::Admit), 1);
    println!("admit, one request a key: {admit:?}");
    assert_eq!(admit.residents_reset, 0);
    assert!(admit.newcomers_served >= 900, "{admit:?}");
    assert_eq!(admit.invented_admitted, FLOOD);
}
