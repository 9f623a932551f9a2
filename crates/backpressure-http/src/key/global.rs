//! One key for all.

use super::{Key, KeyType};

/// The same key for every request; made by [`global`].
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say of it")]
pub struct Global;

/// Makes the key that all requests have in common, of whatever type they are.
#[must_use]
pub const fn global() -> Global {
    Global
}

impl KeyType for Global {
    type Key = ();
}

impl<Req> Key<Req> for Global {
    #[inline]
    fn key(&self, _request: &Req) -> Option<()> {
        Some(())
    }
}
