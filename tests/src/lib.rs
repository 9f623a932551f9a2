//! What the tests share: inner services that watch how they are treated.

mod probe;

pub use probe::{Probe, Seen};
