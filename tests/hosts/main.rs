//! The layers under the hosts that people use, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

mod axum_host;
mod axum_proxies;
mod cors;
mod hyper_host;
mod tonic_host;
mod unread_body;
