//! `X-Forwarded-For`: a peer that is not trusted is the client; what a proxy appends decides; and a parser that copies, splits and
//! understands nothing but plain addresses comes to the same.

#![no_main]

use std::net::IpAddr;

use backpressure_fuzz::{Input, client};
use tower_backpressure::key::{Prefixes, Trust};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::read(data) else { return };
    let key = |input: &Input, trust: Trust| input.key(&client().x_forwarded_for(trust), "x-forwarded-for");
    let networks: Trust = "10.0.0.0/8, fd00::/8, unix:".parse().expect("these are networks");

    assert_eq!(key(&input, Trust::nobody()), input.peer_key());
    let got = key(&input, networks.clone());
    if let Some(expected) = copied(&input) {
        assert_eq!(got, expected);
    }

    let stranger = Some(IpAddr::from([203, 0, 113, 7]));
    let appended = input.append("203.0.113.7");
    assert_eq!(key(&appended, Trust::hops(1)), stranger);
    if appended.peer.is_none_or(is_trusted) {
        assert_eq!(key(&appended, networks.clone()), stranger);
        let appended = appended.append("::ffff:10.0.0.2");
        assert_eq!(key(&appended, networks), stranger);
        assert_eq!(key(&appended, Trust::hops(2)), stranger);
    }
});

fn is_trusted(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    }
}

/// The client by way of a copy of the whole list; `None` where the list is longer than is looked at, or has an element that only
/// the real parser can tell from garbage.
fn copied(input: &Input) -> Option<Option<IpAddr>> {
    let lines: Vec<_> = input.lines.iter().map(|line| line.as_bytes()).collect();
    let list = lines.join(&b","[..]);
    let elements: Vec<_> =
        list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).collect();
    if list.len() >= 4_096 || elements.len() > 30 {
        return None;
    }
    let mut client = input.peer;
    for element in elements.into_iter().rev() {
        if !client.is_none_or(is_trusted) {
            break;
        }
        match std::str::from_utf8(element).ok().and_then(|text| text.parse().ok()) {
            Some(address) => client = Some(address),
            None if element.iter().any(|byte| b":[%".contains(byte)) => return None,
            None => break,
        }
    }
    Some(client.map(|address| Prefixes::new().fold(address)))
}
