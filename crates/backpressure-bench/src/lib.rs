//! Nothing: the benchmark is in `benches/table`. Run it with `cargo bench -p backpressure-bench`.
