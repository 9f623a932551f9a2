//! Remembers: rate limiters in memory, for one limit or for a hard-bounded table of keys.
//!
//! A [`Limiter`] is one limit; a [`KeyedLimiter`] is one for each key: client, tenant, route. Both are exact under
//! concurrency, usable from any thread without a runtime, and cheap handles whose clones share one state. For a tower
//! layer round them see `backpressure-rate-limit`.
//!
//! ```
//! use backpressure_core::{ManualClock, Rate, TokenBucket};
//! use backpressure_limiter::KeyedLimiter;
//! use std::time::Duration;
//!
//! let clock = ManualClock::new();
//! let per_user = KeyedLimiter::<String, _>::new(TokenBucket::new(Rate::per_second(2)))
//!     .max_keys(100_000)
//!     .clock(clock.clone())
//!     .named("per user");
//!
//! assert!(per_user.check("ada").is_ok());
//! assert!(per_user.check("ada").is_ok());
//! let refused = per_user.check("ada").unwrap_err();
//! assert_eq!(refused.to_string(), "rate limit exceeded (policy \"per user\"), retry after 500ms");
//!
//! // The promise is exact, and looking costs nothing.
//! clock.advance(Duration::from_millis(500));
//! assert_eq!(per_user.peek("ada").remaining, 1);
//! assert!(per_user.check("ada").is_ok());
//!
//! // What turned out not to count is given back; limits change while they run.
//! let taken = per_user.decide("grace", 2);
//! per_user.give_back("grace", &taken);
//! per_user.reconfigure(TokenBucket::new(Rate::per_second(5)));
//! assert_eq!(per_user.peek("grace").remaining, 5);
//! ```
//!
//! # Hazards
//!
//! - **Invented keys.** Whoever can invent keys (an unauthenticated header, a spoofed address) is always a newcomer. The memory
//!   stays bounded; [`WhenFull`] decides who pays.
//! - **Clones share.** `clone` makes a handle of the same limit. [`max_keys`](KeyedLimiter::max_keys), `clock` and
//!   [`when_full`](KeyedLimiter::when_full) make a new one.
//! - **Real-time priorities.** A state is locked for some tens of nanoseconds, and whoever finds it locked yields to the
//!   scheduler instead of
//!   sleeping. Under a real-time scheduling policy a yielding thread can keep a lower-priority holder from letting go: give
//!   threads that share a limiter one priority.
//! - **Restarts.** The state is in memory: a process that restarts forgets it.
//!
//! # Features
//!
//! - `tokio`: `TokioClock`, which follows tokio's paused time in tests.

mod clock;
mod keyed;
mod ledger;
mod limiter;
mod sync;
mod table;

#[cfg(feature = "tokio")]
pub use clock::TokioClock;
pub use clock::{Coarse, Monotonic};
pub use keyed::KeyedLimiter;
pub use ledger::{Ledger, Slot, Taken};
pub use limiter::Limiter;
pub use table::WhenFull;
