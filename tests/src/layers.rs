//! The layers that the laws are about, and what a law sees of one: what goes in and what comes out, nothing else.

use std::error::Error;
use std::fmt::Debug;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};
use tower_backpressure::{Algorithm, Rate, RateLimitLayer, Refused, Rejection, Shadow, Single, TokioClock, key};

use crate::{Answering, Broken, Probe};

/// Hands every layer to a macro, with the name of a law in front. **A new layer joins with one line**, in one of the two lists
/// that follow: its name, how many requests it admits at once when it is fresh, and the layer. It must be fresh after two hours
/// and nothing must come back in the first millisecond.
#[macro_export]
macro_rules! every_layer {
    ($then:ident $law:ident) => {
        $crate::refusing_layers!($then $law);
        $crate::waiting_layers!($then $law);
    };
}

/// The layers that refuse what they do not admit at once.
#[macro_export]
macro_rules! refusing_layers {
    ($then:ident $law:ident) => {
        $then!($law token_bucket: Subject::new(3, limit(TokenBucket::new(an_hour(3)))));
        $then!($law fixed_window: Subject::new(3, limit(FixedWindow::new(an_hour(3)))));
        $then!($law sliding_window: Subject::new(3, limit(SlidingWindow::new(an_hour(3)))));
        $then!($law sliding_log: Subject::new(3, limit(SlidingLog::new(an_hour(3)))));
        $then!($law leaky_bucket_without_queue: Subject::new(1, limit(LeakyBucket::new(an_hour(1)).queue(0))));
        $then!($law stack: Subject::new(2, limit((SlidingLog::new(an_hour(3)), TokenBucket::new(an_hour(2))))));
        $then!($law keyed: Subject::new(3, limit(TokenBucket::new(an_hour(3))).keyed(key::header("x-api-key"))));
        $then!($law keyed_stack: Subject::new(
            2,
            limit((TokenBucket::new(an_hour(2)), FixedWindow::new(an_hour(3)))).keyed(key::header("x-api-key"))
        ));
        $then!($law without_a_key: Subject::new(3, limit(FixedWindow::new(an_hour(3))).keyed(key::header("x-absent"))));
        $then!($law keyed_by_address: Subject::new(3, limit(TokenBucket::new(an_hour(3))).keyed(peer())));
        $then!($law behind_a_proxy: Subject::new(3, limit(TokenBucket::new(an_hour(3))).keyed(peer().x_forwarded_for(proxy()))));
        $then!($law behind_a_standard_proxy: Subject::new(
            3,
            limit(TokenBucket::new(an_hour(3))).keyed(peer().forwarded(proxy()))
        ));
        $then!($law and_another: Subject::new(
            2,
            limit(SlidingLog::new(an_hour(3))).keyed(key::header("x-api-key")).and(limit(TokenBucket::new(an_hour(2))))
        ));
        $then!($law tiers: Subject::new(
            2,
            limit(FixedWindow::new(an_hour(9))).tiers(|head| head.uri.path() == "/").tier(true, limit(FixedWindow::new(an_hour(2))))
        ));
        $then!($law charged: Subject::new(3, limit(TokenBucket::new(an_hour(3))).charged().answer(Wrap)));
        $then!($law shadow_that_is_enforced: Subject::new(3, enforced(limit(FixedWindow::new(an_hour(3))).shadow())));
        $then!($law with_skip: Subject::new(3, limit(TokenBucket::new(an_hour(3))).skip(|head| head.method == "OPTIONS")));
        $then!($law with_cost: Subject::new(3, limit(TokenBucket::new(an_hour(6))).cost(|_| 2)));
        $then!($law answered_with_a_body: Subject::new(
            3,
            limit(TokenBucket::new(an_hour(3))).answer(Respond::with_body())
        ));
        $then!($law answered_with_fail: Subject::new(3, limit(SlidingLog::new(an_hour(3))).answer(Fail)));
        $then!($law answered_with_wrap: Subject::new(3, limit(FixedWindow::new(an_hour(3))).answer(Wrap)));
    };
}

/// The layers under which the next two requests wait.
#[macro_export]
macro_rules! waiting_layers {
    ($then:ident $law:ident) => {
        $then!($law leaky_bucket: Subject::new(1, limit(LeakyBucket::new(an_hour(1)).queue(2))));
        $then!($law waiting_token_bucket: Subject::new(3, limit(TokenBucket::new(an_hour(3))).queue(2)));
        $then!($law waiting_window: Subject::new(3, limit(FixedWindow::new(an_hour(3))).queue(2).answer(Wrap)));
        $then!($law waiting_keyed: Subject::new(
            3,
            limit(SlidingLog::new(an_hour(3))).keyed(key::header("x-api-key")).queue(2)
        ));
        $then!($law waiting_and_another: Subject::new(
            3,
            limit(TokenBucket::new(an_hour(3))).queue(2).and(limit(FixedWindow::new(an_hour(9)))).answer(Fail)
        ));
        $then!($law waiting_for_both: Subject::new(
            2,
            limit(FixedWindow::new(an_hour(2))).queue(2).and(limit(TokenBucket::new(an_hour(3))).queue(2))
        ));
        $then!($law waiting_and_charged: Subject::new(
            1,
            limit(LeakyBucket::new(an_hour(1)).queue(2)).charged().skip(|head| head.method == "OPTIONS")
        ));
        $then!($law waiting_stack: Subject::new(
            1,
            limit((FixedWindow::new(an_hour(3)), LeakyBucket::new(an_hour(1)).queue(2))).answer(Fail)
        ));
    };
}

/// What the lists above need.
pub mod prelude {
    pub use tower_backpressure::{Fail, FixedWindow, LeakyBucket, Respond, SlidingLog, SlidingWindow, TokenBucket, Wrap, key};

    pub use super::{Subject, an_hour, enforced, limit, peer, proxy};
}

/// So many in an hour.
#[must_use]
pub fn an_hour(count: u32) -> Rate {
    Rate::per_hour(count)
}

/// A limit by rate whose time is tokio's.
pub fn limit<G: Algorithm>(algorithm: G) -> RateLimitLayer<Single<G, tower_backpressure::Constant<u64>, TokioClock>> {
    RateLimitLayer::new(algorithm).clock(TokioClock::default())
}

/// The key that is the address of the client; the peer is in an extension.
#[must_use]
pub fn peer() -> key::ClientIp<IpAddr, IpAddr, fn(&IpAddr) -> IpAddr> {
    key::client_ip(|peer| *peer)
}

/// Trusts the peer of the request of the laws, and the proxy in front of it.
#[must_use]
pub fn proxy() -> key::Trust {
    key::Trust::networks([key::IpNet::from(IpAddr::from([10, 0, 0, 1])), IpAddr::from([10, 0, 0, 2]).into()]).unwrap_or_default()
}

/// A shadow that enforces all that it decides.
pub fn enforced<L>(layer: RateLimitLayer<Shadow<L>>) -> RateLimitLayer<Shadow<L>> {
    layer.shadow_handle().enforce_percent(100);
    layer
}

/// A layer, fresh, and what a law must know of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subject<L> {
    /// The layer.
    pub layer: L,
    /// How many requests it admits at once.
    pub admits: usize,
}

/// A layer that goes round the services of the laws.
pub trait Limiting:
    Clone + Layer<Probe, Service: Limited> + Layer<Boxed, Service: Limited> + Layer<Local, Service: Tower>
{
}

impl<L> Limiting for L where
    L: Clone + Layer<Probe, Service: Limited> + Layer<Boxed, Service: Limited> + Layer<Local, Service: Tower>
{
}

/// What the layer makes: a service that says what became of a request.
pub trait Tower: Service<Request<()>, Response: Tells, Error: Tells> + Clone {}

impl<S> Tower for S where S: Service<Request<()>, Response: Tells, Error: Tells> + Clone {}

/// What the layer makes of a service that may go to another thread: one that may too (law 5).
pub trait Limited:
    Tower<Future: Send + 'static, Response: Send, Error: Error + Send + Sync + 'static> + Debug + Send + Sync + 'static
{
}

impl<S> Limited for S where
    S: Tower<Future: Send + 'static, Response: Send, Error: Error + Send + Sync + 'static> + Debug + Send + Sync + 'static
{
}

/// Any service inside the layer.
pub type Boxed = BoxCloneSyncService<Request<()>, Response<Empty<&'static [u8]>>, Broken>;

/// A service inside the layer that must stay on its thread.
#[derive(Clone, Debug)]
pub struct Local {
    probe: Probe,
    _stays: Rc<()>,
}

/// What became of a request.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "tests match on it")]
pub enum Fate {
    /// The service answered.
    Served,
    /// The layer refused it.
    Refused(Rejection),
    /// The service failed.
    Failed,
}

/// A response or an error from which it can be told what became of the request.
pub trait Tells {
    /// What became of it.
    fn fate(&self) -> Fate;
}

impl<B> Tells for Response<B> {
    fn fate(&self) -> Fate {
        match self.extensions().get::<Rejection>() {
            Some(rejection) => Fate::Refused(rejection.clone()),
            None => Fate::Served,
        }
    }
}

impl Tells for Broken {
    fn fate(&self) -> Fate {
        match self {
            Self::Inner => Fate::Failed,
            Self::Refused(rejection) => Fate::Refused(rejection.clone()),
        }
    }
}

impl Tells for Refused<Broken> {
    fn fate(&self) -> Fate {
        match self {
            Self::Inner(broken) => broken.fate(),
            Self::Rejected(rejection) => Fate::Refused(rejection.clone()),
        }
    }
}

impl Fate {
    /// Returns what `answer` tells.
    pub fn of(answer: &Result<impl Tells, impl Tells>) -> Self {
        match answer {
            Ok(response) => response.fate(),
            Err(error) => error.fate(),
        }
    }

    /// Whether the service answered.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        matches!(self, Self::Served)
    }

    /// Whether the layer refused it.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl<L: Limiting> Subject<L> {
    /// Takes a layer that admits this many at once.
    pub const fn new(admits: usize, layer: L) -> Self {
        Self { layer, admits }
    }

    /// Returns how many requests the layer would serve now, one after the other. Uses them up.
    pub fn room(&self) -> usize {
        let service = self.layer.layer(Probe::new().0);
        (0..ENDLESS).take_while(|_| at_once(&service).is_some_and(|fate| fate.is_served())).count()
    }

    /// Returns how much room a fresh layer must have after this many calls, however they ended: quota is spent by the call. (A
    /// layer of places would have all its room as soon as nothing is in progress.)
    #[must_use]
    pub fn room_after(&self, calls: usize) -> usize {
        self.admits.saturating_sub(calls)
    }

    /// Uses up all that the layer admits at once.
    pub fn exhaust(&self) {
        assert_eq!(self.room(), self.admits, "the layer is not fresh");
    }
}

/// The request of the laws; each is like the others.
#[must_use]
pub fn request() -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in [
        ("x-api-key", "key"),
        ("x-forwarded-for", "192.0.2.66, 203.0.113.7, ::ffff:10.0.0.2"),
        ("forwarded", r#"for=_a, for="[2001:db8::\1]:80", for=10.0.0.2"#),
    ] {
        request.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(IpAddr::from([10, 0, 0, 1]));
    request
}

/// Polls one request once, as a host does, and drops it: `None` where it waits.
pub fn at_once(service: &impl Tower) -> Option<Fate> {
    service.clone().oneshot(request()).now_or_never().map(|answer| Fate::of(&answer))
}

/// Sends one request and waits for what becomes of it.
pub async fn send(service: &impl Tower) -> Fate {
    Fate::of(&service.clone().oneshot(request()).await)
}

/// Lets the time pass in which every layer becomes fresh.
pub async fn refill() {
    tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
}

impl Local {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        Self { probe: Probe::new().0, _stays: Rc::new(()) }
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<Request<()>> for Local {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = Broken;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.probe.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Answering {
        self.probe.call(request)
    }
}

/// No layer of the laws has as much room.
const ENDLESS: usize = 1_000;
