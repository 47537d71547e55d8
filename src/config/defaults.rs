//! The defaults, and the reason for each number.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use super::words::{LOOPBACK_NETS, PRIVATE_NETS};
use crate::proxy::jwt::Algorithm;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Loopback: nobody else connects before the operator said so.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(LOOPBACK, 8080);
/// Loopback: it can release keys.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(LOOPBACK, 9090);
/// Many times what a random token needs, bytes.
pub(super) const TOKEN_MAX: u64 = 4 << 10;
/// Enough where nobody shares the store.
pub(super) const SERVICE: &str = "default";
/// Survives a restart, needs no other process.
pub(super) const STORE_DIR: &str = "idemproxy-data";
/// Of every Redis key.
pub(super) const PREFIX: &str = "idemproxy";
/// Many times a healthy operation, and still short beside a client's patience.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_millis(500);
/// A million answers of 4 KiB.
pub(super) const STORE_MAX_BYTES: u64 = 4 << 30;
/// A file descriptor each, and one for its upstream connection: within the usual limits of a container.
pub(super) const MAX_CONNECTIONS: usize = 10_000;
/// Twice what `upstream_connections.max_connections` can carry at once.
pub(super) const MAX_IN_FLIGHT: usize = 2_000;
/// Half of a small container.
pub(super) const MAX_BUFFERED_TOTAL: u64 = 256 << 20;
/// Each holds a client connection.
pub(super) const MAX_WAITERS: usize = 1_000;
/// A client that needs longer for a head is not sending one.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a mobile network's hand-over.
pub(super) const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for large cookies and tokens.
pub(super) const MAX_HEADER_BYTES: u64 = 64 << 10;
/// Below it, hyper's HTTP/1 parser has no room to work in.
pub(super) const MAX_HEADER_BYTES_MIN: u64 = 8 << 10;
/// Nothing in front to wait for.
pub(super) const DRAIN_DELAY: Duration = Duration::ZERO;
/// Below the 30 s that Kubernetes gives between SIGTERM and SIGKILL.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// One retransmitted SYN.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than any upstream's keep-alive: a connection that dies as it is reused leaves the outcome in doubt.
pub(super) const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Covers ordinary load without a new handshake.
pub(super) const UPSTREAM_MAX_IDLE: usize = 256;
/// Spares the API a flood.
pub(super) const UPSTREAM_MAX_CONNECTIONS: usize = 1_024;
/// Nothing changes until somebody asks for it.
pub(super) const RELOAD_WATCH: bool = false;
/// Requests, and what an operator should see; no more.
pub(super) const LOG_FILTER: &str = "info";

/// Most APIs speak it. Of `errors.body`; without one the answers are application/problem+json.
pub(super) const ERROR_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// Longer than most upstreams work on a request of which nobody hears any more.
pub(super) const PROBE_AFTER: Duration = Duration::from_secs(60);
/// What was asked for is there.
pub(super) const PROBE_STATUS: u16 = 200;
/// So long may revoked credentials still see a stored answer.
pub(super) const REPLAY_CHECK_CACHE: Duration = Duration::from_secs(30);

/// What most issuers sign by.
pub(super) const JWT_ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];
/// The same, of those who share a secret.
pub(super) const JWT_SECRET_ALGORITHMS: [Algorithm; 1] = [Algorithm::HS256];
/// Clocks of an issuer differ by no more.
pub(super) const JWT_LEEWAY: Duration = Duration::from_secs(60);
/// Hundreds of keys.
pub(super) const KEYS_MAX: u64 = 1 << 20;

/// As many as the hash has: with fewer the secret is the weakest part.
pub(super) const SECRET_MIN: usize = 32;

/// Anything shorter is lost to scheduling: a third of it, the heartbeat's period, is then a few milliseconds.
pub(super) const LEASE_MIN: Duration = Duration::from_millis(100);
/// A crashed claim blocks its key for that long.
pub(super) const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// What a store can still tell from nothing.
pub(super) const RETENTION_MIN: Duration = Duration::from_millis(100);
/// Ten years: clocks and stores can add it to now.
pub(super) const RETENTION_MAX: Duration = Duration::from_secs(3_650 * 86_400);
/// A timeout of nothing would fail everything.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// A month: longer is a slip of the pen.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Half of what Redis takes as one value, so that a record with its frame always fits.
pub(super) const BODY_MAX: u64 = 256 << 20;

/// One less than a record's frame can count: of a body that is not JSON, `json-body` makes two.
pub(super) const FINGERPRINT_PARTS_MAX: usize = 254;
/// Such a name and a word before it fit into the 255 bytes that a record's frame has for a part's name.
pub(super) const HEADER_NAME_MAX: usize = 200;

/// Loopback and private networks: load balancers and sidecars have such addresses.
pub(super) fn trust_forwarded() -> Vec<IpNet> {
    [LOOPBACK_NETS.as_slice(), PRIVATE_NETS.as_slice()].concat()
}
