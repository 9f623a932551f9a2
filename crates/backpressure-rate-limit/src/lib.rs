//! A tower layer that admits by rate: so many requests in such a time, for everybody or for each client.
//!
//! [`RateLimitLayer`] goes round any tower service: an axum router or route, a tonic or hyper service, a stack of your own. Use
//! it to bound how *often*
//! a client may ask; to bound how much work is in progress at once, a concurrency limit is the right tool.
//!
//! # One limit for each client
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use backpressure_core::{Rate, TokenBucket};
//! use backpressure_http::key;
//! use backpressure_rate_limit::RateLimitLayer;
//! # use axum::body::Body;
//! # use http::Request;
//! # use tower::ServiceExt;
//!
//! let per_client = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)).burst(2))
//!     .keyed(key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()));
//!
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(per_client);
//! # let from = |last| {
//! #     let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, last], 4711)));
//! #     Request::get("/").extension(peer).body(Body::empty()).unwrap()
//! # };
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // `from(1)` is a request from 192.0.2.1.
//! for expected in [200, 200, 429] {
//!     assert_eq!(app.clone().oneshot(from(1)).await?.status(), expected);
//! }
//! assert_eq!(app.oneshot(from(2)).await?.status(), 200);
//! # Ok::<(), std::convert::Infallible>(())
//! # }).unwrap();
//! ```
//!
//! # Configured
//!
//! ```
//! use std::time::Duration;
//! use backpressure_core::{FixedWindow, Rate, TokenBucket};
//! use backpressure_http::{MissingKey, Respond, key};
//! use backpressure_limiter::WhenFull;
//! use backpressure_rate_limit::RateLimitLayer;
//! use http::Method;
//!
//! // Two limits as one: ten a second in bursts of 20, and 1 000 an hour; a refused request takes from neither.
//! let layer = RateLimitLayer::new((TokenBucket::new(Rate::per_second(10)).burst(20), FixedWindow::new(Rate::per_hour(1_000))))
//!     .keyed(key::header("x-api-key"))
//!     .missing(MissingKey::Refuse)
//!     .max_keys(100_000)
//!     .when_full(WhenFull::Evict)
//!     .named("api")
//!     .cost(|head| if head.uri.path().starts_with("/reports") { 5 } else { 1 })
//!     .queue(3)
//!     .max_wait(Duration::from_millis(500))
//!     .skip(|head| head.method == Method::OPTIONS)
//!     .answer(Respond::new().on_admitted());
//! # let _ = layer;
//! ```
//!
//! # What the caller sees at the limit
//!
//! HTTP 429 with an exact `Retry-After`, as [`Respond`](backpressure_http::Respond) writes it: a client that obeys is admitted.
//! Any other
//! [`Answer`](backpressure_core::Answer) goes in with [`answer`](RateLimitLayer::answer); a service that does not speak HTTP
//! needs one:
//! [`Fail`](backpressure_core::Fail) where its error is `From<Rejection>`, [`Wrap`](backpressure_core::Wrap) where it is
//! somebody else's.
//!
//! # Waiting instead
//!
//! A [`LeakyBucket`](backpressure_core::LeakyBucket) queues: requests wait in order and go on at a constant rate; over its queue
//! they are refused. Every
//! other algorithm waits too if it is told to, by [`queue`](RateLimitLayer::queue). At most
//! [`max_waiting`](RateLimitLayer::max_waiting)
//! requests wait in all. Waiting sleeps on tokio's timers: it panics outside a tokio runtime with time enabled.
//!
//! # Limits put together
//!
//! These go round any limit, and round each other:
//!
//! | | |
//! |---|---|
//! | [`and`](RateLimitLayer::and) | both agree or nothing is taken; they may have different keys: per client, and for all |
//! | [`tiers`](RateLimitLayer::tiers) | one of several, chosen for each request: plans, routes, methods |
//! | [`charged`](RateLimitLayer::charged) | what a request costs is [settled](Charge) by its handler or its body: rows, bytes, tokens; failures only |
//! | [`shadow`](RateLimitLayer::shadow) | decides and reports, and enforces as large a part of it as it is told |
//! | [`skip`](RateLimitLayer::skip) | does not concern some requests |
//!
//! ```
//! use backpressure_core::{FixedWindow, Rate, TokenBucket};
//! use backpressure_http::key;
//! use backpressure_rate_limit::{Charge, RateLimitLayer};
//! use http::Method;
//!
//! let each = |name, rate| RateLimitLayer::new(TokenBucket::new(rate)).keyed(key::header("x-api-key")).named(name);
//! let requests = each("reads", Rate::per_second(100))
//!     .tiers(|head| head.method != Method::GET)
//!     .tier(true, each("writes", Rate::per_second(5)));
//! let rows = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1_000_000))).keyed(key::header("x-api-key")).named("rows");
//! let everybody = RateLimitLayer::new(TokenBucket::new(Rate::per_second(5_000))).named("everybody");
//!
//! // A handler says `Charge::of(request.extensions()).set(rows_found)`.
//! let layer = requests.and(rows.charged()).and(everybody);
//! # let _ = layer;
//! # let _ = |request: http::Request<()>| Charge::of(request.extensions()).set(7);
//! ```
//!
//! # While it runs
//!
//! [`limiter`](RateLimitLayer::limiter) is a handle of the state: look, charge, give back, forget a key, reconfigure, or replace.
//! [`warnings`](RateLimitLayer::warnings) counts what looks like a mistake of deployment. Take the handle before the limit is
//! wrapped.
//!
//! # Hazards
//!
//! - **Order.** Put this layer outside what reserves in `poll_ready` (concurrency limits, buffers): a refused request leaves the
//!   reservation of the service it did not call with that service until its next call or its end. Put it inside CORS, so
//!   that browsers may read the refusal, and skip preflights.
//! - **Cloning.** Clones of a layer share one limit, and so do all routes, methods and connections it is applied to. Two layers
//!   made with
//!   `new` share nothing; make the second with [`over`](RateLimitLayer::over) the first one's limiter to share.
//! - **Behind a proxy** every request has the proxy's address. Key by what the proxy vouches for (`key::client_ip`).
//! - **Twice.** A layer on the router and on a route counts each request twice: see [`Warnings::met_twice`].
//! - **Cancellation.** A request that is dropped while it waits leaves its line and takes nothing. One that was called has been
//!   counted.
//! - **A future that is polled once and then kept without being polled** keeps its place at the head of its line, and those
//!   behind it
//!   wait. Drop what you no longer want.
//! - **Memory.** A limiter keeps at most [`max_keys`](RateLimitLayer::max_keys) states; see
//!   [`KeyedLimiter`](backpressure_limiter::KeyedLimiter) for their size and [`WhenFull`](backpressure_limiter::WhenFull) for
//!   what a flood of keys does.
//!
//! # Features
//!
//! - `tracing`: one warning for each misconfiguration that only a request can reveal.

mod and;
mod charge;
mod charged;
mod compose;
mod future;
mod layer;
mod lines;
mod metered;
mod notices;
mod passing;
mod rated;
mod service;
mod shadow;
mod shared;
mod skip;
mod taking;
mod tiers;
mod wait_into;
mod waiting;

pub use and::{And, Both, BothTurns};
pub use charge::Charge;
pub use charged::{Advance, Carry, Charged};
pub use future::ResponseFuture;
pub use layer::{FixedWindowLayer, LeakyBucketLayer, RateLimitLayer, SlidingWindowLayer, TokenBucketLayer};
pub use metered::Metered;
pub use notices::Warnings;
pub use rated::{Keyed, Rated, Single};
pub use service::RateLimit;
pub use shadow::{Shadow, ShadowHandle};
pub use shared::Shared;
pub use skip::Skip;
pub use taking::Taking;
pub use tiers::Tiers;
pub use wait_into::WaitInto;
pub use waiting::Waiting;
