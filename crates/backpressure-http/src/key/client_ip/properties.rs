//! What holds whatever is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{ClientIp, Prefixes, Proxies, Trust, client_ip};
use crate::key::Key;

type Client = ClientIp<IpAddr, IpAddr, fn(&IpAddr) -> IpAddr>;

/// Believes a list that the trusted write.
#[derive(Clone, Copy, Debug)]
enum List {
    XForwardedFor,
    Forwarded,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// What a proxy appends that was sent a request from this address.
    fn element(self, address: IpAddr) -> String {
        match (self, address) {
            (Self::XForwardedFor, _) => address.to_string(),
            (Self::Forwarded, IpAddr::V4(_)) => format!("for={address};proto=https"),
            (Self::Forwarded, IpAddr::V6(_)) => format!("by=_b;For=\"[{address}]:80\""),
        }
    }

    fn client(self, proxies: impl Into<Proxies>) -> Client {
        let client: Client = client_ip(|peer| *peer);
        match self {
            Self::XForwardedFor => client.x_forwarded_for(proxies),
            Self::Forwarded => client.forwarded(proxies),
        }
    }
}

fn trusted_networks() -> Trust {
    "10.0.0.0/8 fd00::/8".parse().unwrap()
}

/// The same networks without a library.
fn is_trusted(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    }
}

fn key(client: &Client, peer: IpAddr, fields: &[(&str, Vec<u8>)]) -> Option<IpAddr> {
    let mut request = Request::new(());
    request.extensions_mut().insert(peer);
    for (name, line) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(line).unwrap());
    }
    client.key(&request)
}

fn list() -> impl Strategy<Value = List> {
    prop::sample::select(vec![List::XForwardedFor, List::Forwarded])
}

fn trusted() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(10, b, c, d).into()),
        any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(10, b, c, d).to_ipv6_mapped().into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(0xfd << 120 | bits >> 8).into()),
    ]
}

fn stranger() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv4Addr>().prop_map(|v4| v4.to_ipv6_mapped().into()),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
    ]
    .prop_filter("trusted", |address| !is_trusted(*address))
}

/// Whatever a client may put into a field, most of it of the characters that mean something there.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let meaningful = prop::sample::select(b",,;;==\"\"\\\\:[]%._ 01fFor".to_vec());
    let allowed = any::<u8>().prop_filter("not allowed in a field", |byte| *byte == b'\t' || (*byte >= b' ' && *byte != 127));
    let words = prop::sample::select(vec!["for=", "for=\"", "10.0.0.1", "203.0.113.1", "[fd00::1]", "unknown", "\", "]);
    prop::collection::vec(
        prop_oneof![
            meaningful.prop_map(|byte| vec![byte]),
            allowed.prop_map(|byte| vec![byte]),
            words.prop_map(|word| word.as_bytes().to_vec())
        ],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

fn lines_of(list: List, lines: Vec<Vec<u8>>) -> Vec<(&'static str, Vec<u8>)> {
    lines.into_iter().map(|line| (list.name(), line)).collect()
}

/// An element of a list, by what it means: an address, nobody, or nothing at all.
#[derive(Clone, Debug)]
enum Element {
    Address(IpAddr),
    Nobody(&'static str),
    Empty,
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        6 => trusted().prop_map(Element::Address),
        3 => stranger().prop_map(Element::Address),
        1 => prop::sample::select(vec!["for=unknown", "for=_hidden", "?", "for=\"10.0.0.1\"x", "1.2.3.4;for=2.3.4.5", "\\"])
            .prop_map(Element::Nobody),
        1 => Just(Element::Empty),
    ]
}

fn written(list: List, lines: &[Vec<Element>]) -> Vec<(&'static str, Vec<u8>)> {
    let text = |element: &Element| match element {
        Element::Address(address) => list.element(*address),
        Element::Nobody(text) => (*text).to_owned(),
        Element::Empty => " ".to_owned(),
    };
    lines_of(list, lines.iter().map(|line| line.iter().map(text).collect::<Vec<_>>().join(",").into_bytes()).collect())
}

/// The client of a list, on paper: who is known to have sent the request is the peer, then whom the elements name from the right.
fn client_of(peer: IpAddr, lines: &[Vec<Element>], trust: impl Fn(usize, IpAddr) -> bool, end_at_nobody: bool) -> IpAddr {
    let mut senders = vec![Some(peer)];
    for element in lines.concat().into_iter().rev() {
        match element {
            Element::Address(address) => senders.push(Some(address)),
            Element::Nobody(_) => senders.push(None),
            Element::Empty => {}
        }
    }
    let mut client = peer;
    for (hop, sender) in senders.into_iter().enumerate() {
        match sender {
            Some(address) => client = address,
            None if end_at_nobody => break,
            None => {}
        }
        if !trust(hop, client) {
            break;
        }
    }
    Prefixes::new().fold(client)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_field_changes_the_key_of_a_request_whose_peer_is_not_trusted(
        list in list(),
        peer in stranger(),
        mine in prop::collection::vec(garbage(), 0..3),
        other in garbage(),
    ) {
        let fields = [lines_of(list, mine), vec![("forwarded", other.clone()), ("x-real-ip", other)]].concat();
        let expected = Some(Prefixes::new().fold(peer));
        prop_assert_eq!(key(&list.client(trusted_networks()), peer, &fields), expected);
        prop_assert_eq!(key(&list.client(Trust::nobody()), peer, &fields), expected);
        let single: Client = client_ip(|peer| *peer);
        prop_assert_eq!(key(&single.address_field("x-real-ip", trusted_networks()), peer, &fields), expected);
    }

    #[test]
    fn what_a_client_writes_changes_nothing_behind_a_proxy_that_appends(
        list in list(),
        proxies in prop::collection::vec(trusted(), 1..4),
        client in stranger(),
        before in prop::collection::vec(garbage(), 0..3),
        other in garbage(),
        on_a_line_of_its_own in any::<bool>(),
    ) {
        let appended = [client].iter().chain(&proxies[1..]).map(|sender| list.element(*sender)).collect::<Vec<_>>().join(", ");
        let mut lines = before;
        match lines.last_mut() {
            Some(last) if !on_a_line_of_its_own => last.extend([b", ", appended.as_bytes()].concat()),
            _ => lines.push(appended.into_bytes()),
        }
        let mut fields = lines_of(list, lines);
        for unread in ["x-real-ip", "x-forwarded-for", "forwarded"].into_iter().filter(|name| *name != list.name()) {
            fields.push((unread, other.clone()));
        }
        let expected = Some(Prefixes::new().fold(client));
        prop_assert_eq!(key(&list.client(trusted_networks()), proxies[0], &fields), expected);
        let hops = u8::try_from(proxies.len()).unwrap();
        prop_assert_eq!(key(&list.client(Trust::hops(hops)), proxies[0], &fields), expected);
    }

    #[test]
    fn a_list_means_what_it_means_on_paper(
        list in list(),
        peer in prop_oneof![3 => trusted(), 1 => stranger()],
        lines in prop::collection::vec(prop::collection::vec(element(), 0..5), 0..4),
        hops in 1_u8..8,
    ) {
        let fields = written(list, &lines);
        let networks = client_of(peer, &lines, |_, sender| is_trusted(sender), true);
        prop_assert_eq!(key(&list.client(trusted_networks()), peer, &fields), Some(networks));
        let counted = client_of(peer, &lines, |hop, _| hop < hops.into(), false);
        prop_assert_eq!(key(&list.client(Trust::hops(hops)), peer, &fields), Some(counted));
    }

    #[test]
    fn ipv4_is_ipv4_however_it_is_written(
        list in list(),
        peer in any::<Ipv4Addr>(),
        elements in prop::collection::vec(prop_oneof![Just(10), any::<u8>()].prop_flat_map(|a| {
            any::<[u8; 3]>().prop_map(move |[b, c, d]| Ipv4Addr::new(a, b, c, d))
        }), 0..5),
    ) {
        let keys = [Ipv4Addr::into, |v4: Ipv4Addr| IpAddr::from(v4.to_ipv6_mapped())].map(|written: fn(Ipv4Addr) -> IpAddr| {
            let line = elements.iter().map(|v4| list.element(written(*v4))).collect::<Vec<_>>().join(",");
            ["10.0.0.0/8", "::ffff:10.0.0.0/104"].map(|network| {
                let client = list.client(network.parse::<Trust>().unwrap());
                key(&client, written(peer), &[(list.name(), line.clone().into_bytes())])
            })
        });
        prop_assert!(keys[0][0].is_some_and(|address| address.is_ipv4()));
        prop_assert_eq!(keys, [[keys[0][0]; 2]; 2]);
    }

    #[test]
    fn any_text_is_a_trust_that_prints_as_it_reads_or_an_error(text in "[0-9a-f./: ,nix]{0,40}") {
        if let Ok(trust) = text.parse::<Trust>() {
            prop_assert_eq!(trust.to_string().parse::<Trust>(), Ok(trust));
        }
    }
}
