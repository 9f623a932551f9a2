//! Keys with a second choice.

use std::hash::Hash;

use super::{BoxedKey, ClientIp, Extension, Global, Header, Key, KeyType, Of};

/// The first of two keys that a request has; made by [`KeyType::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

/// The value of one of two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "two keys are two")]
pub enum Either<A, B> {
    /// That of the key asked first.
    First(A),
    /// That of the key asked because the first had none.
    Second(B),
}

impl<A, B> Or<A, B> {
    pub(super) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: KeyType, B: KeyType> KeyType for Or<A, B> {
    type Key = Either<A::Key, B::Key>;
}

impl<Req, A: Key<Req>, B: Key<Req>> Key<Req> for Or<A, B> {
    #[inline]
    fn key(&self, request: &Req) -> Option<Self::Key> {
        match self.first.key(request) {
            Some(key) => Some(Either::First(key)),
            None => self.second.key(request).map(Either::Second),
        }
    }
}

/// `or` as a method of each key's own, so that nobody has to import the trait for it.
macro_rules! inherent_or {
    ($($key:ty, [$($parameter:ident $(: $bound:ident)?),*];)+) => {$(
        impl<$($parameter $(: $bound)?),*> $key {
            /// Makes a key that asks `other` where this one has none: see [`KeyType::or`].
            pub fn or<Other: KeyType>(self, other: Other) -> Or<Self, Other> {
                KeyType::or(self, other)
            }
        }
    )+};
}

inherent_or! {
    Global, [];
    Header, [];
    BoxedKey<K>, [K: Hash];
    ClientIp<T, A, F>, [T, A, F];
    Extension<T, K, F>, [T, K: Hash, F];
    Of<K, R>, [K: Hash, R];
    Or<A, B>, [A: KeyType, B: KeyType];
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::super::from_request;
    use super::*;

    #[test]
    fn the_second_is_asked_where_the_first_has_none() {
        let key = from_request(|n: &i8| n.is_positive().then_some(*n)).or(from_request(|n: &i8| n.is_negative().then_some(-n)));
        assert_eq!(key.key(&3), Some(Either::First(3)));
        assert_eq!(key.key(&-3), Some(Either::Second(3)));
        assert_eq!(key.key(&0), None);
    }

    #[test]
    fn equal_values_of_different_keys_are_different_keys() {
        let hasher = RandomState::new();
        assert_ne!(hasher.hash_one(Either::<u8, u8>::First(3)), hasher.hash_one(Either::<u8, u8>::Second(3)));
    }
}
