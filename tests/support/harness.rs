//! A proxy, an upstream that misbehaves as it is told, and a client that sees every byte.
//!
//! A test binary takes it in by `#[path = "../support/harness.rs"] mod support;`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test fails by an unwrap"
)]

mod client;
mod link;
mod process;
mod proxy;
mod redis_server;
mod sentinel;
mod upstream;

use std::future::Future;
use std::time::Duration;

pub use client::{Answer, Client, Ending, Request, get, post};
pub use link::Link;
pub use process::Process;
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use sentinel::Sentinels;
pub use upstream::{Act, Entry, Gate, Reading, Reply, Step, Upstream, chunk};

/// Waits for what happens soon or never.
#[track_caller]
pub fn patiently<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("it never came to this, at {place}"))
    }
}

/// Waits until `holds`.
#[track_caller]
pub fn eventually(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    patiently(async move {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// Far beyond anything that is waited for, on a machine with a lot to do.
const PATIENCE: Duration = Duration::from_secs(30);
