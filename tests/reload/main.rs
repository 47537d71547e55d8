//! Another configuration for a proxy that runs: taken whole or not at all, and no request is the worse for it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/harness.rs"]
mod support;

mod forgotten;
mod load;
mod refused;
mod signalled;
mod taken;
mod tls;
mod under_way;
mod watched;
mod world;
