//! What the operator decides about the client's side.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::tls::ServerTls;
use crate::wire::Voice;

/// Settings of the listener and of the limits on clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Client connections open at once; one beyond is answered 503, but with TLS, and closed.
    pub max_connections: usize,
    /// Exchanges running at once, with or without their client; one beyond gets 503 `overloaded`.
    pub max_in_flight: usize,
    /// Bytes of request and answer bodies held in memory over all exchanges.
    pub max_buffered_total: u64,
    /// Duplicates that may wait for an answer at once.
    pub max_waiters: usize,
    /// From the first byte of a request, or the accept (TLS included), to the end of its head.
    pub header_timeout: Duration,
    /// A body of which no byte moved for so long is given up.
    pub body_idle_timeout: Duration,
    /// Size of a request head, bytes.
    pub max_header_bytes: usize,
    /// After the stop signal: not ready, and still accepting.
    pub drain_delay: Duration,
    /// How long running exchanges may take to settle after that.
    pub drain_timeout: Duration,
    /// Peers whose `X-Forwarded-*` is kept and added to; that of others is overwritten.
    pub trust_forwarded: Vec<IpNet>,
    /// How refusals are told.
    pub voice: Arc<Voice>,
    /// What clients are shown over TLS; without it they connect in the clear.
    pub tls: Option<Arc<ServerTls>>,
}

/// The settings of a listener, which can be replaced while it runs: a connection goes by those that it began with, and each of its
/// requests by the present ones as to how to speak.
pub type SharedSettings = Arc<ArcSwap<ServerSettings>>;

impl ServerSettings {
    /// These, replaceable.
    #[must_use]
    pub fn into_shared(self) -> SharedSettings {
        Arc::new(ArcSwap::from_pointee(self))
    }
}
