//! One run: one service under one policy and one load, in paused time, from one seed.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::Request;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;

use crate::arrivals::poisson;
use crate::clients::{Clients, Retries};
use crate::policies::Policy;
use crate::record::{Record, Seen};
use crate::service::{Model, Simulated};

/// A service and its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    pub(crate) retries: Retries,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) policy: Policy,
    /// How many requests come each second, retries not counted.
    pub(crate) per_second: f64,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    /// The limit at the end; `None` where there was none.
    pub(crate) limit: Option<usize>,
}

impl Run {
    pub(crate) fn outcome(self) -> Outcome {
        // The service draws what it drew when its capacity was measured.
        let mut seeds = Rng::with_seed(self.seed);
        let (service, clients, arrivals) = (seeds.clone(), seeds.fork(), seeds.fork());
        in_paused_time(async move {
            let (server, handle) = self.policy.round(Simulated::new(self.scenario.model, service));
            let begin = Instant::now() + WARM_UP;
            let record = Arc::new(Record::new(begin..begin + MEASURED));
            let clients = Clients { retries: self.scenario.retries, rng: Mutex::new(clients), record: Arc::clone(&record) };
            let clients = Arc::new(clients);
            let arrive = || drop(tokio::spawn(Arc::clone(&clients).ask(server.clone())));
            poisson(self.per_second, begin + MEASURED, arrivals, arrive).await;
            Outcome { seen: record.seen(), limit: handle.map(|handle| handle.limit()) }
        })
    }
}

/// How many requests a second a service answers while so many are always in progress.
pub(crate) fn throughput(model: Model, in_progress: usize, seed: u64) -> f64 {
    in_paused_time(async move {
        let service = Simulated::new(model, Rng::with_seed(seed));
        let begin = Instant::now() + WARM_UP;
        let record = Arc::new(Record::new(begin..begin + MEASURED));
        for _ in 0..in_progress {
            let (service, record) = (service.clone(), Arc::clone(&record));
            tokio::spawn(async move {
                loop {
                    let began = Instant::now();
                    let Ok(_) = service.clone().oneshot(Request::new(())).await;
                    record.served(began);
                }
            });
        }
        sleep_until(begin + MEASURED).await;
        record.seen().goodput
    })
}

/// Runs a future, and what it spawns until it ends, on one thread, on which no time passes but what is waited for.
fn in_paused_time<F: Future>(future: F) -> F::Output {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Controllers have found their limits by then, and an unbounded queue is longer than anyone waits for.
const WARM_UP: Duration = Duration::from_secs(20);

/// At 200 answers a second, chance moves the sum by 1.3 %.
const MEASURED: Duration = Duration::from_secs(30);
