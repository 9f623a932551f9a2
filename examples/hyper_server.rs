//! A server on hyper alone, without a framework, that limits each peer.
//!
//! `cargo run --example hyper_server` starts it on 127.0.0.1:3001, sends it bursts from two addresses over HTTP/1.1 and HTTP/2,
//! prints what happened, and serves until Ctrl-C. `--port N` listens elsewhere (0: any free port); `--once` ends after the
//! table.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use backpressure_examples::{Arguments, Client, ClientError, Reply, interrupted, now};
use futures_util::future::try_join_all;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};

/// Who is at the other end of the connection; in the extensions of each of its requests.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

/// The whole server: HTTP/1.1 and HTTP/2 on one port, and one request a second for each address, in bursts of 10.
async fn serve(listener: TcpListener) {
    // Made once: the clones, one for each connection, share what they count.
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1)).burst(BURST))
        .keyed(key::client_ip(|peer: &Peer| peer.0.ip()))
        .named("per peer");
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Mostly for want of file descriptors, which takes a while to pass.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(address));
                request
            })
            .layer(limit.clone())
            .service_fn(hello);
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // A connection that fails is the business of its peer.
            let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
        });
    }
}

async fn hello(_request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("hello\n".to_owned()))
}

const BURST: u32 = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3001);
    let (listener, address) = arguments.listen().await;
    let server = tokio::spawn(serve(listener));

    println!("serving on http://{address}; first, bursts of 15 requests from two addresses:\n");
    let as_promised = demonstrate(address).await.unwrap_or_else(|error| {
        println!("  {error}");
        false
    });
    println!(
        "\n{}",
        if as_promised { "Each peer had its own limit, whatever it spoke." } else { "Something did not go as promised." }
    );
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    println!("  curl -i http://{address}/");
    println!("  curl -i --http2-prior-knowledge http://{address}/");
    println!("  for i in $(seq 15); do curl -s -o /dev/null -w '%{{http_code}} ' http://{address}/; done; echo");
    println!("  curl -i --interface 127.0.0.2 http://{address}/");
    interrupted().await;
    server.abort();
    ExitCode::SUCCESS
}

/// Sends the bursts one after the other and prints a line for each; returns whether all went as the limit promises.
async fn demonstrate(server: SocketAddr) -> Result<bool, ClientError> {
    println!(
        "  {:<10} {:<9} {:>4} {:>8} {:>7} {:>11}  after the wait",
        "from", "protocol", "sent", "admitted", "refused", "retry after"
    );
    let mut as_promised = burst("127.0.0.1", "HTTP/1.1", Client::new(server), BURST).await?;
    // The same peer: nothing is left but what comes in.
    as_promised &= burst("127.0.0.1", "HTTP/2", Client::http2(server), 0).await?;
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    if TcpListener::bind((other, 0)).await.is_ok() {
        as_promised &= burst("127.0.0.2", "HTTP/1.1", Client::calling_from(other, server), BURST).await?;
    } else {
        println!("  127.0.0.2  is no address of this machine");
    }
    Ok(as_promised)
}

/// Sends 15 requests at once where `admits` are admitted, and one more for each second; returns whether it was so, and whether
/// one that waited as it was told was admitted then.
async fn burst(from: &str, protocol: &str, client: Client, admits: u32) -> Result<bool, ClientError> {
    let began = now();
    let replies: Vec<Reply> = try_join_all((0..15).map(|_| client.get("/", ""))).await?;
    // One from the second before, and one for each that has begun since.
    let refilled = 2 + began.elapsed().as_secs();
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    let (admitted, refused) = (count(StatusCode::OK), count(StatusCode::TOO_MANY_REQUESTS));
    let wait = replies.iter().filter_map(Reply::retry_after).max().ok_or("nobody was told when to come back")?;

    tokio::time::sleep(wait).await;
    let retry = client.get("/", "").await?.status;
    println!("  {from:<10} {protocol:<9} {:>4} {admitted:>8} {refused:>7} {:>9} s  {retry}", replies.len(), wait.as_secs());
    let admits = u64::from(admits);
    let held = (admits..=admits + refilled).contains(&u64::try_from(admitted)?) && admitted + refused == replies.len();
    Ok(held && retry == StatusCode::OK)
}
