//! What a request has taken from a limit by rate.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use backpressure_core::{Permit, Standing, StateId};
use backpressure_limiter::{Ledger, Slot, Taken};

use crate::shared::Shared;

/// What a request has taken. Dropped unsettled it gives back.
///
/// `H` is how it holds on to the limit: borrowed where the request goes on at once, owned where it waits.
pub struct Taking<H: Borrow<Arc<Shared<B>>>, B: Ledger> {
    from: H,
    slot: Slot,
    /// Taken out when it is settled or held; not there either where the request is not counted.
    taken: Option<Taken<B::Algorithm>>,
}

impl<H: Borrow<Arc<Shared<B>>>, B: Ledger> Taking<H, B> {
    #[inline]
    pub(crate) const fn new(from: H, slot: Slot, taken: Taken<B::Algorithm>) -> Self {
        Self { from, slot, taken: Some(taken) }
    }

    /// A request that is not counted.
    pub(crate) const fn nothing(from: H) -> Self {
        Self { from, slot: Slot::KEYLESS, taken: None }
    }

    /// Takes out what was taken, to be settled by whoever has it.
    pub(crate) const fn open(&mut self) -> Option<(Slot, Taken<B::Algorithm>)> {
        match self.taken.take() {
            Some(taken) => Some((self.slot, taken)),
            None => None,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<B>> {
        self.from.borrow()
    }
}

impl<Req, H: Borrow<Arc<Shared<B>>>, B: Ledger> Permit<Req> for Taking<H, B> {
    type Held = Taking<Arc<Shared<B>>, B>;

    fn standing(&self) -> Option<Standing> {
        self.taken.as_ref().map(|taken| self.shared().ledger.standing(taken.level))
    }

    #[inline]
    fn state(&self) -> Option<StateId> {
        self.taken.as_ref().map(|_| self.shared().ledger.state())
    }

    #[inline]
    fn settle(mut self, _request: &mut Req) {
        self.taken = None;
    }

    fn hold(mut self) -> Self::Held {
        Taking { from: Arc::clone(self.shared()), slot: self.slot, taken: self.taken.take() }
    }
}

impl<H: Borrow<Arc<Shared<B>>>, B: Ledger> Drop for Taking<H, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            self.shared().ledger.give_back(self.slot, taken);
        }
    }
}

impl<H: Borrow<Arc<Shared<B>>>, B: Ledger> fmt::Debug for Taking<H, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").field("slot", &self.slot).finish_non_exhaustive()
    }
}
