//! The seam of admission: what a layer asks before it calls the service.

use std::future::Future;

use crate::{Rejection, Standing};

/// Decides whether a request may go on: now, later, or not.
///
/// The one thing that a layer needs to know about a limit. A local limit answers at once and lends a permit that borrows from
/// it; only a request that
/// has to wait owns anything.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot limit a `{Req}`",
    label = "this limit reads its key or its cost from another type of request",
    note = "`.keyed(key::extension(..))`, `key::header`, `key::from_head`, `.cost` and `.skip` read an `http::Request<B>`",
    note = "for any other request use `.keyed(key::from_request(|request: &MyRequest| ..))`, `.cost_of(..)` and `.skip_where(..)`"
)]
pub trait Limit<Req> {
    /// What a request holds between its admission and the call.
    type Permit<'a>: Permit
    where
        Self: 'a;

    /// What a request holds that had to wait.
    type Turn: Permit;

    /// The wait of a request. Dropping it leaves without a trace.
    type Wait: Future<Output = Result<Self::Turn, Rejection>>;

    /// Decides about `request`, and takes from the limit what it costs if it may go on now.
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait>;
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
pub trait Permit {
    /// Returns what is left after this request, computed on demand. `None` where nothing is counted.
    fn standing(&self) -> Option<Standing>;

    /// Makes the taking final: the request is about to be called.
    fn settle(self);
}

/// A request that a limit does not concern holds nothing.
impl<P: Permit> Permit for Option<P> {
    fn standing(&self) -> Option<Standing> {
        self.as_ref()?.standing()
    }

    fn settle(self) {
        if let Some(permit) = self {
            permit.settle();
        }
    }
}
