//! Stop and go, as a peer reads and writes them.

use serde_json::Value;

use crate::Inbound;

/// Stop or go, for whoever is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a flow stops and goes")]
pub enum Signal {
    /// The high watermark was reached: what the peer sends is not read for much longer, and what it gets comes late, or in part.
    Pause,
    /// The low watermark was reached.
    Resume,
}

impl Signal {
    /// Returns the signal as JSON text: what is sent unless the [`Frames`](crate::Frames) choose another encoding.
    ///
    /// ```
    /// use backpressure_outbox::Signal;
    ///
    /// assert_eq!(Signal::Pause.as_json(), r#"{"event":"flow.pause","reason":"buffer full"}"#);
    /// assert_eq!(Signal::Resume.as_json(), r#"{"event":"flow.resume"}"#);
    /// ```
    #[must_use]
    pub const fn as_json(self) -> &'static str {
        match self {
            Self::Pause => r#"{"event":"flow.pause","reason":"buffer full"}"#,
            Self::Resume => r#"{"event":"flow.resume"}"#,
        }
    }

    /// Reads a signal from JSON text: an object whose `event` is `flow.pause` or `flow.resume`, whatever else is in it.
    ///
    /// Everything else is no signal: other objects, broken JSON, and texts of more than 256 bytes, which are not looked into.
    ///
    /// ```
    /// use backpressure_outbox::Signal;
    ///
    /// assert_eq!(Signal::from_json(r#"{ "reason": "busy", "event": "flow.pause" }"#), Some(Signal::Pause));
    /// assert_eq!(Signal::from_json(r#"{"event":"flow.resume"}"#), Some(Signal::Resume));
    /// assert_eq!(Signal::from_json(r#"{"event":"flow.pause""#), None);
    /// assert_eq!(Signal::from_json(r#"{"text":"flow.pause"}"#), None);
    /// ```
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        if text.len() > MAX_SIGNAL || !text.contains("flow.") {
            return None;
        }
        match serde_json::from_str::<Value>(text).ok()?.get("event")?.as_str()? {
            "flow.pause" => Some(Self::Pause),
            "flow.resume" => Some(Self::Resume),
            _ => None,
        }
    }
}

/// Obeys the signals of a peer, at either end of a connection, and hands on everything else: wraps what is given to
/// [`Outlet::drive`](crate::Outlet::drive).
///
/// `text` returns the text of a message, or `None` where it has none. What it finds to be a [signal](Signal::from_json) holds the data
/// of this side or lets it go; the outbox fills meanwhile, and its watermarks and its [`Flow`](crate::Flow) tell the producer.
///
/// A client in Rust needs nothing else but to be [quiet](crate::OutboxBuilder::quiet): it drives its socket by an outbox as a server
/// does.
///
/// ```
/// use backpressure_outbox::{Inbound, obey};
///
/// let mut heard = Vec::new();
/// let mut on_message = obey(
///     |message: &String| Some(message),
///     |message| {
///         heard.push(message);
///         Inbound::<String>::Ignore
///     },
/// );
/// assert_eq!(on_message(r#"{"event":"flow.pause","reason":"buffer full"}"#.to_owned()), Inbound::Pause);
/// assert_eq!(on_message(r#"{"event":"flow.resume"}"#.to_owned()), Inbound::Resume);
/// assert_eq!(on_message("hello".to_owned()), Inbound::Ignore);
/// drop(on_message);
/// assert_eq!(heard, ["hello"]);
/// ```
pub fn obey<T, M, I>(
    text: impl Fn(&T) -> Option<&str>,
    mut on_message: impl FnMut(T) -> Inbound<M, I>,
) -> impl FnMut(T) -> Inbound<M, I> {
    move |message| match text(&message).and_then(Signal::from_json) {
        Some(Signal::Pause) => Inbound::Pause,
        Some(Signal::Resume) => Inbound::Resume,
        None => on_message(message),
    }
}

/// Room for what a signal may carry beside its name; a longer text is data, and parsing all of it would be the peer's choice.
const MAX_SIGNAL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_may_send_is_a_signal_only_where_it_says_so() {
        for text in [
            "",
            "flow.pause",
            "\"flow.pause\"",
            "null",
            "[\"event\",\"flow.pause\"]",
            "{\"event\":[\"flow.pause\"]}",
            "{\"event\":\"flow.pausE\"}",
            "{\"inner\":{\"event\":\"flow.pause\"}}",
            "{\"event\":\"flow.pause\"}}",
            "{\"event\":\"flow.pause\",}",
            "{\"event\":\"flow.\\u0000\"}",
            // No encoder escapes a dot, and to look for it parses all that is data.
            "{\"event\":\"flow\\u002epause\"}",
            &"[".repeat(250),
            &format!("{{\"event\":\"flow.pause\",\"x\":\"{}\"}}", "x".repeat(256)),
        ] {
            assert_eq!(Signal::from_json(text), None, "{text}");
        }
        assert_eq!(Signal::from_json(" {\"event\" : \"flow.resume\", \"x\": [1, {}]} "), Some(Signal::Resume));
        for (bytes, signal) in [(256, Some(Signal::Pause)), (257, None)] {
            assert_eq!(Signal::from_json(&format!("{:<bytes$}", Signal::Pause.as_json())), signal);
        }
        for signal in [Signal::Pause, Signal::Resume] {
            assert_eq!(Signal::from_json(signal.as_json()), Some(signal));
        }
    }
}
