//! A reverse proxy with a limit in front of its upstream; bodies stream through it in both directions.
//!
//! `cargo run --example reverse_proxy` starts the upstream on a free port and the proxy on 127.0.0.1:3002, sends requests through
//! it, prints what happened, and serves until Ctrl-C. `--port N` listens elsewhere (0: any free port); `--once` ends after the
//! table.
//!
//! The proxy speaks HTTP/1.1 and HTTP/2 to its clients and HTTP/1.1 to the upstream. It tunnels nothing: no `CONNECT`, no
//! WebSocket.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use backpressure_examples::{Arguments, Client, ClientError, Reply, interrupted};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client as UpstreamClient};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::util::MapRequestLayer;
use tower_backpressure::{AnswerBody, Rate, RateLimitLayer, Respond, TokenBucket, key};

/// The whole proxy: 5 requests a second for each address, in bursts of 20; the others never reach the upstream.
async fn serve(listener: TcpListener, proxy: Proxy) {
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_second(5)).burst(20))
        .keyed(key::extension(|peer: &Peer| peer.0))
        .named("per peer")
        // `Incoming` can only come from a connection, so that a refusal needs a body of its own.
        .answer(Respond::with_body());
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Mostly for want of file descriptors, which takes a while to pass.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let proxy = proxy.clone();
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(address.ip()));
                request
            })
            .then(or_bad_gateway)
            .layer(limit.clone())
            .service_fn(move |request| proxy.clone().forward(request, address.ip()));
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // A connection that fails is the business of its peer.
            let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
        });
    }
}

/// Who is at the other end of the connection; in the extensions of each of its requests.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// Forwards requests to one upstream.
#[derive(Clone)]
struct Proxy {
    client: UpstreamClient<HttpConnector, Incoming>,
    upstream: Authority,
}

impl Proxy {
    fn new(upstream: Authority) -> Self {
        Self { client: UpstreamClient::builder(TokioExecutor::new()).build_http(), upstream }
    }

    /// Sends the request on, and returns the answer as soon as its head is there. Bodies are not collected.
    async fn forward(self, mut request: Request<Incoming>, peer: IpAddr) -> Result<Response<Incoming>, legacy::Error> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        // HTTP/2 says it in the URI.
        let authority = request.uri().authority().and_then(|authority| authority.as_str().parse().ok());
        let headers = request.headers_mut();
        remove_hop_by_hop(headers);
        // The upstream is told its own host, from the new URI.
        if let Some(host) = headers.remove(header::HOST).or(authority) {
            headers.insert("x-forwarded-host", host);
        }
        if let Ok(peer) = HeaderValue::try_from(peer.to_string()) {
            headers.append("x-forwarded-for", peer);
        }
        // RFC 9110 section 7.6.3.
        headers.append(header::VIA, HeaderValue::from_static("1.1 tower-backpressure"));
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.upstream).path_and_query(path);
        // Always: each part is valid by itself, and none is missing.
        *request.uri_mut() = uri.build().unwrap_or_default();
        *request.version_mut() = Version::HTTP_11;

        let mut response = self.client.request(request).await?;
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

/// Removes what was said to this proxy alone (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
}

/// Answers for an upstream that does not (RFC 9110 section 15.6.3).
async fn or_bad_gateway(forwarded: Result<Forwarded, legacy::Error>) -> Result<Forwarded, legacy::Error> {
    Ok(forwarded.unwrap_or_else(|_error| {
        let mut response = Forwarded::default();
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

/// An answer of the upstream, or one in its place.
type Forwarded = Response<AnswerBody<Incoming>>;

/// What stands behind the proxy. It counts its requests.
fn upstream(requests: Arc<AtomicUsize>) -> Router {
    let count = move |request: axum::extract::Request| {
        // Only a number to print: nothing is ordered by it.
        requests.fetch_add(1, Ordering::Relaxed);
        request
    };
    Router::new()
        .route("/", get(async || "hello from the upstream\n"))
        .route("/fields", get(async |headers: HeaderMap| format!("{headers:#?}\n")))
        .route("/slowly", get(async || Body::from_stream(stream::unfold(1, slowly))))
        .route("/back", post(async |body: Body| body))
        .layer(MapRequestLayer::new(count))
}

/// Five lines, one each 100 ms.
async fn slowly(line: u8) -> Option<(Result<String, Infallible>, u8)> {
    if line > 5 {
        return None;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Some((Ok(format!("line {line}\n")), line + 1))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(3002);
    let (behind, upstream_address) = Arguments { port: 0, ..arguments }.listen().await;
    let (listener, address) = arguments.listen().await;
    let requests = Arc::new(AtomicUsize::new(0));
    let upstream = upstream(Arc::clone(&requests));
    tokio::spawn(async move { axum::serve(behind, upstream).await });
    let authority = upstream_address.to_string().parse().expect("an address and a port are an authority");
    tokio::spawn(serve(listener, Proxy::new(authority)));

    println!("proxy on http://{address} for the upstream on http://{upstream_address}; first, what goes through it:\n");
    let as_promised = demonstrate(address, &requests).await.unwrap_or_else(|error| {
        println!("  {error}");
        false
    });
    println!(
        "\n{}",
        if as_promised {
            "The upstream saw what the limit admitted, and nothing else."
        } else {
            "Something did not go as promised."
        }
    );
    if arguments.once {
        return if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }

    println!("\nTry it (Ctrl-C ends it):\n");
    println!("  curl -N http://{address}/slowly");
    println!("  curl -H 'connection: x-hop' -H 'x-hop: gone' -H 'x-end: kept' http://{address}/fields");
    println!("  head -c 100000000 /dev/zero | curl -T - -X POST -s http://{address}/back | wc -c");
    println!(
        "  for i in $(seq 30); do curl -s -o /dev/null -w '%{{http_code}} ' http://{address}/; done; curl -i http://{address}/"
    );
    interrupted().await;
    ExitCode::SUCCESS
}

/// Sends requests through the proxy and prints a line for each; returns whether all went as the table claims.
async fn demonstrate(proxy: SocketAddr, requests: &AtomicUsize) -> Result<bool, ClientError> {
    let client = Client::new(proxy);
    let mut as_promised = true;
    let mut line = |what: &str, outcome: String, held: bool| {
        println!("  {what:<34} {outcome}{}", if held { "" } else { "   <- not as it should be" });
        as_promised &= held;
    };

    let fields = Request::get("/fields").header("connection", "x-hop").header("x-hop", "gone").header("x-end", "kept");
    let seen = String::from_utf8(client.send(fields, Bytes::new()).await?.body.into())?;
    let held = !seen.contains("x-hop") && ["x-end", "x-forwarded-for", "via"].iter().all(|name| seen.contains(name));
    line("hop-by-hop fields", "removed; x-forwarded-for and via added".to_owned(), held);

    let slow = client.get("/slowly", "").await?;
    let outcome = format!("head after {} ms, end after {} ms", slow.head_took.as_millis(), slow.took.as_millis());
    line("an answer that takes 500 ms", outcome, slow.took - slow.head_took > Duration::from_millis(300));

    let upload = Bytes::from(vec![b'x'; 4 << 20]);
    let back = client.send(Request::post("/back"), upload.clone()).await?;
    line("4 MiB up and down", format!("{} bytes came back", back.body.len()), back.body == upload);

    let before = requests.load(Ordering::Relaxed);
    let replies: Vec<Reply> = try_join_all((0..50).map(|_| client.get("/", ""))).await?;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    let (admitted, refused) = (count(StatusCode::OK), count(StatusCode::TOO_MANY_REQUESTS));
    let asked = requests.load(Ordering::Relaxed) - before;
    let outcome = format!("{admitted} admitted, {refused} refused; the upstream saw {asked}");
    line("a burst of 50", outcome, asked == admitted && refused > 0 && admitted + refused == replies.len());

    let refusal = replies.iter().find(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS).ok_or("nobody was refused")?;
    let kind =
        refusal.headers.get(header::CONTENT_TYPE).map_or("nothing".into(), |kind| String::from_utf8_lossy(kind.as_bytes()));
    line("a refusal", format!("{kind}, {} bytes", refusal.body.len()), kind == "application/problem+json");

    tokio::time::sleep(refusal.retry_after().ok_or("nobody was told when to come back")?).await;
    let retry = client.get("/", "").await?.status;
    line("after Retry-After", retry.to_string(), retry == StatusCode::OK);
    Ok(as_promised)
}
