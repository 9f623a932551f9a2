//! One address as proxies write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads the address of a node, in all the forms that proxies write: with or without a port, IPv6 with or without brackets, with
/// or without a zone. What is no address (`unknown`, `_hidden`: RFC 7239 section 6) is `None`.
///
/// More lenient than RFC 7239 section 6, which wants the brackets. That is safe: what is read here was written by somebody who
/// is trusted.
pub(super) fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node.get(..node.len().min(MAX_NODE + 1))?).ok().filter(|text| text.len() <= MAX_NODE)?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return ipv6(address).filter(|_| port.is_empty() || is_port(port));
    }
    match text.find(':') {
        None => ipv4(text),
        Some(colon) if text[colon + 1..].contains(':') => ipv6(text),
        Some(colon) => ipv4(&text[..colon]).filter(|_| is_port(&text[colon..])),
    }
}

/// Without leading zeros: some read `010` as 8.
fn ipv4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// A zone (RFC 4007 section 11) means something only on the machine that wrote it, so it does not tell clients apart here.
fn ipv6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, _zone)) => address,
        None => text,
    };
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// `:80`, or `:_obfuscated` (RFC 7239 section 6.3).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return false };
    match port.strip_prefix('_') {
        Some(obfuscated) => {
            !obfuscated.is_empty() && obfuscated.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// An IPv6 address that ends in IPv4 has 45 characters; this leaves room for brackets, a zone and a port.
pub(super) const MAX_NODE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(node: &str) -> Option<String> {
        address(node.as_bytes()).map(|address| address.to_string())
    }

    #[test]
    fn every_form_that_proxies_write_is_read() {
        for (node, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:_http", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:65535", "2001:db8::1"),
            ("[2001:db8::1]:_a.b-c_d", "2001:db8::1"),
            ("::1:80", "::1:80"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ] {
            assert_eq!(read(node).as_deref(), Some(address), "{node}");
        }
    }

    #[test]
    fn whatever_else_is_no_address() {
        let long = format!("fe80::1%{}", "e".repeat(MAX_NODE));
        for node in [
            "",
            "unknown",
            "_hidden",
            "example.org",
            "192.0.2",
            "192.0.2.256",
            "192.0.02.1",
            "192.0.2.1:",
            "192.0.2.1:port",
            "192.0.2.1:123456",
            "192.0.2.1:_",
            "192.0.2.1/24",
            "[192.0.2.1]",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]:",
            "[]",
            "[",
            "::g",
            "1::2::3",
            "fe80::1%",
            "%eth0",
            "192.0.2.1%eth0",
            "\"192.0.2.1\"",
            "192.0.2.1 192.0.2.2",
            "٣.0.2.1",
            &long,
        ] {
            assert_eq!(read(node), None, "{node}");
        }
        assert_eq!(address(b"192.0.2.1\xff"), None);
    }

    #[test]
    fn the_longest_node_is_read_and_one_byte_more_is_not() {
        let node = |zone| format!("fe80::1%{}", "e".repeat(zone));
        assert_eq!(read(&node(MAX_NODE - 8)).as_deref(), Some("fe80::1"));
        assert_eq!(read(&node(MAX_NODE - 7)), None);
    }
}
