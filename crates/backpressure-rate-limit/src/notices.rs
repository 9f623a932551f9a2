//! What a limit notices about how it is used.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use backpressure_core::{Name, StateId};
use backpressure_http::MissingKey;
use backpressure_limiter::Slot;

use crate::passing;

/// How often a limit has seen what looks like a mistake of deployment; all 0 where nothing does.
///
/// The first of each kind is also a warning, with the feature `tracing`; the further ones are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warnings {
    /// Requests that had no key: the extension or the header is not there. Under axum serve with
    /// `into_make_service_with_connect_info`.
    pub without_key: u64,
    /// Requests since the start, where there are at least 10 000 and all had the same key; 0 from the second key on. Behind a
    /// proxy every request has the proxy's address: key by `key::client_ip`.
    pub with_one_key: u64,
    /// Requests that met this limit while they were passing it already: the layer is there twice, and each request counts twice.
    /// A handler that calls a service behind the same limit looks the same. Of limits that are put together with `and`, the first
    /// that counts stands for all: where only another of them is met again further inside, that is not noticed.
    pub met_twice: u64,
}

/// The counters behind [`Warnings`].
#[derive(Default)]
pub(crate) struct Notices {
    without_key: AtomicU64,
    met_twice: AtomicU64,
    only_key: OnceLock<Slot>,
    with_only_key: AtomicU64,
    keys_differ: AtomicBool,
}

// Relaxed throughout: each is a count or a flag of its own, and whoever sees the count before the first is the first.
impl Notices {
    #[cold]
    pub(crate) fn without_key(&self, policy: &Name, missing: MissingKey) {
        if self.without_key.fetch_add(1, Ordering::Relaxed) == 0 {
            warn(format_args!(
                "policy {policy:?}: a request has no key to limit it by ({missing:?}); is the extension or header there? (axum: \
                 serve with into_make_service_with_connect_info)"
            ));
        }
    }

    /// Looks whether all requests have one key, until it is known that they have not.
    #[inline]
    pub(crate) fn key(&self, policy: &Name, slot: Slot) {
        if slot != Slot::KEYLESS && !self.keys_differ.load(Ordering::Relaxed) {
            self.compare(policy, slot);
        }
    }

    #[cold]
    fn compare(&self, policy: &Name, slot: Slot) {
        if *self.only_key.get_or_init(|| slot) != slot {
            self.keys_differ.store(true, Ordering::Relaxed);
        } else if self.with_only_key.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
            warn(format_args!(
                "policy {policy:?}: all of the first {MANY} requests have the same key; behind a proxy all have the proxy's \
                 address (use key::client_ip)"
            ));
        }
    }

    /// Looks whether the request that is being asked about is passing this limit already.
    #[inline]
    pub(crate) fn meeting(&self, policy: &Name, state: StateId) {
        if passing::is_inside(state) {
            self.met_again(policy);
        }
    }

    #[cold]
    fn met_again(&self, policy: &Name) {
        if self.met_twice.fetch_add(1, Ordering::Relaxed) == 0 {
            warn(format_args!(
                "policy {policy:?}: a request meets the same limit twice and is counted twice; is the layer on the router and on \
                 a route?"
            ));
        }
    }

    pub(crate) fn read(&self) -> Warnings {
        let with_only_key = self.with_only_key.load(Ordering::Relaxed);
        let one_key = with_only_key >= MANY && !self.keys_differ.load(Ordering::Relaxed);
        Warnings {
            without_key: self.without_key.load(Ordering::Relaxed),
            with_one_key: if one_key { with_only_key } else { 0 },
            met_twice: self.met_twice.load(Ordering::Relaxed),
        }
    }
}

#[cfg(feature = "tracing")]
fn warn(message: fmt::Arguments<'_>) {
    tracing::warn!("{message}. Further ones are only counted");
}

#[cfg(not(feature = "tracing"))]
const fn warn(_message: fmt::Arguments<'_>) {}

/// Requests with one and the same key after which that is worth a warning: more than somebody sends who tries it out.
const MANY: u64 = 10_000;
