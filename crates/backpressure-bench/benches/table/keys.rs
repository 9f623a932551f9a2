//! Keys in an order that nobody can foresee.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

/// Visits the first `count` addresses, a power of two, each once a cycle.
#[derive(Clone)]
pub(crate) struct Walk {
    at: u32,
    count: u32,
}

impl Walk {
    pub(crate) fn new(count: u32) -> Self {
        Self::starting_at(0, count)
    }

    pub(crate) fn starting_at(at: u32, count: u32) -> Self {
        assert!(count.is_power_of_two(), "the cycle is complete only for powers of two: {count}");
        Self { at, count }
    }

    /// Returns the next address; which one depends on `admitted`, the answer about the last, though only the processor does not
    /// know that
    /// it is always the same.
    #[inline]
    pub(crate) fn next(&mut self, admitted: bool) -> IpAddr {
        // A linear congruential generator with full period: an odd increment, and a multiplier of 1 mod 4 (Hull and Dobell).
        let increment = if black_box(admitted) { 1_013_904_223 } else { 12_345 };
        self.at = self.at.wrapping_mul(1_664_525).wrapping_add(increment) & (self.count - 1);
        address(self.at)
    }
}

/// The address with this number. Different numbers below 2³² have different addresses, spread over all networks.
#[inline]
pub(crate) fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_769)))
}
