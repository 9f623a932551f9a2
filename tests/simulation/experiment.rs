//! All runs of one scenario: each policy under each load.

use std::iter;
use std::sync::Mutex;
use std::thread;

use crate::policies::Policy;
use crate::run::{Outcome, Run, Scenario, throughput};

/// How many times the capacity comes.
pub(crate) const LOADS: [f64; 4] = [1.5, 2.0, 4.0, 10.0];

/// A scenario and what came of it.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) scenario: Scenario,
    pub(crate) capacity: Capacity,
    pub(crate) rows: Vec<Row>,
}

/// The best that the service can do, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Capacity {
    /// The least that has to be in progress for it, of the numbers that were tried.
    pub(crate) in_progress: usize,
    /// How many requests a second it then answers in time.
    pub(crate) per_second: f64,
}

/// What came of one policy, in the order of `LOADS`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) policy: Policy,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Experiment {
    /// Runs all of it, on as many threads as there are processors. Each run has one, so that chance has no part in it.
    pub(crate) fn conduct(scenario: Scenario, seed: u64) -> Self {
        let capacity = Capacity::of(scenario, seed);
        let run = |policy, load: f64| Run { scenario, policy, per_second: load * capacity.per_second, seed };
        let policies = Policy::all();
        let runs: Vec<_> = policies.iter().flat_map(|policy| LOADS.map(|load| run(*policy, load))).collect();
        let outcomes = in_parallel(&runs, |run| run.outcome());
        let rows = iter::zip(policies, outcomes.chunks(LOADS.len()));
        let rows = rows.map(|(policy, outcomes)| Row { policy, outcomes: outcomes.to_vec() }).collect();
        Self { scenario, capacity, rows }
    }

    /// Returns what part of the capacity was goodput.
    pub(crate) fn kept(&self, outcome: &Outcome) -> f64 {
        outcome.seen.goodput / self.capacity.per_second
    }
}

impl Capacity {
    /// Tries more and more in progress.
    pub(crate) fn of(scenario: Scenario, seed: u64) -> Self {
        let tried = [5, 10, 20, 30, 40, 60, 80];
        let rates = in_parallel(&tried, |in_progress| throughput(scenario.model, *in_progress, seed));
        let none = Self { in_progress: 0, per_second: 0.0 };
        iter::zip(tried, rates).fold(none, |best, (in_progress, per_second)| {
            // A tenth of a percent is chance.
            if per_second > best.per_second * 1.001 { Self { in_progress, per_second } } else { best }
        })
    }
}

/// Works on several items at once; returns the results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(items.iter().enumerate());
    let worker = || {
        let mut done = Vec::new();
        loop {
            let item = next.lock().unwrap().next();
            let Some((index, item)) = item else { return done };
            done.push((index, work(item)));
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
