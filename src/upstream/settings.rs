//! What the operator decides about the API's side.

use std::time::Duration;

use http::Uri;

use crate::tls::ClientFiles;

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
    /// Files for `https`.
    pub tls: ClientFiles,
}
