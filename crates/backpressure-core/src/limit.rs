//! The seam of admission: what a layer asks before it calls the service.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::{Rejection, Standing};

/// Decides whether a request may go on: now, later, or not.
///
/// The one thing that a layer needs to know about a limit. A local limit answers at once and lends a permit that borrows from
/// it; only a request that has to wait owns anything.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot limit a `{Req}`",
    label = "this limit reads its key or its cost from another type of request",
    note = "`.keyed(key::extension(..))`, `key::header`, `key::from_head`, `.cost` and `.skip` read an `http::Request<B>`",
    note = "for any other request use `.keyed(key::from_request(|request: &MyRequest| ..))`, `.cost_of(..)` and `.skip_where(..)`"
)]
pub trait Limit<Req> {
    /// What a request holds between its admission and the call.
    type Permit<'a>: Permit<Req, Held = Self::Turn>
    where
        Self: 'a;

    /// What a request holds that had to wait, for this limit or for another one.
    type Turn: Permit<Req>;

    /// The wait of a request. Dropping it leaves without a trace.
    type Wait: Future<Output = Result<Self::Turn, Rejection>>;

    /// Decides about `request`, and takes from the limit what it costs if it may go on now.
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait>;

    /// Returns how [`admit`](Self::admit) would refuse `request` now, and takes nothing. `None` where the request would go on,
    /// now or after a wait.
    ///
    /// A stack that one member has refused asks the others, so that its answer is the longest of their waits.
    fn refusal(&self, request: &Req) -> Option<Rejection>;
}

/// The answer of a [`Limit`].
#[derive(Debug)]
pub enum Admission<P, W> {
    /// The request may go on.
    Admitted(P),
    /// The request is refused; nothing was taken.
    Rejected(Rejection),
    /// The request may go on when this future says so; nothing was taken yet.
    Wait(W),
}

/// What an admitted request has taken from its limit.
///
/// Dropped unsettled it gives back: a request that does not reach the service costs nothing.
#[must_use = "a permit that is dropped unsettled gives back what it took"]
pub trait Permit<Req> {
    /// The same, borrowing nothing: for a request that has to wait for something else.
    type Held;

    /// Returns what is left after this request, computed on demand. `None` where nothing is counted.
    fn standing(&self) -> Option<Standing>;

    /// Returns which state was taken from, so that a layer can notice that one request meets it twice. `None`, the default, where
    /// nothing is counted or that is not to be noticed.
    fn state(&self) -> Option<StateId> {
        None
    }

    /// Makes the taking final: the request is about to be called. A limit that is told the true cost later leaves with the
    /// request what it is to be told with.
    fn settle(self, request: &mut Req);

    /// Holds on to what was taken for longer than the borrow lasts.
    fn hold(self) -> Self::Held;
}

/// A request that a limit does not concern holds nothing.
impl<Req, P: Permit<Req>> Permit<Req> for Option<P> {
    type Held = Option<P::Held>;

    fn standing(&self) -> Option<Standing> {
        self.as_ref()?.standing()
    }

    #[inline]
    fn state(&self) -> Option<StateId> {
        self.as_ref()?.state()
    }

    #[inline]
    fn settle(self, request: &mut Req) {
        if let Some(permit) = self {
            permit.settle(request);
        }
    }

    fn hold(self) -> Self::Held {
        self.map(P::hold)
    }
}

/// Which state a limit spends: equal for all handles that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateId(NonZeroUsize);

impl StateId {
    /// Returns the identity of this state while it lives.
    #[must_use]
    pub fn of<T>(state: &Arc<T>) -> Self {
        // An `Arc` is never null: the other value is never taken.
        Self(NonZeroUsize::new(Arc::as_ptr(state).addr()).unwrap_or(NonZeroUsize::MAX))
    }

    /// Returns the identity as a number.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0.get()
    }
}
