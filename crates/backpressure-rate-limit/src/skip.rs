//! Requests that a limit does not concern.

use std::fmt;

use backpressure_core::{Admission, Limit, Rejection};
use backpressure_http::Read;

use crate::wait_into::WaitInto;

/// A limit that lets some requests pass uncounted: health checks, CORS preflights.
#[derive(Clone, Copy)]
pub struct Skip<L, P> {
    pub(crate) limit: L,
    pub(crate) passes: P,
}

impl<Req, L: Limit<Req>, P: Read<Req, bool>> Limit<Req> for Skip<L, P> {
    type Permit<'a>
        = Option<L::Permit<'a>>
    where
        Self: 'a;
    type Turn = Option<L::Turn>;
    type Wait = WaitInto<L::Wait, Self::Turn>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait> {
        if self.passes.read(request) {
            return Admission::Admitted(None);
        }
        match self.limit.admit(request) {
            Admission::Admitted(permit) => Admission::Admitted(Some(permit)),
            Admission::Rejected(rejection) => Admission::Rejected(rejection),
            Admission::Wait(wait) => Admission::Wait(WaitInto::new(wait)),
        }
    }

    fn refusal(&self, request: &Req) -> Option<Rejection> {
        if self.passes.read(request) { None } else { self.limit.refusal(request) }
    }
}

impl<L: fmt::Debug, P> fmt::Debug for Skip<L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Skip").field("limit", &self.limit).finish_non_exhaustive()
    }
}
