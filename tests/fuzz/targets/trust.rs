//! A list of trusted networks as an operator writes it: read, or refused with a message; what is read prints as it reads.

#![no_main]

use tower_backpressure::key::Trust;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match text.parse::<Trust>() {
        Ok(trust) => assert_eq!(trust.to_string().parse(), Ok(trust)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
