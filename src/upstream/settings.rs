//! What the operator decides about the API's side.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

/// Settings of the connections to one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Scheme (`http` or `https`) and authority of the API; a path here is refused by the configuration.
    pub origin: Uri,
    /// Bound on DNS, TCP connect and TLS handshake together.
    pub connect_timeout: Duration,
    /// An idle connection older than this is not used again.
    pub idle_timeout: Duration,
    /// Idle connections kept.
    pub max_idle: usize,
    /// Connections open at once, idle ones included; a request beyond waits `connect_timeout` for one.
    pub max_connections: usize,
    /// PEM bundle to trust instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM key of `cert_file`.
    pub key_file: Option<PathBuf>,
}
