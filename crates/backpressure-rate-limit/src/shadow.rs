//! A limit that is tried out before it is enforced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use backpressure_core::{Admission, Limit, Rejection};

use crate::wait_into::WaitInto;

/// A limit that decides and reports, and enforces as much of it as it is told: nothing at first; made by
/// [`RateLimitLayer::shadow`](crate::RateLimitLayer::shadow).
///
/// What it would refuse or let wait goes on at once and takes nothing, so that the limit decides as if it had been refused.
#[derive(Clone)]
pub struct Shadow<L> {
    limit: L,
    handle: ShadowHandle,
}

/// What a [`Shadow`] has seen, and how much of it is enforced; for all clones.
#[derive(Clone)]
pub struct ShadowHandle {
    shared: Arc<Shared>,
    report: Report,
}

type Report = Option<Arc<dyn Fn(&Rejection) + Send + Sync>>;

#[derive(Default)]
struct Shared {
    /// Of each hundred decisions against a request.
    enforced_percent: AtomicU32,
    decided: AtomicU64,
    enforced: AtomicU64,
}

impl<L> Shadow<L> {
    pub(crate) fn new(limit: L) -> Self {
        Self { limit, handle: ShadowHandle { shared: Arc::default(), report: None } }
    }

    pub(crate) fn report(mut self, report: impl Fn(&Rejection) + Send + Sync + 'static) -> Self {
        self.handle.report = Some(Arc::new(report));
        self
    }

    pub(crate) const fn handle(&self) -> &ShadowHandle {
        &self.handle
    }
}

// Relaxed throughout: counts, and a setting that takes effect when it is seen.
impl ShadowHandle {
    /// Enforces so many percent of the decisions against a request, spread evenly: of any hundred in a row exactly so many.
    /// More than 100 is 100.
    pub fn enforce_percent(&self, percent: u32) {
        self.shared.enforced_percent.store(percent.min(100), Ordering::Relaxed);
    }

    /// Returns how many percent are enforced.
    #[must_use]
    pub fn enforced_percent(&self) -> u32 {
        self.shared.enforced_percent.load(Ordering::Relaxed)
    }

    /// Returns how many requests the limit has decided to refuse or to let wait.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.shared.decided.load(Ordering::Relaxed)
    }

    /// Returns for how many of them that was enforced.
    #[must_use]
    pub fn enforced(&self) -> u64 {
        self.shared.enforced.load(Ordering::Relaxed)
    }

    /// Counts and reports a decision against a request, and returns whether to enforce it.
    #[cold]
    fn decide(&self, rejection: Option<&Rejection>) -> bool {
        if let (Some(report), Some(rejection)) = (&self.report, rejection) {
            report(rejection);
        }
        let before = self.shared.decided.fetch_add(1, Ordering::Relaxed);
        let enforced = is_among(self.enforced_percent(), before % 100);
        if enforced {
            self.shared.enforced.fetch_add(1, Ordering::Relaxed);
        }
        enforced
    }
}

/// Whether the `index`th of a hundred is one of the `percent` that are spread evenly over them.
fn is_among(percent: u32, index: u64) -> bool {
    let until = |index: u64| index * u64::from(percent) / 100;
    until(index + 1) > until(index)
}

impl<Req, L: Limit<Req>> Limit<Req> for Shadow<L> {
    type Permit<'a>
        = Option<L::Permit<'a>>
    where
        Self: 'a;
    type Turn = Option<L::Turn>;
    type Wait = WaitInto<L::Wait, Self::Turn>;

    #[inline]
    fn admit(&self, request: &Req) -> Admission<Self::Permit<'_>, Self::Wait> {
        match self.limit.admit(request) {
            Admission::Admitted(permit) => Admission::Admitted(Some(permit)),
            Admission::Rejected(rejection) if self.handle.decide(Some(&rejection)) => Admission::Rejected(rejection),
            Admission::Wait(wait) if self.handle.decide(None) => Admission::Wait(WaitInto::new(wait)),
            Admission::Rejected(_) | Admission::Wait(_) => Admission::Admitted(None),
        }
    }

    /// A shadow that enforces everything refuses as its limit does; below that nobody can say.
    fn refusal(&self, request: &Req) -> Option<Rejection> {
        if self.handle.enforced_percent() == 100 { self.limit.refusal(request) } else { None }
    }
}

impl<L: fmt::Debug> fmt::Debug for Shadow<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("limit", &self.limit).field("handle", &self.handle).finish()
    }
}

impl fmt::Debug for ShadowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowHandle")
            .field("enforced_percent", &self.enforced_percent())
            .field("decided", &self.decided())
            .field("enforced", &self.enforced())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_any_hundred_exactly_as_many_are_enforced_as_are_asked_for_and_they_are_spread() {
        for percent in 0..=100 {
            let enforced: Vec<_> = (0..300).map(|index| is_among(percent, index % 100)).collect();
            for hundred in enforced.windows(100) {
                assert_eq!(hundred.iter().filter(|enforced| **enforced).count(), percent as usize);
            }
        }
        let tenths: Vec<_> = (0..100).filter(|index| is_among(10, *index)).collect();
        assert_eq!(tenths, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]);
    }
}
