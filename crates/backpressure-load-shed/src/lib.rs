//! A tower layer that bounds how much work is in progress, and how much waits in front of it.
//!
//! [`LoadShedLayer`] goes round any tower service: an axum router or route, a tonic or hyper service, a stack of your own. Use it
//! to keep a server at its best under any load: what it cannot do in time it refuses at once, with a word on when to come back,
//! and does the rest as fast as ever. To bound how *often* a client may ask, use a rate limit.
//!
//! # At most 100 at once
//!
//! ```
//! use axum::{Router, routing::get};
//! use backpressure_load_shed::LoadShedLayer;
//! # use axum::body::Body;
//! # use http::Request;
//! # use tower::ServiceExt;
//!
//! let shed = LoadShedLayer::new(1);
//! let handle = shed.handle();
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(shed);
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let request = || Request::get("/").body(Body::empty()).unwrap();
//! // The place is held until the body has been sent …
//! let first = app.clone().oneshot(request()).await?;
//! assert_eq!(handle.in_flight(), 1);
//! let refused = app.clone().oneshot(request()).await?;
//! assert_eq!((refused.status().as_u16(), handle.shed().concurrency), (503, 1));
//! assert!(refused.headers().contains_key("retry-after"));
//! // … or dropped.
//! drop(first);
//! assert_eq!(app.oneshot(request()).await?.status(), 200);
//! # Ok::<(), std::convert::Infallible>(())
//! # }).unwrap();
//! ```
//!
//! # Configured
//!
//! ```
//! use std::time::Duration;
//! use backpressure_core::{Class, CoDel, Vegas};
//! use backpressure_http::{health_check, key};
//! use backpressure_load_shed::{LoadShedLayer, Until};
//! use backpressure_queue::Order;
//!
//! let layer = LoadShedLayer::new(100)
//!     .queue(200)
//!     .max_wait(Duration::from_millis(500))
//!     .order(Order::Adaptive(CoDel::new()))
//!     .reserve_percent(Class::Critical, 10)
//!     .named("orders")
//!     .adaptive(Vegas::new())
//!     .skip(health_check)
//!     .class(|head| if head.uri.path() == "/checkout" { Class::Critical } else { Class::Default })
//!     .hold(|head| if head.uri.path() == "/events" { Until::Response } else { Until::BodyEnd })
//!     .per_client(key::header("x-api-key"), 10);
//! # let _ = layer;
//! ```
//!
//! # How many
//!
//! By Little's law the work in progress is throughput × latency: a service that answers 200 requests a second in 50 ms each has 10
//! in progress. More than what keeps its bottleneck busy (processors, connections of a pool) brings latency and no throughput.
//! Measure it, or let it be found: [`adaptive`](LoadShedLayer::adaptive). A queue is for bursts: as long as what may wait is done
//! within the time that a caller waits.
//!
//! # A buffer
//!
//! [`OverflowBufferLayer`] is the same layer under the name of a buffer, with a policy for when it is full:
//!
//! | | who goes | who waits | for |
//! |---|---|---|---|
//! | [`buffer(.., DropNewest)`](LoadShedLayer::buffer) | the arriving one, 503 | `capacity` at the most | what was accepted is done |
//! | [`buffer(.., DropOldest)`](LoadShedLayer::buffer) | who has waited longest, 503 | `capacity` at the most | fresh answers: positions, prices, search as one types |
//! | [`blocking(..)`](LoadShedLayer::blocking) | who has waited too long, 503 | as many as the host has callers | callers that can be slowed down |
//!
//! What waits can be bounded by weight too: [`max_weight`](LoadShedLayer::max_weight). Unlike tower's `Buffer` it has no worker: an
//! error of the service is that of its request, and an idle clone holds nothing.
//!
//! # What the caller sees at the limit
//!
//! HTTP 503 with a `Retry-After`, or gRPC `UNAVAILABLE` with a pushback, as [`Respond`](backpressure_http::Respond) writes them;
//! 429 and `RESOURCE_EXHAUSTED` where the client itself has too much in progress. Any other [`Answer`](backpressure_core::Answer)
//! goes in with [`answer`](LoadShedLayer::answer). What the time means: see [`retry_after`](LoadShedLayer::retry_after).
//!
//! # Deadlines
//!
//! A call with a `grpc-timeout`, and a request with a [`Deadline`](backpressure_core::Deadline) in its extensions, is refused at
//! once where its turn is expected after that, and is not begun where its turn comes after that. It is the answer that knows the
//! protocol: with another than [`Respond`](backpressure_http::Respond) there are no deadlines, unless its
//! [`deadline`](backpressure_core::Answer::deadline) says so.
//!
//! # What holds a place
//!
//! | | held until |
//! |---|---|
//! | by default, [`UntilBodyEnd`] | the body of the response has been sent, has failed or was dropped |
//! | [`until_response`](LoadShedLayer::until_response), [`UntilResponse`] | the response is there |
//! | [`hold`](LoadShedLayer::hold) | either, for each request |
//! | a request that asks for an upgrade | the response has been sent *and* the [`HeldPlace`] in its extensions is dropped |
//!
//! # Services that speak no HTTP
//!
//! ```
//! use backpressure_core::{Fail, Rejection};
//! use backpressure_load_shed::LoadShedLayer;
//! use tower::{Service, ServiceBuilder, service_fn};
//!
//! #[derive(Debug)]
//! struct Busy(Rejection);
//! impl From<Rejection> for Busy {
//!     fn from(rejection: Rejection) -> Self { Self(rejection) }
//! }
//!
//! let squares = ServiceBuilder::new()
//!     .layer(LoadShedLayer::new(4).until_response().answer(Fail))
//!     .service(service_fn(async |number: u32| Ok::<_, Busy>(number * number)));
//! # fn check<S: Service<u32, Response = u32, Error = Busy>>(_: S) {}
//! # check(squares);
//! ```
//!
//! # Hazards
//!
//! - **Order.** Put this layer inside of what waits (rate limits with a queue, buffers): a place that waits is a place wasted. Put
//!   it inside of CORS and tracing, so that browsers and operators see the refusals; outside of authentication where that is the
//!   expensive part, and inside where it tells the class.
//! - **Cloning.** Clones of a layer share one bound, and so do all routes, methods and connections it is applied to. Two layers made
//!   with `new` share nothing. A request that comes through one layer twice, at the router and again at its route, takes two places.
//! - **Upgrades.** The response to an upgrade has no body, so the place is free at once unless the handler takes the [`HeldPlace`].
//! - **Streams within streams.** A client that holds a streaming call open while it makes another needs two places at once; enough
//!   of them wait for each other. [`hold`](LoadShedLayer::hold) such streams until their response only, or bound
//!   [each client](LoadShedLayer::per_client).
//! - **Cancellation.** A request that is dropped gives back all it holds, wherever it is: in line, in the service, half sent.
//! - **A future that is polled once and then kept without being polled** keeps the place that is passed to it. Drop what you no
//!   longer want.
//! - **Time.** Waiting sleeps on tokio's timers: it panics outside a tokio runtime with time enabled. Without a queue nothing sleeps.
//! - **Memory.** A request that need not wait allocates nothing, but for an upgrade. One that waits is kept in a box, with its body
//!   unread.

mod adaptive;
mod clients;
mod future;
mod guard;
mod handle;
mod hold;
mod judge;
mod layer;
mod readers;
mod service;
mod shared;
mod tally;

pub use clients::{Anyone, ClientPlace, Clients, PerClient};
pub use future::ResponseFuture;
pub use guard::{Guard, HeldPlace};
pub use handle::{LoadShedHandle, NotDrained};
pub use hold::{Hold, Until, UntilBodyEnd, UntilResponse};
pub use judge::{ByAnswer, ByResponseHead, ByResult, ByStatus, Judge, ResponseHead};
pub use layer::{LoadShedLayer, OverflowBufferLayer};
pub use readers::{Either, Readers, Triage};
pub use service::LoadShed;
pub use tally::Shed;
