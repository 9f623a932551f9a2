//! Under overload a buffer keeps its memory at its bound, whatever its policy.
//!
//! The only test is alone in its file: the allocator's counters are those of the whole process.

use std::alloc::System;
use std::convert::Infallible;
use std::future::pending;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Overflow, OverflowBufferLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::test(start_paused = true)]
async fn ten_times_the_load_takes_no_more_memory_than_the_bound() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let layer = OverflowBufferLayer::buffer(2, 100, overflow);
        let handle = layer.handle();
        // Nothing ever ends: the worst that can be in front of a buffer.
        let service = layer.layer(service_fn(async |_: Request<Full<&'static [u8]>>| {
            pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Full::<&'static [u8]>::default()))
        }));
        let mut cx = Context::from_waker(Waker::noop());
        let mut accepted = Vec::with_capacity(200);
        let mut live = Vec::with_capacity(20);
        let region = Region::new(ALLOCATOR);
        for sent in 1..=20_000_u32 {
            let mut answer = Box::pin(service.clone().oneshot(Request::new(Full::from(&b"a request"[..]))));
            if answer.poll_unpin(&mut cx).is_pending() {
                accepted.push(answer);
            }
            // Who was evicted is answered, and goes.
            accepted.retain_mut(|answer| answer.poll_unpin(&mut cx).is_pending());
            assert_eq!(accepted.len(), handle.in_flight() + handle.waiting());
            assert!(accepted.len() <= 102);
            if sent.is_multiple_of(1_000) {
                let change = region.change();
                live.push(change.bytes_allocated.checked_sub(change.bytes_deallocated).unwrap());
            }
        }
        assert!(handle.shed().total() >= 20_000 - 102);
        // The first reading is taken when the buffer is full; from then on nothing is added.
        assert!(live.iter().all(|bytes| *bytes == live[0]), "{overflow:?}: {live:?}");
        assert!(live[0] < 200_000, "{overflow:?}: {} bytes for 102 requests", live[0]);
    }
}
