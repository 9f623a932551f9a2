//! A window of samples, so that no single piece of work moves a limit.

use std::fmt;
use std::time::Duration;

use super::{Ending, Sample};
use crate::mix::Mix;
use crate::{ConfigError, Timestamp, nanos};

/// Collects samples until they cover a time and are enough.
///
/// A window opens with the end of its first sample and closes with one, so it is never empty: silence says nothing. What started
/// before the [epoch](Self::restart) is left out: it ran under another limit (envoyproxy/envoy#11579).
#[derive(Clone)]
pub(super) struct Samples {
    /// Nanoseconds, at least 1.
    length: u64,
    at_least: u64,
    epoch: Timestamp,
    /// The earliest and the latest end so far.
    span: Option<(Timestamp, Timestamp)>,
    successes: u64,
    dropped: u64,
    in_flight: u128,
    most_in_flight: usize,
    /// The latencies of the successes; of many, a choice in which each had the same chance.
    latencies: Vec<u64>,
    mix: Mix,
}

/// What a window of samples came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// When it closed.
    pub(super) closed: Timestamp,
    /// Nanoseconds from the first end to the last, at least 1.
    pub(super) elapsed: u64,
    /// The 90th percentile of the latencies of the successes, in nanoseconds and at least 1; `None` where nothing succeeded.
    pub(super) latency: Option<u64>,
    pub(super) successes: u64,
    pub(super) dropped: u64,
    /// The sum, over all samples, of what was in flight when they started.
    pub(super) in_flight: u128,
    pub(super) most_in_flight: usize,
}

impl Samples {
    /// Windows of 1 s (Netflix concurrency-limits, failsafe-go) and at least 50 samples (failsafe-go, Envoy).
    pub(super) fn new() -> Self {
        Self {
            length: 1_000_000_000,
            at_least: 50,
            epoch: Timestamp::ORIGIN,
            span: None,
            successes: 0,
            dropped: 0,
            in_flight: 0,
            most_in_flight: 0,
            latencies: Vec::new(),
            mix: Mix::new(SEED),
        }
    }

    pub(super) fn with(self, length: Duration, at_least: u32) -> Result<Self, ConfigError> {
        match (nanos(length), u64::from(at_least)) {
            (0, _) => Err(ConfigError::ZeroWindow),
            (_, 0) => Err(ConfigError::ZeroSamples),
            (length, at_least) => Ok(Self { length, at_least, ..self }),
        }
    }

    /// Forgets the window that is open, and leaves out what starts before `epoch`.
    pub(super) fn restart(&mut self, epoch: Timestamp) {
        self.epoch = epoch;
        self.close();
    }

    /// Takes in a sample; returns the window if it is the last one of it.
    pub(super) fn record(&mut self, sample: Sample) -> Option<Window> {
        // Whatever ends before the epoch began is told late, or the clock stepped back: an epoch that lies ahead would leave out
        // everything until the clock has caught up.
        self.epoch = self.epoch.min(sample.ended);
        if sample.ending == Ending::Ignored || sample.started < self.epoch {
            return None;
        }
        match sample.ending {
            Ending::Success => self.success(sample.latency()),
            Ending::Dropped | Ending::Ignored => self.dropped += 1,
        }
        self.in_flight = self.in_flight.saturating_add(u128::try_from(sample.in_flight).unwrap_or(u128::MAX));
        self.most_in_flight = self.most_in_flight.max(sample.in_flight);
        let (first, last) = self.span.unwrap_or((sample.ended, sample.ended));
        let (first, last) = (first.min(sample.ended), last.max(sample.ended));
        self.span = Some((first, last));
        let elapsed = last.nanos_since(first);
        if elapsed < self.length || self.successes + self.dropped < self.at_least {
            return None;
        }
        let window = Window {
            closed: last,
            elapsed,
            latency: self.percentile(),
            successes: self.successes,
            dropped: self.dropped,
            in_flight: self.in_flight,
            most_in_flight: self.most_in_flight,
        };
        self.close();
        Some(window)
    }

    fn close(&mut self) {
        self.span = None;
        (self.successes, self.dropped, self.in_flight, self.most_in_flight) = (0, 0, 0, 0);
        self.latencies.clear();
    }

    /// Keeps a latency, or lets chance decide whether it replaces one (J. Vitter, algorithm R, 1985).
    fn success(&mut self, latency: u64) {
        self.successes += 1;
        if self.latencies.len() < KEPT {
            self.latencies.push(latency);
        } else if let Ok(place) = usize::try_from(self.mix.below(self.successes))
            && let Some(kept) = self.latencies.get_mut(place)
        {
            *kept = latency;
        }
    }

    /// Returns the least latency that at least 90 % of the kept ones do not exceed.
    fn percentile(&mut self) -> Option<u64> {
        let rank = (self.latencies.len() * PERCENTILE).div_ceil(100);
        let index = rank.checked_sub(1)?;
        let (_, latency, _) = self.latencies.select_nth_unstable(index);
        Some((*latency).max(1))
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples")
            .field("length", &Duration::from_nanos(self.length))
            .field("at_least", &self.at_least)
            .field("epoch", &self.epoch)
            .field("span", &self.span)
            .field("successes", &self.successes)
            .field("dropped", &self.dropped)
            .field("most_in_flight", &self.most_in_flight)
            .finish_non_exhaustive()
    }
}

/// As failsafe-go and Uber's Cinnamon: a median says too little of a server whose work varies, a maximum too much.
const PERCENTILE: usize = 90;

/// 4 KiB. The 90th percentile of 512 out of many is one between their 87.4th and 92.6th in 95 of 100 cases.
const KEPT: usize = 512;

const SEED: u64 = 0x5a3b_1e5a;
