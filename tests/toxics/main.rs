//! The proxy for faults does what a Toxiproxy does; and what that one lacks.
//!
//! With `TOXIPROXY_URL=http://127.0.0.1:8474` it runs against a real one, which must reach 127.0.0.1 of this machine.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/toxics/mod.rs"]
mod toxics;

mod peer;
mod smoke;
