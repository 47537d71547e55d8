//! Step two: the body, held if it is small and streamed if it is not, and what must not change between duplicates.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::limits::Buffered;
use super::policy::{FingerprintPart, Policy};
use super::upload::{Progress, Stage, Upload};
use crate::idempotency::digest::Digest;
use crate::idempotency::{Fingerprint, PartHasher};
use crate::wire::{Body, Code, Problem};

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
    Streamed(Box<Upload>),
    /// Was too large to hold, and went by to be hashed.
    Gone,
}

/// Reads a body up to `max_buffered_request`; a larger one is left to be streamed.
pub(super) async fn read(
    mut body: Body,
    policy: &Policy,
    buffered: &mut Buffered,
    idle: Duration,
) -> Result<Received, Problem> {
    let hint = body.size_hint();
    if policy
        .max_request_body
        .is_some_and(|max| hint.lower() > max)
    {
        return Err(too_large());
    }
    let stream = |ahead, rest| {
        let upload = Upload::new(ahead, rest, policy.max_request_body, idle);
        Received::Streamed(Box::new(if hashes_body(policy) {
            upload.hashed()
        } else {
            upload
        }))
    };
    if hint.lower() > policy.max_buffered_request {
        return Ok(stream(None, body));
    }
    let mut pieces = Pieces::default();
    let mut trailers = HeaderMap::new();
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(Problem::new(
                    Code::BadRequest,
                    "the request body ended early",
                ));
            }
            Err(_) => {
                return Err(Problem::new(
                    Code::BadRequest,
                    "no byte of the request body came for body_idle_timeout",
                ));
            }
        };
        match frame.into_data() {
            Ok(data) => {
                if !buffered.grow(data.len()) {
                    return Err(Problem::new(
                        Code::Overloaded,
                        "max_buffered_total is reached",
                    ));
                }
                pieces.push(data);
                if policy
                    .max_request_body
                    .is_some_and(|max| pieces.len() > max)
                {
                    return Err(too_large());
                }
                if pieces.len() > policy.max_buffered_request {
                    return Ok(stream(Some(pieces.join()), body));
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

/// What must not change between duplicates, given the hash of the body if the policy asks for it.
pub(super) fn fingerprint(request: &Parts, policy: &Policy, body: Option<Digest>) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for part in &policy.fingerprint {
        match part {
            FingerprintPart::Method => {
                fingerprint.add("method", request.method.as_str().as_bytes())
            }
            FingerprintPart::Path => fingerprint.add("path", request.uri.path().as_bytes()),
            FingerprintPart::Query => {
                fingerprint.add("query", request.uri.query().unwrap_or_default().as_bytes())
            }
            FingerprintPart::Body => {
                if let Some(digest) = body {
                    fingerprint.add_digest("body", digest);
                }
            }
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
    pub(super) fn progress(&self) -> Arc<Progress> {
        match self {
            Self::Whole { .. } | Self::Gone => Arc::new(Progress::whole()),
            Self::Streamed(upload) => upload.progress(),
        }
    }

    /// The fingerprint, if all of the body is there.
    pub(super) fn fingerprint(&self, request: &Parts, policy: &Policy) -> Option<Fingerprint> {
        let Self::Whole { bytes, .. } = self else {
            return None;
        };
        let body = hashes_body(policy).then(|| {
            let mut hasher = PartHasher::new();
            hasher.update(bytes);
            hasher.finish()
        });
        Some(fingerprint(request, policy, body))
    }

    /// Lets all of the body go by, keeping none of it, and gives its fingerprint.
    pub(super) async fn consume(
        &mut self,
        request: &Parts,
        policy: &Policy,
    ) -> Result<Fingerprint, Problem> {
        if let Self::Streamed(upload) = self {
            while let Some(frame) = upload.frame().await {
                if frame.is_err() {
                    return Err(match upload.progress().stage() {
                        Stage::TooLarge => too_large(),
                        _ => Problem::new(Code::BadRequest, "the request body ended early"),
                    });
                }
            }
            let fingerprint = fingerprint(request, policy, upload.progress().digest());
            *self = Self::Gone;
            return Ok(fingerprint);
        }
        Ok(self.fingerprint(request, policy).unwrap_or_default())
    }
}

/// The answer to a body over `max_request_body`.
pub(super) fn too_large() -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        "the request body is over max_request_body",
    )
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
