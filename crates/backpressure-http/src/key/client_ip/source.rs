//! Which field says for whom a request is.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::Trust;
use super::address::address;
use super::forwarded;
use super::list::{Elements, last_comma};

/// One field, and how it is written.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) field: HeaderName,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// RFC 7239.
    Forwarded,
    /// Addresses, each appended by the proxy that saw it.
    List,
    /// One address.
    Single,
}

impl Source {
    pub(super) fn forwarded() -> Self {
        Self { field: header::FORWARDED, form: Form::Forwarded }
    }

    pub(super) fn x_forwarded_for() -> Self {
        Self { field: X_FORWARDED_FOR, form: Form::List }
    }

    /// # Panics
    ///
    /// If this is no name of a field, or that of a field which is a list.
    #[expect(clippy::panic, reason = "at construction, with a name that the program contains")]
    pub(super) fn single(name: &'static str) -> Self {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(field) if field == X_FORWARDED_FOR => panic!("{name:?} is a list: use `x_forwarded_for`"),
            Ok(field) if field == header::FORWARDED => panic!("{name:?} is a list: use `forwarded`"),
            Ok(field) => Self { field, form: Form::Single },
            Err(_) => panic!("{name:?} is not the name of a header field: letters, digits and any of !#$%&'*+-.^_`|~"),
        }
    }

    /// Returns the client of a request whose peer is trusted.
    pub(super) fn client(&self, trust: &Trust, peer: Option<IpAddr>, fields: &HeaderMap) -> Option<IpAddr> {
        let lines = fields.get_all(&self.field);
        match self.form {
            Form::Forwarded => {
                let elements = Elements::of(&lines, forwarded::last_comma);
                trust.follow(peer, elements.map(|element| canonical(forwarded::address_of(element))))
            }
            Form::List => {
                let elements = Elements::of(&lines, last_comma);
                trust.follow(peer, elements.map(|element| canonical(address(element))))
            }
            Form::Single => {
                let mut lines = lines.iter().map(HeaderValue::as_bytes);
                let only = lines.next().filter(|_| lines.next().is_none());
                only.and_then(|line| canonical(address(line.trim_ascii()))).or(peer)
            }
        }
    }
}

/// What is IPv4 is IPv4, however it is written.
fn canonical(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| address.to_canonical())
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
