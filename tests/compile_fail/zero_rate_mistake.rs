//! A rate of 0 in a constant.

const NEVER: tower_backpressure::Rate = tower_backpressure::Rate::per_second(0);

fn main() {
    let _ = NEVER;
}
