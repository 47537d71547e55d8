//! What can be said of a request that got no answer.

use std::io;

use http::Request;

use crate::tls::BadTls;
use crate::wire;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No byte of it left: the upstream cannot have acted on it.
    #[error("not sent: {reason}")]
    NotSent {
        /// The request as it was given, its body untouched.
        request: Box<Request<wire::Body>>,
        /// Why.
        reason: NotSentReason,
    },
    /// A byte may have been sent; nobody knows what the upstream made of it.
    #[error("sent, and not answered: {0}")]
    Unanswered(#[source] UnansweredReason),
}

impl SendError {
    pub(super) fn not_sent(request: Request<wire::Body>, reason: NotSentReason) -> Self {
        Self::NotSent {
            request: Box::new(request),
            reason,
        }
    }
}

/// Why no byte of a request left.
#[derive(Debug, thiserror::Error)]
pub enum NotSentReason {
    /// All connections were in use for longer than `connect_timeout`.
    #[error("no connection was free in time")]
    NoConnectionFree,
    /// The upstream's name has no address.
    #[error("name lookup failed: {0}")]
    Resolve(io::Error),
    /// Refused or unreachable, at every address; this is what the last one said.
    #[error("connect failed: {0}")]
    Connect(io::Error),
    /// Name lookup, connect and TLS took longer than `connect_timeout`.
    #[error("connect timed out")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    /// The connection was gone before the first byte.
    #[error("connection closed before the first byte")]
    Closed,
    /// The request's [`Gate`](super::Gate) said no.
    #[error("given up before the first byte")]
    GateClosed,
}

/// How the answer to a request was lost.
#[derive(Debug, thiserror::Error)]
pub enum UnansweredReason {
    /// The request's own body failed; the upstream saw it cut, never ended.
    #[error("the upload broke off: {0}")]
    Upload(hyper::Error),
    /// What came is no HTTP/1.1 answer, or its head is too large.
    #[error("the answer cannot be read: {0}")]
    Malformed(hyper::Error),
    /// The connection was closed or reset before a whole response head.
    #[error("the connection was lost: {0}")]
    Lost(hyper::Error),
    /// In the place of an upstream is a service of this program, which failed.
    #[error("the service failed: {0}")]
    Service(wire::BoxError),
    /// It panicked.
    #[error("the service panicked")]
    Panicked,
}

impl UnansweredReason {
    pub(super) fn of(error: hyper::Error) -> Self {
        if error.is_user() {
            Self::Upload(error)
        } else if error.is_parse() {
            Self::Malformed(error)
        } else {
            Self::Lost(error)
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// Not `http://host[:port]` or `https://host[:port]`.
    #[error("not an http or https origin: {0}")]
    Origin(http::Uri),
    /// Certificates or keys that cannot be used.
    #[error(transparent)]
    Tls(#[from] BadTls),
}
