//! What the operator decides about the store.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Which store, and where.
    pub location: Location,
    /// First part of every Redis key.
    pub prefix: String,
    /// Bound on one store operation, whatever the client library does.
    pub timeout: Duration,
    /// Embedded: whether an answer waits for the disk.
    pub sync: Sync,
    /// Embedded: no new claims beyond this size of the file, bytes.
    pub max_bytes: u64,
    /// Redis: replicas that must acknowledge a claim, a take-over and a settlement (`WAIT`).
    pub wait_replicas: u32,
    /// Redis: start although its `maxmemory-policy` may drop records.
    pub allow_eviction: bool,
}

/// Which store, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// `memory:`, gone with the process.
    Memory,
    /// `embedded:DIR`, a database file of this process alone.
    Embedded(PathBuf),
    /// `redis://…`, one server. Holds the URL, which may carry a password.
    Redis(String),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Embedded(dir) => write!(f, "embedded:{}", dir.display()),
            Self::Redis(_) => f.write_str("redis://…"),
        }
    }
}

/// Embedded: whether an answer waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// fsync before an answer depends on it.
    Always,
    /// Synced some moments later: a kill or a power loss may forget the keys of the last 50 ms or so.
    Never,
}
