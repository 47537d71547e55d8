//! What holds for every store, and what each keeps beyond it.
//!
//! [`contract`] has a function for each rule; the `contract!` macro makes it a test of each store, so that a failure names both.

#![allow(clippy::unwrap_used)]

mod cluster;
mod contract;
mod embedded;
mod listing;
mod memory;
mod records;
mod redis;
mod sealed;
mod sentinel;
#[path = "../support/mod.rs"]
mod support;
