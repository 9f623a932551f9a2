//! Keys from closures.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use http::Request;

use super::{Key, KeyType};
use crate::Head;
use crate::read::{self, FromHead, FromRequest, Read};

/// A key that is what a [reader](Read) reads; made by [`from_head`] and [`from_request`].
pub struct Of<K, R> {
    reader: R,
    key: PhantomData<fn() -> K>,
}

/// Makes a key of what a closure reads from the head of an HTTP request. `None` means that the request has no key.
///
/// ```
/// use backpressure_http::key::{self, Key};
/// use http::Request;
///
/// let tenant = key::from_head(|head| head.uri.path().split('/').nth(1).map(str::to_owned));
/// assert_eq!(tenant.key(&Request::get("/acme/orders").body(())?), Some("acme".to_owned()));
/// # Ok::<_, http::Error>(())
/// ```
pub const fn from_head<K: Hash, F: Fn(Head<'_>) -> Option<K>>(read: F) -> Of<K, FromHead<F>> {
    Of { reader: read::from_head(read), key: PhantomData }
}

/// Makes a key of what a closure reads from a request of any type, which the closure has to name. `None` means that the request
/// has no key.
pub const fn from_request<Req, K: Hash, F: Fn(&Req) -> Option<K>>(read: F) -> Of<K, FromRequest<F>> {
    Of { reader: read::from_request(read), key: PhantomData }
}

impl<K: Hash, R> KeyType for Of<K, R> {
    type Key = K;
}

impl<Req, K: Hash, R: Read<Req, Option<K>>> Key<Req> for Of<K, R> {
    #[inline]
    fn key(&self, request: &Req) -> Option<K> {
        self.reader.read(request)
    }
}

impl<K, R: Clone> Clone for Of<K, R> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone(), key: PhantomData }
    }
}

impl<K, R: Copy> Copy for Of<K, R> {}

impl<K, R: fmt::Debug> fmt::Debug for Of<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Of").field(&self.reader).finish()
    }
}

/// A key whose type can be written down, for a field of a struct; made by [`boxed`].
///
/// Asking it costs a call through a pointer.
pub struct BoxedKey<K> {
    read: Arc<dyn Fn(Head<'_>) -> Option<K> + Send + Sync>,
}

/// Makes a key as [`from_head`] does, with a type that can be named.
///
/// ```
/// use backpressure_http::key::{self, BoxedKey};
///
/// struct Config {
///     client: BoxedKey<String>,
/// }
///
/// let config = Config { client: key::boxed(|head| head.uri.host().map(str::to_owned)) };
/// # let _ = config.client;
/// ```
pub fn boxed<K: Hash, F: Fn(Head<'_>) -> Option<K> + Send + Sync + 'static>(read: F) -> BoxedKey<K> {
    BoxedKey { read: Arc::new(read) }
}

impl<K: Hash> KeyType for BoxedKey<K> {
    type Key = K;
}

impl<B, K: Hash> Key<Request<B>> for BoxedKey<K> {
    #[inline]
    fn key(&self, request: &Request<B>) -> Option<K> {
        (self.read)(request.into())
    }
}

impl<K> Clone for BoxedKey<K> {
    fn clone(&self) -> Self {
        Self { read: Arc::clone(&self.read) }
    }
}

impl<K> fmt::Debug for BoxedKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_over_a_head_need_no_annotation_and_serve_every_body_type() {
        let key = from_head(|head| head.headers.get("x").map(|v| v.len() / 2));
        assert_eq!(key.key(&Request::get("/").header("x", "abc").body(()).unwrap()), Some(1));
        assert_eq!(key.key(&Request::new("a body")), None);
        let boxed: BoxedKey<usize> = boxed(|head| head.headers.get("x").map(|v| v.len() / 2));
        assert_eq!(boxed.clone().key(&Request::get("/").header("x", "abc").body(vec![1]).unwrap()), Some(1));
    }

    #[test]
    fn requests_that_are_not_http_have_keys_too() {
        let key = from_request(|request: &Option<u8>| *request);
        assert_eq!((key.key(&Some(4)), key.key(&None)), (Some(4), None));
    }
}
