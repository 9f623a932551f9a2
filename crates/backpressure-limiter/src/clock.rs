//! The clocks that limiters read.

#![expect(clippy::disallowed_methods, reason = "this is the clock module")]

use backpressure_core::{Clock, Timestamp};

/// The default clock: monotonic, precise to the nanosecond or nearly so, about 10 ns a reading.
///
/// Reads the processor's time stamp counter where it is invariant, else the clock of the operating system. The first one made in
/// a process
/// calibrates the counter, which takes some milliseconds.
#[derive(Clone, Debug)]
pub struct Monotonic {
    clock: quanta::Clock,
    origin: u64,
    /// Nanoseconds in 2⁴⁰ ticks of the counter: a multiplication with a fixed shift, in half the instructions of quanta's own.
    scale: u64,
}

impl Default for Monotonic {
    fn default() -> Self {
        let clock = quanta::Clock::new();
        let (origin, scale) = (clock.raw(), clock.delta_as_nanos(0, 1 << SCALE_BITS));
        Self { clock, origin, scale }
    }
}

/// Twelve digits of the counter's period, and no overflow: the product of two words fits 128 bits.
const SCALE_BITS: u32 = 40;

impl Clock for Monotonic {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "2⁶⁴ ns after the origin are 584 years")]
    fn now(&self) -> Timestamp {
        let ticks = self.clock.raw().saturating_sub(self.origin);
        let nanos = (u128::from(ticks) * u128::from(self.scale)) >> SCALE_BITS;
        Timestamp::from_nanos(nanos as u64)
    }
}

/// A clock that costs a memory read and is as precise as the thread that updates it.
///
/// Reads what [`quanta::Upkeep`] last stored: start one, with the interval that is precise enough, and keep its handle. Without
/// it the
/// clock reads the precise time on each call. Promises hold to within the interval.
///
/// ```
/// use std::time::Duration;
/// use backpressure_core::{Rate, TokenBucket};
/// use backpressure_limiter::{Coarse, Limiter};
///
/// let upkeep = quanta::Upkeep::new(Duration::from_millis(1)).start()?;
/// let limiter = Limiter::new(TokenBucket::new(Rate::per_second(100))).clock(Coarse::default());
/// assert!(limiter.check().is_ok());
/// drop(upkeep);
/// # Ok::<(), quanta::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Coarse {
    origin: quanta::Instant,
}

impl Default for Coarse {
    fn default() -> Self {
        Self { origin: quanta::Instant::recent() }
    }
}

impl Clock for Coarse {
    #[inline]
    fn now(&self) -> Timestamp {
        // The instant's `recent`, not the clock's: that one stands still until an upkeep has run.
        Timestamp::from_nanos(backpressure_core::nanos(quanta::Instant::recent().duration_since(self.origin)))
    }
}

/// The clock of tokio's timers: paused time in a test drives every limiter that reads it.
///
/// # Panics
///
/// Reading it follows `tokio::time::Instant::now`, which needs no runtime; time is paused only inside the runtime that paused it.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

#[cfg(feature = "tokio")]
impl Default for TokioClock {
    fn default() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

#[cfg(feature = "tokio")]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(backpressure_core::nanos(tokio::time::Instant::now().saturating_duration_since(self.origin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_clock_does_not_step_back() {
        let clock = Monotonic::default();
        let mut last = clock.now();
        for _ in 0..100_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(last > Timestamp::ORIGIN);
    }

    #[test]
    fn the_coarse_clock_goes_on_without_an_upkeep() {
        let clock = Coarse::default();
        let began = clock.now();
        while clock.now() == began {
            std::hint::spin_loop();
        }
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn paused_time_drives_the_tokio_clock() {
        let clock = TokioClock::default();
        let before = clock.now();
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert_eq!(clock.now().nanos_since(before), 3_600_000_000_000);
    }
}
