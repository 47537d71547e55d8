//! The Redis store, on a real redis-server and over a faulty network.

#[path = "../support/mod.rs"]
mod support;

mod network;
mod records;
mod replicas;
mod rules;
mod server;
