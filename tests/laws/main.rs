//! The laws of the design, for every layer that there is. Each is written once, and sees of a layer only what a caller and an
//! inner service see of it.
//!
//! A layer joins in [`backpressure_tests::layers`], with a line.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a broken law ends its test")]

/// Makes a test of a law, a generic function, for every layer; or for those that refuse at once, or wait; or of these, for those
/// that count what they admit, or have places for it.
macro_rules! law {
    ($law:ident) => { law!(@in $law every_layer); };
    ($law:ident where it refuses) => { law!(@in $law refusing_layers); };
    ($law:ident where it waits) => { law!(@in $law waiting_layers); };
    ($law:ident where it counts and refuses) => { law!(@in $law counting_layers); };
    ($law:ident where it counts and waits) => { law!(@in $law pacing_layers); };
    ($law:ident where it has places) => { law!(@in $law shedding_layers); };
    (@in $law:ident $layers:ident) => {
        mod $law {
            use backpressure_tests::layers::prelude::*;

            backpressure_tests::$layers!(law_of $law);
        }
    };
}

/// Makes the test of a law for one layer, in paused time.
macro_rules! law_of {
    ($law:ident $name:ident: $subject:expr) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            super::$law(|| $subject).await;
        }
    };
}

// Tower
mod answers;
mod cost;
mod endings;
mod overload;
mod readiness;
mod sharing;
// Limits
mod limits;
// Those who call
mod callers;
