//! The layer, and how it is configured.

use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Class, ConfigError, Controller, Ending, Name, Overflow};
use backpressure_http::key::KeyType;
use backpressure_http::{FromHead, FromRequest, Head, MissingKey, Respond, from_head, from_request};
use backpressure_queue::{Gate, Order};
use tower_layer::Layer;

use crate::clients::PerClient;
use crate::handle::LoadShedHandle;
use crate::hold::{Until, UntilBodyEnd, UntilResponse};
use crate::judge::{ByAnswer, ByResponseHead, ResponseHead};
use crate::readers::{Either, Readers};
use crate::service::LoadShed;
use crate::shared::{Config, Shared};

/// A tower layer that bounds how many requests are in progress at once, lets a bounded number wait for a bounded time, and refuses
/// the others at once.
///
/// Clones share one bound, and so do all services that a layer or its clones make: a limit of 1 stays 1 across the routes, methods
/// and connections for which a host applies the layer. Configure a layer before you clone it: what bounds it (`queue`, `max_wait`,
/// `order`, `reserve_percent`, `adaptive`, `retry_after`, `named`, `per_client`) makes a bound of its own.
///
/// See the [crate docs](crate) for examples and hazards.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied"]
pub struct LoadShedLayer<A = Respond, H = UntilBodyEnd, R = Readers> {
    shared: Arc<Shared>,
    answer: A,
    hold: H,
    readers: R,
}

/// A [`LoadShedLayer`] with a buffer in front of its places: see [`buffer`](LoadShedLayer::buffer) and
/// [`blocking`](LoadShedLayer::blocking).
///
/// There is no worker and no task: the layer has the places and the line, and each request stays in its own response future,
/// waits there for its turn, and drives its own copy of the service.
pub type OverflowBufferLayer<A = Respond, H = UntilBodyEnd, R = Readers> = LoadShedLayer<A, H, R>;

impl LoadShedLayer {
    /// Makes a layer that has at most `max_in_flight` requests in progress and refuses the others at once, answered over HTTP.
    ///
    /// # Panics
    ///
    /// If `max_in_flight` is 0 or more than [`Gate::MOST`]: see [`try_new`](Self::try_new).
    pub fn new(max_in_flight: usize) -> Self {
        Self::try_new(max_in_flight).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a layer from a number that is not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroLimit`] and [`ConfigError::LimitTooLarge`].
    pub fn try_new(max_in_flight: usize) -> Result<Self, ConfigError> {
        match max_in_flight {
            0 => Err(ConfigError::ZeroLimit),
            1..=Gate::MOST => Ok(Self::with(Config::new(max_in_flight))),
            _ => Err(ConfigError::LimitTooLarge { limit: max_in_flight, at_most: Gate::MOST }),
        }
    }

    /// Makes a buffer: `in_flight` requests in progress, `capacity` more waiting in the order in which they came, and what the
    /// overflow says of the next.
    ///
    /// [`Overflow::DropNewest`] refuses it. [`Overflow::DropOldest`] takes it in and answers the one that has waited longest
    /// ([`Reason::Evicted`](backpressure_core::Reason::Evicted)), so that what is served is younger. To wait for room, see
    /// [`blocking`](Self::blocking). A request waits here as long as it takes, unless [`max_wait`](Self::max_wait) says otherwise.
    ///
    /// It is the same layer with other settings: everything else that it can do, it can do here.
    ///
    /// # Panics
    ///
    /// If `in_flight` is 0, if one of the two is more than [`Gate::MOST`], or under [`Overflow::Block`]: see
    /// [`try_buffer`](Self::try_buffer).
    ///
    /// ```
    /// use backpressure_core::Overflow;
    /// use backpressure_load_shed::OverflowBufferLayer;
    ///
    /// let positions = OverflowBufferLayer::buffer(2, 100, Overflow::DropOldest).named("positions");
    /// # let _ = positions;
    /// ```
    pub fn buffer(in_flight: usize, capacity: usize, overflow: Overflow) -> Self {
        Self::try_buffer(in_flight, capacity, overflow).unwrap_or_else(|error| misconfigured(&error))
    }

    /// Makes a buffer from settings that are not known to be good.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ZeroLimit`], [`ConfigError::LimitTooLarge`], and [`ConfigError::BlockWithoutEnd`].
    pub fn try_buffer(in_flight: usize, capacity: usize, overflow: Overflow) -> Result<Self, ConfigError> {
        match overflow {
            Overflow::Block => Err(ConfigError::BlockWithoutEnd),
            Overflow::DropOldest | Overflow::DropNewest => Self::buffering(in_flight, capacity, overflow, Duration::MAX),
        }
    }

    /// Makes a buffer of `capacity` whose callers wait for room in it: [`Overflow::Block`].
    ///
    /// The wait of a request, for room and then for its turn, takes `max_wait` at the most. That bounds the time, not the number:
    /// how many callers there are is up to the host, which keeps each with its request. [`LoadShedHandle::waiting`] counts both
    /// those in the buffer and those who wait for room.
    ///
    /// # Errors
    ///
    /// As [`try_buffer`](Self::try_buffer); [`ConfigError::BlockWithoutEnd`] if `max_wait` is [`Duration::MAX`].
    pub fn blocking(in_flight: usize, capacity: usize, max_wait: Duration) -> Result<Self, ConfigError> {
        if max_wait == Duration::MAX {
            return Err(ConfigError::BlockWithoutEnd);
        }
        Self::buffering(in_flight, capacity, Overflow::Block, max_wait)
    }

    fn buffering(in_flight: usize, capacity: usize, overflow: Overflow, max_wait: Duration) -> Result<Self, ConfigError> {
        if capacity > Gate::MOST {
            return Err(ConfigError::LimitTooLarge { limit: capacity, at_most: Gate::MOST });
        }
        let layer = Self::try_new(in_flight)?;
        Ok(layer.configure(|config| (config.queue, config.overflow, config.max_wait) = (capacity, overflow, max_wait)))
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            shared: Arc::new(Shared::new(config)),
            answer: Respond::new(),
            hold: UntilBodyEnd::default(),
            readers: Readers::new(),
        }
    }
}

/// What bounds the layer.
impl<A, H, R> LoadShedLayer<A, H, R> {
    /// Sets how many requests wait for a place instead of being refused: 0 without it.
    ///
    /// A request that waits keeps its body unread and a copy of the service. As long as a second's worth of work is long enough
    /// for bursts; what waits longer is work for nobody.
    ///
    /// # Panics
    ///
    /// If `queue` is more than [`Gate::MOST`].
    pub fn queue(self, queue: usize) -> Self {
        assert!(queue <= Gate::MOST, "a queue of {queue} requests needs too much memory: at most {}", Gate::MOST);
        self.configure(|config| config.queue = queue)
    }

    /// Sets how long a request waits for a place at the most: 1 s without it. 0 is not to wait at all, and [`Duration::MAX`] is
    /// as long as it takes.
    ///
    /// # Panics
    ///
    /// If a buffer that [blocks](LoadShedLayer::blocking) is to wait for ever.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        let has_end = self.shared.config.overflow != Overflow::Block || max_wait < Duration::MAX;
        assert!(has_end, "{}", ConfigError::BlockWithoutEnd);
        self.configure(|config| config.max_wait = max_wait)
    }

    /// Bounds what those who wait [weigh](Self::weight) together, besides their number.
    ///
    /// A request that weighs more is refused ([`Reason::CostExceedsLimit`](backpressure_core::Reason::CostExceedsLimit)), also
    /// where nobody waits: unless it finds a place at once, when it weighs nothing.
    pub fn max_weight(self, max_weight: u64) -> Self {
        self.configure(|config| config.queue_weight = max_weight)
    }

    /// Sets who of a class is next: the oldest ([`Order::Fifo`]) without it.
    ///
    /// Under overload that lasts, first in, first out serves requests that have waited nearly as long as they may, and their
    /// callers as long. [`Order::Lifo`] serves the newest and lets the oldest expire; [`Order::Adaptive`] is fair until a queue
    /// has stood for 100 ms, and then lets nobody wait longer than 5 ms.
    pub fn order(self, order: Order) -> Self {
        self.configure(|config| config.order = order)
    }

    /// Reserves this part of the places, rounded down, for `class` and what is above it: see [`class`](Self::class).
    ///
    /// # Panics
    ///
    /// If all classes together reserve 100 % or more: the lowest would never be served.
    pub fn reserve_percent(self, class: Class, percent: u8) -> Self {
        self.configure(|config| config.reserved[class.rank()] = percent)
    }

    /// Names the policy, for clients and operators.
    pub fn named(self, name: impl Into<Name>) -> Self {
        self.configure(|config| config.name = name.into())
    }

    /// Sets the least and the most that `Retry-After` says: 1 s to 30 s without it.
    ///
    /// It says when the work ahead will probably have ended, going by how fast places were given back while all were in use, and
    /// up to half as much again, so that those refused together do not come back together. It promises nothing: others come too.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    pub fn retry_after(self, bounds: RangeInclusive<Duration>) -> Self {
        assert!(!bounds.is_empty(), "the least Retry-After, {:?}, is more than the most, {:?}", bounds.start(), bounds.end());
        self.configure(|config| config.retry_after = bounds)
    }

    /// Lets the limit follow how the work goes: the controller starts with its own limit, and the number given to
    /// [`new`](LoadShedLayer::new) no longer counts.
    ///
    /// It is told of every request when it has ended: how long it took to respond, how many were in progress, and how it ended,
    /// as [`ByStatus`](crate::ByStatus) judges or as [`judged`](Self::judged) says. What passes uncounted, was cancelled, was
    /// upgraded, or takes longer to send than it took to respond (a stream) does not count.
    ///
    /// ```
    /// use backpressure_core::Gradient2;
    /// use backpressure_load_shed::LoadShedLayer;
    ///
    /// let layer = LoadShedLayer::new(1).adaptive(Gradient2::new());
    /// assert_eq!(layer.handle().limit(), 20);
    /// ```
    pub fn adaptive(self, controller: impl Controller + Clone + Send + Sync + 'static) -> Self {
        self.configure(|config| config.controller = Some(Arc::new(move || Box::new(controller.clone()))))
    }

    /// Returns a handle: to look, to change the limit, and to drain.
    #[must_use]
    pub fn handle(&self) -> LoadShedHandle {
        LoadShedHandle::new(Arc::clone(&self.shared))
    }

    pub(crate) fn configure(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.shared.config.clone();
        change(&mut config);
        Self { shared: Arc::new(Shared::new(config)), ..self }
    }

    /// Sets what the caller of a refused request gets.
    pub fn answer<B>(self, answer: B) -> LoadShedLayer<B, H, R> {
        LoadShedLayer { shared: self.shared, answer, hold: self.hold, readers: self.readers }
    }

    /// Holds places until there is a response, and no longer: for services that speak no HTTP, and where bodies cost nothing.
    pub fn until_response(self) -> LoadShedLayer<A, UntilResponse, R> {
        self.holding(UntilResponse::default())
    }

    fn holding<G>(self, hold: G) -> LoadShedLayer<A, G, R> {
        LoadShedLayer { shared: self.shared, answer: self.answer, hold, readers: self.readers }
    }

    fn reading<Q>(self, read: impl FnOnce(R) -> Q) -> LoadShedLayer<A, H, Q> {
        LoadShedLayer { shared: self.shared, answer: self.answer, hold: self.hold, readers: read(self.readers) }
    }
}

/// What is read from each request.
impl<A, H, P, C, U, W, K> LoadShedLayer<A, H, Readers<P, C, U, W, K>> {
    /// Lets requests pass for which `passes` says so: they hold no place, wait for none, are refused never and measured never.
    /// For what must be answered when nothing else is: [`health_check`](backpressure_http::health_check). Several add up.
    ///
    /// ```
    /// use backpressure_http::health_check;
    /// use backpressure_load_shed::LoadShedLayer;
    ///
    /// let layer = LoadShedLayer::new(100).skip(health_check).skip(|head| head.uri.path() == "/metrics");
    /// # let _ = layer;
    /// ```
    pub fn skip<F: Fn(Head<'_>) -> bool + Clone>(
        self,
        passes: F,
    ) -> LoadShedLayer<A, H, Readers<Either<P, FromHead<F>>, C, U, W, K>> {
        self.skipping(from_head(passes))
    }

    /// As [`skip`](Self::skip), for requests of any type.
    pub fn skip_where<Req, F: Fn(&Req) -> bool + Clone>(
        self,
        passes: F,
    ) -> LoadShedLayer<A, H, Readers<Either<P, FromRequest<F>>, C, U, W, K>> {
        self.skipping(from_request(passes))
    }

    /// Says how much a request matters: all are [`Class::Default`] without it.
    ///
    /// Who waits in a higher class is next; a newcomer of a higher class takes the place in a full queue of the lowest there; and
    /// where there is no queue, lower classes are shed first by as much as is [reserved](Self::reserve_percent) for the higher.
    ///
    /// ```
    /// use backpressure_core::Class;
    /// use backpressure_load_shed::LoadShedLayer;
    ///
    /// let layer = LoadShedLayer::new(100).queue(50).reserve_percent(Class::Critical, 10).class(|head| match head.uri.path() {
    ///     "/checkout" => Class::Critical,
    ///     "/suggestions" => Class::Sheddable,
    ///     _ => Class::Default,
    /// });
    /// # let _ = layer;
    /// ```
    pub fn class<F: Fn(Head<'_>) -> Class + Clone>(self, class: F) -> LoadShedLayer<A, H, Readers<P, FromHead<F>, U, W, K>> {
        self.classing(from_head(class))
    }

    /// As [`class`](Self::class), for requests of any type.
    pub fn class_of<Req, F: Fn(&Req) -> Class + Clone>(
        self,
        class: F,
    ) -> LoadShedLayer<A, H, Readers<P, FromRequest<F>, U, W, K>> {
        self.classing(from_request(class))
    }

    /// Says how long a request holds its place: [`Until::BodyEnd`] without it.
    ///
    /// For responses that stream for hours and cost next to nothing while they do (server-sent events), and for calls whose
    /// client sends a stream and opens a second call meanwhile, which with a place for each would wait for itself.
    pub fn hold<F: Fn(Head<'_>) -> Until + Clone>(self, until: F) -> LoadShedLayer<A, H, Readers<P, C, FromHead<F>, W, K>> {
        self.reading(|Readers { passes, class, weight, clients, .. }| Readers {
            passes,
            class,
            until: from_head(until),
            weight,
            clients,
        })
    }

    /// Says what a request weighs while it waits, for [`max_weight`](Self::max_weight): 0 without it. It is asked once.
    ///
    /// ```
    /// use backpressure_core::Overflow;
    /// use backpressure_load_shed::OverflowBufferLayer;
    /// use http::header::CONTENT_LENGTH;
    ///
    /// // At most 1 000 requests and 64 MiB of announced bodies; one that announces nothing counts as 1 MiB.
    /// let uploads = OverflowBufferLayer::buffer(8, 1_000, Overflow::DropNewest).max_weight(64 << 20).weight(|head| {
    ///     let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    ///     length.unwrap_or(1 << 20)
    /// });
    /// # let _ = uploads;
    /// ```
    pub fn weight<F: Fn(Head<'_>) -> u64 + Clone>(self, weight: F) -> LoadShedLayer<A, H, Readers<P, C, U, FromHead<F>, K>> {
        self.weighing(from_head(weight))
    }

    /// As [`weight`](Self::weight), for requests of any type.
    pub fn weight_of<Req, F: Fn(&Req) -> u64 + Clone>(
        self,
        weight: F,
    ) -> LoadShedLayer<A, H, Readers<P, C, U, FromRequest<F>, K>> {
        self.weighing(from_request(weight))
    }

    /// Bounds how many requests of one client are in progress or waiting; what is more is refused with 429. The bound of all stays.
    ///
    /// Requests without a key share one bound: see [`missing`](Self::missing). At most
    /// [`DEFAULT_MAX_KEYS`](backpressure_limiter::KeyedLimiter::DEFAULT_MAX_KEYS) clients are counted at once; one for whom there
    /// is no room is bounded by the places of all only.
    ///
    /// # Panics
    ///
    /// If `max_in_flight` is 0.
    pub fn per_client<L: KeyType<Key: Hash>>(
        self,
        key: L,
        max_in_flight: u32,
    ) -> LoadShedLayer<A, H, Readers<P, C, U, W, PerClient<L>>> {
        self.reading(|Readers { passes, class, until, weight, .. }| Readers {
            passes,
            class,
            until,
            weight,
            clients: PerClient::new(key, max_in_flight),
        })
    }

    fn weighing<V>(self, weight: V) -> LoadShedLayer<A, H, Readers<P, C, U, V, K>> {
        self.reading(|Readers { passes, class, until, clients, .. }| Readers { passes, class, until, weight, clients })
    }

    fn skipping<Q>(self, other: Q) -> LoadShedLayer<A, H, Readers<Either<P, Q>, C, U, W, K>> {
        self.reading(|Readers { passes: one, class, until, weight, clients }| Readers {
            passes: Either { one, other },
            class,
            until,
            weight,
            clients,
        })
    }

    fn classing<D>(self, class: D) -> LoadShedLayer<A, H, Readers<P, D, U, W, K>> {
        self.reading(|Readers { passes, until, weight, clients, .. }| Readers { passes, class, until, weight, clients })
    }
}

impl<A, H, P, C, U, W, L: KeyType<Key: Hash>> LoadShedLayer<A, H, Readers<P, C, U, W, PerClient<L>>> {
    /// Sets what happens to requests that have no key. Without it they share one bound.
    pub fn missing(self, missing: MissingKey) -> Self {
        self.reading(|readers| Readers { clients: readers.clients.missing(missing), ..readers })
    }
}

/// What an answer says about the load.
impl<A, J, R> LoadShedLayer<A, UntilBodyEnd<J>, R> {
    /// Judges by the head of a response what it says about the load, for a limit that [adapts](Self::adaptive).
    pub fn judged<F: Fn(ResponseHead<'_>) -> Ending + Clone>(
        self,
        judge: F,
    ) -> LoadShedLayer<A, UntilBodyEnd<ByResponseHead<F>>, R> {
        self.holding(UntilBodyEnd { judge: ByResponseHead(judge) })
    }
}

/// What an answer says about the load.
impl<A, J, R> LoadShedLayer<A, UntilResponse<J>, R> {
    /// Judges what an answer says about the load, for a limit that [adapts](Self::adaptive).
    pub fn judged_by<Res, Err, F: Fn(Result<&Res, &Err>) -> Ending + Clone>(
        self,
        judge: F,
    ) -> LoadShedLayer<A, UntilResponse<ByAnswer<F>>, R> {
        self.holding(UntilResponse { judge: ByAnswer(judge) })
    }
}

impl<S, A: Clone, H: Clone, R: Clone> Layer<S> for LoadShedLayer<A, H, R> {
    type Service = LoadShed<S, A, H, R>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShed::new(inner, Arc::clone(&self.shared), self.answer.clone(), self.hold.clone(), self.readers.clone())
    }
}

#[expect(clippy::panic, reason = "a misconfiguration fails at construction")]
#[track_caller]
pub(crate) fn misconfigured(error: &ConfigError) -> ! {
    panic!("{error}")
}
