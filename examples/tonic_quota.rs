//! A gRPC server with a quota of calls for each client, which shows itself what it does.
//!
//! `cargo run --example tonic_quota` starts `demo.Feed` (proto/feed.proto) on 127.0.0.1:50051, calls it as three clients over
//! TCP, obeys the `RetryInfo` of a refusal once, prints what happened, and serves until Ctrl-C. `--port N` listens elsewhere
//! (0: any free port); `--once` ends after the table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use backpressure_examples::feed::{Feed, FeedClient, FeedRequest, MESSAGE_BYTES};
use backpressure_examples::{Arguments, interrupted};
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};

/// What a client may call in one go; a second brings two more.
const BURST: u32 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    // A client is its API key, or else the address it calls from.
    let client = key::header("x-api-key").or(key::client_ip(|peer: &TcpConnectInfo| peer.remote_addr().map(|peer| peer.ip())));
    let calls = RateLimitLayer::new(TokenBucket::new(Rate::per_second(2)).burst(BURST)).keyed(client).named("calls");

    let arguments = Arguments::read(50_051);
    let (listener, address) = arguments.listen().await;
    let server = Server::builder()
        // Without it one connection may have as many streams as it likes.
        .max_concurrent_streams(100)
        .layer(calls)
        .add_service(Feed::server())
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), interrupted());
    let server = tokio::spawn(server);

    println!("serving demo.Feed on {address}; first, three clients, each with {BURST} calls and 2 more a second:\n");
    let as_promised = match demonstrate(address).await {
        Ok(as_promised) => as_promised,
        Err(error) => {
            println!("the demonstration failed: {error}");
            false
        }
    };
    println!("\n{}", if as_promised { "Every call ended as promised." } else { "Something did not go as promised." });
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it), from the root of the project:\n");
    println!("  grpcurl -plaintext -proto examples/proto/feed.proto -rpc-header 'x-api-key: me' -v {address} demo.Feed/Unary");
    println!("  python3 tests/grpc_client.py {address}   # needs grpcio and grpcio-status");
    match server.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Prints a line for each thing that a client does; returns whether all ended as they should.
async fn demonstrate(server: SocketAddr) -> Result<bool, Box<dyn Error>> {
    let mut client = FeedClient::new(Endpoint::from_shared(format!("http://{server}"))?.connect().await?);
    println!("{:<8} {:<34} outcome", "client", "does");

    let burst = outcomes(&mut client, "ada", 8).await;
    let admitted = burst.iter().filter(|outcome| outcome.is_ok()).count();
    let refusals: Vec<_> = burst.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    line("ada", "calls Unary 8 times in a row", &format!("{admitted} answered, {} refused", refusals.len()));
    let Some(refused) = refusals.last() else {
        line("ada", "", "nobody was refused");
        return Ok(false);
    };
    line("ada", "is told", &format!("{:?}: {}", refused.code(), refused.message()));
    let Some(wait) = retry_delay(refused) else {
        line("ada", "", "there is no RetryInfo");
        return Ok(false);
    };

    let streamed = client.stream(call("ada")).await;
    let stream_refused = streamed.is_err_and(|status| status.code() == Code::ResourceExhausted);
    line("ada", "opens a Stream meanwhile", if stream_refused { "refused too" } else { "was not refused" });

    tokio::time::sleep(wait).await;
    let retried = client.unary(call("ada")).await;
    line("ada", &format!("waits for {wait:?}, as RetryInfo says"), if retried.is_ok() { "answered" } else { "refused again" });

    let other = client.unary(call("bob")).await.is_ok();
    line("bob", "calls Unary once", if other { "answered: a quota of his own" } else { "refused" });

    let bytes = read_stream(&mut client, 64).await?;
    line("carol", "reads 64 messages of a Stream", &format!("{} KiB, then hangs up", bytes / 1024));

    // What comes in while the calls are on their way may let one more through.
    let as_promised = (BURST as usize..8).contains(&admitted) && refusals.iter().all(|it| it.code() == Code::ResourceExhausted);
    Ok(as_promised && stream_refused && retried.is_ok() && other && bytes == 64 * MESSAGE_BYTES)
}

async fn outcomes(client: &mut FeedClient<Channel>, api_key: &'static str, calls: usize) -> Vec<Result<(), Status>> {
    let mut outcomes = Vec::with_capacity(calls);
    for _ in 0..calls {
        outcomes.push(client.unary(call(api_key)).await.map(drop));
    }
    outcomes
}

/// Reads so many messages and leaves the rest, of which there is no end; returns the bytes of their payload.
async fn read_stream(client: &mut FeedClient<Channel>, messages: usize) -> Result<usize, Status> {
    let mut stream = client.stream(call("carol")).await?.into_inner();
    let mut bytes = 0;
    for _ in 0..messages {
        bytes += stream.message().await?.map_or(0, |message| message.payload.len());
    }
    Ok(bytes)
}

fn call(api_key: &'static str) -> Request<FeedRequest> {
    let mut request = Request::new(FeedRequest {});
    request.metadata_mut().insert("x-api-key", tonic::metadata::MetadataValue::from_static(api_key));
    request
}

fn retry_delay(refused: &Status) -> Option<Duration> {
    refused.get_details_retry_info()?.retry_delay
}

fn line(client: &str, does: &str, outcome: &str) {
    println!("{client:<8} {does:<34} {outcome}");
}
