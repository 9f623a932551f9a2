//! `Forwarded` (RFC 7239).

use std::net::IpAddr;

use super::address::{MAX_NODE, address};

/// Finds the last comma that is not within a quoted string.
///
/// Reads from the right, and so never into what stands before that comma: a quotation mark that a client left open (`for="`)
/// swallows nothing that a proxy appended to it. For well-formed elements there is one way to read them from the right: the mark
/// that opens a quoted string follows a `=`, never a backslash.
pub(super) fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !quoted || !line[..at].ends_with(b"\\") => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Returns the address that the `for` of an element names (section 4): `None` where there is none, or two, or the element is
/// malformed, or `for` names nobody (sections 6.2, 6.3).
pub(super) fn address_of(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        rest = match rest.trim_ascii_start() {
            [] => return found,
            [b';', rest @ ..] => rest,
            pair => {
                let (name, value, rest) = split_pair(pair)?;
                if name.eq_ignore_ascii_case(b"for") && found.replace(value.address()?).is_some() {
                    return None;
                }
                rest
            }
        };
    }
}

/// The value of a parameter.
enum Value<'a> {
    /// As it is.
    Token(&'a [u8]),
    /// What stands between the quotation marks.
    Quoted(&'a [u8]),
}

/// Splits off a parameter: its name, its value, and what follows, which is nothing or begins with `;`.
fn split_pair(pair: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (name, value) = split_at(pair, |byte| byte == b'=')?;
    let (value, rest) = match value {
        [b'"', value @ ..] => {
            let end = closing_mark(value)?;
            (Value::Quoted(&value[..end]), &value[end + 1..])
        }
        // Section 4 wants `:` and brackets quoted; not all who write them do.
        _ => {
            let end = value.iter().position(|byte| b"; \t\"".contains(byte)).unwrap_or(value.len());
            (Value::Token(&value[..end]), &value[end..])
        }
    };
    let rest = rest.trim_ascii_start();
    (is_token(name) && (rest.is_empty() || rest.starts_with(b";"))).then_some((name, value, rest))
}

/// Splits round the first byte like this.
fn split_at(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| is(*byte))?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Finds the quotation mark that ends a quoted string (RFC 9110 section 5.6.4).
fn closing_mark(quoted: &[u8]) -> Option<usize> {
    let mut escaped = false;
    quoted.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

impl Value<'_> {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Token(node) => address(node),
            Self::Quoted(raw) => {
                let mut node = [0; MAX_NODE];
                let length = unescape(raw, &mut node)?;
                address(&node[..length])
            }
        }
    }
}

/// Writes a quoted string without its backslashes and returns its length; `None` where it is longer than there is room.
fn unescape(raw: &[u8], into: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' { bytes.next()? } else { byte };
        *into.get_mut(length)? = *byte;
        length += 1;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(element: &str) -> Option<String> {
        address_of(element.as_bytes()).map(|address| address.to_string())
    }

    /// RFC 7239 sections 4 and 6.
    #[test]
    fn the_for_of_an_element_is_its_address() {
        for (element, address) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=192.0.2.43", "192.0.2.43"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("proto=http ; ; for=\"192.0.2.60:80\" ;host=\"a,b;c=\\\"d\\\\\"", "192.0.2.60"),
            ("for=\"\\1\\92.0.2.1\"", "192.0.2.1"),
            ("for=[2001:db8::1]:80", "2001:db8::1"),
            ("for=2001:db8::1", "2001:db8::1"),
            ("host=\"\";for=192.0.2.1;", "192.0.2.1"),
        ] {
            assert_eq!(read(element).as_deref(), Some(address), "{element}");
        }
    }

    #[test]
    fn an_element_that_names_nobody_or_two_or_is_malformed_has_no_address() {
        let long = format!("for=\"fe80::1%{}\"", "e".repeat(MAX_NODE));
        for element in [
            "",
            "for",
            "for=",
            "for=\"\"",
            "for=unknown",
            "for=\"_gazonk\"",
            "for=_hidden;proto=http",
            "proto=http",
            "192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;FOR=192.0.2.1",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "=192.0.2.1",
            "for=192.0.2.1 proto=http",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\"x",
            "for=\"192.0.2.1\\\"",
            "fo r=192.0.2.1",
            "x y=1;for=192.0.2.1",
            "x\"=1;for=192.0.2.1",
            "=1;for=192.0.2.1",
            "for=192.0.2.1;x",
            "for=192.0.2.1;x=\"",
            "\"for\"=192.0.2.1",
            &long,
        ] {
            assert_eq!(read(element), None, "{element}");
        }
    }

    #[test]
    fn commas_within_quoted_strings_do_not_separate() {
        for (line, last) in [
            ("a,b", Some(1)),
            ("a", None),
            ("", None),
            ("a,h=\"x,y\"", Some(1)),
            ("h=\"x,y\"", None),
            ("a,h=\"x\\\",y\"", Some(1)),
            ("a,h=\"x\\\\\",y", Some(9)),
            ("h=\"x,\\\\\\\",\"", None),
        ] {
            assert_eq!(last_comma(line.as_bytes()), last, "{line}");
        }
    }

    /// Read from the left, the mark that the client leaves open would make the proxy's element part of a quoted string.
    #[test]
    fn a_mark_that_a_client_left_open_does_not_hide_what_was_appended() {
        for client in ["for=\"", "for=\"192.0.2.9\\", "\"", "for=1.1.1.1;x=\"\\"] {
            let line = format!("{client}, for=192.0.2.1");
            assert_eq!(last_comma(line.as_bytes()), Some(client.len()), "{line}");
        }
    }
}
