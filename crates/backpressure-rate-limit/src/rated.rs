//! A limit by rate, as a layer asks it.

use std::fmt;
use std::sync::Arc;

use backpressure_core::{Admission, Limit, Permit, Reason, Rejection, Standing};
use backpressure_http::key::{Global, Key, KeyType};
use backpressure_http::{Constant, MissingKey, Read};
use backpressure_limiter::{KeyedLimiter, Ledger, Limiter, Monotonic, Slot, Taken};

use crate::shared::Shared;
use crate::waiting::Waiting;

/// A limit by rate: whose state, at which cost, in which ledger.
///
/// Clones share one state. [`Single`] and [`Keyed`] are its two forms.
#[derive(Clone)]
pub struct Rated<B, K = Global, N = Constant<u64>> {
    pub(crate) shared: Arc<Shared<B>>,
    pub(crate) key: K,
    pub(crate) cost: N,
}

/// One limit for all requests.
pub type Single<A, N = Constant<u64>, C = Monotonic> = Rated<Limiter<A, C>, Global, N>;

/// One limit for each key.
pub type Keyed<K, A, N = Constant<u64>, C = Monotonic> = Rated<KeyedLimiter<<K as KeyType>::Key, A, C>, K, N>;

impl<Req, B, K, N> Limit<Req> for Rated<B, K, N>
where
    B: Ledger,
    K: Key<Req> + KeyType<Key = B::Key>,
    N: Read<Req, u64>,
{
    type Permit<'a>
        = Option<Taking<&'a Shared<B>, B>>
    where
        Self: 'a;
    type Turn = Taking<Arc<Shared<B>>, B>;
    type Wait = Waiting<B>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Waiting<B>> {
        let shared = &*self.shared;
        let slot = match self.key.key(request) {
            Some(key) => shared.ledger.slot(&key),
            None => match shared.missing_key() {
                MissingKey::Skip => return Admission::Admitted(None),
                MissingKey::Refuse => {
                    return Admission::Rejected(Rejection::new(Reason::MissingKey, shared.ledger.name().clone()));
                }
                _ => Slot::KEYLESS,
            },
        };
        let cost = self.cost.read(request);
        // Who comes while others wait goes behind them, except who takes nothing.
        if cost > 0 && shared.lines.is_waited_for(slot) {
            return Admission::Wait(Waiting::new(&self.shared, slot, cost));
        }
        match shared.ledger.admit(slot, shared.ledger.now(), cost) {
            Ok(taken) => Admission::Admitted(Some(Taking::new(shared, slot, taken))),
            Err(rejection) if shared.may_wait(&rejection) => Admission::Wait(Waiting::new(&self.shared, slot, cost)),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }
}

impl<B: fmt::Debug, K, N> fmt::Debug for Rated<B, K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rated").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// What a request has taken. Dropped unsettled it gives back.
///
/// `H` is how it holds on to the limit: borrowed where the request went on at once, shared where it waited.
pub struct Taking<H: std::ops::Deref<Target = Shared<B>>, B: Ledger> {
    from: H,
    slot: Slot,
    /// Taken out when it is settled.
    taken: Option<Taken<B::Algorithm>>,
}

impl<H: std::ops::Deref<Target = Shared<B>>, B: Ledger> Taking<H, B> {
    #[inline]
    pub(crate) const fn new(from: H, slot: Slot, taken: Taken<B::Algorithm>) -> Self {
        Self { from, slot, taken: Some(taken) }
    }
}

impl<H: std::ops::Deref<Target = Shared<B>>, B: Ledger> Permit for Taking<H, B> {
    fn standing(&self) -> Option<Standing> {
        self.taken.as_ref().map(|taken| self.from.ledger.standing(taken.level))
    }

    #[inline]
    fn settle(mut self) {
        self.taken = None;
    }
}

impl<H: std::ops::Deref<Target = Shared<B>>, B: Ledger> Drop for Taking<H, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            self.from.ledger.give_back(self.slot, taken);
        }
    }
}

impl<H: std::ops::Deref<Target = Shared<B>>, B: Ledger> fmt::Debug for Taking<H, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").field("slot", &self.slot).finish_non_exhaustive()
    }
}
