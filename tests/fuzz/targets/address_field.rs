//! A field of one address: that address, or the peer.

#![no_main]

use std::net::IpAddr;

use backpressure_fuzz::{Input, client};
use tower_backpressure::key::{Prefixes, Trust};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::read(data) else { return };
    let key = |trust: Trust| input.key(&client().address_field("CF-Connecting-IP", trust), "cf-connecting-ip");

    assert_eq!(key(Trust::nobody()), input.peer_key());
    let believed = key(Trust::hops(1));
    let plain = match &input.lines[..] {
        [only] => std::str::from_utf8(only.as_bytes()).ok().and_then(|text| text.trim_ascii().parse::<IpAddr>().ok()),
        _ => None,
    };
    match plain {
        Some(address) => assert_eq!(believed, Some(Prefixes::new().fold(address))),
        None if input.lines.len() != 1 => assert_eq!(believed, input.peer_key()),
        None => {}
    }
});
