//! What the examples share: their two arguments, and a client that speaks real HTTP to them.

#![expect(clippy::print_stderr, reason = "programs talk to the person who started them")]

pub mod feed;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

/// How an example was started.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// The port to listen on; 0 for any free one.
    pub port: u16,
    /// Whether to end after the demonstration.
    pub once: bool,
}

impl Arguments {
    /// Reads `--port N` and `--once`; ends the program with a usage line on anything else.
    #[must_use]
    pub fn read(default_port: u16) -> Self {
        let mut arguments = Self { port: default_port, once: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let port = |text: Option<String>| text.and_then(|text| text.parse().ok());
            match word.as_str() {
                "--once" => arguments.once = true,
                "--port" => match port(words.next()) {
                    Some(port) => arguments.port = port,
                    None => usage("--port takes a number from 0 to 65535"),
                },
                _ => usage(&format!("unknown argument {word:?}")),
            }
        }
        arguments
    }

    /// Listens on 127.0.0.1; ends the program with a hint where the port is taken.
    pub async fn listen(self) -> (TcpListener, SocketAddr) {
        let listener = match TcpListener::bind(("127.0.0.1", self.port)).await {
            Ok(listener) => listener,
            Err(error) => usage(&format!("cannot listen on 127.0.0.1:{}: {error}; try --port 0", self.port)),
        };
        match listener.local_addr() {
            Ok(address) => (listener, address),
            Err(error) => usage(&error.to_string()),
        }
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("{problem}\nusage: [--port N] [--once]");
    std::process::exit(2)
}

/// A client over real TCP connections: of HTTP/1, with as many connections as it has requests in flight, or of HTTP/2, with one.
#[derive(Clone, Debug)]
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    server: SocketAddr,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The time from sending the request to the header fields of the answer.
    pub head_took: Duration,
    /// The time from sending the request to the last byte of the answer.
    pub took: Duration,
}

/// Why there is no reply.
pub type ClientError = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Makes a client of this server.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { http, server }
    }

    /// Makes a client of this server that calls from this address of this machine.
    #[must_use]
    pub fn calling_from(address: IpAddr, server: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self { http: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector), server }
    }

    /// Makes a client of this server that speaks HTTP/2 without asking first.
    #[must_use]
    pub fn http2(server: SocketAddr) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { http, server }
    }

    /// Sends a GET with this API key.
    ///
    /// # Errors
    ///
    /// Where the connection or the protocol fails; an HTTP status of any kind is a reply.
    pub async fn get(&self, path: &str, api_key: &str) -> Result<Reply, ClientError> {
        self.get_with(path, &[("x-api-key", api_key)]).await
    }

    /// Sends a GET with these header fields.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply, ClientError> {
        let request = fields.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        self.send(request, Bytes::new()).await
    }

    /// Sends a request, whose URI is a path, with this body.
    ///
    /// # Errors
    ///
    /// Where the connection or the protocol fails; an HTTP status of any kind is a reply.
    pub async fn send(&self, request: request::Builder, body: Bytes) -> Result<Reply, ClientError> {
        let mut request = request.body(Full::new(body))?;
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(self.server.to_string().parse()?);
        *request.uri_mut() = Uri::from_parts(uri)?;

        let sent = now();
        let (head, body) = self.http.request(request).await?.into_parts();
        let head_took = sent.elapsed();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body, head_took, took: sent.elapsed() })
    }
}

impl Reply {
    /// Returns the seconds of `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Returns when the person in front of the program presses Ctrl-C.
pub async fn interrupted() {
    // Where the signal cannot be had, the program runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The time as the person in front of the program sees it pass.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a demonstration happens in real time")]
pub fn now() -> Instant {
    Instant::now()
}
