//! Two things in turns, and the line that says what came of it.

use std::thread;
use std::time::{Duration, Instant};

/// Does something this often and returns how long that took, preparations not included.
pub(crate) type Work = Box<dyn FnMut(u64) -> Duration>;

/// Makes work of an operation.
pub(crate) fn work(mut operation: impl FnMut() + 'static) -> Work {
    Box::new(move |operations| {
        let start = Instant::now();
        counted(operations, &mut operation);
        start.elapsed()
    })
}

/// Makes work of operations on as many threads at once, each of which does as many; the time is that of the slowest.
pub(crate) fn at_once<O: FnMut()>(threads: u32, operation: impl Fn(u32) -> O + Send + Sync + 'static) -> Work {
    Box::new(move |operations| {
        let start = Instant::now();
        thread::scope(|scope| {
            for thread in 0..threads {
                let operation = &operation;
                scope.spawn(move || counted(operations, &mut operation(thread)));
            }
        });
        start.elapsed()
    })
}

/// The loop round an operation, and the function whose instructions are counted.
#[inline(never)]
pub(crate) fn counted(operations: u64, operation: &mut impl FnMut()) {
    for _ in 0..operations {
        operation();
    }
}

/// Ours and the peer's number, the ratio, and what it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    pub(crate) ratio: f64,
    pub(crate) target: Option<f64>,
}

impl Comparison {
    pub(crate) fn of(ours: f64, peer: f64, target: Option<f64>) -> Self {
        Self { ours, peer, ratio: ours / peer, target }
    }
}

/// Lets `ours`, `peer` and what both contain, `bare`, take turns, and compares their nanoseconds an operation.
pub(crate) fn in_turns(ours: &mut Work, peer: &mut Work, mut bare: Option<&mut Work>, rounds: usize) -> Comparison {
    let operations = calibrated(ours);
    let per_operation = |work: &mut Work| work(operations).as_nanos() as f64 / operations as f64;
    let (mut our_times, mut peer_times, mut ratios) = (vec![], vec![], vec![]);
    for round in 0..rounds {
        let without = bare.as_mut().map_or(0.0, |bare| per_operation(bare));
        let (own, theirs) = if round % 2 == 0 {
            let own = per_operation(ours);
            (own, per_operation(peer))
        } else {
            let theirs = per_operation(peer);
            (per_operation(ours), theirs)
        };
        our_times.push(own - without);
        peer_times.push(theirs - without);
        ratios.push((own - without) / (theirs - without));
    }
    Comparison { ours: median(our_times), peer: median(peer_times), ratio: median(ratios), target: None }
}

/// Returns how many operations fill a round.
fn calibrated(work: &mut Work) -> u64 {
    let mut operations = 256;
    while work(operations) < ROUND && operations < 1 << 24 {
        operations *= 2;
    }
    operations
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Long against a reading of the clock, short against what a machine does besides.
const ROUND: Duration = Duration::from_millis(2);

/// Prints the head of the table.
pub(crate) fn head() {
    println!("{:<52} {:>5} {:>9} {:>9} {:>7} {:>7}  met", "work", "unit", "ours", "peer", "ratio", "target");
}

/// Prints a line of the table.
pub(crate) fn line(name: &str, unit: &str, of: &Comparison) {
    let (target, met) = match of.target {
        Some(target) if of.ratio <= target => (format!("{target:.2}"), "yes"),
        Some(target) => (format!("{target:.2}"), "NO"),
        None => ("–".into(), ""),
    };
    println!("{name:<52} {unit:>5} {:>9.1} {:>9.1} {:>7.3} {target:>7}  {met}", of.ours, of.peer, of.ratio);
}
