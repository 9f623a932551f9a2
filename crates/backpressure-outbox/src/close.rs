//! The last words to a peer.

use std::fmt;

/// Why a connection is closed, as the peer is told: a code and a reason, as in a WebSocket close frame (RFC 6455, section 7.4).
///
/// The reason is cut to 123 bytes, on the boundary of a character: a control frame has room for 125, and the code takes two
/// (RFC 6455, section 5.5).
///
/// ```
/// use backpressure_outbox::Close;
///
/// let close = Close::new(4_000, "ä".repeat(100));
/// assert_eq!((close.code(), close.reason().len()), (4_000, 122));
/// assert_eq!(Close::SLOW.code(), 1008);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Close {
    code: u16,
    reason: Reason,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Reason {
    Fixed(&'static str),
    Given(Box<str>),
}

impl Close {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self::fixed(1000, "");
    /// 1001: this server goes down, or the client has gone elsewhere.
    pub const GOING_AWAY: Self = Self::fixed(1001, "going away");
    /// 1008, a violation of policy: the peer reads too slowly. What slow consumers are told by default.
    pub const SLOW: Self = Self::fixed(1008, "reads too slowly");
    /// 1012, service restart: this server goes down for a moment, and the client is to come back. What a hub that drains says.
    pub const RESTART: Self = Self::fixed(1012, "service restart");
    /// 1009: the peer has sent a message that is too big to be taken.
    pub const TOO_BIG: Self = Self::fixed(1009, "message too big");
    /// 1013, try again later: this server is overloaded.
    pub const OVERLOADED: Self = Self::fixed(1013, "overloaded, try again later");
    /// 1001: the peer has not answered for too long. It will hardly read this.
    pub(crate) const SILENT: Self = Self::fixed(1001, "no sign of life");

    /// The longest reason, in bytes.
    pub const MAX_REASON: usize = 123;

    /// Makes one with a code and a reason. What is too long of the reason is cut off.
    ///
    /// Codes for applications are 4000 to 4999; 1005, 1006 and 1015 must not be sent, and some libraries fail on them.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary_of(Self::MAX_REASON));
        Self { code, reason: Reason::Given(reason.into_boxed_str()) }
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Returns the reason: at most 123 bytes.
    #[must_use]
    pub const fn reason(&self) -> &str {
        match &self.reason {
            Reason::Fixed(reason) => reason,
            Reason::Given(reason) => reason,
        }
    }

    const fn fixed(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Reason::Fixed(reason) }
    }
}

/// `str::floor_char_boundary` is younger than the oldest compiler that this crate builds with.
trait Boundary {
    fn floor_char_boundary_of(&self, at_most: usize) -> usize;
}

impl Boundary for str {
    fn floor_char_boundary_of(&self, at_most: usize) -> usize {
        let from = at_most.min(self.len());
        (0..=from).rfind(|&index| self.is_char_boundary(index)).unwrap_or(0)
    }
}

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").field("code", &self.code).field("reason", &self.reason()).finish()
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_to_123_bytes_between_two_characters_and_no_shorter_than_that_takes() {
        for character in ["a", "ä", "€", "𝄞"] {
            for before in 0..4 {
                let whole = "x".repeat(before) + &character.repeat(200);
                let close = Close::new(1008, whole.clone());
                assert!(whole.starts_with(close.reason()));
                assert!(close.reason().len() <= 123 && close.reason().len() + character.len() > 123);
            }
        }
        assert_eq!(Close::new(1000, "x".repeat(123)).reason().len(), 123);
        assert_eq!(Close::new(1000, "").reason(), "");
    }
}
