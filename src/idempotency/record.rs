//! What the store holds for a record id.

use std::time::Duration;

use bytes::Bytes;

use super::digest::Digest;
use super::fields::Fields;
use super::fingerprint::Fingerprint;
use super::origin::Origin;
use super::token::Token;
use super::trace::Trace;

/// What the store holds for a record id.
///
/// It carries its own lease and time to live: a reader's configuration does not reinterpret them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose claim it is, or was.
    pub token: Token,
    /// Where in its life the key is.
    pub state: State,
    /// How long the store keeps the record, from the last write or renewal. Never its lease.
    pub ttl: Duration,
    /// How long the claim is honoured, from the last write or renewal.
    pub lease: Duration,
    /// How often the upstream was asked, this time included.
    pub attempts: u32,
    /// Whether an earlier attempt may have been carried out: then this one can not say for the key that it was not.
    pub in_doubt: bool,
    /// When the first of the attempts was made.
    pub created: UnixMillis,
    /// When the claim was settled.
    pub settled: Option<UnixMillis>,
    /// When a completed record ends, by the clock of the proxy that settled it. Told to clients, and decides nothing.
    pub expires: Option<UnixMillis>,
    /// What must not change between duplicates; nothing while a streamed body is on its way.
    pub fingerprint: Option<Fingerprint>,
    /// Which credentials it was made under, whatever its scope; nothing where none came.
    pub credentials: Option<Digest>,
    /// Where the request came in, for operators.
    pub origin: Origin,
    /// Status of the upstream's last answer.
    pub status: Option<u16>,
    /// What went wrong last, for operators; a fixed phrase, nothing of a request.
    pub error: Option<String>,
    /// Trace of the request that made it, where it had one that is kept.
    pub trace: Option<Trace>,
    /// The answer that duplicates get; only in a completed record, and not in each.
    pub response: Option<StoredResponse>,
}

/// Where in its life a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Somebody executes it, or did when last heard of.
    InFlight = 1,
    /// It may or may not have been carried out, and nobody here can tell.
    Unknown = 2,
    /// It was not carried out; the next one may.
    Released = 3,
    /// It was carried out.
    Completed = 4,
}

/// Milliseconds since 1970 by a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMillis(pub u64);

/// The answer that duplicates get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Status of the answer.
    pub status: u16,
    /// Header fields.
    pub headers: Fields,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: Fields,
}

impl State {
    /// The word for it in headers, logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in-flight",
            Self::Unknown => "unknown",
            Self::Released => "released",
            Self::Completed => "completed",
        }
    }

    /// The state that is stored as `byte`.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::InFlight),
            2 => Some(Self::Unknown),
            3 => Some(Self::Released),
            4 => Some(Self::Completed),
            _ => None,
        }
    }
}

impl UnixMillis {
    /// This much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}
