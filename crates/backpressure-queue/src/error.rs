//! Why a turn did not come.

use std::fmt;

/// Why a [`Wait`](crate::Wait) ended without a [`Turn`](crate::Turn).
///
/// Whoever gets one has left the line, or never was in it: there is nothing to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineError {
    /// The line was as long, or as heavy, as it may be when the waiter came.
    Full,
    /// The deadline passed before the turn came.
    Expired,
    /// The line was closed before the turn came.
    Closed,
    /// Another one took the place in the line: a newer one, or one that matters more.
    Evicted,
    /// It weighs more than all who wait may weigh together.
    TooHeavy,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the line is full",
            Self::Expired => "the deadline passed before the turn came",
            Self::Closed => "the line is closed",
            Self::Evicted => "another one took the place in the line",
            Self::TooHeavy => "it weighs more than the whole line may",
        })
    }
}

impl std::error::Error for LineError {}
