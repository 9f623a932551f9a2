//! What a request turns out to cost.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use backpressure_core::Name;
use backpressure_limiter::{Ledger, Slot, Taken};
use http::Extensions;
use http_body::Body;

use crate::metered::Metered;
use crate::shared::Shared;

/// A handle on what a request costs, for whoever knows better than the limit did: a handler that has counted rows, a body that
/// counts bytes or tokens as it is sent.
///
/// It is in the extensions of each request that a [`charged`](crate::RateLimitLayer::charged) limit admits. What the request
/// took when it was admitted is an advance. What is [added](Self::add) beyond it is taken at once, whether it fits or not: a
/// bucket goes into debt and admits nobody until that is paid. What is left of the advance is given back when the last clone
/// drops: at the end of the request, or of the body that kept one. A charge that nobody touches leaves the request at its
/// advance.
///
/// ```
/// use backpressure_core::{Rate, TokenBucket};
/// use backpressure_rate_limit::{Charge, RateLimitLayer};
/// # use http::{Request, Response};
/// # use tower::{Layer, ServiceExt, service_fn};
///
/// // 1 000 rows an hour. A query takes one and pays for what it finds.
/// let rows = RateLimitLayer::new(TokenBucket::new(Rate::per_hour(1_000))).charged();
/// let limiter = rows.limiter();
///
/// let query = service_fn(async |request: Request<u64>| {
///     Charge::of(request.extensions()).set(*request.body());
///     Ok::<_, std::convert::Infallible>(Response::new(()))
/// });
/// let service = rows.layer(query);
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// service.clone().oneshot(Request::new(400)).await?;
/// assert_eq!(limiter.peek().remaining, 600);
/// // Nothing found, or found in the cache: free.
/// service.clone().oneshot(Request::new(0)).await?;
/// assert_eq!(limiter.peek().remaining, 600);
/// // In debt: nobody is admitted until it is paid.
/// service.clone().oneshot(Request::new(900)).await?;
/// assert_eq!(service.oneshot(Request::new(1)).await?.status(), 429);
/// # Ok::<_, std::convert::Infallible>(())
/// # }).unwrap();
/// ```
///
/// Where only failures count, as for passwords, give back what succeeds: `charge.give_back()`.
#[derive(Clone, Default)]
pub struct Charge(Option<Arc<Open>>);

/// A request whose cost is not settled.
struct Open {
    account: Box<dyn Account>,
    /// That of a charged limit outside.
    outer: Charge,
}

/// A state that can be charged, of whatever type.
trait Account: Send + Sync {
    fn policy(&self) -> &Name;
    /// Sets the cost to what this makes of the cost so far.
    fn change(&self, change: &dyn Fn(u64) -> u64);
    fn cost(&self) -> u64;
}

impl Charge {
    /// Returns the charge of this request: that of the innermost charged limit it has passed. Where there is none, because none
    /// concerns the request, returns one that charges nobody.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    pub(crate) fn open<B>(shared: &Arc<Shared<B>>, (slot, taken): (Slot, Taken<B::Algorithm>), outer: Self) -> Self
    where
        B: Ledger + Send + Sync + 'static,
        Taken<B::Algorithm>: Send + Sync,
    {
        let tally = Mutex::new(Tally { actual: None, charged: taken.cost });
        let account = OpenTaking { shared: Arc::clone(shared), slot, taken, tally };
        Self(Some(Arc::new(Open { account: Box::new(account), outer })))
    }

    /// Returns the charge for the limit of this name, where a request has passed several charged ones.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<Self> {
        let open = self.0.as_ref()?;
        if **open.account.policy() == *name { Some(self.clone()) } else { open.outer.policy(name) }
    }

    /// Counts `units` that the request has cost: they use up the advance, and beyond it are taken at once.
    pub fn add(&self, units: u64) {
        self.change(&|cost| cost.saturating_add(units));
    }

    /// Sets what the request has cost in all. What was taken beyond the advance is not given back where this is less.
    pub fn set(&self, units: u64) {
        self.change(&|_| units);
    }

    /// Makes the request cost nothing: the advance is given back when the last clone drops.
    pub fn give_back(&self) {
        self.set(0);
    }

    /// Returns what the request has cost so far: its advance as long as nobody has said otherwise.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.0.as_ref().map_or(0, |open| open.account.cost())
    }

    /// Adds the bytes of a body as they are sent, and settles when it ends or is dropped. An empty one costs nothing.
    pub fn metered<B: Body>(self, body: B) -> Metered<B> {
        self.add(0);
        Metered::new(self, body)
    }

    fn change(&self, change: &dyn Fn(u64) -> u64) {
        if let Some(open) = &self.0 {
            open.account.change(change);
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("policy", &self.0.as_ref().map(|open| open.account.policy()))
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}

/// What was taken when the request was admitted, and what has become of it. Settles on drop.
struct OpenTaking<B: Ledger> {
    shared: Arc<Shared<B>>,
    slot: Slot,
    /// The advance.
    taken: Taken<B::Algorithm>,
    tally: Mutex<Tally>,
}

struct Tally {
    /// What the request has cost, as far as somebody has said so.
    actual: Option<u64>,
    /// What was taken, the advance included: never less than it, nor than `actual`.
    charged: u64,
}

impl<B> Account for OpenTaking<B>
where
    B: Ledger + Send + Sync,
    Taken<B::Algorithm>: Send + Sync,
{
    fn policy(&self) -> &Name {
        self.shared.ledger.name()
    }

    fn change(&self, change: &dyn Fn(u64) -> u64) {
        // Nothing panics under this lock; a poisoned one guards a whole tally.
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let actual = change(tally.actual.unwrap_or(0));
        tally.actual = Some(actual);
        if let Some(more) = actual.checked_sub(tally.charged).filter(|more| *more > 0) {
            tally.charged = actual;
            self.shared.ledger.charge(self.slot, more);
        }
    }

    fn cost(&self) -> u64 {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).actual.unwrap_or(self.taken.cost)
    }
}

impl<B: Ledger> Drop for OpenTaking<B> {
    fn drop(&mut self) {
        let actual = self.tally.get_mut().unwrap_or_else(PoisonError::into_inner).actual;
        if let Some(left) = actual.and_then(|actual| self.taken.cost.checked_sub(actual)).filter(|left| *left > 0) {
            self.shared.ledger.give_back(self.slot, &Taken::<B::Algorithm> { cost: left, ..self.taken });
        }
    }
}
