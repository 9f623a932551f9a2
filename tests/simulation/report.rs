//! The table, as text.

use std::fmt::Write;
use std::time::Duration;

use crate::experiment::{Experiment, LOADS};

/// Writes what came of one scenario: a line for each policy.
pub(crate) fn table(experiment: &Experiment) -> String {
    let Experiment { scenario, capacity, .. } = experiment;
    let mut table =
        format!("{}\ncapacity {:.0}/s with {} in progress\n\n", scenario.name, capacity.per_second, capacity.in_progress);
    let loads = |width: usize| LOADS.map(|load| format!("{:>width$}", format!("{load}×"))).concat();
    let heads = ["goodput / capacity at", "at 10×: p50", "p99", "refused", "limit in the end at"];
    writeln!(table, "  {:<23} {:<25} {:>12} {:>8} {:>8}   {}", "", heads[0], heads[1], heads[2], heads[3], heads[4]).unwrap();
    writeln!(table, "  {:<23}{}{:>40}", "", loads(7), loads(6)).unwrap();
    for row in &experiment.rows {
        let goodput = row.outcomes.iter().map(|outcome| format!("{:>7.3}", experiment.kept(outcome)));
        let limits =
            row.outcomes.iter().map(|outcome| format!("{:>6}", outcome.limit.map_or("–".to_owned(), |limit| limit.to_string())));
        let (goodput, limits) = (goodput.collect::<String>(), limits.collect::<String>());
        let worst = &row.outcomes[LOADS.len() - 1].seen;
        let refused = format!("{:.0} %", worst.refused * 100.0);
        let name = row.policy.name();
        writeln!(table, "  {name:<23}{goodput} {:>9} {:>8} {refused:>8}   {limits}", millis(worst.p50), millis(worst.p99))
            .unwrap();
    }
    table
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or("–".to_owned(), |latency| format!("{} ms", latency.as_millis()))
}
