//! What several suites of tests use: a real Redis, a faulty network, and waiting for a condition.
//!
//! A test binary takes it in by `#[path = "../support/mod.rs"] mod support;`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses a part of it, and a test fails by an unwrap"
)]

mod cluster;
mod link;
mod redis_server;
mod sentinel;

use std::future::Future;
use std::time::{Duration, Instant};

pub use cluster::RedisCluster;
pub use link::Link;
pub use redis_server::RedisServer;
pub use sentinel::Sentinels;

/// Waits until `condition` holds; panics, naming `what`, when it does not within half a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
