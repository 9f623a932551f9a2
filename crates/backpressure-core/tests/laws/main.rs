//! The laws of the algorithms. Each is written once, from the definition and not from the code, and runs for every algorithm.
//!
//! Every run draws the same cases. `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=7` draws more of them, and others; what such a run
//! finds becomes a test with a name.

#![expect(clippy::panic, reason = "a broken law ends its test")]

#[macro_use]
mod subjects;
mod script;

mod bounds;
mod clock_back;
mod controllers;
mod extremes;
mod fresh;
mod give_back;
mod models;
mod promise;
mod quota;
mod reconfigured;
mod refusals;
mod stack;
