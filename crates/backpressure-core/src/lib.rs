//! Decides: the arithmetic of back-pressure, and the words for it.
//!
//! Nothing in this crate reads a clock, takes a lock, waits or does I/O; it has no dependencies. Time comes in as a
//! [`Timestamp`],
//! an [`Algorithm`] looks at a small state and answers with a [`Decision`]. That makes every decision testable to the
//! nanosecond, and the same arithmetic serves a tower layer, a simulation and a script inside a store.
//!
//! Most users want the layers of `tower-backpressure`, or the limiters of `backpressure-limiter`, which keep the
//! states. Use this crate to write an algorithm, a limiter or a layer of your own.
//!
//! # Which algorithm
//!
//! | algorithm | admits in any interval d ≤ w | a key costs | at the limit |
//! |---|---|---|---|
//! | [`FixedWindow`] | up to 2N | 16 B | refuses until the window ends |
//! | [`SlidingWindow`] | N · (1 + d/w) | 16 B | refuses until enough has slid out |
//! | [`SlidingLog`] | N | 8 B · N | refuses until enough has slid out |
//! | [`TokenBucket`] | burst + rate · d | 8 B | refuses until the tokens are there |
//! | [`LeakyBucket`] | 1 + rate · d | 8 B | delays, then refuses |
//!
//! [`InFlight`] limits what is in progress instead: N at once, whatever the time; 8 B a key; at the limit it refuses and cannot say
//! until when.
//!
//! ```
//! use backpressure_core::{Algorithm, FixedWindow, Outcome, Rate, Timestamp, TokenBucket};
//!
//! // Ten a second in bursts of up to five, and no more than 100 a minute.
//! let limit = (TokenBucket::new(Rate::per_second(10)).burst(5), FixedWindow::new(Rate::per_minute(100)));
//! let mut client = Default::default();
//! for _ in 0..5 {
//!     assert_eq!(limit.decide(&mut client, Timestamp::ORIGIN, 1).outcome, Outcome::Admit);
//! }
//! // The refusal says when: one token of 100 ms later, to the nanosecond.
//! let refused = limit.decide(&mut client, Timestamp::ORIGIN, 1);
//! assert_eq!(refused.outcome, Outcome::Reject { retry_after: 100_000_000 });
//! let early = Timestamp::from_nanos(99_999_999);
//! assert!(!limit.check(&client, early, 1).is_admitted());
//! let on_time = Timestamp::from_nanos(100_000_000);
//! assert!(limit.check(&client, on_time, 1).is_admitted());
//! ```
//!
//! # How much may be in progress
//!
//! A [`Controller`] sets the limit from how the work went:
//!
//! | controller | what it takes for overload | for |
//! |---|---|---|
//! | [`Aimd`] | drops, and latency above a timeout | clients and batches: where overload answers with an error |
//! | [`Vegas`] | latency above the least that was seen | servers, and anything with a steady latency of its own |
//! | [`Gradient2`] | latency above its own long mean | latency that drifts or varies by itself |
//!
//! [`CoDel`] says how long a request may wait for its turn, and [`DrainRate`] when those before it will probably have ended.
//!
//! # How far a consumer may be behind
//!
//! [`Watermarks`] say when its producer is to pause and to resume; a [`SlowConsumer`] when it is too slow to be kept.
//!
//! # Hazards
//!
//! - **Rounding.** An interval that is not a whole number of nanoseconds is rounded up: the limit is never faster than its rate,
//!   and a rate for which that costs more than 1 % is refused at construction.
//! - **Clocks that step back.** No limit admits more for it than it would have at the latest time for which it admitted
//!   anything, receipts given
//!   back apart; its promises hold again once the clock has caught up.

mod adaptive;
mod algorithm;
mod answer;
mod class;
mod clock;
mod codel;
mod config_error;
mod deadline;
mod decision;
mod drain_rate;
mod limit;
mod mix;
mod name;
mod overflow;
mod rate;
mod rejection;
mod slow_consumer;
mod timestamp;
mod watermarks;

pub use adaptive::{Aimd, Controller, Ending, Gradient2, Sample, Vegas};
pub use algorithm::{Algorithm, FixedWindow, InFlight, LeakyBucket, SlidingLog, SlidingWindow, TokenBucket, Word};
pub use answer::{Answer, AnswerWith, Fail, Refused, Wrap, answer_with};
pub use class::Class;
pub use clock::{Clock, ManualClock};
pub use codel::CoDel;
pub use config_error::ConfigError;
pub use deadline::Deadline;
pub use decision::{Decision, Outcome, Policy, Quota};
pub use drain_rate::{DrainRate, spread};
pub use limit::{Admission, Limit, Permit, StateId};
pub use name::Name;
pub use overflow::Overflow;
pub use rate::Rate;
pub use rejection::{Reason, Rejection, Standing, whole_secs};
pub use slow_consumer::{Depth, Exceeded, Lag, SlowConsumer};
pub use timestamp::Timestamp;
pub use watermarks::{Crossing, Level, Watermarks};

use std::time::Duration;

/// Returns the nanoseconds of a duration, saturating at 584 years.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the comparison before it keeps the value within 64 bits; TryFrom is not const"
)]
pub const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

const fn nanos_to_duration(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}
