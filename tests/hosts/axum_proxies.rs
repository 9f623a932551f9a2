//! axum behind proxies: the address of the client, over TCP and over a Unix socket.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::IncomingStream;
use backpressure_examples::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tower_backpressure::key::{self, Prefixes, Proxies, Trust};
use tower_backpressure::{Rate, RateLimitLayer, TokenBucket};

fn one_a_day() -> RateLimitLayer<tower_backpressure::Rated<tower_backpressure::Limiter<TokenBucket>>> {
    RateLimitLayer::new(TokenBucket::new(Rate::per_day(1)))
}

#[tokio::test]
async fn clients_behind_a_proxy_have_their_own_limits() {
    let proxies = Proxies::new("127.0.0.0/8".parse().unwrap());
    let client = key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()).x_forwarded_for(&proxies);
    let layer = one_a_day().keyed(client);
    let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Client::new(listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    for (fields, expected) in [
        (&[("x-forwarded-for", "203.0.113.7")][..], 200),
        (&[("x-forwarded-for", "203.0.113.8")], 200),
        (&[("x-forwarded-for", "203.0.113.7")], 429),
        (&[("x-forwarded-for", "9.9.9.9, 203.0.113.7")], 429),
        (&[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "203.0.113.7")], 429),
        (&[("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=9.9.9.9"), ("x-real-ip", "9.9.9.9")], 429),
        (&[("x-forwarded-for", "2001:db8::1")], 200),
        (&[("x-forwarded-for", "2001:db8::2")], 429),
        (&[], 200),
        (&[("x-forwarded-for", "garbage")], 429),
    ] {
        assert_eq!(proxy.get_with("/", fields).await.unwrap().status, expected, "{fields:?}");
    }
    let peek = |address: &str| layer.limiter().peek(&Prefixes::new().fold(address.parse().unwrap())).remaining;
    assert_eq!((peek("2001:db8::3"), peek("203.0.113.7"), peek("203.0.113.9")), (0, 0, 1));
    assert_eq!((layer.limiter().len(), layer.warnings().without_key, proxies.ignored()), (4, 0, 0));

    proxies.set(Trust::nobody());
    assert_eq!(proxy.get_with("/", &[("x-forwarded-for", "203.0.113.9")]).await.unwrap().status, 429);
    assert_eq!(proxies.ignored(), 1);
}

/// What somebody who serves a Unix socket has to write: the peer, of whom there is nothing to say.
#[derive(Clone)]
struct UnixPeer;

impl Connected<IncomingStream<'_, UnixListener>> for UnixPeer {
    fn connect_info(_stream: IncomingStream<'_, UnixListener>) -> Self {
        Self
    }
}

#[tokio::test]
async fn a_proxy_on_a_unix_socket_is_believed_where_it_is_said() {
    let client = key::client_ip(|_: &ConnectInfo<UnixPeer>| None::<IpAddr>);
    let layer = one_a_day().keyed(client.x_forwarded_for("unix:".parse::<Trust>().unwrap()));
    let router = Router::new().route("/", get(async || "hello")).layer(layer.clone());
    let path = std::env::temp_dir().join(format!("backpressure-{}.socket", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let service = router.into_make_service_with_connect_info::<UnixPeer>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    let mut statuses = Vec::new();
    for client in ["203.0.113.7", "203.0.113.8", "9.9.9.9, 203.0.113.7"] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        statuses.push(reply.split(' ').nth(1).unwrap().to_owned());
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(statuses, ["200", "200", "429"]);
    assert_eq!((layer.limiter().len(), layer.warnings().without_key), (2, 0));
}
