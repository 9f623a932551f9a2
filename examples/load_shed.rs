//! An axum server under ten times the load that it can carry, without and with a layer that sheds.
//!
//! `cargo run --example load_shed` starts it on 127.0.0.1:3003, measures what it can do, asks for ten times as much over TCP,
//! prints what came of it, and serves until Ctrl-C. `--port N` listens elsewhere (0: any free port); `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use backpressure_examples::{Arguments, Client, interrupted, now};
use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tower_backpressure::{LoadShedHandle, LoadShedLayer, health_check};

/// The whole server: the same slow handler without and with the layer, each on a database of its own.
fn app() -> Router {
    // Ten in progress keep the 8 connections busy. Another 40 may wait: a fifth of a second's work, for bursts.
    let shed = LoadShedLayer::new(10).queue(40).max_wait(Duration::from_millis(250)).skip(health_check);
    let handle = shed.handle();
    let slow = || {
        let database = Arc::new(Database::new());
        get(async move || database.query().await)
    };
    Router::new()
        .route("/with", slow())
        .route("/healthz", get(async || "alive\n"))
        .layer(shed)
        // From here on without the layer.
        .route("/without", slow())
        .route("/status", get(async move || status(&handle)))
}

/// What every request needs: it has 8 connections and answers in 40 ms, so it does 200 queries a second at the most.
struct Database {
    connections: Semaphore,
    in_progress: AtomicU32,
}

/// Counts a query as in progress until it has ended or its client has gone away.
struct InProgress<'a>(&'a AtomicU32);

impl Database {
    fn new() -> Self {
        Self { connections: Semaphore::new(8), in_progress: AtomicU32::new(0) }
    }

    /// With more than 16 queries in progress each takes longer, in proportion: locks, caches and memory are fought over.
    async fn query(&self) -> &'static str {
        let in_progress = self.in_progress.fetch_add(1, Ordering::Relaxed) + 1;
        let _until_the_end = InProgress(&self.in_progress);
        let Ok(_connection) = self.connections.acquire().await else { return "closed\n" };
        sleep(Duration::from_millis(40) * in_progress.max(16) / 16).await;
        "done\n"
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the handle of a layer knows, as JSON.
fn status(handle: &LoadShedHandle) -> String {
    let (in_flight, limit, waiting, shed) = (handle.in_flight(), handle.limit(), handle.waiting(), handle.shed());
    format!(
        "{{\"overloaded\":{},\"in_flight\":{in_flight},\"limit\":{limit},\"waiting\":{waiting},\
         \"shed\":{{\"queue_full\":{},\"waited_too_long\":{}}}}}\n",
        handle.overloaded(),
        shed.queue_full,
        shed.waited_too_long
    )
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3003);
    let (listener, address) = arguments.listen().await;
    let server = async move { axum::serve(listener, app()).with_graceful_shutdown(interrupted()).await };
    let server = tokio::spawn(server);

    println!("serving on http://{address}; first, ten times as much as it can do, for {SECONDS} s each:\n");
    let as_promised = demonstrate(address).await;
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    println!("  curl -i http://{address}/with");
    println!(
        "  seq 1000 | xargs -P 200 -I{{}} curl -s -o /dev/null -w '%{{http_code}}\\n' http://{address}/with | sort | uniq -c"
    );
    println!("  and meanwhile, in another shell:");
    println!("  while sleep 0.2; do curl -s http://{address}/status; curl -s http://{address}/healthz; done");
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Overloads the handler without and with the layer and prints a line for each; returns whether the layer made the difference.
async fn demonstrate(server: SocketAddr) -> bool {
    let capacity = capacity(server).await;
    println!("  with 10 clients that take turns: {capacity} answers a second\n");
    println!(
        "  {:<9} {:>8} {:>14} {:>7} {:>7} {:>10} {:>12}",
        "route", "asked/s", "answered in 1 s", "p50", "p99", "refused/s", "gave up/s"
    );
    let without = overload(server, "/without", capacity * 10).await;
    println!("  {}", without.line("/without"));
    let health = tokio::spawn(check_health(server));
    let with = overload(server, "/with", capacity * 10).await;
    println!("  {}", with.line("/with"));
    let (checks, healthy) = health.await.unwrap_or_default();
    println!("\n  meanwhile {healthy} of {checks} health checks were answered within 1 s");

    // A machine may be busy with other things: half the capacity is a difference, and 95 % is what the simulation shows.
    let (with, without) = (with.answered_per_second(), without.answered_per_second());
    let as_promised = capacity > 0 && with >= capacity / 2 && with >= without * 2 && checks > 0 && healthy == checks;
    println!(
        "\n{}",
        if as_promised {
            "With the layer, what could be done was done, and all others were told so at once."
        } else {
            "Something did not go as promised."
        }
    );
    as_promised
}

/// After so long nobody waits for an answer any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an overload lasts.
const SECONDS: u8 = 3;
const DURATION: Duration = Duration::from_secs(SECONDS as u64);

/// Returns how many answers a second there are where 10 requests are in progress at any time.
async fn capacity(server: SocketAddr) -> usize {
    let mut clients = JoinSet::new();
    let end = now() + Duration::from_secs(1);
    for _ in 0..10 {
        clients.spawn(async move {
            let client = Client::new(server);
            let mut answers = 0;
            while now() < end {
                answers += usize::from(client.get("/with", "demo").await.is_ok_and(|reply| reply.status == StatusCode::OK));
            }
            answers
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// Checks 10 times a second whether the server is alive; returns how many checks there were, and how many were answered.
async fn check_health(server: SocketAddr) -> (usize, usize) {
    let client = Client::new(server);
    let mut every = interval(Duration::from_millis(100));
    let (mut checks, mut healthy) = (0, 0);
    let end = now() + DURATION;
    while now() < end {
        every.tick().await;
        checks += 1;
        let reply = timeout(PATIENCE, client.get("/healthz", "demo")).await;
        healthy += usize::from(matches!(reply, Ok(Ok(reply)) if reply.status == StatusCode::OK));
    }
    (checks, healthy)
}

/// What came of the requests of an overload.
#[derive(Default)]
struct Outcome {
    asked: usize,
    /// How long each answer took.
    answered: Vec<Duration>,
    refused: usize,
    gave_up: usize,
}

/// Asks so many times a second, whether there are answers or not.
async fn overload(server: SocketAddr, path: &'static str, per_second: usize) -> Outcome {
    // HTTP/2, or there would have to be a connection for each request in progress.
    let clients: Vec<_> = (0..20).map(|_| Client::http2(server)).collect();
    let began = now();
    let mut requests = JoinSet::new();
    let mut every = interval(Duration::from_millis(5));
    while began.elapsed() < DURATION {
        every.tick().await;
        while requests.len() < due(began, per_second) {
            let client = clients[requests.len() % clients.len()].clone();
            requests.spawn(async move { timeout(PATIENCE, client.get(path, "demo")).await });
        }
    }
    let mut outcome = Outcome { asked: requests.len(), ..Outcome::default() };
    for reply in requests.join_all().await {
        match reply {
            Ok(Ok(reply)) if reply.status == StatusCode::OK => outcome.answered.push(reply.took),
            Ok(Ok(reply)) if reply.status == StatusCode::SERVICE_UNAVAILABLE => outcome.refused += 1,
            _ => outcome.gave_up += 1,
        }
    }
    outcome.answered.sort_unstable();
    outcome
}

/// How many requests ought to have been sent by now.
fn due(began: Instant, per_second: usize) -> usize {
    usize::try_from(began.elapsed().as_millis()).unwrap_or(usize::MAX).saturating_mul(per_second) / 1000
}

impl Outcome {
    fn answered_per_second(&self) -> usize {
        per_second(self.answered.len())
    }

    fn line(&self, path: &str) -> String {
        format!(
            "{path:<9} {:>8} {:>14} {:>7} {:>7} {:>10} {:>12}",
            per_second(self.asked),
            format!("{}/s", self.answered_per_second()),
            self.percentile(50),
            self.percentile(99),
            per_second(self.refused),
            per_second(self.gave_up)
        )
    }

    fn percentile(&self, percent: usize) -> String {
        let index = (self.answered.len() * percent).div_ceil(100).saturating_sub(1);
        self.answered.get(index).map_or("–".to_owned(), |took| format!("{} ms", took.as_millis()))
    }
}

/// How many that is each second of an overload, rounded down.
fn per_second(count: usize) -> usize {
    count / usize::from(SECONDS)
}
