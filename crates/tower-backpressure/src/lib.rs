//! Back-pressure and flow control for axum, tonic, hyper and any tower stack
