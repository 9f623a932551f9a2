//! Answers: refusals as HTTP responses, rate-limit header fields and client keys
