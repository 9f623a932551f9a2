//! How the bytes of a fuzzer become requests.
//!
//! An input is text, so that the seeds in `corpus/` can be read and written by hand: the first line is the address of the peer
//! (or something else, for a peer without one), each further line is one line of the header field.

use std::net::IpAddr;

use http::{HeaderValue, Request};
use tower_backpressure::key::{ClientIp, Key, Prefixes, client_ip};

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where it comes from.
    pub peer: Option<IpAddr>,
    /// The lines of its field.
    pub lines: Vec<HeaderValue>,
}

/// A key of the client's address, whose peer is an extension.
pub type Client = ClientIp<Peer, Option<IpAddr>, fn(&Peer) -> Option<IpAddr>>;

/// The peer of a request, which may have no address.
#[derive(Clone, Copy, Debug)]
pub struct Peer(Option<IpAddr>);

/// Makes the key.
pub fn client() -> Client {
    client_ip(|peer: &Peer| peer.0)
}

impl Input {
    /// Reads an input; `None` where a line is none that a host would let through.
    pub fn read(data: &[u8]) -> Option<Self> {
        let mut lines = data.split(|byte| *byte == b'\n');
        let peer = std::str::from_utf8(lines.next()?).ok().and_then(|peer| peer.parse().ok());
        let lines = lines.map(HeaderValue::from_bytes).collect::<Result<_, _>>().ok()?;
        Some(Self { peer, lines })
    }

    /// Returns the key of the request with the lines in this field.
    pub fn key(&self, client: &Client, field: &'static str) -> Option<IpAddr> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer(self.peer));
        for line in &self.lines {
            request.headers_mut().append(field, line.clone());
        }
        let key = client.key(&request);
        assert_eq!(key.map(|address| Prefixes::new().fold(address)), key, "a key is a whole prefix");
        key
    }

    /// Returns the same request after a proxy has appended an element to the last line.
    #[must_use]
    pub fn append(mut self, element: &str) -> Self {
        let last = self.lines.pop();
        let before = last.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let line = [before, b", ", element.as_bytes()].concat();
        self.lines.push(HeaderValue::from_bytes(&line).expect("both parts may be in a field"));
        self
    }

    /// Returns the key of the peer itself.
    pub fn peer_key(&self) -> Option<IpAddr> {
        self.peer.map(|peer| Prefixes::new().fold(peer))
    }
}
