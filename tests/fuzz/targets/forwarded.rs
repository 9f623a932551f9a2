//! `Forwarded`: a peer that is not trusted is the client, and what a proxy appends decides, whatever quotation marks stand before it.

#![no_main]

use std::net::IpAddr;

use backpressure_fuzz::{Input, client};
use tower_backpressure::key::Trust;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::read(data) else { return };
    let key = |input: &Input, trust: Trust| input.key(&client().forwarded(trust), "forwarded");

    assert_eq!(key(&input, Trust::nobody()), input.peer_key());
    let _ = key(&input, "10.0.0.0/8, fd00::/8".parse().expect("these are networks"));

    let appended = input.append("for=\"203.0.113.7:80\";host=\"a,b\\\"\"");
    let stranger = Some(IpAddr::from([203, 0, 113, 7]));
    assert_eq!(key(&appended, Trust::hops(1)), stranger);
    assert_eq!(key(&appended.append("By=_x;FOR=10.0.0.2"), Trust::hops(2)), stranger);
});
