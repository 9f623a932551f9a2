//! One of several limits for each request.

use std::fmt;
use std::sync::Arc;

use backpressure_core::{Admission, Limit, Rejection};
use backpressure_http::Read;

/// A limit that is one of several, chosen for each request: by plan, route, method; made by
/// [`RateLimitLayer::tiers`](crate::RateLimitLayer::tiers).
///
/// Each tier has its own state and its own name. A request whose tier there is none for has the limit that the others were added
/// to. Tiers are compared one after the other: this is for some plans or routes, not for thousands.
pub struct Tiers<T, L, R> {
    class: R,
    limits: Arc<Limits<T, L>>,
}

struct Limits<T, L> {
    otherwise: L,
    tiers: Vec<(T, L)>,
}

impl<T, L, R> Tiers<T, L, R> {
    pub(crate) fn new(class: R, otherwise: L) -> Self {
        Self { class, limits: Arc::new(Limits { otherwise, tiers: Vec::new() }) }
    }

    /// Adds a tier; one that is there is replaced.
    pub(crate) fn tier(self, tier: T, limit: L) -> Self
    where
        T: PartialEq + Clone,
        L: Clone,
    {
        let mut tiers: Vec<_> = self.limits.tiers.iter().filter(|(other, _)| *other != tier).cloned().collect();
        tiers.push((tier, limit));
        Self { class: self.class, limits: Arc::new(Limits { otherwise: self.limits.otherwise.clone(), tiers }) }
    }

    fn limit<Req>(&self, request: &Req) -> &L
    where
        T: PartialEq,
        R: Read<Req, T>,
    {
        let class = self.class.read(request);
        self.limits.tiers.iter().find(|(tier, _)| *tier == class).map_or(&self.limits.otherwise, |(_, limit)| limit)
    }
}

impl<Req, T: PartialEq, L: Limit<Req>, R: Read<Req, T>> Limit<Req> for Tiers<T, L, R> {
    type Permit<'a>
        = L::Permit<'a>
    where
        Self: 'a;
    type Turn = L::Turn;
    type Wait = L::Wait;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait> {
        self.limit(request).admit(request)
    }

    fn refusal(&self, request: &Req) -> Option<Rejection> {
        self.limit(request).refusal(request)
    }
}

impl<T, L, R: Clone> Clone for Tiers<T, L, R> {
    fn clone(&self) -> Self {
        Self { class: self.class.clone(), limits: Arc::clone(&self.limits) }
    }
}

impl<T: fmt::Debug, L: fmt::Debug, R> fmt::Debug for Tiers<T, L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("otherwise", &self.limits.otherwise)
            .field("tiers", &self.limits.tiers)
            .finish_non_exhaustive()
    }
}
