//! The simulation: how much of its capacity a service keeps under 1.5 to 10 times the load that it can carry, by policy.
//!
//! ```sh
//! cargo test -p backpressure-tests --test simulation -- --nocapture
//! ```
//!
//! prints the table and writes the plot, `target/simulation/goodput.svg`.
//!
//! The layers are the real ones, round a simulated [service](service), asked by simulated [clients](clients), in tokio's paused
//! time: nearly three hours of it in some seconds. A run has one thread and all its chance from one seed, so the same seed gives
//! the same table.
//!
//! *Goodput* counts the answers that came within the patience of their clients, 1 s. *Capacity* is the most that the service
//! answers, whatever number of requests is kept in progress; it is measured, not computed. Tokio's timers have a resolution of
//! 1 ms and round up: of work that takes 100 ms in the mean, that is 0.5 %, and the capacity is measured with the same timers.
//! The 5 ms of `CoDel` are 5 to 6 ms here.
#![expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "the statistics of a simulation")]
#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

mod arrivals;
mod clients;
mod experiment;
mod plot;
mod policies;
mod record;
mod report;
mod run;
mod service;

use std::fs;
use std::path::Path;
use std::time::Duration;

use clients::Retries;
use experiment::{Experiment, LOADS};
use policies::Policy;
use run::{Run, Scenario, throughput};
use service::Model;

/// Twenty at once, 100 ms each.
const STEADY: Model = Model { workers: 20, work: Duration::from_millis(100), knee: None };

/// The same, up to 40 in progress; with 80 it does half as much.
const SLOWING: Model = Model { knee: Some(40), ..STEADY };

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "A steady service", model: STEADY, retries: Retries::Never },
    Scenario { name: "A service that slows down with too much in progress", model: SLOWING, retries: Retries::Never },
    Scenario { name: "The same, and clients that retry when told, 3 attempts", model: SLOWING, retries: Retries::WhenTold },
    Scenario { name: "The same, and clients that retry at once, 3 attempts", model: SLOWING, retries: Retries::AtOnce },
];

/// The part of the capacity that a bounded policy keeps, at every load.
const FLOOR: f64 = 0.95;

/// The part that no unbounded policy keeps, at any load: they do all that they can, and all of it too late.
const COLLAPSED: f64 = 0.1;

const SEED: u64 = 1;

#[test]
fn bounded_policies_keep_95_percent_of_the_capacity_where_unbounded_queues_collapse() {
    let experiments = SCENARIOS.map(|scenario| Experiment::conduct(scenario, SEED));
    for experiment in &experiments {
        println!("{}", report::table(experiment));
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("simulation");
    fs::create_dir_all(&directory).unwrap();
    plot::write(&directory.join("goodput.svg"), &experiments, FLOOR).unwrap();

    let missed: Vec<_> = experiments.iter().flat_map(missed).collect();
    assert!(missed.is_empty(), "{} of all runs went otherwise:\n{}", missed.len(), missed.join("\n"));
}

/// Says which runs did not go as promised.
fn missed(experiment: &Experiment) -> Vec<String> {
    let mut missed = Vec::new();
    for row in &experiment.rows {
        let promised = match row.policy {
            Policy::Nothing | Policy::UnboundedQueue => 0.0..=COLLAPSED,
            Policy::Shed(..) => FLOOR..=f64::INFINITY,
        };
        for (load, outcome) in LOADS.iter().zip(&row.outcomes) {
            let kept = experiment.kept(outcome);
            if !promised.contains(&kept) {
                missed.push(format!("{}: {} at {load}×: {kept:.3}", experiment.scenario.name, row.policy.name()));
            }
        }
    }
    missed
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    for policy in Policy::all() {
        let run = |seed| Run { scenario: SCENARIOS[3], policy, per_second: 240.0, seed }.outcome();
        assert_eq!(run(7), run(7), "{policy:?}");
        assert_ne!(run(7), run(8), "{policy:?}");
    }
}

#[test]
fn the_service_is_at_its_best_from_its_workers_to_its_knee_and_half_as_good_with_twice_that() {
    let of = |model, in_progress| throughput(model, in_progress, SEED);
    let best = of(SLOWING, 20);
    assert!((190.0..=210.0).contains(&best), "{best}");
    for (in_progress, part) in [(10, 0.5), (30, 1.0), (40, 1.0), (80, 0.5)] {
        let rate = of(SLOWING, in_progress);
        assert!((rate / best - part).abs() < 0.06, "{in_progress} in progress: {rate} of {best}");
    }
    assert!((of(STEADY, 80) / best - 1.0).abs() < 0.01, "one that does not slow down");
}
