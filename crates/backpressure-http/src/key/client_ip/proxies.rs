//! The proxies of a deployment, as they are now.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};

use super::Trust;
use super::source::Source;

/// A handle of whom a [`client_ip`](super::client_ip) believes: to change it while requests are served, and to see what was not
/// believed. Clones share both.
///
/// ```
/// use backpressure_http::key::{self, Key, Proxies};
/// use http::Request;
/// use std::net::IpAddr;
///
/// let proxies = Proxies::new("10.0.0.0/8".parse()?);
/// let client = key::client_ip(|peer: &IpAddr| *peer).x_forwarded_for(&proxies);
///
/// let mut request = Request::get("/").header("x-forwarded-for", "203.0.113.7").body(())?;
/// request.extensions_mut().insert::<IpAddr>("192.168.0.1".parse()?);
/// assert_eq!(client.key(&request), Some("192.168.0.1".parse()?));
/// assert_eq!(proxies.ignored(), 1);
///
/// // The balancer has moved.
/// proxies.set("192.168.0.0/16".parse()?);
/// assert_eq!(client.key(&request), Some("203.0.113.7".parse()?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    trust: ArcSwap<Trust>,
    /// Requests whose field was not believed.
    ignored: AtomicU64,
}

impl Proxies {
    /// Makes a handle.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { shared: Arc::new(Shared { trust: ArcSwap::from_pointee(trust), ignored: AtomicU64::new(0) }) }
    }

    /// Trusts these proxies and no others, from the next request on. Requests do not wait for it.
    pub fn set(&self, trust: Trust) {
        self.shared.trust.store(Arc::new(trust));
    }

    /// Returns how many requests had the field from a peer that was not trusted. Their key was the address of that peer.
    ///
    /// Where clients connect directly these are forgeries, or somebody's own proxy. Behind a proxy it counts every request if
    /// the proxy is missing in the list: all its clients then share one limit.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        // Relaxed: a count that is read orders nothing.
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// Returns the client behind this peer: whom the field says if the peer is trusted, or else the peer.
    pub(super) fn client(&self, source: &Source, peer: Option<IpAddr>, fields: &HeaderMap) -> Option<IpAddr> {
        let trust = self.shared.trust.load();
        if trust.trusts_peer(peer) {
            return source.client(&trust, peer, fields);
        }
        if fields.contains_key(&source.field) {
            self.ignore(&source.field, peer);
        }
        peer
    }

    /// Counts a request whose field is not believed, and warns of the first.
    #[cold]
    fn ignore(&self, field: &HeaderName, peer: Option<IpAddr>) {
        // Relaxed: a count, and the one thread that sees 0 is the first whatever the order.
        let before = self.shared.ignored.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "tracing")]
        if before == 0 {
            tracing::warn!(
                %field,
                ?peer,
                trusted = %self.shared.trust.load(),
                "a peer that is not trusted says for whom its request is, and is not believed. Is it a proxy of yours? \
                 Then trust its address, or all its clients share one key. Further ones are only counted"
            );
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (before, field, peer);
    }
}

impl From<Trust> for Proxies {
    fn from(trust: Trust) -> Self {
        Self::new(trust)
    }
}

/// Another handle of the same.
impl From<&Self> for Proxies {
    fn from(proxies: &Self) -> Self {
        proxies.clone()
    }
}
