//! Step two: the body, held if it is small and streamed if it is not, and what must not change between duplicates.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::hold::{Hold, Holding};
use super::limits::Buffered;
use super::policy::{FingerprintPart, Policy};
use super::upload::{Progress, Stage, Upload};
use crate::idempotency::digest::Digest;
use crate::idempotency::{Fingerprint, Secret};
use crate::telemetry::Limit;
use crate::wire::{Body, Code, Problem, in_time};

/// A request that was taken in. In a box it is moved from step to step for little.
pub(super) struct Taken {
    /// The head, as it came.
    pub(super) head: Parts,
    /// The body, as far as it was read.
    pub(super) received: Received,
}

impl Taken {
    /// One of which no more than the head was read.
    pub(super) fn head_alone(head: Parts) -> Box<Self> {
        Box::new(Self {
            head,
            received: Received::Gone,
        })
    }
}

/// A request body, as far as it was read before anything is claimed.
pub(super) enum Received {
    /// All of it, in memory.
    Whole {
        /// Its bytes.
        bytes: Bytes,
        /// Its trailer fields.
        trailers: HeaderMap,
    },
    /// Too large to hold: on its way.
    Streamed(Upload),
    /// It is not here: it was not read yet, or was too large to hold, and went by to be hashed.
    Gone,
}

/// Reads a body as far as it has to be held; what is too large for that, or need not be, is left to be streamed. Written out, as an
/// `async fn` keeps what it is given twice.
pub(super) fn read<'a>(
    mut body: Body,
    mut holding: Holding,
    policy: &'a Policy,
    buffered: &'a mut Buffered,
    idle: Duration,
) -> impl Future<Output = Result<Received, Unheld>> + Send + 'a {
    let hint = body.size_hint().lower();
    async move {
        let too_large = |length| policy.max_request_body.is_some_and(|max| length > max);
        let over = |length| length > policy.max_buffered_request;
        if too_large(hint) {
            return Err(Unheld::TooLarge);
        }
        let stream = |hold, ahead, rest| {
            let upload = Upload::new(ahead, rest, policy.max_request_body, idle);
            let hashed = hold != Hold::Nothing && hashes_body(policy);
            Received::Streamed(if hashed { upload.hashed() } else { upload })
        };
        let mut pieces = Pieces::default();
        let mut trailers = HeaderMap::new();
        loop {
            match holding.hold() {
                Some(Hold::All) if over(hint.max(pieces.len())) => {
                    return Err(Unheld::TooLargeToHold);
                }
                // So much blank space, and it may still be something of which all is needed.
                None if over(pieces.len()) => return Err(Unheld::TooLargeToHold),
                Some(hold) if hold == Hold::Nothing || over(hint.max(pieces.len())) => {
                    let ahead = (pieces.len() > 0).then(|| pieces.join());
                    return Ok(stream(hold, ahead, body));
                }
                _ => {}
            }
            // That a piece was the last is mostly known with it: to ask for another takes as long as to take one.
            if body.is_end_stream() {
                break;
            }
            let frame = match in_time(idle, body.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(None) => break,
                Some(Some(Err(_))) => return Err(Unheld::Cut),
                None => return Err(Unheld::Idle),
            };
            match frame.into_data() {
                Ok(data) => {
                    if !buffered.grow(data.len()) {
                        return Err(Unheld::NoRoom);
                    }
                    holding.look(&data);
                    pieces.push(data);
                    if too_large(pieces.len()) {
                        return Err(Unheld::TooLarge);
                    }
                }
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        Ok(Received::Whole {
            bytes: pieces.join(),
            trailers,
        })
    }
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheld {
    /// The client's side ended.
    #[error("the request body ended early")]
    Cut,
    /// The client's side stood still.
    #[error("no byte of the request body came for body_idle_timeout")]
    Idle,
    /// Too many bodies are held.
    #[error("max_buffered_total is reached")]
    NoRoom,
    /// Larger than any may be.
    #[error("the request body is over max_request_body")]
    TooLarge,
    /// Larger than one may be of which all is needed.
    #[error(
        "the request body is over max_buffered_request, and all of it is needed for the key or the fingerprint"
    )]
    TooLargeToHold,
}

impl Unheld {
    /// The answer.
    pub(super) fn problem(self) -> Problem {
        let code = match self {
            Self::Cut | Self::Idle => Code::BadRequest,
            Self::NoRoom => Code::Overloaded,
            Self::TooLarge | Self::TooLargeToHold => Code::BodyTooLarge,
        };
        Problem::new(code, self.to_string())
    }

    /// The limit that it is about.
    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Self::Cut | Self::Idle => None,
            Self::NoRoom => Some(Limit::MaxBufferedTotal),
            Self::TooLarge => Some(Limit::MaxRequestBody),
            Self::TooLargeToHold => Some(Limit::MaxBufferedRequest),
        }
    }
}

/// What must not change between duplicates, of a request whose body is all there.
pub(super) fn fingerprint_of_whole(
    request: &Parts,
    policy: &Policy,
    secret: &Secret,
    body: &[u8],
) -> Fingerprint {
    let digest = hashes_body(policy).then(|| Fingerprint::digest(body));
    let mut fingerprint = parts(request, policy, digest);
    if policy.fingerprint.contains(&FingerprintPart::JsonBody) {
        policy.json_body.add(body, &mut fingerprint);
    }
    secret.fingerprint(fingerprint)
}

/// What must not change between duplicates, given the hash of the body if the policy asks for it.
pub(super) fn fingerprint(
    request: &Parts,
    policy: &Policy,
    secret: &Secret,
    body: Option<Digest>,
) -> Fingerprint {
    secret.fingerprint(parts(request, policy, body))
}

fn parts(request: &Parts, policy: &Policy, body: Option<Digest>) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for part in &policy.fingerprint {
        match part {
            FingerprintPart::Method => {
                fingerprint.add("method", request.method.as_str().as_bytes())
            }
            FingerprintPart::Path => {
                fingerprint.add_recurring("path", request.uri.path().as_bytes())
            }
            FingerprintPart::Query => {
                fingerprint.add("query", request.uri.query().unwrap_or_default().as_bytes())
            }
            FingerprintPart::Body => {
                if let Some(digest) = body {
                    fingerprint.add_digest("body", digest);
                }
            }
            // Of a body that is held: nobody else can tell.
            FingerprintPart::JsonBody => {}
            FingerprintPart::Header(name) => {
                let values = request
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.as_bytes());
                fingerprint.add_list(&format!("header:{name}"), values);
            }
        }
    }
    fingerprint
}

impl Received {
    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Whole { .. } | Self::Gone => Progress::whole(),
            Self::Streamed(upload) => upload.progress(),
        }
    }

    /// The fingerprint, if all of the body is there.
    pub(super) fn fingerprint(
        &self,
        request: &Parts,
        policy: &Policy,
        secret: &Secret,
    ) -> Option<Fingerprint> {
        let Self::Whole { bytes, .. } = self else {
            return None;
        };
        Some(fingerprint_of_whole(request, policy, secret, bytes))
    }

    /// Lets all of the body go by, keeping none of it, and gives its fingerprint.
    pub(super) async fn consume(
        &mut self,
        request: &Parts,
        policy: &Policy,
        secret: &Secret,
    ) -> Result<Fingerprint, Problem> {
        if let Self::Streamed(upload) = self {
            while let Some(frame) = upload.frame().await {
                if frame.is_err() {
                    return Err(match upload.progress().stage() {
                        Stage::TooLarge => too_large(),
                        _ => Unheld::Cut.problem(),
                    });
                }
            }
            let digest = upload.progress().digest();
            let fingerprint = fingerprint(request, policy, secret, digest);
            *self = Self::Gone;
            return Ok(fingerprint);
        }
        Ok(self
            .fingerprint(request, policy, secret)
            .unwrap_or_default())
    }
}

/// The answer to a body over `max_request_body`.
pub(super) fn too_large() -> Problem {
    Unheld::TooLarge.problem()
}

fn hashes_body(policy: &Policy) -> bool {
    policy.fingerprint.contains(&FingerprintPart::Body)
}

/// Pieces of a body, joined without a copy if there is only one.
#[derive(Default)]
pub(super) struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    /// Adds the next piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&piece);
        }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.first.len().max(self.more.len()) as u64
    }

    /// All of them.
    pub(super) fn join(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}
