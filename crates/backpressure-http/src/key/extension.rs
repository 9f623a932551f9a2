//! Keys from what other layers have said of a request.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use http::Request;

use super::{Key, KeyType};

/// A key made of an extension; made by [`extension`].
pub struct Extension<T, K, F>(F, PhantomData<fn(&T) -> K>);

/// Makes a key of the extension of type `T`. A request without that extension has no key.
///
/// Extensions are what the host and the layers outside say of a request, so this is the place for keys that a client cannot
/// invent.
///
/// # Examples
///
/// Who is signed in, as a layer outside has found out. For addresses there is [`client_ip`](super::client_ip).
///
/// ```
/// use backpressure_http::key::{self, Key};
/// use http::Request;
///
/// #[derive(Clone)]
/// struct Session {
///     user: u64,
/// }
///
/// let user = key::extension(|session: &Session| session.user);
///
/// let mut request = Request::new(());
/// assert_eq!(user.key(&request), None);
/// request.extensions_mut().insert(Session { user: 7 });
/// assert_eq!(user.key(&request), Some(7));
/// ```
pub const fn extension<T, K, F>(read: F) -> Extension<T, K, F>
where
    T: Send + Sync + 'static,
    K: Hash,
    F: Fn(&T) -> K,
{
    Extension(read, PhantomData)
}

impl<T, K: Hash, F> KeyType for Extension<T, K, F> {
    type Key = K;
}

impl<B, T, K, F> Key<Request<B>> for Extension<T, K, F>
where
    T: Send + Sync + 'static,
    K: Hash,
    F: Fn(&T) -> K,
{
    #[inline]
    fn key(&self, request: &Request<B>) -> Option<K> {
        request.extensions().get().map(&self.0)
    }
}

impl<T, K, F: Clone> Clone for Extension<T, K, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T, K, F: Copy> Copy for Extension<T, K, F> {}

impl<T, K, F> fmt::Debug for Extension<T, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Extension").field(&format_args!("{}", std::any::type_name::<T>())).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;

    #[derive(Clone)]
    struct ConnectInfo<T>(T);

    #[test]
    fn a_key_is_read_from_the_extension_of_its_type_and_from_no_other() {
        let key = extension(|c: &ConnectInfo<SocketAddr>| c.0.ip());
        let mut request = Request::new(());
        request.extensions_mut().insert(SocketAddr::from(([9, 9, 9, 9], 1)));
        assert_eq!(key.key(&request), None);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert_eq!(key.key(&request), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn it_prints_the_type_that_it_looks_for() {
        assert_eq!(format!("{:?}", extension(|n: &u32| *n)), "Extension(u32)");
    }
}
