//! The latency of work that nothing is in the way of.

use crate::mix::Mix;

/// The least latency of a window, until it is measured afresh.
///
/// What was the least once may never be again: a slower dependency, a larger request. So from time to time the baseline is
/// measured anew, at a part of the limit and for one window: low enough that a queue drains, and not at the minimum, which would
/// refuse nearly everything. How many windows lie between two such probes varies, so that servers do not probe together.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    /// Nanoseconds, at least 1.
    least: Option<u64>,
    phase: Phase,
    mix: Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Following { windows_left: u64 },
    Probing,
}

impl Baseline {
    pub(super) fn new() -> Self {
        let mut mix = Mix::new(SEED);
        Self { least: None, phase: Phase::next(&mut mix), mix }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.phase == Phase::Probing
    }

    /// Takes in a window that was no probe and returns the least latency so far.
    pub(super) fn observe(&mut self, latency: u64) -> u64 {
        let least = self.least.map_or(latency, |least| least.min(latency));
        self.least = Some(least);
        least
    }

    /// Counts a window; returns whether the next one is a probe.
    pub(super) fn probe_if_due(&mut self) -> bool {
        match &mut self.phase {
            Phase::Following { windows_left } => {
                *windows_left = windows_left.saturating_sub(1);
                if *windows_left == 0 {
                    self.phase = Phase::Probing;
                }
            }
            Phase::Probing => {}
        }
        self.is_probing()
    }

    /// Ends a probe with what it measured; one in which nothing succeeded measured nothing.
    pub(super) fn probed(&mut self, latency: Option<u64>) {
        self.least = latency.or(self.least);
        self.phase = Phase::next(&mut self.mix);
    }
}

impl Phase {
    fn next(mix: &mut Mix) -> Self {
        Self::Following { windows_left: PROBE_AFTER / 2 + mix.below(PROBE_AFTER / 2 + 1) }
    }
}

/// From half so many windows to so many lie between two probes: with windows of 1 s once a minute as in Envoy's example, jittered as in
/// Netflix's Vegas.
const PROBE_AFTER: u64 = 60;

const SEED: u64 = 0xba5e;
