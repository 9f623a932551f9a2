//! Keys from a header field.

use http::{HeaderName, HeaderValue, Request};

use super::{Key, KeyType};

/// A key that is the value of a header field; made by [`header`].
#[derive(Clone, Debug)]
pub struct Header {
    name: HeaderName,
}

/// Makes a key of the value of this header field: its bytes as they came, of any length, whether they are text or not.
///
/// Where the field is repeated the first one counts. A request in which it is absent or empty has no key.
///
/// A field that no one has authenticated can be invented by the client: see the [hazards](super#hazards). Reading it does not
/// copy it; hashing it costs
/// time in proportion to its length.
///
/// # Panics
///
/// If `name` is not the name of a header field (RFC 9110 section 5.1). Case does not matter.
#[must_use]
#[expect(clippy::panic, reason = "at construction, with a name that the program contains")]
pub fn header(name: &'static str) -> Header {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Header { name },
        Err(_) => panic!("{name:?} is not the name of a header field: letters, digits and any of !#$%&'*+-.^_`|~"),
    }
}

impl KeyType for Header {
    type Key = HeaderValue;
}

impl<B> Key<Request<B>> for Header {
    #[inline]
    fn key(&self, request: &Request<B>) -> Option<HeaderValue> {
        request.headers().get(&self.name).filter(|value| !value.is_empty()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(values: &[&[u8]]) -> Request<()> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append("x-api-key", HeaderValue::from_bytes(value).unwrap());
        }
        request
    }

    fn key(values: &[&[u8]]) -> Option<Vec<u8>> {
        header("X-Api-Key").key(&request(values)).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn the_first_of_repeated_fields_counts() {
        assert_eq!(key(&[b"a", b"b"]), Some(b"a".to_vec()));
    }

    #[test]
    fn an_absent_or_empty_field_is_no_key() {
        assert_eq!(key(&[]), None);
        assert_eq!(key(&[b""]), None);
        assert_eq!(key(&[b"", b"b"]), None);
    }

    #[test]
    fn bytes_that_are_not_text_are_a_key() {
        assert_eq!(key(&[b"\xff\xfe"]), Some(b"\xff\xfe".to_vec()));
    }

    #[test]
    #[should_panic(expected = "\"no spaces\" is not the name of a header field")]
    fn a_name_that_is_none_panics_at_construction() {
        let _ = header("no spaces");
    }

    proptest! {
        #[test]
        fn any_value_that_a_request_can_carry_is_a_key(
            value in prop::collection::vec(any::<u8>(), 0..512),
            times in prop::sample::select(vec![1_usize, 64 * 1024]),
        ) {
            let long: Vec<u8> = value.iter().copied().cycle().take(if value.is_empty() { 0 } else { value.len().max(times) }).collect();
            if let Ok(field) = HeaderValue::from_bytes(&long) {
                let mut request = Request::new(());
                request.headers_mut().insert("x-api-key", field);
                let key = header("x-api-key").key(&request);
                prop_assert_eq!(key.is_some(), !long.is_empty());
                prop_assert_eq!(key.map(|key| key.as_bytes().to_vec()).unwrap_or_default(), long);
            }
        }
    }
}
