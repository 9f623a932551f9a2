//! The layers that the laws are about, and what a law sees of one: what goes in and what comes out, nothing else.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt::Debug;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};
use tower_backpressure::{Algorithm, LoadShedLayer, Rate, RateLimitLayer, Refused, Rejection, Shadow, Single, TokioClock, key};

use crate::{Answering, Body, Broken, Probe};

/// Hands every layer to a macro, with the name of a law in front. **A new layer joins with one line**, in one of the four lists
/// that follow: its name, how many requests it admits at once when it is fresh, and the layer. It must be fresh when two hours have
/// passed and nothing is in progress, and nothing must come back by itself in the first millisecond.
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
        $crate::counting_layers!($then $law);
        $crate::shedding_layers!($then $law);
    };
}

/// The layers under which the next two requests wait.
#[macro_export]
macro_rules! waiting_layers {
    ($then:ident $law:ident) => {
        $crate::pacing_layers!($then $law);
        $crate::queueing_layers!($then $law);
    };
}

/// The layers that bound what is in progress, and refuse the rest.
#[macro_export]
macro_rules! shedding_layers {
    ($then:ident $law:ident) => {
        $then!($law shed: Subject::of_places(3, LoadShedLayer::new(3)));
        $then!($law shed_with_a_body: Subject::of_places(3, LoadShedLayer::new(3).answer(Respond::with_body())));
        $then!($law shed_with_fail: Subject::of_places(1, LoadShedLayer::new(1).answer(Fail)));
        $then!($law shed_with_wrap: Subject::of_places(2, LoadShedLayer::new(2).answer(Wrap)));
        $then!($law shed_with_skip: Subject::of_places(3, LoadShedLayer::new(3).skip(|head| head.method == "OPTIONS")));
        $then!($law shed_for_each_client: Subject::of_places(2, LoadShedLayer::new(9).per_client(key::header("x-api-key"), 2)));
        $then!($law shed_with_reserve: Subject::of_places(
            2,
            LoadShedLayer::new(3).reserve_percent(Class::Critical, 40).class(|_| Class::Default)
        ));
        $then!($law shed_that_adapts: Subject::of_places(
            3,
            LoadShedLayer::new(1).adaptive(Vegas::new().try_limits(3, 3, 3).unwrap_or_default())
        ));
    };
}

/// The layers that bound what is in progress, under which the next two requests wait until something has ended.
#[macro_export]
macro_rules! queueing_layers {
    ($then:ident $law:ident) => {
        $then!($law shed_with_queue: Subject::of_places(3, patient(LoadShedLayer::new(3))));
        $then!($law shed_with_queue_and_body: Subject::of_places(2, patient(LoadShedLayer::new(2)).answer(Respond::with_body())));
        $then!($law shed_with_queue_and_clients: Subject::of_places(
            3,
            patient(LoadShedLayer::new(3)).per_client(key::header("x-api-key"), 9).answer(Wrap)
        ));
        $then!($law overflow_buffer: Subject::of_places(
            2,
            patient(OverflowBufferLayer::buffer(2, 2, Overflow::DropNewest))
        ));
    };
}

/// The layers that count what has been admitted, and refuse the rest.
#[macro_export]
macro_rules! counting_layers {
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

/// The layers that count what has been admitted, under which the next two requests wait until their time has come.
#[macro_export]
macro_rules! pacing_layers {
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
    pub use tower_backpressure::{
        Class, Fail, FixedWindow, LeakyBucket, LoadShedLayer, Overflow, OverflowBufferLayer, Respond, SlidingLog, SlidingWindow,
        TokenBucket, Vegas, Wrap, key,
    };

    pub use super::{Subject, an_hour, enforced, limit, patient, peer, proxy};
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

/// Lets two wait, for an hour.
pub fn patient(layer: LoadShedLayer) -> LoadShedLayer {
    layer.queue(2).max_wait(Duration::from_secs(60 * 60))
}

/// A layer, fresh, and what a law must know of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subject<L> {
    /// The layer.
    pub layer: L,
    /// How many requests it admits at once.
    pub admits: usize,
    /// Whether what it admits is spent; else it comes back when the request has ended.
    spends: bool,
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
pub trait Tower: Service<Request<()>, Response: Tells + 'static, Error: Tells> + Clone {}

impl<S> Tower for S where S: Service<Request<()>, Response: Tells + 'static, Error: Tells> + Clone {}

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
pub type Boxed = BoxCloneSyncService<Request<()>, Response<Body>, Broken>;

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
    /// Returns what `answer` tells. A response is kept, as by a host that has not sent it yet, until the next [`refill`].
    pub fn of(answer: Result<impl Tells + 'static, impl Tells>) -> Self {
        match answer {
            Ok(response) => {
                let fate = response.fate();
                UNSENT.with_borrow_mut(|unsent| unsent.push(Box::new(response)));
                fate
            }
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
        Self { layer, admits, spends: true }
    }

    /// Takes a layer that has this many places.
    pub const fn of_places(admits: usize, layer: L) -> Self {
        Self { layer, admits, spends: false }
    }

    /// Returns how many requests the layer would serve now, one after the other, while none of the responses has been sent. Uses
    /// them up until the next [`refill`].
    pub fn room(&self) -> usize {
        let service = self.layer.layer(Probe::new().0);
        (0..ENDLESS).take_while(|_| at_once(&service).is_some_and(|fate| fate.is_served())).count()
    }

    /// Returns how much room a fresh layer must have after this many calls that have ended in any way: what it counts is spent by
    /// the call, and a place is free again.
    #[must_use]
    pub const fn room_after(&self, calls: usize) -> usize {
        if self.spends { self.admits.saturating_sub(calls) } else { self.admits }
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
    service.clone().oneshot(request()).now_or_never().map(Fate::of)
}

/// Sends one request and waits for what becomes of it.
pub async fn send(service: &impl Tower) -> Fate {
    Fate::of(service.clone().oneshot(request()).await)
}

/// Sends all responses, and lets the time pass in which every layer becomes fresh.
pub async fn refill() {
    let unsent = UNSENT.take();
    drop(unsent);
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
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.probe.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Answering {
        self.probe.call(request)
    }
}

thread_local! {
    /// What the host of this test has been answered and has not sent yet.
    static UNSENT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// No layer of the laws has as much room.
const ENDLESS: usize = 1_000;
