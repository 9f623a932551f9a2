//! A storm: requests that end in every way there is, on several threads, and at the end every place is back.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Class, CoDel, LoadShedLayer, Order, Overflow, OverflowBufferLayer, key};

use super::refusal;

/// How many requests are in the service or in a body of it.
#[derive(Clone, Debug, Default)]
struct Inside {
    count: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// One of them.
struct Visit(Inside);

impl Inside {
    fn enter(&self) -> Visit {
        let inside = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        Visit(self.clone())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Numbers that look random, the same for the same seed (`SplitMix64` of Steele, Lea and Flood).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How a request of the storm goes, and ends.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Polls until the response is there.
    polls: u64,
    panics: bool,
    /// Frames of the body, each after a poll that is pending.
    frames: u64,
    fails: bool,
}

async fn pauses(polls: u64) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}

async fn serve(inside: Inside, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let visit = inside.enter();
    let plan = *request.extensions().get::<Plan>().unwrap();
    pauses(plan.polls).await;
    if plan.panics {
        // Not `panic!`, which would print a thousand messages.
        std::panic::resume_unwind(Box::new("as planned"));
    }
    let frames = stream::unfold((0, Some(visit)), move |(sent, visit)| async move {
        pauses(1).await;
        match sent {
            _ if sent < plan.frames => Some((Ok(Bytes::from("frame")), (sent + 1, visit))),
            // The visit ends with the error, as the place does: the body is dropped a little later.
            _ if sent == plan.frames && plan.fails => Some((Err(std::io::Error::other("as planned")), (sent + 1, None))),
            _ => None,
        }
    });
    Ok(Response::new(Body::from_stream(frames)))
}

fn planned(dice: &mut Dice) -> Request<Body> {
    let plan = Plan { polls: dice.below(4), panics: dice.below(50) == 0, frames: dice.below(4), fails: dice.below(10) == 0 };
    let class = Class::ALL[usize::try_from(dice.below(4)).unwrap()];
    let client = dice.below(8).to_string();
    Request::get("/").header("x-api-key", client).extension(plan).extension(class).body(Body::empty()).unwrap()
}

/// Sends requests, each of which is dropped after so many polls or goes on to its end; says how many were answered.
macro_rules! storm {
    ($layer:expr, $places:expr) => {{
        let layer = $layer;
        let (handle, inside) = (layer.handle(), Inside::default());
        let counted = inside.clone();
        let service = layer.layer(service_fn(move |request| serve(counted.clone(), request)));
        let answered = Arc::new(AtomicUsize::new(0));
        let storms = (0..TASKS).map(|seed| {
            let (service, answered) = (service.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut dice = Dice(seed);
                for _ in 0..REQUESTS / TASKS {
                    let request = planned(&mut dice);
                    let patience = if dice.below(3) == 0 { dice.below(12) } else { u64::MAX };
                    let whole = async {
                        let response = service.clone().oneshot(request).await.unwrap();
                        let is_refused = refusal(&response).is_some();
                        let _sent = response.into_body().collect().await;
                        is_refused
                    };
                    tokio::select! {
                        biased;
                        () = pauses(patience) => {}
                        ended = AssertUnwindSafe(whole).catch_unwind() => {
                            answered.fetch_add(usize::from(ended.is_ok_and(|is_refused| !is_refused)), Ordering::Relaxed);
                        }
                    }
                }
            })
        });
        join_all(storms).await.into_iter().for_each(|storm| storm.unwrap());
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0), "every place is back");
        assert_eq!(inside.count.load(Ordering::SeqCst), 0);
        assert_eq!(inside.most.load(Ordering::SeqCst), $places, "as many at once as there are places, and never more");
        (answered.load(Ordering::Relaxed), handle.shed())
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_a_layer_without_a_queue_leaves_every_place_free() {
    let (answered, shed) = storm!(LoadShedLayer::new(5), 5);
    assert!(answered > 1_000 && shed.concurrency > 1_000, "{answered} {shed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_a_layer_with_everything_leaves_every_place_free() {
    let layer = LoadShedLayer::new(5)
        .queue(7)
        .max_wait(Duration::from_millis(2))
        .order(Order::Adaptive(CoDel::new()))
        .reserve_percent(Class::Critical, 20)
        .class(|head| head.extensions.get().copied().unwrap_or_default())
        .per_client(key::header("x-api-key"), 3);
    let (answered, shed) = storm!(layer, 5);
    assert!(answered > 1_000 && shed.total() > 100, "{answered} {shed:?}");
    assert!(shed.evicted > 0 && shed.client_concurrency > 0, "{shed:?}");
}

/// Nobody is left without an answer: the storm would not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_a_buffer_of_any_policy_leaves_every_place_free() {
    let (answered, shed) = storm!(OverflowBufferLayer::buffer(5, 7, Overflow::DropOldest), 5);
    assert!(answered > 1_000 && shed.evicted > 1_000 && shed.queue_full == 0, "{answered} {shed:?}");
    let (answered, shed) = storm!(OverflowBufferLayer::buffer(5, 7, Overflow::DropNewest), 5);
    assert!(answered > 1_000 && shed.queue_full > 1_000 && shed.evicted == 0, "{answered} {shed:?}");
    let (answered, shed) = storm!(OverflowBufferLayer::blocking(5, 7, Duration::from_secs(60)).unwrap(), 5);
    assert!(answered > 10_000 && shed.total() == 0, "{answered} {shed:?}");
}

const TASKS: u64 = 50;
const REQUESTS: u64 = 100_000;
