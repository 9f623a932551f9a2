//! A text of a WebSocket peer: a signal where it says so in JSON, and data otherwise. As the reason of a close it is cut to what fits.

#![no_main]

use serde_json::Value;
use tower_backpressure::outbox::{Close, Signal};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let event = serde_json::from_str::<Value>(text).ok().and_then(|value| Some(value.get("event")?.as_str()?.to_owned()));
    let signal = match event.as_deref() {
        Some("flow.pause") => Some(Signal::Pause),
        Some("flow.resume") => Some(Signal::Resume),
        _ => None,
    };
    // Written as every encoder writes it, and no longer than a signal is.
    let is_looked_into = text.len() <= 256 && text.contains("flow.");
    assert_eq!(Signal::from_json(text), signal.filter(|_| is_looked_into));

    let close = Close::new(1008, text);
    assert!(close.reason().len() <= Close::MAX_REASON && text.starts_with(close.reason()));
});
