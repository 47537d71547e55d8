//! A good proxy: what passes, passes unchanged; what could be read in two ways goes nowhere. The whole program over raw sockets.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

mod expectations;
mod headers;
mod limits;
mod mutations;
mod pipe;
mod plain;
mod refusals;
mod streaming;
#[path = "../support/harness.rs"]
mod support;
mod trailers;
mod upgrades;
mod upstreams;
mod voice;
