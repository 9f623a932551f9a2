//! Back-pressure and flow control for axum, tonic, hyper and any tower stack.
//!
//! Every place where a producer can outrun a consumer gets a bound, a stated behaviour at the bound, and a number that shows how
//! near the bound it is. This crate is what users add; it re-exports the crates that do the work and holds the guide.
//!
//! # The guide, first chapter: limits by rate
//!
//! ## An axum server
//!
//! Choose an algorithm, say whose limit it is, and put the layer round a router or a route:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};
//! # use axum::body::Body;
//! # use http::Request;
//! # use tower::ServiceExt;
//!
//! // 100 requests a second for each client, in bursts of up to 200.
//! let per_client = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)).burst(200))
//!     .keyed(key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()));
//!
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(per_client);
//!
//! // Serve it with connect info, or requests have no peer:
//! // axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4711)));
//! # let request = || Request::get("/").extension(peer).body(Body::empty()).unwrap();
//! # for _ in 0..200 {
//! #     assert_eq!(app.clone().oneshot(request()).await?.status(), 200);
//! # }
//! # let refused = app.oneshot(request()).await?;
//! # assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
//! # Ok::<(), std::convert::Infallible>(())
//! # }).unwrap();
//! ```
//!
//! The client that asks too often gets
//!
//! ```text
//! HTTP/1.1 429 Too Many Requests
//! retry-after: 1
//! retry-after-ms: 10
//! ratelimit-policy: "default";q=200;w=2
//! ratelimit: "default";r=0;t=1
//! ```
//!
//! and is admitted if it comes back then. Axum needs no `HandleErrorLayer`: a refusal is a response, and the error type stays
//! that of your service. For a
//! body that explains itself (RFC 9457 problem details) add `.answer(Respond::with_body())`.
//!
//! ## Which algorithm
//!
//! | | admits | choose it if |
//! |---|---|---|
//! | [`TokenBucket`] | bursts, and a rate in the long run | clients come in bursts; the usual choice |
//! | [`SlidingWindow`] | about N in any window | the limit is written in a contract as "N per minute" |
//! | [`SlidingLog`] | exactly N in any window | the contract is enforced to the letter, and N is small |
//! | [`FixedWindow`] | N in each window, 2N where two meet | it must be explained in one sentence |
//! | [`LeakyBucket`] | a constant rate; requests wait for their turn | what is behind must not see bursts |
//!
//! A tuple of them is one too: `(TokenBucket::new(..), FixedWindow::new(..))` admits what both admit, and takes from both or
//! from none.
//!
//! ## Custom stacks
//!
//! A service that does not speak HTTP must say what a refusal is. Where its error can be made [`From`] a [`Rejection`], answer
//! with
//! [`Fail`]; where the error is somebody else's type, with [`Wrap`], and get [`Refused`]; or make a response with
//! [`answer_with`]. Keys
//! and costs are read from the request by closures of their own:
//!
//! ```
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_backpressure::{Fail, Rate, RateLimitLayer, Refused, Rejection, TokenBucket, Wrap, key};
//!
//! #[derive(Debug)]
//! enum MyError {
//!     Busy(Rejection),
//! }
//!
//! impl From<Rejection> for MyError {
//!     fn from(rejection: Rejection) -> Self {
//!         Self::Busy(rejection)
//!     }
//! }
//!
//! let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_minute(1)))
//!     .keyed(key::from_request(|customer: &u32| Some(*customer)));
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // My error type: it can say Busy.
//! let doubled = service_fn(async |customer: u32| Ok::<u32, MyError>(customer * 2));
//! let service = limit.clone().answer(Fail).layer(doubled);
//! assert_eq!(service.clone().oneshot(21).await.unwrap(), 42);
//! let MyError::Busy(rejection) = service.oneshot(21).await.unwrap_err();
//! assert!(rejection.retry_after.is_some());
//!
//! // Somebody else's: the layer wraps it.
//! let foreign = service_fn(async |customer: u32| Ok::<u32, std::io::Error>(customer * 2));
//! let service = limit.answer(Wrap).layer(foreign);
//! assert!(matches!(service.oneshot(21).await, Err(Refused::Rejected(_))));
//! # });
//! ```
//!
//! A limiter is of use without any tower: see [`Limiter`] and [`KeyedLimiter`].
//!
//! ## Whose limit
//!
//! [`key`] has what a limit can be keyed by: the [address](key::client_ip) of the client, an [`extension`](key::extension) of
//! the request, a [`header`](key::header), anything in its [head](key::from_head), pairs of keys, one key `.or(..)` another. At most `max_keys` keys are tracked; [`WhenFull`] says
//! what happens beyond. A request without a key shares one limit with all others that have none, unless [`MissingKey`] says
//! otherwise.
//!
//! ## Behind a proxy
//!
//! Every connection comes from the proxy, so all clients would share one limit. Say which field tells the client, and whom to
//! believe it:
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::extract::ConnectInfo;
//! use tower_backpressure::{Rate, RateLimitLayer, TokenBucket, key};
//!
//! let proxies = key::Proxies::new("10.0.0.0/8, 2001:db8:1::/48".parse()?);
//! let client = key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()).x_forwarded_for(&proxies);
//! let per_client = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).keyed(client);
//! # let _ = per_client;
//!
//! // While it runs: `proxies.set(..)` changes whom to trust; above 0 here, a proxy is missing from the list.
//! assert_eq!(proxies.ignored(), 0);
//! # Ok::<_, key::TrustError>(())
//! ```
//!
//! The list is read from the right, up to the first address that is not trusted: what a client claims stands to the left of that
//! and changes nothing. [`client_ip`](key::client_ip) says what each malformed field means. `cargo run --example behind_proxy`
//! shows it.
//!
//! ## gRPC
//!
//! The same layer value goes round a tonic server, and shares its budget with the axum router it is round as well:
//!
//! ```text
//! Server::builder().layer(per_client.clone()).add_service(greeter)                    // all services
//! Server::builder().add_service(per_client.named_layer(GreeterServer::new(greeter)))  // one: tonic::service::LayerExt
//! ```
//!
//! Key it by what the host sets. Where axum serves both on one port that is its `ConnectInfo`; under a server of tonic's it is
//! `TcpConnectInfo`: `key::client_ip(|peer: &TcpConnectInfo| peer.remote_addr().map(|it| it.ip()))`. One `.or(..)` the other
//! gives each client a budget for each of the two; for one budget over two servers, let a `map_request` in front of each put the
//! address into an extension of your own, and key by that.
//!
//! A refused call gets `RESOURCE_EXHAUSTED` (or `UNAVAILABLE` where it is the server that can do no more), with
//! `grpc-retry-pushback-ms`, and with the feature `grpc` a `RetryInfo` and a `QuotaFailure` in its details: see [`Respond`]. A
//! handler that asks a limiter itself answers in the protocol of its caller with [`Respond::refusal_in`]. A quota counts calls,
//! not the messages of a stream: for those settle a [`Charge`]. `cargo run --example tonic_quota` shows it.
//!
//! ## Several limits
//!
//! Limits are put together by methods that wrap what is there; each is a limit again.
//!
//! ```
//! use tower_backpressure::{Charge, FixedWindow, Rate, RateLimitLayer, TokenBucket, key};
//!
//! #[derive(Clone, Copy, PartialEq)]
//! enum Plan { Free, Pro }
//!
//! // By plan: each tier has its own state and its own name in the answers.
//! let each = |name, rate| RateLimitLayer::new(TokenBucket::new(rate)).keyed(key::header("x-api-key")).named(name);
//! let by_plan = each("free", Rate::per_second(10))
//!     .tiers(|head| head.extensions.get().copied().unwrap_or(Plan::Free))
//!     .tier(Plan::Pro, each("pro", Rate::per_second(500)));
//!
//! // Bytes an hour, which nobody knows before they are sent: the handler answers with
//! // `Charge::of(request.extensions()).metered(body)`, or calls `.set(..)`, `.add(..)`, `.give_back()`.
//! let bytes = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1_000_000_000))).keyed(key::header("x-api-key"));
//!
//! // For all together, tried out before it refuses anybody.
//! let everybody = RateLimitLayer::new(TokenBucket::new(Rate::per_second(5_000))).named("everybody").shadow();
//! let shadow = everybody.shadow_handle();
//!
//! // Each client's own first, what all share last: who is refused takes from none.
//! let layer = by_plan.and(bytes.named("bytes").charged()).and(everybody);
//! # let _ = layer;
//! # let _ = |request: http::Request<()>| Charge::of(request.extensions()).give_back();
//!
//! // Later: see what it would have done, then enforce it for a tenth of those it would refuse.
//! println!("{} of the requests so far would have been refused", shadow.decided());
//! shadow.enforce_percent(10);
//! ```
//!
//! [`and`](RateLimitLayer::and) is not the same as one layer round another: the outer layer cannot take back what the inner one
//! refuses.
//!
//! ## While it runs
//!
//! `layer.limiter()` is a handle of the state (take it before you wrap the limit): peek, charge, give back, forget a key,
//! [`reconfigure`](KeyedLimiter::reconfigure) and keep what has been counted, or [`replace`](KeyedLimiter::replace) and forget
//! it. `layer.warnings()` counts what looks like a mistake of deployment: see [`Warnings`].
//!
//! # The guide, second chapter: work in progress
//!
//! A rate says how often; [`LoadShedLayer`] bounds how much is in progress at once, which is what keeps a server at its best when
//! more comes than it can do. What finds no place waits in a bounded queue for a bounded time, or is refused at once with 503 (gRPC
//! `UNAVAILABLE`) and a time to come back.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tower_backpressure::{Class, CoDel, LoadShedLayer, Order, health_check};
//!
//! let shed = LoadShedLayer::new(100)                     // at once; .adaptive(Vegas::new()) finds the number itself
//!     .queue(200)                                        // and so many wait,
//!     .max_wait(Duration::from_millis(500))              // so long at the most,
//!     .order(Order::Adaptive(CoDel::new()))              // the newest first once the queue stands
//!     .class(|head| if head.uri.path() == "/checkout" { Class::Critical } else { Class::Default })
//!     .skip(health_check);                               // answered whatever the load
//! let handle = shed.handle();
//! let app: Router = Router::new()
//!     .route("/readyz", get(async move || if handle.overloaded() { Err("overloaded") } else { Ok("ready") }))
//!     .layer(shed);
//! # let _ = app;
//! ```
//!
//! A place is held until the response's body has been sent, so that streams count for as long as they stream; see
//! [`load_shed`] for what holds a place, deadlines, classes, clients, and the limits that adapt. The
//! [handle](LoadShedHandle) changes the limit while it runs and [drains](LoadShedHandle::drain) it before a shutdown.
//! `cargo run --example load_shed` shows what it is for.
//!
//! ## A buffer with a policy
//!
//! [`OverflowBufferLayer`] is that layer with a buffer in front: `buffer(in_flight, capacity, overflow)`. Full, it refuses the
//! newest ([`Overflow::DropNewest`]), or answers whoever has waited longest in favour of the newest ([`Overflow::DropOldest`]), or
//! has callers wait for room, for a stated time ([`blocking`](LoadShedLayer::blocking)). For items in place of requests, between
//! tasks of your own, there is [`queue::Queue`] with the same policies. `cargo run --example overflow_buffer` shows the three.
//!
//! # The guide, third chapter: connections that live long
//!
//! A WebSocket or an event stream gets what it did not ask for, and may read slowly, or not at all. `send().await` on the socket
//! does push back, so what grows without a bound is the channel in front of it, and what blocks is whoever sends to all. [`outbox`]
//! puts four things in that place, and knows no protocol: three functions make frames of whatever the transport takes.
//!
//! | | bounds | at the limit |
//! |---|---|---|
//! | [`outbox::Outbox`] | what waits for one connection, in messages and bytes | drops the oldest or the newest, or has its sender wait; tells producer and peer to pause before, and to resume after; disconnects who stays there |
//! | [`outbox::Hub`] | what waits for all of them, each message counted once | disconnects the heaviest; publishing waits for nobody |
//! | [`outbox::Inbox`] | what one peer has sent and nobody has handled, and how fast | tells the peer to pause, then reads no more |
//! | [`outbox::Flow`] | one producer of many outboxes | a future that resolves once all have drained |
//!
//! ```
//! use std::time::Duration;
//! use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
//! use axum::{Router, extract::State, response::Response, routing::get};
//! use tower_backpressure::Overflow;
//! use tower_backpressure::outbox::{Close, Control, Depth, Hub, Inbound, ItemClass, Letter, SlowConsumer, frames, obey};
//!
//! type Feed = Hub<&'static str, Utf8Bytes>;
//!
//! async fn serve(socket: WebSocket, feed: Feed) {
//!     // Each subscriber has a policy: this one loses its oldest, is told what it lost, and goes if it stays behind for 10 s.
//!     let outbox = feed
//!         .outbox()
//!         .overflow(Overflow::DropOldest)
//!         .gap_marker(|missed| Letter::from(Utf8Bytes::from(format!(r#"{{"event":"flow.gap","dropped":{}}}"#, missed.items))))
//!         .slow(SlowConsumer::new().soft(Depth::messages(40), Duration::from_secs(10)));
//!     let Ok((member, outlet)) = feed.join(&outbox) else { return };
//!     let Ok(_) = member.subscribe("prices") else { return };
//!     let frames = frames(
//!         |letter: Letter<Utf8Bytes>| Message::Text(Utf8Bytes::clone(&letter)),
//!         |control| match control {
//!             Control::Flow(signal) => Some(Message::Text(signal.as_json().into())),
//!             Control::Ping => Some(Message::Ping(Default::default())),
//!             _ => None,
//!         },
//!         |close: &Close| Some(Message::Close(Some(CloseFrame { code: close.code(), reason: close.reason().into() }))),
//!     );
//!     outlet.drive(socket, frames, obey(|message: &Message| message.to_text().ok(), |_| Inbound::Ignore)).await;
//! }
//!
//! let feed = Feed::builder(|text: &Utf8Bytes| text.len()).max_bytes(64 << 20).build()?;
//! let upgrade = async |upgrade: WebSocketUpgrade, State(feed): State<Feed>| -> Response {
//!     // By default each socket has 128 KiB of buffers, and reads messages of 64 MiB.
//!     upgrade.read_buffer_size(4096).write_buffer_size(4096).max_message_size(65_536).on_upgrade(|socket| serve(socket, feed))
//! };
//! let app: Router = Router::new().route("/prices", get(upgrade)).with_state(feed.clone());
//! # let _ = app;
//!
//! // Anywhere else; of each key a subscriber that is behind gets the newest.
//! feed.publish_as("prices", ItemClass::Conflated(7), r#"{"key":7,"price":11}"#.into())?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The peer gets `{"event":"flow.pause","reason":"buffer full"}` and `{"event":"flow.resume"}`, strictly alternating, or whatever the
//! frames make of them, and may send the same to hold its data. For event streams and tonic there is
//! [`into_stream`](outbox::Outlet::into_stream); for tungstenite and for clients in Rust the front page of [`outbox`] has the text, and
//! for browsers and Node there is `js/flow.mjs` in its crate. What the kernel holds comes on top of all bounds: up to 4 MB for each
//! client that does not read, unless the server's send buffer is set. `cargo run --example websocket_feed` shows all of it in a
//! browser.
//!
//! # Testing
//!
//! Limits read time from a [`Clock`]. With the feature `tokio`, `.clock(TokioClock::default())` lets tokio's paused time drive
//! the whole stack; without a runtime,
//! [`ManualClock`] does.
//!
//! # Features
//!
//! - `grpc`: what a refusal over gRPC says to programs, `RetryInfo` and `QuotaFailure`.
//! - `tokio`: `TokioClock`.
//! - `tracing`: one warning for each misconfiguration that only a request can reveal.

pub use backpressure_core::{
    Admission, Aimd, Algorithm, Answer, AnswerWith, Class, Clock, CoDel, ConfigError, Controller, Deadline, Decision, Ending,
    Fail, FixedWindow, Gradient2, InFlight, LeakyBucket, Limit, ManualClock, Name, Outcome, Overflow, Permit, Policy, Quota,
    Rate, Reason, Refused, Rejection, Sample, SlidingLog, SlidingWindow, Standing, StateId, Timestamp, TokenBucket, Vegas, Wrap,
    answer_with,
};
pub use backpressure_http::{
    AnswerBody, Constant, FromHead, FromRequest, GrpcCode, Guarded, Head, MissingKey, Protocol, RateLimitFields, Read, Respond,
    RespondWithBody, deadline, from_head, from_request, health_check, key,
};
#[cfg(feature = "tokio")]
pub use backpressure_limiter::TokioClock;
pub use backpressure_limiter::{Coarse, KeyedLimiter, Limiter, Monotonic, WhenFull};
#[doc(no_inline)]
pub use backpressure_load_shed as load_shed;
pub use backpressure_load_shed::{
    ByResult, ByStatus, HeldPlace, LoadShed, LoadShedHandle, LoadShedLayer, NotDrained, OverflowBufferLayer, ResponseHead, Shed,
    Until, UntilBodyEnd, UntilResponse,
};
#[doc(no_inline)]
pub use backpressure_outbox as outbox;
#[doc(no_inline)]
pub use backpressure_queue as queue;
pub use backpressure_queue::{Enter, Gate, Idle, Line, LineError, Order, Place, Turn, Wait};
pub use backpressure_rate_limit::{
    And, Carry, Charge, Charged, FixedWindowLayer, Keyed, LeakyBucketLayer, Metered, RateLimit, RateLimitLayer, Rated,
    ResponseFuture, Shadow, ShadowHandle, Single, Skip, SlidingWindowLayer, Tiers, TokenBucketLayer, Waiting, Warnings,
};
