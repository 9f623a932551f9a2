//! What was seen of a run.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::clients::PATIENCE;

/// Counts what ends while it is being measured, and nothing before, when controllers still look for their limits.
#[derive(Debug)]
pub(crate) struct Record {
    measured: Range<Instant>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// How long each answer took, those that came too late among them.
    latencies: Vec<Duration>,
    refused: usize,
    given_up: usize,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Answers a second that came within the patience of their clients.
    pub(crate) goodput: f64,
    /// Of all answers, late ones too; `None` where there was none.
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    /// The part of all attempts that were refused.
    pub(crate) refused: f64,
}

impl Record {
    pub(crate) fn new(measured: Range<Instant>) -> Self {
        Self { measured, counts: Mutex::default() }
    }

    pub(crate) fn served(&self, began: Instant) {
        self.count(|counts| counts.latencies.push(began.elapsed()));
    }

    pub(crate) fn refused(&self) {
        self.count(|counts| counts.refused += 1);
    }

    pub(crate) fn given_up(&self) {
        self.count(|counts| counts.given_up += 1);
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        if self.measured.contains(&Instant::now()) {
            change(&mut self.counts.lock().unwrap());
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let Counts { latencies, refused, given_up } = &mut *self.counts.lock().unwrap();
        latencies.sort_unstable();
        let in_time = latencies.partition_point(|latency| *latency <= PATIENCE);
        let measured = self.measured.end - self.measured.start;
        let percentile = |percent: usize| latencies.get((latencies.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Seen {
            goodput: in_time as f64 / measured.as_secs_f64(),
            p50: percentile(50),
            p99: percentile(99),
            refused: *refused as f64 / (in_time + *refused + *given_up).max(1) as f64,
        }
    }
}
