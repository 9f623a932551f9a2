//! How much of an address is the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many bits of an address tell one client from another: 32 of IPv4 and 64 of IPv6, unless it is said otherwise.
///
/// A household has at least a /64 of IPv6 addresses and may use a new one for each request; many have a /56, some a /48
/// (RFC 6177). Fewer bits let more clients share a key.
///
/// To look up a client by hand, fold its address as the key does:
///
/// ```
/// use backpressure_http::key::Prefixes;
/// use std::net::IpAddr;
///
/// let prefixes = Prefixes::new().ipv6(56);
/// let fold = |address: &str| address.parse().map(|address: IpAddr| prefixes.fold(address).to_string());
/// assert_eq!(fold("2001:db8:1:2ff:a:b:c:d")?, "2001:db8:1:200::");
/// assert_eq!(fold("192.0.2.1")?, "192.0.2.1");
///
/// // An IPv4 client of a socket that serves both: it is that IPv4 address, before any bit is cut off.
/// assert_eq!(fold("::ffff:192.0.2.1")?, "192.0.2.1");
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    ipv4: u8,
    ipv6: u8,
}

impl Prefixes {
    /// Makes the default: 32 bits of IPv4, 64 of IPv6.
    #[must_use]
    pub const fn new() -> Self {
        Self { ipv4: 32, ipv6: 64 }
    }

    /// Sets how many bits of an IPv4 address count.
    ///
    /// # Panics
    ///
    /// If `bits` is 0 or more than 32.
    #[must_use]
    pub const fn ipv4(self, bits: u8) -> Self {
        assert!(
            bits != 0 && bits <= 32,
            "the prefix of an IPv4 client has 1 to 32 bits; for one key for all there is `key::global`"
        );
        Self { ipv4: bits, ..self }
    }

    /// Sets how many bits of an IPv6 address count.
    ///
    /// # Panics
    ///
    /// If `bits` is 0 or more than 128.
    #[must_use]
    pub const fn ipv6(self, bits: u8) -> Self {
        assert!(
            bits != 0 && bits <= 128,
            "the prefix of an IPv6 client has 1 to 128 bits; for one key for all there is `key::global`"
        );
        Self { ipv6: bits, ..self }
    }

    /// Returns the key of the client with this address: the first address of its network.
    #[inline]
    #[must_use]
    pub const fn fold(self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << (32 - self.ipv4)))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - self.ipv6)))),
        }
    }
}

impl Default for Prefixes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(prefixes: Prefixes, address: &str) -> String {
        prefixes.fold(address.parse().unwrap()).to_string()
    }

    #[test]
    fn addresses_are_cut_to_their_prefix() {
        assert_eq!(fold(Prefixes::new(), "203.0.113.255"), "203.0.113.255");
        assert_eq!(fold(Prefixes::new(), "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(fold(Prefixes::new().ipv4(24), "203.0.113.255"), "203.0.113.0");
        assert_eq!(fold(Prefixes::new().ipv4(1).ipv6(1), "203.0.113.255"), "128.0.0.0");
        assert_eq!(fold(Prefixes::new().ipv4(1).ipv6(1), "ffff::1"), "8000::");
        assert_eq!(fold(Prefixes::new().ipv6(128), "2001:db8::1"), "2001:db8::1");
    }

    /// The trap of every IPv6 mask: `::ffff:a.b.c.d` cut to 64 bits is `::`, the same for all of IPv4.
    #[test]
    fn a_mapped_address_is_unmapped_before_it_is_cut() {
        assert_eq!(fold(Prefixes::new(), "::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(fold(Prefixes::new().ipv4(24), "::ffff:203.0.113.7"), "203.0.113.0");
    }

    #[test]
    #[should_panic(expected = "1 to 32 bits")]
    fn an_ipv4_prefix_of_no_bits_is_refused() {
        let _ = Prefixes::new().ipv4(0);
    }

    #[test]
    #[should_panic(expected = "1 to 128 bits")]
    fn an_ipv6_prefix_of_too_many_bits_is_refused() {
        let _ = Prefixes::new().ipv6(129);
    }
}
