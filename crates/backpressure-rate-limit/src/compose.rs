//! How limits are put together: the methods of a layer that wrap its limit.
//!
//! They come after those that configure the limit itself (`keyed`, `cost`, `queue`, …), and each can be used on what another
//! has made.

use backpressure_core::Rejection;
use backpressure_http::{FromHead, FromRequest, Head, from_head, from_request};
use backpressure_limiter::Ledger;

use crate::and::And;
use crate::charged::Charged;
use crate::layer::RateLimitLayer;
use crate::rated::Rated;
use crate::shadow::{Shadow, ShadowHandle};
use crate::skip::Skip;
use crate::tiers::Tiers;

impl<L, A> RateLimitLayer<L, A> {
    /// Lets requests pass uncounted for which `passes` says so: health checks, CORS preflights.
    ///
    /// Wraps the limit, so it comes after the methods that configure it (`keyed`, `cost`, `queue`, …). Several add up.
    ///
    /// ```
    /// use backpressure_core::{Rate, TokenBucket};
    /// use backpressure_rate_limit::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100)))
    ///     .skip(|head| head.method == http::Method::OPTIONS)
    ///     .skip(|head| head.uri.path() == "/health");
    /// # let _ = layer;
    /// ```
    pub fn skip<F: Fn(Head<'_>) -> bool + Clone>(self, passes: F) -> RateLimitLayer<Skip<L, FromHead<F>>, A> {
        self.wrap(|limit| Skip { limit, passes: from_head(passes) })
    }

    /// As [`skip`](Self::skip), for requests of any type.
    pub fn skip_where<Req, F: Fn(&Req) -> bool + Clone>(self, passes: F) -> RateLimitLayer<Skip<L, FromRequest<F>>, A> {
        self.wrap(|limit| Skip { limit, passes: from_request(passes) })
    }

    /// Admits what both this limit and that of `other` admit; what one of them refuses takes from neither. The answer is that of
    /// this layer.
    ///
    /// Begin with the limit of each client and end with the one that all share: then a client over its own limit does not even
    /// touch the other. Two layers one round the other cannot give back what the inner one refuses; this can.
    ///
    /// ```
    /// use backpressure_core::{Rate, TokenBucket};
    /// use backpressure_http::key;
    /// use backpressure_rate_limit::RateLimitLayer;
    ///
    /// let everybody = RateLimitLayer::new(TokenBucket::new(Rate::per_second(1_000))).named("everybody");
    /// let each = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10))).keyed(key::header("x-api-key")).named("each");
    /// let layer = each.and(everybody);
    /// # let _ = layer;
    /// ```
    pub fn and<M>(self, other: RateLimitLayer<M>) -> RateLimitLayer<And<L, M>, A> {
        self.wrap(|limit| And::new(limit, other.into_limit()))
    }

    /// Chooses one of several limits for each request, by what `class` says of it: its plan, its route, its method. This one is
    /// for the requests whose class has no [`tier`](RateLimitLayer::tier) of its own.
    ///
    /// ```
    /// use backpressure_core::{Rate, TokenBucket};
    /// use backpressure_http::key;
    /// use backpressure_rate_limit::RateLimitLayer;
    ///
    /// #[derive(Clone, PartialEq)]
    /// enum Plan { Free, Pro }
    ///
    /// let each = |name, rate| RateLimitLayer::new(TokenBucket::new(rate)).keyed(key::header("x-api-key")).named(name);
    /// let layer = each("free", Rate::per_second(10))
    ///     // As the layer that authenticates has said; it is outside of this one.
    ///     .tiers(|head| head.extensions.get::<Plan>().cloned().unwrap_or(Plan::Free))
    ///     .tier(Plan::Pro, each("pro", Rate::per_second(1_000)));
    /// # let _ = layer;
    /// ```
    pub fn tiers<T, F: Fn(Head<'_>) -> T + Clone>(self, class: F) -> RateLimitLayer<Tiers<T, L, FromHead<F>>, A> {
        self.wrap(|limit| Tiers::new(from_head(class), limit))
    }

    /// As [`tiers`](Self::tiers), for requests of any type.
    pub fn tiers_of<Req, T, F: Fn(&Req) -> T + Clone>(self, class: F) -> RateLimitLayer<Tiers<T, L, FromRequest<F>>, A> {
        self.wrap(|limit| Tiers::new(from_request(class), limit))
    }

    /// Tries the limit out: it decides about each request as ever and admits them all. [`shadow_handle`] tells how many it would
    /// have refused, and begins to enforce it, for a part of the requests at first.
    ///
    /// ```
    /// use backpressure_core::{Rate, TokenBucket};
    /// use backpressure_rate_limit::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::new(TokenBucket::new(Rate::per_second(100))).shadow().report(|rejection| {
    ///     println!("would have been refused: {rejection}");
    /// });
    /// let shadow = layer.shadow_handle();
    /// // A week later:
    /// println!("{} would have been refused", shadow.decided());
    /// shadow.enforce_percent(5);
    /// ```
    ///
    /// [`shadow_handle`]: RateLimitLayer::shadow_handle
    pub fn shadow(self) -> RateLimitLayer<Shadow<L>, A> {
        self.wrap(Shadow::new)
    }
}

impl<T: PartialEq + Clone, L: Clone, R, A> RateLimitLayer<Tiers<T, L, R>, A> {
    /// Adds the limit of a tier, which has the type of the others; one that is there is replaced. The answer is that of this
    /// layer.
    pub fn tier(self, tier: T, limit: RateLimitLayer<L>) -> Self {
        self.wrap(|tiers| tiers.tier(tier, limit.into_limit()))
    }
}

impl<L, A> RateLimitLayer<Shadow<L>, A> {
    /// Calls `report` with each refusal, enforced or not. A request that would have had to wait is counted without a report.
    pub fn report(self, report: impl Fn(&Rejection) + Send + Sync + 'static) -> Self {
        self.wrap(|shadow| shadow.report(report))
    }

    /// Returns a handle: to see what the limit would have done, and to enforce it.
    #[must_use]
    pub fn shadow_handle(&self) -> ShadowHandle {
        self.limit().handle().clone()
    }
}

impl<B: Ledger, K, N, A> RateLimitLayer<Rated<B, K, N>, A> {
    /// Leaves with each admitted request a [`Charge`](crate::Charge), with which a handler or a body says what it has cost in
    /// the end.
    pub fn charged(self) -> RateLimitLayer<Charged<Rated<B, K, N>>, A> {
        self.wrap(|limit| Charged { limit })
    }
}

impl<B: Ledger + Clone, K, N, A> RateLimitLayer<Charged<Rated<B, K, N>>, A> {
    /// Returns a handle of the limit, as that of an uncharged one.
    #[must_use]
    pub fn limiter(&self) -> B {
        self.limit().limit.shared.ledger.clone()
    }
}
