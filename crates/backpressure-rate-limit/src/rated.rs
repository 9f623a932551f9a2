//! A limit by rate, as a layer asks it.

use std::fmt;
use std::sync::Arc;

use backpressure_core::{Admission, Limit, Rejection};
use backpressure_http::key::{Global, Key, KeyType};
use backpressure_http::{Constant, Read};
use backpressure_limiter::{KeyedLimiter, Ledger, Limiter, Monotonic};

use crate::shared::Shared;
use crate::taking::Taking;
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
        = Taking<&'a Arc<Shared<B>>, B>
    where
        Self: 'a;
    type Turn = Taking<Arc<Shared<B>>, B>;
    type Wait = Waiting<B>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Waiting<B>> {
        let shared = &*self.shared;
        shared.notices.meeting(shared.ledger.name(), shared.ledger.state());
        let key = self.key.key(request);
        if key.is_none() {
            shared.notices.without_key(shared.ledger.name(), shared.missing);
        }
        let slot = match shared.slot(key) {
            Ok(slot) => slot,
            Err(missing) => {
                let refused = shared.refuse_without_key(missing);
                return refused.map_or_else(|| Admission::Admitted(Taking::nothing(&self.shared)), Admission::Rejected);
            }
        };
        shared.notices.key(shared.ledger.name(), slot);
        let cost = self.cost.read(request);
        // Who comes while others wait goes behind them, except who takes nothing.
        if cost > 0 && shared.lines.is_waited_for(slot) {
            return Admission::Wait(Waiting::new(&self.shared, slot, cost));
        }
        match shared.ledger.admit(slot, shared.ledger.now(), cost) {
            Ok(taken) => Admission::Admitted(Taking::new(&self.shared, slot, taken)),
            Err(rejection) if shared.may_wait(&rejection) => Admission::Wait(Waiting::new(&self.shared, slot, cost)),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn refusal(&self, request: &Req) -> Option<Rejection> {
        let shared = &*self.shared;
        let slot = match shared.slot(self.key.key(request)) {
            Ok(slot) => slot,
            Err(missing) => return shared.refuse_without_key(missing),
        };
        let decided = shared.ledger.check(slot, shared.ledger.now(), self.cost.read(request));
        decided.err().filter(|rejection| !shared.may_wait(rejection))
    }
}

impl<B: fmt::Debug, K, N> fmt::Debug for Rated<B, K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rated").field("shared", &self.shared).finish_non_exhaustive()
    }
}
