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
    /// The limit after the last probe, 0 before there was a window.
    limit: usize,
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
        Self { least: None, phase: Phase::next(&mut mix), limit: 0, mix }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.phase == Phase::Probing
    }

    /// Takes in a window that was no probe and returns the least latency so far.
    ///
    /// A lower one pulls it down by a quarter of the difference: the least of many noisy ones would be too low.
    pub(super) fn observe(&mut self, latency: u64) -> u64 {
        let least = self.least.map_or(latency, |least| if latency < least { least - (least - latency) / 4 } else { least });
        self.least = Some(least);
        least
    }

    /// Counts a window, after which the limit is `limit`; returns whether the next one is a probe.
    pub(super) fn probe_if_due(&mut self, limit: usize) -> bool {
        self.limit = self.limit.max(limit);
        match &mut self.phase {
            Phase::Following { windows_left } => {
                *windows_left = windows_left.saturating_sub(1);
                if *windows_left == 0 || limit <= self.limit / 2 {
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
        self.limit = 0;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the windows until a probe is due.
    fn windows_until_probe(baseline: &mut Baseline) -> usize {
        (1..).find(|_| baseline.probe_if_due(20)).expect("a probe comes")
    }

    #[test]
    fn a_probe_comes_after_30_to_60_windows_and_not_always_as_many() {
        let mut baseline = Baseline::new();
        let between: Vec<usize> = (0..200)
            .map(|_| {
                let windows = windows_until_probe(&mut baseline);
                baseline.probed(None);
                windows
            })
            .collect();
        assert_eq!((between.iter().min(), between.iter().max()), (Some(&30), Some(&60)));
    }

    #[test]
    fn a_probe_comes_once_the_limit_has_fallen_by_half() {
        let mut baseline = Baseline::new();
        assert!(!baseline.probe_if_due(30) && !baseline.probe_if_due(40) && !baseline.probe_if_due(21));
        assert!(baseline.probe_if_due(20));
        baseline.probed(Some(5));
        assert!(!baseline.probe_if_due(20), "half of what it was before the probe");
        assert!(baseline.probe_if_due(10));
    }

    #[test]
    fn the_least_latency_follows_downwards_and_only_a_probe_raises_it() {
        let mut baseline = Baseline::new();
        assert_eq!([100, 200, 60, 50].map(|latency| baseline.observe(latency)), [100, 100, 90, 80]);
        windows_until_probe(&mut baseline);
        assert!(baseline.is_probing());
        baseline.probed(Some(300));
        assert!(!baseline.is_probing());
        assert_eq!(baseline.observe(400), 300);
    }

    #[test]
    fn a_probe_in_which_nothing_succeeded_changes_nothing() {
        let mut baseline = Baseline::new();
        baseline.observe(70);
        windows_until_probe(&mut baseline);
        baseline.probed(None);
        assert_eq!(baseline.observe(100), 70);
    }
}
