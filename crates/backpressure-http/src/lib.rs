//! Answers: refusals as HTTP responses, rate-limit header fields and client keys.

#[cfg(test)]
mod golden;

mod body;
mod fields;
mod head;
pub mod key;
mod missing_key;
mod problem;
mod read;
mod respond;

pub use body::AnswerBody;
pub use fields::RateLimitFields;
pub use head::Head;
pub use missing_key::MissingKey;
pub use problem::RespondWithBody;
pub use read::{Constant, FromHead, FromRequest, Read, from_head, from_request};
pub use respond::Respond;
