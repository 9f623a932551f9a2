//! Requests without a key.

/// What happens to a request that has no [key](crate::key::Key).
///
/// A missing key is mostly a mistake of deployment: an axum server without `into_make_service_with_connect_info` gives *no*
/// request an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingKey {
    /// All requests without a key share one limit. Safe: who leaves the key out gains nothing.
    #[default]
    Share,
    /// They are refused, over HTTP with 400: the same request will never succeed.
    Refuse,
    /// They pass uncounted. Only where requests without a key are limited elsewhere: whoever can leave the key out is unlimited
    /// here.
    Skip,
}
