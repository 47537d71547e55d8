//! The proxy for faults does what a Toxiproxy does; and what that one lacks.
//!
//! With `TOXIPROXY_URL=http://127.0.0.1:8474` it runs against a real one, which must reach 127.0.0.1 of this machine.
//! Times have lower bounds only, a little below what is set where the real one is not exact.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/toxics/mod.rs"]
mod toxics;

mod api;
mod crowd;
mod extras;
mod faults;
mod line;
mod open;
mod proxies;
