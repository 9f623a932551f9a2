//! The body of a refused request, which nobody reads: what the client sees of that, and what becomes of its connection.
//!
//! Refusals come from a limit under axum and hyper over real sockets; clients are as plain as they can be, so that they hide
//! nothing. Where the client writes a body that it has announced, it is 8 MiB: more than the buffers of two kernels hold.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use h2::Reason;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket};

use crate::axum_host::serve;

const LARGE: usize = 8 << 20;

/// Serves a route whose limit is used up; the handler, which reads its whole body, is never reached.
async fn refusing() -> SocketAddr {
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_day(1)));
    limit.limiter().charge(1);
    serve(Router::new().route("/", post(async |body: Bytes| body.len().to_string())).layer(limit)).await
}

async fn connect(server: SocketAddr) -> TcpStream {
    TcpStream::connect(server).await.unwrap()
}

/// The head of a POST with these further fields.
fn head(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n")
}

/// Reads the head of one answer, which has no body, and returns its status line. Fails where the connection ends first.
async fn status_line(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\nretry-after: ") && answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    answer.lines().next().unwrap().to_owned()
}

/// Whether the server has closed: cleanly, or with a reset.
async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(timeout(PATIENCE, stream.read_u8()).await.unwrap(), Ok(_byte))
}

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);

const REFUSED: &str = "HTTP/1.1 429 Too Many Requests";

#[tokio::test]
async fn a_small_body_that_has_arrived_is_passed_over_and_the_connection_stays() {
    let mut client = connect(refusing().await).await;
    for _ in 0..3 {
        client.write_all((head("content-length: 5\r\n") + "hello").as_bytes()).await.unwrap();
        assert_eq!(status_line(&mut client).await, REFUSED);
    }
}

#[tokio::test]
async fn a_body_that_has_not_arrived_is_not_waited_for_and_the_connection_closes() {
    let mut client = connect(refusing().await).await;
    client.write_all(head("content-length: 5\r\n").as_bytes()).await.unwrap();
    assert_eq!(status_line(&mut client).await, REFUSED);
    assert!(is_closed(&mut client).await);
}

/// RFC 9110 section 10.1.1: a server that answers with a final status before it has read the body may close the connection.
#[tokio::test]
async fn who_expects_100_continue_gets_the_refusal_instead_and_sends_no_body() {
    let mut client = connect(refusing().await).await;
    client.write_all(head(&format!("content-length: {LARGE}\r\nexpect: 100-continue\r\n")).as_bytes()).await.unwrap();
    assert_eq!(status_line(&mut client).await, REFUSED);
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_client_that_reads_while_it_uploads_gets_the_refusal_and_uploads_no_further() {
    let client = connect(refusing().await).await;
    let (mut read, mut write) = client.into_split();
    let upload = tokio::spawn(async move {
        write.write_all(head(&format!("content-length: {LARGE}\r\n")).as_bytes()).await?;
        write.write_all(&vec![b'x'; LARGE]).await
    });
    assert_eq!(status_line(&mut read).await, REFUSED);
    timeout(PATIENCE, upload).await.unwrap().unwrap().expect_err("nobody reads 8 MiB");
}

/// The limit of what a server can do: the answer is there, but such a client mostly gives up when it cannot write.
#[tokio::test]
async fn a_client_that_uploads_before_it_reads_cannot_write_to_the_end() {
    let mut client = connect(refusing().await).await;
    client.write_all(head(&format!("content-length: {LARGE}\r\n")).as_bytes()).await.unwrap();
    timeout(PATIENCE, client.write_all(&vec![b'x'; LARGE])).await.unwrap().expect_err("nobody reads 8 MiB");
    // Linux keeps what has arrived before the reset; elsewhere it may be gone (RFC 9112 section 9.6).
    if cfg!(target_os = "linux") {
        assert_eq!(status_line(&mut client).await, REFUSED);
    }
}

#[tokio::test]
async fn the_client_of_hyper_gets_the_refusal_of_a_large_upload() {
    let client = TokioIo::new(connect(refusing().await).await);
    let (mut send, connection) = hyper::client::conn::http1::handshake(client).await.unwrap();
    tokio::spawn(connection);
    let upload = Request::post("/").header("host", "localhost").body(Full::new(Bytes::from(vec![b'x'; LARGE]))).unwrap();
    let refused = timeout(PATIENCE, send.send_request(upload)).await.unwrap().unwrap();
    assert_eq!(refused.status(), 429);
}

/// RFC 9113 section 8.1: a complete response, then `RST_STREAM` with `NO_ERROR`.
#[tokio::test]
async fn over_http_2_an_upload_ends_without_an_error_and_the_connection_stays() {
    let (mut send, connection) = h2::client::handshake(connect(refusing().await).await).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        send = send.ready().await.unwrap();
        let request = Request::post("http://localhost/").body(()).unwrap();
        let (response, mut upload) = send.send_request(request, false).unwrap();
        // As much as the window of the stream lets out; the rest waits for a room that never comes.
        upload.send_data(Bytes::from(vec![b'x'; LARGE]), false).unwrap();
        let refused = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(refused.status(), 429);
        let reset = timeout(PATIENCE, std::future::poll_fn(|cx| upload.poll_reset(cx))).await.unwrap().unwrap();
        assert_eq!(reset, Reason::NO_ERROR);
    }
}
