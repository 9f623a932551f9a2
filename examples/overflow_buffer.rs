//! Three buffers in front of one slow service, each with another policy for when it is full.
//!
//! `cargo run --example overflow_buffer` starts an axum server on 127.0.0.1:3004, asks each route for more than it can do over
//! TCP, prints who was served and how old the requests were by then, and serves until Ctrl-C. `--port N` listens elsewhere (0: any
//! free port); `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_examples::{Arguments, Client, ClientError, interrupted};
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tower_backpressure::{LoadShedHandle, Overflow, OverflowBufferLayer};

/// Takes a tenth of a second, as a search or a price from somewhere else does.
async fn slow() -> &'static str {
    sleep(SERVICE_TIME).await;
    "done\n"
}

/// Two at once and eight waiting, whatever the policy: 20 requests a second can be served.
fn buffers() -> [(&'static str, OverflowBufferLayer); 3] {
    let blocking = OverflowBufferLayer::blocking(2, 8, Duration::from_secs(1)).expect("a second is an end");
    [
        ("/drop-newest", OverflowBufferLayer::buffer(2, 8, Overflow::DropNewest)),
        ("/drop-oldest", OverflowBufferLayer::buffer(2, 8, Overflow::DropOldest)),
        ("/block", blocking),
    ]
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3004);
    let (listener, address) = arguments.listen().await;
    let buffers = buffers();
    let handles = buffers.each_ref().map(|(path, buffer)| (*path, buffer.handle()));
    let app = buffers.into_iter().fold(Router::new(), |app, (path, buffer)| app.route(path, get(slow).layer(buffer)));
    let server = tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(interrupted()).await });

    println!("serving on http://{address}; first, {REQUESTS} requests to each route, 80 a second where 20 can be served:\n");
    let as_promised = demonstrate(address, &handles).await.unwrap_or_else(|error| {
        println!("  {error}");
        false
    });
    println!(
        "\n{}",
        if as_promised {
            "All buffers served as much as could be; the policy decided whom, and how late."
        } else {
            "Something did not go as promised."
        }
    );
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    for (path, _) in &handles {
        println!(
            "  seq 30 | xargs -P 30 -I{{}} curl -s -o /dev/null -w '%{{http_code}} in %{{time_total}} s\\n' http://{address}{path}"
        );
    }
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Sends the same burst to each route and prints a line and a picture for it; returns whether the policies did what they say.
async fn demonstrate(server: SocketAddr, handles: &[(&'static str, LoadShedHandle); 3]) -> Result<bool, ClientError> {
    println!(
        "  {:<13} {:>6} {:>8} {:>8} {:>9}   {:>9} {:>9}",
        "route", "served", "evicted", "refused", "gave up", "median", "oldest"
    );
    let mut bursts = Vec::new();
    for (path, handle) in handles {
        let burst = burst(server, path).await?;
        let shed = handle.shed();
        let [median, oldest] = burst.waits();
        println!(
            "  {path:<13} {:>6} {:>8} {:>8} {:>9}   {:>6} ms {:>6} ms",
            burst.served(),
            shed.evicted,
            shed.queue_full,
            shed.waited_too_long,
            median.as_millis(),
            oldest.as_millis()
        );
        bursts.push((burst, shed));
    }
    println!("\n  (how long those that were served had waited by then)\n");
    for ((path, _), (burst, _)) in handles.iter().zip(&bursts) {
        println!("  {path:<13} {}", burst.picture());
    }
    println!("\n  each request in the order in which they came: # served, · not");

    let [(newest, refusing), (oldest, evicting), (block, waiting)] = &bursts[..] else { return Ok(false) };
    let all = bursts.iter().all(|(burst, shed)| burst.served() as u64 + shed.total() == REQUESTS as u64);
    // Two of three can have gone by: a machine may be busy with other things.
    let enough = bursts.iter().all(|(burst, _)| burst.served() >= 20);
    let by_policy = refusing.evicted == 0 && refusing.queue_full > 0 && evicting.evicted > 0 && evicting.queue_full == 0;
    let younger = oldest.waits()[0] < newest.waits()[0];
    let patient =
        waiting.waited_too_long > 0 && waiting.evicted + waiting.queue_full == 0 && block.waits()[1] > newest.waits()[0];
    Ok(all && enough && by_policy && younger && patient)
}

/// What came of each request of a burst: how long it took, where it was served.
struct Burst(Vec<Option<Duration>>);

/// Sends a request every 12.5 ms, whether there are answers or not.
async fn burst(server: SocketAddr, path: &'static str) -> Result<Burst, ClientError> {
    let client = Client::new(server);
    let mut every = interval(Duration::from_micros(12_500));
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        every.tick().await;
        let client = client.clone();
        requests.spawn(async move { client.get(path, "").await.map(|reply| (number, reply)) });
    }
    let mut burst = vec![None; REQUESTS];
    while let Some(reply) = requests.join_next().await {
        let (number, reply) = reply??;
        burst[number] = (reply.status == StatusCode::OK).then_some(reply.took);
    }
    Ok(Burst(burst))
}

impl Burst {
    fn served(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Returns how long the median of those that were served had waited, and the one that had waited longest.
    fn waits(&self) -> [Duration; 2] {
        let mut waits: Vec<_> = self.0.iter().flatten().map(|took| took.saturating_sub(SERVICE_TIME)).collect();
        waits.sort();
        let at = |index: usize| waits.get(index).copied().unwrap_or_default();
        [at(waits.len() / 2), at(waits.len().saturating_sub(1))]
    }

    fn picture(&self) -> String {
        self.0.iter().map(|took| if took.is_some() { '#' } else { '·' }).collect()
    }
}

const SERVICE_TIME: Duration = Duration::from_millis(100);
const REQUESTS: usize = 160;
