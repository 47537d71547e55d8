//! What the embedded store keeps when the power goes, the process is killed, or the disk is full; again and again.
//!
//! Each has a short form and a long one, and prints its figures:
//!
//! | variable | what of | short |
//! |---|---|---|
//! | `IDEMPROXY_POWER_LOSSES` | power losses of a simulated disk | 150 |
//! | `IDEMPROXY_KILLS` | kills of the program | 15 |
//! | `IDEMPROXY_FULL_DISKS` | disks filled and freed | 10 |
//! | `IDEMPROXY_SEED` | the choices; printed by each run | of the clock |
//!
//! The seed decides every choice, and not how threads take turns: a failure leaves its directory behind and names it.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap, and what is shared is used in part"
)]

mod chance;
mod check;
mod compaction;
mod disk;
mod full;
mod kills;
mod lies;
mod mishap;
mod power;
mod workload;

#[path = "../store/embedded/faults.rs"]
mod faults;
#[path = "../store/records.rs"]
mod records;
#[path = "../support/harness.rs"]
mod support;
#[path = "../path/world.rs"]
mod world;

use std::path::Path;
use std::time::Duration;

use idemproxy::store::{Location, StoreSettings, Sync};

fn settings(dir: &Path) -> StoreSettings {
    StoreSettings {
        location: Location::Embedded(dir.to_owned()),
        prefix: "idemproxy".to_owned(),
        // No test asserts how fast a disk is.
        timeout: Duration::from_secs(600),
        sync: Sync::Always,
        max_bytes: 4 << 30,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    }
}

/// Makes the headroom of a store in no time: its content counts only on a disk that is full.
fn headroom(dir: &Path) {
    let file = std::fs::File::create(dir.join("headroom")).unwrap();
    file.set_len(4 << 20).unwrap();
}

/// A number from the environment: how long a run is.
fn length(variable: &str, short: usize) -> usize {
    std::env::var(variable).map_or(short, |text| text.parse().unwrap())
}
