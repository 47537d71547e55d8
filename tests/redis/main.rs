//! The Redis store, on a real redis-server and over a faulty network.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod listing;
mod network;
mod records;
mod replicas;
mod rules;
mod sentinel;
mod server;
mod tls;
