//! Law 9: no interval, wherever it lies, lets more through than its bound.

use backpressure_core::Outcome;

use crate::script::{Passed, passed, play, scripts, starts};
use crate::subjects::{Subject, for_all};

law!(no_interval_lets_more_through_than_its_bound);
law!(no_interval_lets_more_through_where_nobody_waits);

fn no_interval_lets_more_through_than_its_bound<A: Subject>() {
    for_all((A::setups(), starts(), scripts(60)), |(setup, start, script)| {
        let mut state = A::State::default();
        let requests = play(&setup.facts, start, &script).into_iter();
        let all: Vec<_> = requests.filter_map(|r| passed(r, setup.algorithm.decide(&mut state, r.now, r.cost).outcome)).collect();
        assert_bounded(&setup.facts.bounds, &all, 0);
    });
}

fn no_interval_lets_more_through_where_nobody_waits<A: Subject>() {
    for_all((A::setups(), starts(), scripts(60)), |(setup, start, script)| {
        let mut state = A::State::default();
        let requests = play(&setup.facts, start, &script).into_iter();
        let all: Vec<_> = requests
            .filter_map(|r| match setup.algorithm.admit(&mut state, r.now, r.cost).outcome {
                Outcome::Admit => passed(r, Outcome::Admit),
                Outcome::Delay { .. } | Outcome::Reject { .. } | Outcome::Busy | Outcome::Never => None,
            })
            .collect();
        assert_bounded(&setup.facts.bounds, &all, 0);
    });
}

/// The most that an interval lets through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// 2N in any d ≤ w.
    Fixed { limit: u64, window: u64 },
    /// N · (1 + d/w) in any d ≤ w.
    Counter { limit: u64, window: u64 },
    /// N in any d ≤ w. A window of w that begins with a unit ends just before the unit that comes w later.
    Log { limit: u64, window: u64 },
    /// burst + d/interval in any d.
    Tokens { burst: u64, interval: u64 },
    /// 1 + d/interval in any d, counted when requests start; a request that is more than one unit holds the turns behind it.
    Turns { interval: u64 },
}

/// Asserts each bound for each interval between two of `all`, which are in the order in which they were asked for. Buckets may
/// exceed it by `returned`.
pub(crate) fn assert_bounded(bounds: &[Bound], all: &[Passed], returned: u64) {
    for bound in bounds {
        for first in 0..all.len() {
            let mut units = 0;
            for last in &all[first..] {
                let before = units;
                units += last.cost;
                assert!(
                    bound.allows(&all[first], last, before, units, returned),
                    "{units} in the interval from {:?} to {last:?} break {bound:?}",
                    all[first]
                );
            }
        }
    }
}

impl Bound {
    /// Whether `units`, of which `before` are those before the last request, may pass from `first` to `last`.
    fn allows(self, first: &Passed, last: &Passed, before: u64, units: u64, returned: u64) -> bool {
        let [before, units, returned] = [before, units, returned].map(i128::from);
        let d = i128::from(last.asked) - i128::from(first.asked);
        match self {
            Self::Fixed { limit, window } => d > i128::from(window) || units <= 2 * i128::from(limit),
            Self::Counter { limit, window } => {
                let (limit, window) = (i128::from(limit), i128::from(window));
                d > window || units * window <= limit * (window + d)
            }
            Self::Log { limit, window } => d >= i128::from(window) || units <= i128::from(limit),
            Self::Tokens { burst, interval } => (units - i128::from(burst) - returned) * i128::from(interval) <= d,
            Self::Turns { interval } => {
                let d = i128::from(last.starts) - i128::from(first.starts);
                (before - returned) * i128::from(interval) <= d
            }
        }
    }
}
