//! A point in time as a plain integer.

/// A point in time: nanoseconds since an origin that the [`Clock`](crate::Clock) chose.
///
/// All arithmetic saturates: 2⁶⁴ ns are 584 years. At the very last of them limits no longer hold, for lack of a later time;
/// nothing panics.
/// Two timestamps compare only if they come from the same clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);

    /// The last representable time.
    pub const MAX: Self = Self(u64::MAX);

    /// Makes the time that lies `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time `nanos` nanoseconds later, [`Timestamp::MAX`] at most.
    #[must_use]
    pub const fn saturating_add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Returns the time `nanos` nanoseconds earlier, [`Timestamp::ORIGIN`] at least.
    #[must_use]
    pub const fn saturating_sub(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// Returns the nanoseconds from `earlier` to this time, 0 where `earlier` is later: clocks that step back are tolerated.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
