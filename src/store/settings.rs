//! What the operator decides about the store.

use std::path::{self, PathBuf};
use std::time::Duration;

use super::embedded::FILE;
use super::redis::record_key;
use super::{Codec, Redis};
use crate::idempotency::{RecordId, Secret};
use crate::tls::ClientFiles;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How answers are written, in clear or encrypted.
    pub codec: Codec,
    /// Under which what is stored of keys and requests is hashed.
    pub secret: Secret,
    /// Redis, where the URL asks for TLS (`rediss:…`): files for it.
    pub tls: ClientFiles,
}

impl StoreSettings {
    /// What a record is called in Redis; nothing elsewhere.
    pub fn redis_key(&self, id: RecordId) -> Option<String> {
        match self.location {
            Location::Redis(_) => Some(record_key(&self.prefix, id)),
            Location::Memory | Location::Embedded(_) => None,
        }
    }
}

/// Which store, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// `memory:`, gone with the process.
    Memory,
    /// `embedded:DIR`, a database file of this process alone.
    Embedded(PathBuf),
    /// `redis://…`, one server, `redis+sentinel://…`, the primary that sentinels name, or `redis+cluster://…`, a cluster; over TLS with
    /// `rediss` in the place of `redis`. Holds the URL, which may carry passwords.
    Redis(String),
}

impl Location {
    /// Whether another server takes over by itself where one fails.
    pub fn fails_over(&self) -> bool {
        matches!(self, Self::Redis(url) if url.starts_with("redis+") || url.starts_with("rediss+"))
    }

    /// The file of the records, as it is found from any directory; nothing where they are in none.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(dir) => path::absolute(dir.join(FILE)).ok(),
            Self::Memory | Self::Redis(_) => None,
        }
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Redis(url) if Redis::is_tls(url))
    }
}

/// The form is none of these; says nothing of the text, which may carry a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", BadLocation::FORMS)]
pub struct BadLocation;

impl BadLocation {
    /// The forms.
    pub(crate) const FORMS: &str = "memory:, embedded:DIR, redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], \
        redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/PRIMARY[/DATABASE] or redis+cluster://[USER:PASSWORD@]HOST[:PORT],…; \
        the last three over TLS with rediss in the place of redis";
}

impl std::str::FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("embedded", dir)) if !dir.is_empty() => Ok(Self::Embedded(dir.into())),
            _ if Redis::reads(text) => Ok(Self::Redis(text.to_owned())),
            _ => Err(BadLocation),
        }
    }
}

/// As it is configured, without the part that may carry a password.
impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Embedded(dir) => write!(f, "embedded:{}", dir.display()),
            Self::Redis(url) => {
                let scheme = url.split_once("://").map_or("redis", |(scheme, _)| scheme);
                write!(f, "{scheme}://…")
            }
        }
    }
}

/// Embedded: whether an answer waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// fsync before an answer depends on it.
    Always,
    /// Synced some moments later: a kill, a power loss or a failing disk may forget the keys of the last 50 ms or so.
    Never,
}
