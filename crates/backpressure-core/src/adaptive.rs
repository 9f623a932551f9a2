//! Limits on work in progress that follow how the work goes.

mod aimd;
mod baseline;
#[cfg(test)]
mod closed_loop;
mod gradient2;
mod guard;
mod limits;
mod samples;
mod vegas;

pub use aimd::Aimd;
pub use gradient2::Gradient2;
pub use vegas::Vegas;

use crate::Timestamp;

/// Sets how much work may be in progress, from how the work went.
///
/// By Little's law the work in progress is throughput × latency. Up to some point more of it brings more throughput; beyond,
/// only more latency. A controller looks for that point. It does not know it: whoever keeps to the limit must refuse or queue
/// what is above it, and must report each piece of work that ended, with a [`Sample`].
///
/// | controller | what it takes for overload | for |
/// |---|---|---|
/// | [`Aimd`] | drops, and latency above a timeout | clients and batches: where overload answers with an error |
/// | [`Vegas`] | latency above the least that was seen | servers, and anything with a steady latency of its own |
/// | [`Gradient2`] | latency above its own long mean | latency that drifts or varies by itself |
///
/// Whatever the samples say, a limit stays between its least and its greatest.
pub trait Controller {
    /// Returns how much work may be in progress now.
    fn limit(&self) -> usize;

    /// Takes in how one piece of work went and returns the limit from now on.
    fn record(&mut self, sample: Sample) -> usize;
}

impl<C: Controller + ?Sized> Controller for Box<C> {
    fn limit(&self) -> usize {
        (**self).limit()
    }

    fn record(&mut self, sample: Sample) -> usize {
        (**self).record(sample)
    }
}

/// One piece of work that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by whoever does the work")]
pub struct Sample {
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How much work was in progress when it started, itself included.
    pub in_flight: usize,
    /// How it ended.
    pub ending: Ending,
}

impl Sample {
    /// Returns the nanoseconds that the work took, 0 where the clock stepped back.
    #[must_use]
    pub const fn latency(&self) -> u64 {
        self.ended.nanos_since(self.started)
    }
}

/// What the end of a piece of work says about the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a controller must treat every one of them")]
pub enum Ending {
    /// It ended as it should: its latency counts.
    Success,
    /// It failed for want of capacity: a timeout, a refusal further down. Its latency says nothing.
    Dropped,
    /// It says nothing about the load: a health check, a stream, something that its caller cancelled or that failed for a reason
    /// of its own.
    Ignored,
}
