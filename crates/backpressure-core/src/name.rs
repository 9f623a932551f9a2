//! What a policy is called.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a policy, as clients and operators read it.
///
/// Made from a `&'static str` at no cost, or from a `String` shared by all who hold it.
///
/// On the wire a name is a Structured Field String (RFC 9651 section 3.3.3), which is printable ASCII: the HTTP answers write
/// `?` for any other character.
#[derive(Clone)]
pub struct Name(Kind);

#[derive(Clone)]
enum Kind {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// The name of a policy that was given none.
    pub const DEFAULT: Self = Self(Kind::Static("default"));
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kind::Static(name) => name,
            Kind::Shared(name) => name,
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(Kind::Static(name))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(Kind::Shared(name.into()))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
