//! Law 5: a request that does not wait allocates nothing, whatever the layer.
//!
//! The only test is alone in its file: the allocator's counters are those of the whole process.

#![expect(clippy::panic, reason = "the helpers of tests, too, fail by panicking")]

use std::alloc::System;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use backpressure_tests::Probe;
use backpressure_tests::layers::prelude::*;
use backpressure_tests::layers::{Fate, Limiting, refill, request};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

macro_rules! assert_of {
    ($law:ident $name:ident: $subject:expr) => {
        $law(stringify!($name), &$subject).await;
    };
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_wait_allocates_nothing() {
    backpressure_tests::every_layer!(assert_of allocates_nothing);
}

async fn allocates_nothing<L: Limiting>(name: &str, subject: &Subject<L>) {
    // What a charged limit leaves with a request is allocated.
    if name.contains("charged") {
        return;
    }
    let mut service = subject.layer.layer(Probe::new().0);
    // The first request of a key may allocate its part of the table, and the first of each request its place in a log.
    for _ in 0..subject.admits {
        let _ = allocations(&mut service);
    }
    for _ in 0..10 {
        refill().await;
        for _ in 0..subject.admits {
            assert_eq!(allocations(&mut service), 0, "{name}");
        }
    }
}

/// Calls a service and polls the answer as a host does. Returns how often something was allocated for it.
fn allocations(service: &mut impl backpressure_tests::layers::Limited) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let request = request();
    let region = Region::new(ALLOCATOR);
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut answer = pin!(service.call(request));
    let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) else { panic!("the request waits") };
    let change = region.change();
    assert!(Fate::of(answer).is_served());
    change.allocations + change.reallocations
}
