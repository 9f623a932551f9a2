//! The laws of the design that concern a tower layer.

mod cancellation;
mod readiness;
