//! Keys that are the address of the client, also behind proxies.

mod address;
mod forwarded;
mod list;
mod prefixes;
#[cfg(test)]
mod properties;
mod proxies;
mod source;
mod trust;

pub use prefixes::Prefixes;
pub use proxies::Proxies;
pub use trust::{Trust, TrustError};

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use http::{HeaderMap, Request};

use self::source::Source;
use super::{Key, KeyType};

/// A key that is the address of the client; made by [`client_ip`].
pub struct ClientIp<T, A, F> {
    peer: F,
    forwarding: Option<(Source, Proxies)>,
    prefixes: Prefixes,
    extension: PhantomData<fn(&T) -> A>,
}

/// Makes a key of the address of the client, folded to a [prefix](Prefixes): by default all of IPv4, and a /64 of IPv6.
///
/// The closure reads the address of the peer, who sits at the other end of the connection, from the extension in which the host
/// tells it. Without proxies that is the client. Behind proxies, name **one** field that tells the client and say whom to
/// believe:
///
/// | | the field | is |
/// |---|---|---|
/// | [`x_forwarded_for`](ClientIp::x_forwarded_for) | `X-Forwarded-For` | a list: each proxy appends who sent it the request |
/// | [`forwarded`](ClientIp::forwarded) | `Forwarded` (RFC 7239) | the same in standard form |
/// | [`address_field`](ClientIp::address_field) | `CF-Connecting-IP`, `True-Client-IP`, `X-Real-IP`, … | one address, which the proxy sets |
///
/// Only peers that are [trusted](Trust) are believed, and no other field is looked at; where several are named, the last counts.
/// A list is read from the right, where the trusted peer wrote, as long as what is read is itself trusted: the first address
/// that is not is the client. What a client writes stands to the left of that, and changes nothing.
///
/// ```
/// use backpressure_http::key::{self, Key, Proxies};
/// use http::Request;
/// use std::net::{IpAddr, SocketAddr};
/// # #[derive(Clone)]
/// # struct ConnectInfo<T>(T);
///
/// let proxies = Proxies::new("10.0.0.0/8, 2001:db8:1::/48".parse()?);
/// let client = key::client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip()).x_forwarded_for(&proxies);
///
/// // A balancer (10.0.0.1) in front of us, a proxy (10.0.0.2) in front of that, and a client who claims to be another.
/// let mut request = Request::get("/").header("x-forwarded-for", "192.0.2.66, 203.0.113.7, 10.0.0.2").body(())?;
/// request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 4711))));
/// assert_eq!(client.key(&request), Some("203.0.113.7".parse()?));
///
/// // At the edge: a peer that is not trusted is the client, whatever it says. That is counted, and warned of once.
/// request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([198, 51, 100, 9], 4711))));
/// assert_eq!(client.key(&request), Some("198.51.100.9".parse()?));
/// assert_eq!(proxies.ignored(), 1);
///
/// // A request of which the host does not say from where it comes has no key.
/// request.extensions_mut().clear();
/// assert_eq!(client.key(&request), None);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # The peer
///
/// Any extension will do: axum's `ConnectInfo<SocketAddr>`, tonic's `TcpConnectInfo`
/// (`|peer: &TcpConnectInfo| peer.remote_addr().map(|address| address.ip())`), a type of one's own. The closure returns an
/// [`IpAddr`], or an `Option` of one where the peer may have none. A peer on a Unix socket has none (`None::<IpAddr>`): the
/// request has no key, unless such peers [are trusted](Trust::and_unix_sockets) and the field tells the client.
///
/// # What is read, and what is not
///
/// Where an element of a list names nobody, the walk ends: the client is the last address that was read, which is that of the
/// proxy that wrote the element. So it is where the list ends (a health check of the proxy itself has the peer as its client),
/// and at the bounds. A [number of hops](Trust::hops) steps over proxies that are nobody.
///
/// | in the field | is |
/// |---|---|
/// | `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, `::ffff:192.0.2.1` | the address without its port; a mapped one is IPv4 |
/// | `fe80::1%eth0` | the address without its zone |
/// | `for="[2001:db8::1]:_p";proto=https`, `For=192.0.2.1` | the same in `Forwarded`; quotation marks may be missing |
/// | `for=unknown`, `for=_hidden`, `unknown` | nobody |
/// | an element of `Forwarded` without `for`, with two, or malformed | nobody |
/// | a name, a number, garbage, an address of more than 128 bytes | nobody |
/// | an empty element (`, ,`), an empty line | skipped |
/// | several lines of a list | one list, in the order of the lines (RFC 9110 section 5.3) |
/// | an [`address_field`](ClientIp::address_field) that is repeated, empty, a list or garbage | nobody: the client is the peer |
///
/// # Complexity
///
/// At most [`Trust::MAX_HOPS`] (32) addresses and the last 8 KiB of a list are looked at, however long it is; nothing is
/// allocated.
///
/// # Hazards
///
/// - **The field that your proxy does not write.** A proxy that only appends to `X-Forwarded-For` passes on `Forwarded` and
///   `X-Real-IP` as the client wrote them. Name the field that the *last* trusted proxy appends to or overwrites.
/// - **Lines.** A proxy must append to the last line of a list or add one after it, as RFC 9110 section 5.3 has it. Behind one
///   that appends to the first, the client's second line counts.
/// - **Ways round the proxy.** Who can reach the server or an inner proxy directly is not counted right by
///   [`Trust::hops`], and may come from an address that is trusted. Close these ways.
/// - **Addresses that are shared.** Everybody behind one NAT has one key. So have all IPv4 clients behind a translator to IPv6
///   (NAT64: `64:ff9b::/96`), whose addresses differ only in the last 32 bits.
pub const fn client_ip<T, A, F>(peer: F) -> ClientIp<T, A, F>
where
    T: Send + Sync + 'static,
    A: Into<Option<IpAddr>>,
    F: Fn(&T) -> A,
{
    ClientIp { peer, forwarding: None, prefixes: Prefixes::new(), extension: PhantomData }
}

impl<T, A, F> ClientIp<T, A, F> {
    /// Believes the `X-Forwarded-For` of these proxies (a [`Trust`], or a handle to change it by), and no other field.
    #[must_use]
    pub fn x_forwarded_for(self, proxies: impl Into<Proxies>) -> Self {
        self.believe(Source::x_forwarded_for(), proxies.into())
    }

    /// Believes the `Forwarded` (RFC 7239) of these proxies, and no other field. Of its parameters only `for` is read.
    ///
    /// Quotation marks are matched within a line and from the right, so that one which a client left open does not hide what a
    /// proxy appended.
    #[must_use]
    pub fn forwarded(self, proxies: impl Into<Proxies>) -> Self {
        self.believe(Source::forwarded(), proxies.into())
    }

    /// Believes the one address that these proxies set in this field, and no other field: `CF-Connecting-IP`, `True-Client-IP`,
    /// `X-Real-IP`. Any [number of hops](Trust::hops) is the same here.
    ///
    /// # Panics
    ///
    /// If `name` is not the name of a header field (RFC 9110 section 5.1), or is that of a list. Case does not matter.
    #[must_use]
    pub fn address_field(self, name: &'static str, proxies: impl Into<Proxies>) -> Self {
        self.believe(Source::single(name), proxies.into())
    }

    /// Sets how many bits of the address tell one client from another.
    #[must_use]
    pub fn prefixes(self, prefixes: Prefixes) -> Self {
        Self { prefixes, ..self }
    }

    fn believe(self, source: Source, proxies: Proxies) -> Self {
        Self { forwarding: Some((source, proxies)), ..self }
    }

    /// Returns the address of the client behind this peer.
    #[inline]
    fn client(&self, peer: Option<IpAddr>, fields: &HeaderMap) -> Option<IpAddr> {
        match &self.forwarding {
            None => peer,
            Some((source, proxies)) => proxies.client(source, peer.map(|address| address.to_canonical()), fields),
        }
    }
}

impl<T, A, F> KeyType for ClientIp<T, A, F> {
    type Key = IpAddr;
}

impl<B, T, A, F> Key<Request<B>> for ClientIp<T, A, F>
where
    T: Send + Sync + 'static,
    A: Into<Option<IpAddr>>,
    F: Fn(&T) -> A,
{
    #[inline]
    fn key(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer: Option<IpAddr> = (self.peer)(request.extensions().get()?).into();
        self.client(peer, request.headers()).map(|address| self.prefixes.fold(address))
    }
}

impl<T, A, F: Clone> Clone for ClientIp<T, A, F> {
    fn clone(&self) -> Self {
        let Self { peer, forwarding, prefixes, extension } = self;
        Self { peer: peer.clone(), forwarding: forwarding.clone(), prefixes: *prefixes, extension: *extension }
    }
}

impl<T, A, F> fmt::Debug for ClientIp<T, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIp")
            .field("peer", &format_args!("{}", std::any::type_name::<T>()))
            .field("forwarding", &self.forwarding)
            .field("prefixes", &self.prefixes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::HeaderValue;

    use super::*;

    #[derive(Clone)]
    struct ConnectInfo<T>(T);

    /// The peer of a request, `-` for one without an address.
    type Peer = Option<IpAddr>;

    type Client = ClientIp<Peer, Peer, fn(&Peer) -> Peer>;

    fn client() -> Client {
        client_ip(|peer| *peer)
    }

    fn trust(text: &str) -> Trust {
        text.parse().unwrap()
    }

    /// Returns the key of a request from this peer with these lines of a field.
    fn key(client: &Client, peer: &str, field: &'static str, lines: &[&str]) -> String {
        let mut request = Request::new(());
        request.extensions_mut().insert::<Peer>((peer != "-").then(|| peer.parse().unwrap()));
        for line in lines {
            request.headers_mut().append(field, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        client.key(&request).map_or("none".to_owned(), |address| address.to_string())
    }

    fn xff(client: &Client, peer: &str, lines: &[&str]) -> String {
        key(client, peer, "x-forwarded-for", lines)
    }

    #[test]
    fn without_proxies_the_client_is_the_peer() {
        assert_eq!(xff(&client(), "192.0.2.1", &["203.0.113.7"]), "192.0.2.1");
        assert_eq!(xff(&client(), "2001:db8::1", &[]), "2001:db8::");
        assert_eq!(xff(&client(), "::ffff:192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(xff(&client(), "-", &["203.0.113.7"]), "none");
    }

    #[test]
    fn a_list_is_read_from_the_right_up_to_the_first_address_that_is_not_trusted() {
        let client = client().x_forwarded_for(trust("10.0.0.0/8 fd00::/8"));
        for (lines, address) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["192.0.2.66, 203.0.113.7"], "203.0.113.7"),
            (&["192.0.2.66, 203.0.113.7, 10.0.0.2, fd00::3"], "203.0.113.7"),
            (&["192.0.2.66, 10.0.0.9, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            (&["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            (&["192.0.2.66", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            (&["203.0.113.7", "", ", ,"], "203.0.113.7"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(xff(&client, "10.0.0.1", lines), address, "{lines:?}");
            assert_eq!(xff(&client, "::ffff:10.0.0.1", lines), address, "{lines:?} from a mapped peer");
        }
    }

    /// The table of [`client_ip`]: what cannot be read leaves the last address that could.
    #[test]
    fn what_is_no_address_ends_the_walk() {
        let client = client().x_forwarded_for(trust("10.0.0.0/8"));
        for (element, address) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::1]:80", "2001:db8::"),
            ("fe80::1%eth0", "fe80::"),
            ("unknown", "10.0.0.2"),
            ("_hidden", "10.0.0.2"),
            ("for=203.0.113.7", "10.0.0.2"),
            ("\"203.0.113.7\"", "10.0.0.2"),
            ("203.0.113.7 10.0.0.3", "10.0.0.2"),
            ("256.0.0.1", "10.0.0.2"),
            ("\u{663}.0.113.7", "10.0.0.2"),
        ] {
            assert_eq!(xff(&client, "10.0.0.1", &[&format!("192.0.2.66, {element}, 10.0.0.2")]), address, "{element}");
        }
    }

    #[test]
    fn hops_are_counted_from_the_peer() {
        let hops = |count| client().x_forwarded_for(Trust::hops(count));
        for (count, address) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3"), (4, "10.0.0.3"), (32, "10.0.0.3")] {
            assert_eq!(xff(&hops(count), "192.0.2.1", &["10.0.0.3", "10.0.0.2, 10.0.0.1"]), address, "{count} hops");
            assert_eq!(xff(&hops(count), "-", &["10.0.0.3", "10.0.0.2, 10.0.0.1"]), address, "{count} hops");
        }
        assert_eq!(xff(&hops(2), "192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(xff(&hops(2), "192.0.2.1", &["10.0.0.2, unknown"]), "10.0.0.2", "a proxy need not be known");
        assert_eq!(xff(&hops(2), "192.0.2.1", &["10.0.0.3, unknown, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(xff(&hops(2), "192.0.2.1", &["10.0.0.3, unknown, unknown"]), "192.0.2.1");
    }

    #[test]
    fn a_list_is_followed_through_so_many_proxies_and_no_more() {
        let client = client().x_forwarded_for(trust("10.0.0.0/8"));
        let through = |proxies: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(proxies));
        assert_eq!(xff(&client, "10.0.0.1", &[&through(31)]), "203.0.113.7");
        assert_eq!(xff(&client, "10.0.0.1", &[&through(32)]), "10.0.0.2");
        assert_eq!(xff(&client, "10.0.0.1", &[&through(1_000)]), "10.0.0.2");
    }

    #[test]
    fn a_long_list_is_looked_at_as_far_as_the_bound() {
        let client = client().x_forwarded_for(trust("10.0.0.0/8"));
        let padded = |spaces: usize| format!("203.0.113.7,{}10.0.0.2", " ".repeat(spaces));
        assert_eq!(xff(&client, "10.0.0.1", &[&padded(8_000)]), "203.0.113.7");
        assert_eq!(xff(&client, "10.0.0.1", &[&padded(8_192)]), "10.0.0.1");
        for huge in ["a", ",", " ", "\"", "10.0.0.2,", "10.0.0.2 ", "1", ":"] {
            let huge = huge.repeat(65_536 / huge.len());
            let address = if huge.contains("2,") { "10.0.0.2" } else { "10.0.0.1" };
            assert_eq!(xff(&client, "10.0.0.1", &[&huge]), address);
        }
    }

    #[test]
    fn forwarded_is_read_like_the_list() {
        let client = client().forwarded(trust("10.0.0.0/8"));
        for (lines, address) in [
            (&["for=203.0.113.7"][..], "203.0.113.7"),
            (&["for=192.0.2.66, for=\"[2001:db8::1]:80\";proto=https, For=10.0.0.2;by=_us"], "2001:db8::"),
            (&["for=203.0.113.7;host=\"a, for=10.0.0.9\", for=10.0.0.2"], "203.0.113.7"),
            (&["for=192.0.2.66", "for=203.0.113.7"], "203.0.113.7"),
            (&["for=\"", "for=203.0.113.7"], "203.0.113.7"),
            (&["for=\", for=203.0.113.7"], "203.0.113.7"),
            (&["for=\"\\, for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
            (&["for=203.0.113.7, for=unknown, for=10.0.0.2"], "10.0.0.2"),
            (&["for=203.0.113.7, for=\"_hidden\""], "10.0.0.1"),
            (&["for=203.0.113.7, proto=https"], "10.0.0.1"),
            (&["for=203.0.113.7;for=10.0.0.2"], "10.0.0.1"),
            (&["203.0.113.7"], "10.0.0.1"),
            (&["for=10.0.0.2\""], "10.0.0.1"),
            (&["for=203.0.113.7, , ,for=10.0.0.2,"], "203.0.113.7"),
        ] {
            assert_eq!(key(&client, "10.0.0.1", "forwarded", lines), address, "{lines:?}");
        }
        assert_eq!(xff(&client, "10.0.0.1", &["203.0.113.7"]), "10.0.0.1", "no other field is looked at");
        for huge in ["\"", "\\\"", "\"\\", ";", "for=", "for=\"", "a=\"b\";"] {
            assert_eq!(key(&client, "10.0.0.1", "forwarded", &[&huge.repeat(65_536 / huge.len())]), "10.0.0.1");
        }
    }

    #[test]
    fn a_field_of_one_address_is_that_address_or_nothing() {
        let cloudflare = client().address_field("CF-Connecting-IP", trust("10.0.0.0/8"));
        let client = |lines: &[&str]| key(&cloudflare, "10.0.0.1", "cf-connecting-ip", lines);
        assert_eq!(client(&["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(&[" [2001:db8::1]:80 "]), "2001:db8::");
        assert_eq!(client(&["10.0.0.2"]), "10.0.0.2");
        for wrong in [
            &[][..],
            &[""],
            &["unknown"],
            &["203.0.113.7, 203.0.113.8"],
            &["203.0.113.7,"],
            &["203.0.113.7", "203.0.113.7"],
            &["203.0.113.7", ""],
        ] {
            assert_eq!(client(wrong), "10.0.0.1", "{wrong:?}");
        }
        assert_eq!(client(&["1".repeat(65_536).as_str()]), "10.0.0.1");
        assert_eq!(key(&cloudflare, "192.0.2.1", "cf-connecting-ip", &["203.0.113.7"]), "192.0.2.1");
    }

    #[test]
    fn a_peer_on_a_unix_socket_is_believed_where_it_is_said_and_is_nobody_itself() {
        let unix = client().x_forwarded_for(trust("10.0.0.0/8 unix:"));
        assert_eq!(xff(&unix, "-", &["192.0.2.66, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(xff(&unix, "-", &["unknown"]), "none");
        assert_eq!(xff(&unix, "-", &[]), "none");
        assert_eq!(xff(&client().x_forwarded_for(trust("10.0.0.0/8")), "-", &["203.0.113.7"]), "none");
        assert_eq!(key(&client().address_field("x-real-ip", trust("unix:")), "-", "x-real-ip", &["203.0.113.7"]), "203.0.113.7");
    }

    #[test]
    fn the_trusted_can_be_changed_while_it_runs_and_what_is_ignored_is_counted() {
        let proxies = Proxies::default();
        let client = client().x_forwarded_for(&proxies);
        assert_eq!(xff(&client.clone(), "10.0.0.1", &["203.0.113.7"]), "10.0.0.1");
        assert_eq!(xff(&client.clone(), "10.0.0.1", &[""]), "10.0.0.1");
        assert_eq!(key(&client, "10.0.0.1", "forwarded", &["for=203.0.113.7"]), "10.0.0.1");
        assert_eq!(proxies.ignored(), 2, "of the field that is named");
        proxies.set(trust("10.0.0.0/8"));
        assert_eq!(xff(&client.clone(), "10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        proxies.set(Trust::hops(2));
        assert_eq!(xff(&client, "10.0.0.1", &["192.0.2.66, 203.0.113.7"]), "192.0.2.66");
        assert_eq!(proxies.ignored(), 2);
    }

    #[test]
    fn the_last_field_that_is_named_is_the_one() {
        let client = client().forwarded(Trust::hops(1)).x_forwarded_for(Trust::hops(1));
        assert_eq!(xff(&client, "10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(key(&client, "10.0.0.1", "forwarded", &["for=203.0.113.7"]), "10.0.0.1");
    }

    #[test]
    fn closures_need_no_annotation_but_that_of_their_argument() {
        let axum = client_ip(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
        let tonic = client_ip(|peer: &ConnectInfo<Option<SocketAddr>>| peer.0.map(|address| address.ip()));
        let mut request = Request::new(());
        assert_eq!((axum.key(&request), tonic.key(&request)), (None, None));
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 80))));
        request.extensions_mut().insert(ConnectInfo(Some(SocketAddr::from(([192, 0, 2, 2], 80)))));
        assert_eq!(axum.key(&request), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(tonic.key(&request), Some(IpAddr::from([192, 0, 2, 2])));
        let unix = client_ip(|_: &ConnectInfo<SocketAddr>| None::<IpAddr>);
        assert_eq!(unix.key(&request), None);
        let either = axum.or(tonic).key(&request);
        assert_eq!(either, Some(crate::key::Either::First(IpAddr::from([192, 0, 2, 1]))));
    }

    #[test]
    fn it_prints_what_it_believes() {
        let printed = format!("{:?}", client().x_forwarded_for(trust("10.0.0.0/8")));
        for part in ["Option<core::net::ip_addr::IpAddr>", "x-forwarded-for", "10.0.0.0/8", "ipv6: 64"] {
            assert!(printed.contains(part), "{printed}");
        }
    }

    #[test]
    #[should_panic(expected = "\"X-Forwarded-For\" is a list: use `x_forwarded_for`")]
    fn a_list_is_not_a_field_of_one_address() {
        let _ = client().address_field("X-Forwarded-For", Trust::hops(1));
    }

    #[test]
    #[should_panic(expected = "\"x real ip\" is not the name of a header field")]
    fn a_name_that_is_none_panics_at_construction() {
        let _ = client().address_field("x real ip", Trust::hops(1));
    }
}
