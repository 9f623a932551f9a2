//! A limit that is told the true cost of a request later.

use std::borrow::Borrow;
use std::fmt;
use std::mem;
use std::sync::Arc;

use backpressure_core::{Admission, Limit, Permit, Rejection, Standing, StateId};
use backpressure_http::Read;
use backpressure_http::key::{Key, KeyType};
use backpressure_limiter::{Ledger, Taken};

use crate::charge::Charge;
use crate::rated::Rated;
use crate::shared::Shared;
use crate::taking::Taking;
use crate::wait_into::WaitInto;
use crate::waiting::Waiting;

/// A limit by rate that leaves a [`Charge`] with each request that it admits; made by
/// [`RateLimitLayer::charged`](crate::RateLimitLayer::charged).
#[derive(Clone, Copy, Debug)]
pub struct Charged<L> {
    pub(crate) limit: L,
}

/// A request that has room for a [`Charge`].
///
/// HTTP requests have it in their extensions. Implement it for a request of your own to charge it.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` has no room for a `Charge`",
    label = "`.charged()` leaves a `Charge` with each request",
    note = "an `http::Request<B>` carries it in its extensions; implement `Carry` for a request of your own"
)]
pub trait Carry {
    /// Returns the charge of the request, [`Charge::default`] at first.
    fn charge_mut(&mut self) -> &mut Charge;
}

impl<B> Carry for http::Request<B> {
    fn charge_mut(&mut self) -> &mut Charge {
        self.extensions_mut().get_or_insert_default()
    }
}

impl<Req, B, K, N> Limit<Req> for Charged<Rated<B, K, N>>
where
    Req: Carry,
    B: Ledger + Send + Sync + 'static,
    Taken<B::Algorithm>: Send + Sync,
    K: Key<Req> + KeyType<Key = B::Key>,
    N: Read<Req, u64>,
{
    type Permit<'a>
        = Advance<&'a Arc<Shared<B>>, B>
    where
        Self: 'a;
    type Turn = Advance<Arc<Shared<B>>, B>;
    type Wait = WaitInto<Waiting<B>, Self::Turn>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait> {
        match self.limit.admit(request) {
            Admission::Admitted(taking) => Admission::Admitted(taking.into()),
            Admission::Rejected(rejection) => Admission::Rejected(rejection),
            Admission::Wait(wait) => Admission::Wait(WaitInto::new(wait)),
        }
    }

    fn refusal(&self, request: &Req) -> Option<Rejection> {
        self.limit.refusal(request)
    }
}

/// What a request has taken in advance. Dropped unsettled it gives back; settled it becomes a [`Charge`].
pub struct Advance<H: Borrow<Arc<Shared<B>>>, B: Ledger>(Taking<H, B>);

impl<H: Borrow<Arc<Shared<B>>>, B: Ledger> From<Taking<H, B>> for Advance<H, B> {
    fn from(taking: Taking<H, B>) -> Self {
        Self(taking)
    }
}

impl<Req, H, B> Permit<Req> for Advance<H, B>
where
    Req: Carry,
    H: Borrow<Arc<Shared<B>>>,
    B: Ledger + Send + Sync + 'static,
    Taken<B::Algorithm>: Send + Sync,
{
    type Held = Advance<Arc<Shared<B>>, B>;

    fn standing(&self) -> Option<Standing> {
        Permit::<Req>::standing(&self.0)
    }

    fn state(&self) -> Option<StateId> {
        Permit::<Req>::state(&self.0)
    }

    fn settle(mut self, request: &mut Req) {
        // A request that is not counted has one too, that of nobody: handlers need not ask.
        let charge = request.charge_mut();
        if let Some(taken) = self.0.open() {
            *charge = Charge::open(self.0.shared(), taken, mem::take(charge));
        }
    }

    fn hold(self) -> Self::Held {
        Permit::<Req>::hold(self.0).into()
    }
}

impl<H: Borrow<Arc<Shared<B>>>, B: Ledger> fmt::Debug for Advance<H, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Advance").field(&self.0).finish()
    }
}
