//! Whom to believe.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Which peers are trusted to say for whom a request is: proxies by their addresses, or by their number.
///
/// Written as text it is a list of networks and addresses, with `unix:` for Unix sockets, separated by commas or spaces:
///
/// ```
/// use backpressure_http::key::{Trust, TrustError};
///
/// let trust: Trust = "10.0.0.0/8, 2001:db8:1::/48, 192.0.2.1 unix:".parse()?;
/// assert_eq!(trust.to_string(), "10.0.0.0/8, 2001:db8:1::/48, 192.0.2.1/32, unix:");
///
/// // Whoever trusts everybody lets each client name itself: it is refused, and so is what cannot be read.
/// assert!(matches!("0.0.0.0/0".parse::<Trust>(), Err(TrustError::Everybody(_))));
/// assert!(matches!("10.0.0.0/33".parse::<Trust>(), Err(TrustError::Unreadable(_))));
/// # Ok::<_, TrustError>(())
/// ```
///
/// # Complexity
///
/// Each address looked at is compared with one network after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    whom: Whom,
    /// Whether a peer that has no address is trusted.
    unix_sockets: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// None of them IPv4-mapped.
    Within(Box<[IpNet]>),
    Hops(u8),
}

impl Trust {
    /// The most proxies in a row that are believed: a list is followed through no more.
    pub const MAX_HOPS: u8 = 32;

    /// Trusts nobody: every client is the peer of its connection.
    #[must_use]
    pub fn nobody() -> Self {
        Self { whom: Whom::Within(Box::default()), unix_sockets: false }
    }

    /// Trusts the proxies in these networks. IPv4-mapped ones (within `::ffff:0:0/96`) are IPv4 networks; no other IPv6 network
    /// contains IPv4 addresses.
    ///
    /// # Errors
    ///
    /// If one of the networks is everybody (`0.0.0.0/0`, `::/0`).
    pub fn networks<N: Into<IpNet>>(networks: impl IntoIterator<Item = N>) -> Result<Self, TrustError> {
        let networks = networks.into_iter().map(|network| proxies_within(network.into())).collect::<Result<_, _>>()?;
        Ok(Self { whom: Whom::Within(networks), unix_sockets: false })
    }

    /// Trusts this many proxies in a row, whatever their addresses: where the addresses are not known, but every request comes
    /// through just so many proxies, and each of them appends one address to the field.
    ///
    /// The client is the `count`-th address from the right; each of those further right is a proxy. With
    /// `X-Forwarded-For: c, b, a` from the peer `p`:
    ///
    /// | hops | proxies | client |
    /// |---|---|---|
    /// | 1 | `p` | `a` |
    /// | 2 | `a`, `p` | `b` |
    /// | 3 | `b`, `a`, `p` | `c` |
    /// | 4 and more | `c`, `b`, `a`, `p` | `c`: the list is shorter than was said, so the last that it has |
    ///
    /// Where the address of the client cannot be read it is the last that can, further right; where there is none, the peer.
    ///
    /// # Panics
    ///
    /// If `count` is 0 or more than [`MAX_HOPS`](Self::MAX_HOPS).
    #[must_use]
    pub const fn hops(count: u8) -> Self {
        assert!(
            count != 0 && count <= Self::MAX_HOPS,
            "requests come through 1 to 32 proxies; for none there is `Trust::nobody`"
        );
        Self { whom: Whom::Hops(count), unix_sockets: false }
    }

    /// Trusts peers that have no address as well: those on a Unix socket, where the closure of the key says `None`. A
    /// [number of hops](Self::hops) trusts them in any case.
    #[must_use]
    pub fn and_unix_sockets(self) -> Self {
        Self { unix_sockets: true, ..self }
    }

    /// Whether this peer may say for whom its request is.
    #[inline]
    pub(super) fn trusts_peer(&self, peer: Option<IpAddr>) -> bool {
        match (&self.whom, peer) {
            (Whom::Hops(_), _) => true,
            (Whom::Within(networks), Some(address)) => networks.iter().any(|network| network.contains(&address)),
            (Whom::Within(_), None) => self.unix_sockets,
        }
    }

    /// Follows a list of addresses from the last to the first, from a peer that is trusted, and returns the client. Those that
    /// cannot be read are `None`.
    pub(super) fn follow(&self, peer: Option<IpAddr>, addresses: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut last = peer;
        match self.whom {
            Whom::Within(_) => {
                for address in addresses.take(Self::MAX_HOPS.into()) {
                    let Some(address) = address else { break };
                    last = Some(address);
                    if !self.trusts_peer(last) {
                        break;
                    }
                }
            }
            Whom::Hops(count) => {
                for address in addresses.take(count.into()).flatten() {
                    last = Some(address);
                }
            }
        }
        last
    }
}

/// The same as [`nobody`](Trust::nobody).
impl Default for Trust {
    fn default() -> Self {
        Self::nobody()
    }
}

impl FromStr for Trust {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let entries = || text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let networks: Vec<IpNet> = entries().filter(|entry| *entry != UNIX).map(network).collect::<Result<_, _>>()?;
        let trust = Self::networks(networks)?;
        Ok(if entries().any(|entry| entry == UNIX) { trust.and_unix_sockets() } else { trust })
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = match &self.whom {
            Whom::Hops(count) => return write!(f, "{count} hops"),
            Whom::Within(networks) => networks,
        };
        let unix_sockets = self.unix_sockets.then_some(&UNIX as &dyn fmt::Display);
        for (index, entry) in networks.iter().map(|network| network as &dyn fmt::Display).chain(unix_sockets).enumerate() {
            write!(f, "{}{entry}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What a list of trusted networks can get wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustError {
    /// The text is neither a network nor an address.
    Unreadable(String),
    /// The network is everybody, so that each client could name itself.
    Everybody(IpNet),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(text) => write!(
                f,
                "{text:?} is not a network: write \"10.0.0.0/8\", \"2001:db8::/32\", an address, or \"unix:\" for Unix sockets"
            ),
            Self::Everybody(network) => write!(
                f,
                "who trusts {network} lets each client name itself: write the networks of the proxies, or trust a number of hops"
            ),
        }
    }
}

impl std::error::Error for TrustError {}

fn network(text: &str) -> Result<IpNet, TrustError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| TrustError::Unreadable(text.to_owned()))
}

/// Unmaps an IPv4 network and refuses one that is everybody.
fn proxies_within(network: IpNet) -> Result<IpNet, TrustError> {
    let unmapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_PREFIX => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED_PREFIX).ok())
            .map_or(network, IpNet::V4),
        _ => network,
    };
    if unmapped.prefix_len() == 0 { Err(TrustError::Everybody(network)) } else { Ok(unmapped) }
}

/// `::ffff:0:0/96` is IPv4 (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Stands for peers without an address.
const UNIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(trust: &str, address: &str) -> bool {
        trust.parse::<Trust>().unwrap().trusts_peer(Some(address.parse::<IpAddr>().unwrap().to_canonical()))
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        for trust in [Trust::nobody(), Trust::default(), "".parse().unwrap(), " , ".parse().unwrap()] {
            assert_eq!(trust, Trust::nobody());
            assert!(!trust.trusts_peer(Some("127.0.0.1".parse().unwrap())));
            assert!(!trust.trusts_peer(None));
        }
    }

    #[test]
    fn networks_contain_the_addresses_that_they_say() {
        assert!(trusts("10.0.0.0/8", "10.255.255.255"));
        assert!(!trusts("10.0.0.0/8", "11.0.0.0"));
        assert!(trusts("10.1.2.3/8", "10.255.255.255"), "bits beyond the prefix do not matter");
        assert!(trusts("192.0.2.1", "192.0.2.1"));
        assert!(!trusts("192.0.2.1", "192.0.2.2"));
        assert!(trusts("192.0.2.1 2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!trusts("::/1", "10.0.0.1"), "an IPv6 network has no IPv4 addresses");
    }

    #[test]
    fn mapped_networks_and_mapped_peers_are_ipv4() {
        for trust in ["::ffff:10.0.0.0/104", "10.0.0.0/8", "::ffff:10.0.0.1"] {
            for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
                assert!(trusts(trust, peer), "{trust} {peer}");
                assert!(!trusts(trust, "11.0.0.1"), "{trust} {peer}");
            }
        }
    }

    #[test]
    fn a_peer_without_an_address_is_trusted_where_it_is_said() {
        assert!("unix:".parse::<Trust>().unwrap().trusts_peer(None));
        assert!(Trust::nobody().and_unix_sockets().trusts_peer(None));
        assert!(Trust::hops(1).trusts_peer(None));
        assert!(!"10.0.0.0/8".parse::<Trust>().unwrap().trusts_peer(None));
    }

    #[test]
    fn a_mistake_is_told_with_what_would_be_right() {
        let message = |text: &str| text.parse::<Trust>().unwrap_err().to_string();
        for wrong in ["10.0.0.0/33", "localhost", "10.0.0.0-10.0.0.9", "10.0.0.0/8;::1", "*"] {
            assert!(message(wrong).contains(&format!("{wrong:?} is not a network: write \"10.0.0.0/8\"")), "{wrong}");
        }
        for everybody in ["0.0.0.0/0", "::/0", "10.0.0.0/8, 1.2.3.4/0", "::ffff:0.0.0.0/96"] {
            assert!(message(everybody).contains("lets each client name itself"), "{everybody}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        for text in ["", "10.0.0.0/8", "unix:", "10.0.0.0/8, 2001:db8::/32, unix:"] {
            assert_eq!(text.parse::<Trust>().unwrap().to_string(), text);
        }
        assert_eq!(Trust::hops(2).to_string(), "2 hops");
    }

    #[test]
    #[should_panic(expected = "1 to 32 proxies")]
    fn no_hops_are_refused() {
        let _ = Trust::hops(0);
    }

    #[test]
    #[should_panic(expected = "1 to 32 proxies")]
    fn more_hops_than_are_followed_are_refused() {
        let _ = Trust::hops(33);
    }
}
