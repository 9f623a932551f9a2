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
//! [`outbox`] bounds what waits for one WebSocket, event stream or any other sink: in messages and bytes, with the same policies,
//! pause and resume for the peer and for the producer, and an end for a peer that stays too slow. It spawns nothing and knows no
//! protocol; the front page of the module shows it round a socket.
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
