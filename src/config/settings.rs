//! The checked settings that the rest of the program takes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::OperatorToken;
use crate::downstream::ServerSettings;
use crate::proxy::Routes;
use crate::proxy::jwt::TokenVerifier;
use crate::store::StoreSettings;
use crate::telemetry::LogFormat;
use crate::upstream::UpstreamSettings;

/// A configuration in which everything was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Part of every record id.
    pub service: String,
    /// The operator's listener, if any.
    pub admin: Option<AdminSettings>,
    /// The records.
    pub store: StoreSettings,
    /// The client's side.
    pub server: ServerSettings,
    /// The APIs, each once; a route names one by its index. The first is the default one.
    pub upstreams: Vec<UpstreamSettings>,
    /// Which policy a request is under.
    pub routes: Routes,
    /// Verifies bearer tokens, if anything does.
    pub jwt: Option<Arc<TokenVerifier>>,
    /// What is logged, and how.
    pub log: LogSettings,
    /// When the configuration is read again.
    pub reload: ReloadSettings,
    /// What weakens the guarantee, a sentence each; said at start and by `check`.
    pub warnings: Vec<String>,
}

/// The operator's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where operators connect.
    pub listen: SocketAddr,
    /// What operators have to bring, if anything.
    pub token: Option<OperatorToken>,
    /// Names it may be called by, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A filter as `tracing_subscriber::EnvFilter` reads it; it was parsed once already.
    pub filter: String,
    /// The shape of a line.
    pub format: LogFormat,
    /// Whether the idempotency key is logged in clear with its request.
    pub keys: bool,
}

/// When the configuration is read again, beside when somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whenever its content changes.
    pub watch: bool,
}
