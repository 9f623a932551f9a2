//! Instructions an operation, counted by callgrind.

use std::env;
use std::process::Command;

use crate::measure::{self, Comparison};
use crate::rows;

/// Prints the rows that have a target in instructions and this in their names.
pub(crate) fn table(filter: &str) {
    measure::head();
    for row in rows::all().iter().filter(|row| row.instructions.is_some() && row.name.contains(filter)) {
        let Some([ours, peer, bare]) = all_or_none(["ours", "peer", "bare"].map(|side| per_operation(&row.name, side))) else {
            println!("{}: not counted; is valgrind installed?", row.name);
            return;
        };
        measure::line(&row.name, "instr", &Comparison::of(ours - bare, peer - bare, row.instructions));
    }
}

/// Runs one side of one row this often: what the tool watches.
pub(crate) fn only(row: &str, side: &str, operations: &str) {
    let rows = rows::all();
    let row = rows.iter().find(|candidate| candidate.name == row).expect("started by this program");
    let work = match side {
        "ours" => row.ours,
        "peer" => row.peer,
        _ => row.bare.unwrap_or(|| measure::work(|| ())),
    };
    let mut work = work();
    work(operations.parse().expect("started by this program"));
}

/// What is made once falls out of the difference.
fn per_operation(row: &str, side: &str) -> Option<f64> {
    let (few, many) = (collected(row, side, OPERATIONS)?, collected(row, side, 2 * OPERATIONS)?);
    Some((many - few) / OPERATIONS as f64)
}

fn collected(row: &str, side: &str, operations: u64) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measure*counted*"])
        .arg(env::current_exe().ok()?)
        .args(["--only", row, side, &operations.to_string()])
        .output()
        .ok()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, count) = log.lines().find_map(|line| line.split_once("Collected :"))?;
    count.trim().parse().ok()
}

fn all_or_none<const N: usize>(numbers: [Option<f64>; N]) -> Option<[f64; N]> {
    numbers.iter().all(Option::is_some).then(|| numbers.map(Option::unwrap_or_default))
}

const OPERATIONS: u64 = 10_000;
