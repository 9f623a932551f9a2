//! What the tests share: inner services that watch how they are treated, and the layers that the laws are about.

#[macro_use]
pub mod layers;
mod probe;

pub use probe::{Answering, Body, Broken, Fault, Probe, Seen};
