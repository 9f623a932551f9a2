//! An axum server with four rate limits, which shows itself what they do.
//!
//! `cargo run --example quickstart` starts it on 127.0.0.1:3000, sends a burst over TCP to each route, obeys `Retry-After` once,
//! prints
//! what happened, and serves until Ctrl-C. `--port N` listens elsewhere (0: any free port); `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use backpressure_examples::{Arguments, Client, Reply, interrupted, now};
use http::StatusCode;
use tower_backpressure::{FixedWindow, LeakyBucket, Rate, RateLimitLayer, SlidingWindow, TokenBucket, key};

/// The whole server: four routes, each with a limit of its own for each client.
fn app() -> Router {
    // A client is its API key, or else the address it calls from.
    let client = || key::header("x-api-key").or(key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()));
    let twenty_in_two_seconds = Rate::new(20, Duration::from_secs(2)).expect("neither is 0");
    let ten_a_second = Rate::per_second(10);

    let fixed = RateLimitLayer::new(FixedWindow::new(twenty_in_two_seconds)).keyed(client()).named("fixed");
    let sliding = RateLimitLayer::new(SlidingWindow::new(twenty_in_two_seconds)).keyed(client()).named("sliding");
    let token = RateLimitLayer::new(TokenBucket::new(ten_a_second).burst(20)).keyed(client()).named("token");
    let leaky = RateLimitLayer::new(LeakyBucket::new(ten_a_second).queue(10)).keyed(client()).named("leaky");

    Router::new()
        .route("/fixed", get(async || "fixed window: 20 in 2 s\n").layer(fixed))
        .route("/sliding", get(async || "sliding window: 20 in 2 s\n").layer(sliding))
        .route("/token", get(async || "token bucket: 10 a second, bursts of 20\n").layer(token))
        .route("/leaky", get(async || "leaky bucket: 10 a second, evenly spaced, 10 may wait\n").layer(leaky))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3000);
    let (listener, address) = arguments.listen().await;
    let server = async move {
        // Without connect info a client that sends no API key would have no key at all.
        let service = app().into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).with_graceful_shutdown(interrupted()).await
    };
    let server = tokio::spawn(server);

    println!("serving on http://{address}; first, a burst of 25 requests to each route:\n");
    let as_promised = demonstrate(Client::new(address)).await;
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    println!("  curl -i http://{address}/token");
    println!("  for i in $(seq 25); do curl -s -o /dev/null -w '%{{http_code}} ' http://{address}/fixed; done; echo");
    println!(
        "  for i in $(seq 25); do curl -s -o /dev/null -w '%{{http_code}} ' -H \"x-api-key: $i\" http://{address}/fixed; done; echo"
    );
    println!("  seq 12 | xargs -P 12 -I{{}} curl -s -o /dev/null -w '%{{time_total}} s\\n' http://{address}/leaky");
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Sends a burst to each route at once and prints a line for each; returns whether all went as the limits promise.
async fn demonstrate(client: Client) -> bool {
    println!(
        "  {:<9} {:>4} {:>8} {:>7} {:>14} {:>11}  after the wait",
        "route", "sent", "admitted", "refused", "of these paced", "retry after"
    );
    let routes = [("/fixed", 20, 0), ("/sliding", 20, 0), ("/token", 20, 10), ("/leaky", 11, 10)];
    let bursts = routes.map(|(path, admits, per_second)| tokio::spawn(burst(client.clone(), path, admits, per_second)));
    let mut as_promised = true;
    for burst in bursts {
        let (line, kept) = burst.await.unwrap_or_else(|error| (error.to_string(), false));
        println!("  {line}");
        as_promised &= kept;
    }
    println!(
        "\n{}",
        if as_promised {
            "Every limit held, and every retry at the promised time was admitted."
        } else {
            "Something did not go as promised."
        }
    );
    as_promised
}

/// Sends 25 requests at once to a route that admits `admits`, and `per_second` more for each second that the burst takes.
/// Returns a line of
/// the table, and whether all went as promised.
async fn burst(client: Client, path: &'static str, admits: usize, per_second: usize) -> (String, bool) {
    let began = now();
    let requests: Vec<_> = (0..25)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get(path, "demo").await.map(|reply| (reply, began.elapsed())) })
        })
        .collect();
    let mut replies: Vec<Reply> = Vec::new();
    let mut refused_after = Duration::ZERO;
    for request in requests {
        let Ok(Ok((reply, at))) = request.await else {
            return (format!("{path:<9} the connection failed"), false);
        };
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused_after = refused_after.max(at);
        }
        replies.push(reply);
    }
    let admitted: Vec<_> = replies.iter().filter(|reply| reply.status == StatusCode::OK).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS).collect();
    let paced = admitted.iter().filter(|reply| reply.took >= Duration::from_millis(80)).count();
    let Some(wait) = refused.iter().filter_map(|reply| reply.retry_after()).max() else {
        return (format!("{path:<9} nobody was told when to come back"), false);
    };

    tokio::time::sleep(wait).await;
    let retry = client.get(path, "demo").await;
    let outcome = retry.map_or("failed".to_owned(), |reply| reply.status.to_string());
    let line = format!(
        "{path:<9} {:>4} {:>8} {:>7} {paced:>14} {:>9} s  {outcome}",
        replies.len(),
        admitted.len(),
        refused.len(),
        wait.as_secs()
    );
    // Integer arithmetic on milliseconds, rounded up: what may have come in while the burst was on its way.
    let refilled = usize::try_from(refused_after.as_millis()).unwrap_or(usize::MAX).saturating_mul(per_second).div_ceil(1000);
    let held = (admits..=admits + refilled).contains(&admitted.len()) && admitted.len() + refused.len() == replies.len();
    (line, held && outcome == "200 OK")
}
