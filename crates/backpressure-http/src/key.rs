//! Keys: what tells one client from another.
//!
//! A keyed limit asks its key of each request and keeps one state for each value. Make one from
//!
//! | | the key of a request | has none |
//! |---|---|---|
//! | [`client_ip`] | the address of the client, also behind proxies; IPv6 by its /64 | where the host does not tell the peer |
//! | [`extension`] | what a closure makes of an extension: who is signed in | where the extension is absent |
//! | [`header`] | the value of a header field | where the field is absent or empty |
//! | [`from_head`] | what a closure makes of method, target, fields and extensions | where the closure says `None` |
//! | [`from_request`] | the same for a request of any type | where the closure says `None` |
//! | [`boxed`] | as `from_head`, with a type that can be named | where the closure says `None` |
//! | `(a, b)` | both values: each route of each client | where either has none |
//! | [`a.or(b)`](KeyType::or) | that of `a`, or else that of `b` | where both have none |
//! | [`global`] | the same for all | never |
//!
//! ```
//! use backpressure_http::key::{self, Either, Key};
//! use http::Request;
//! use std::net::{IpAddr, Ipv4Addr};
//!
//! // In production: `key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip())`.
//! let client = key::header("x-api-key").or(key::client_ip(|peer: &IpAddr| *peer));
//!
//! let mut request = Request::get("/").header("x-api-key", "k1").body(())?;
//! request.extensions_mut().insert(IpAddr::from(Ipv4Addr::LOCALHOST));
//! assert!(matches!(client.key(&request), Some(Either::First(api_key)) if api_key == "k1"));
//!
//! request.headers_mut().clear();
//! assert_eq!(client.key(&request), Some(Either::Second(IpAddr::from(Ipv4Addr::LOCALHOST))));
//!
//! // The behaviour at the edge: a request that has neither has no key, and `MissingKey` decides about it.
//! request.extensions_mut().clear();
//! assert_eq!(client.key(&request), None);
//! # Ok::<_, http::Error>(())
//! ```
//!
//! # Behind proxies
//!
//! The peer of a connection is then the proxy, the same for everybody, and only a header field tells the client: what the proxy
//! wrote there, and before that whatever the client liked to write. [`client_ip`] believes one field, and only those who are
//! trusted:
//!
//! | in front of the server | key |
//! |---|---|
//! | nothing | `key::client_ip(peer)` |
//! | proxies whose networks are known | `key::client_ip(peer).x_forwarded_for(&proxies)` |
//! | always the same number of proxies | `key::client_ip(peer).x_forwarded_for(Trust::hops(1))` |
//! | a proxy that writes RFC 7239 | `key::client_ip(peer).forwarded(&proxies)` |
//! | a service that sets one address | `key::client_ip(peer).address_field("CF-Connecting-IP", &proxies)` |
//! | a proxy on the same machine, through a Unix socket | any of these with `"unix:"` among the trusted |
//!
//! where `peer` is `|peer: &ConnectInfo<SocketAddr>| peer.0.ip()` for axum, and for other hosts whatever reads an address from
//! the extension that they set; and `proxies` is `Proxies::new("10.0.0.0/8".parse()?)`, say. [`Proxies`] is a handle: the
//! trusted can be changed while requests are served, and
//! [`ignored`](Proxies::ignored) counts the requests that say something which is not believed. The first of them is warned of
//! (feature `tracing`): mostly a proxy that is missing in the list.
//!
//! # Hazards
//!
//! - **Invented keys.** A field that nobody has authenticated says what the client wants it to say: with a new value for each
//!   request it is always a newcomer. The bound of the keyed table holds anyway, but the limit of that client does not. Key by
//!   what was verified (an extension that your authentication has set), and put a limit that the client cannot choose round it.
//! - **Addresses.** With all 128 bits of IPv6 as its key, each client is as many as it likes; `::ffff:192.0.2.1`, cut to 64
//!   bits, is all of IPv4; and `X-Forwarded-For` counts only as far as trusted proxies wrote it, which is its right end. Key by
//!   [`client_ip`], not by an address from [`extension`] or [`header`].
//! - **Memory.** Limiters store a 64-bit hash of the key and not its value, so a long key occupies no memory; hashing it costs
//!   time in proportion to its length, which the host bounds by its limit on the size of a request's head.

mod client_ip;
mod closure;
mod extension;
mod global;
mod header;
mod or;

pub use client_ip::{ClientIp, Prefixes, Proxies, Trust, TrustError, client_ip};
pub use closure::{BoxedKey, Of, boxed, from_head, from_request};
pub use extension::{Extension, extension};
pub use global::{Global, global};
pub use header::{Header, header};
pub use ipnet::IpNet;
pub use or::{Either, Or};

use std::hash::Hash;

/// What a key is made of, known without the request, so that the handle of a keyed limit can name it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key",
    label = "not a key",
    note = "a closure is wrapped: `key::from_head(|head| ..)`, `key::extension(|address: &Address| ..)`, or `key::from_request(|request: &MyRequest| ..)`"
)]
pub trait KeyType {
    /// The value by which clients differ.
    type Key: Hash;

    /// Makes a key that asks `other` where this one has none.
    ///
    /// The two never share a limit, even where their values are equal: the key is an [`Either`].
    fn or<K: KeyType>(self, other: K) -> Or<Self, K>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }
}

/// Tells to whom a request belongs.
///
/// ```
/// use backpressure_http::key::{self, Key};
///
/// let tenant = key::from_request(|job: &(u32, String)| Some(job.0));
/// assert_eq!(tenant.key(&(7, "a job".to_owned())), Some(7));
/// ```
///
/// A key that reads HTTP requests reads no others:
///
/// ```compile_fail,E0277
/// # use backpressure_http::key::{self, Key};
/// fn limit_jobs(key: impl Key<(u32, String)>) {}
/// limit_jobs(key::header("x-api-key"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not read a key from a `{Req}`",
    label = "reads its key from another type of request",
    note = "`key::client_ip`, `key::extension`, `key::header`, `key::from_head` and `key::boxed` read an `http::Request<B>`",
    note = "for any other request use `key::from_request(|request: &MyRequest| ..)`"
)]
pub trait Key<Req>: KeyType {
    /// Returns the key of the request, or `None` where it has none.
    fn key(&self, request: &Req) -> Option<Self::Key>;
}

impl<A: KeyType, B: KeyType> KeyType for (A, B) {
    type Key = (A::Key, B::Key);
}

/// The keys of both; none where either has none.
impl<Req, A: Key<Req>, B: Key<Req>> Key<Req> for (A, B) {
    #[inline]
    fn key(&self, request: &Req) -> Option<Self::Key> {
        Some((self.0.key(request)?, self.1.key(request)?))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in fields {
            request.headers_mut().append(*name, http::HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_pair_has_a_key_where_both_have_one() {
        let key = (header("a"), (header("b"), global()));
        let (a, (b, ())) = key.key(&request(&[("a", "1"), ("b", "2")])).unwrap();
        assert_eq!((a.as_bytes(), b.as_bytes()), (&b"1"[..], &b"2"[..]));
        assert_eq!(key.key(&request(&[("a", "1")])), None);
        assert_eq!(key.key(&request(&[("b", "2")])), None);
    }

    #[test]
    fn keys_are_shared_between_threads_and_copied_where_their_parts_are() {
        fn is_shared<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
        fn is_copied<T: Copy>(_: &T) {}
        let address = extension(|address: &std::net::IpAddr| *address);
        let path = from_head(|head| Some(head.uri.path().len()));
        is_shared(&(header("a"), boxed(|head| Some(head.headers.len()))));
        is_shared(&address.or(path));
        is_copied(&(address.or(path), (global(), from_request(|n: &u32| Some(*n)))));
    }
}
